"""What counts of a pod: read once from its manifest, which then need not be kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from sys import intern
from typing import Any, NamedTuple

from felixpy.errors import Path
from felixpy.manifests.completion.owners import Reference, references
from felixpy.manifests.objects import pod_annotations as notes
from felixpy.model import Labels, Source

Data = Mapping[str, Any]

FINISHED = frozenset({"Failed", "Succeeded", "Completed"})
POD_IP = "cni.projectcalico.org/podIP"
POD_IPS = "cni.projectcalico.org/podIPs"
AWS_IPS = "vpc.amazonaws.com/pod-ips"
PATH = ("metadata", "annotations")
EMPTY: Data = {}

GivenPort = tuple[str | None, str, int | None, bool, int | None, str]
"""A container's port: name, protocol, number, whether of an init container, hostPort, hostIP."""


_READ = frozenset({notes.FLOATING, notes.SOURCE_PREFIXES, notes.DSCP, *(limit.annotation for limit in notes.LIMITS)})
"""Annotations that say something beside the pod's addresses."""


class PodFacts:
    """What Calico and felixpy read of a sound pod. Everything else that its manifest says is forgotten.

    `given` are its addresses as written, `where` their place; `claims` are further ones that it has beside them, and
    `host_address` is that of its node.
    `owners` are what metadata.ownerReferences say.
    """

    __slots__ = (
        "account", "annotations", "claims", "finished", "given", "has_uid", "host_address", "host_network", "labels",
        "leaving", "name", "namespace", "node", "owners", "ports", "ready", "where",
    )  # fmt: skip

    def __init__(self, data: Data, shared: SharedByPods) -> None:
        own, spec, status = data["metadata"], data.get("spec", EMPTY), data.get("status", EMPTY)
        annotations = own.get("annotations", EMPTY)
        self.namespace, self.name = intern(own.get("namespace") or "default"), own["name"]
        self.node, self.host_network = intern(spec.get("nodeName", "")), spec.get("hostNetwork", False)
        self.account = intern(spec.get("serviceAccountName") or spec.get("serviceAccount") or "")
        self.labels = shared.labels(own.get("labels", EMPTY))
        self.owners = shared.owners(own["ownerReferences"]) if own.get("ownerReferences") else ()
        self.ports = shared.ports(spec)
        self.given, self.where = _given_addresses(status, annotations)
        address = status.get("hostIP")
        self.host_address = intern(address) if type(address) is str else ""
        self.leaving = own.get("deletionTimestamp") is not None
        self.finished = _finished(status, annotations, leaving=self.leaving)
        self.ready = _ready(status)
        self.has_uid = "uid" in own
        self.annotations: Mapping[str, str] = EMPTY
        self.claims: tuple[str, ...] = ()
        if annotations:
            self.annotations = {name: annotations[name] for name in _READ & annotations.keys()} or EMPTY
            self.claims = tuple(_claims(annotations, self.given))
        address = status.get("podIP")
        if address and address not in self.given:
            self.claims += (address,)

    def absence(self) -> str:
        """Why Calico does not know a pod of which nothing was made, in words that follow its kind."""
        if self.host_network:
            return "in the network of a node"
        if not self.node:
            return "without a node"
        return "no longer running" if self.finished else "without an address"

    def address_path(self, index: int) -> Path:
        """Where the address of this number stands."""
        return (*self.where, index, "ip") if self.where == _STATUS_IPS else self.where


class Placed(NamedTuple):
    """A sound pod with a node, which needs no completion."""

    pod: PodFacts
    source: Source


class SharedByPods:
    """What many pods have in common, kept once."""

    def __init__(self) -> None:
        self._labels: dict[tuple[Any, ...], Labels] = {}
        self._tuples: dict[Any, Any] = {}

    def labels(self, given: Labels) -> Labels:
        key = tuple(given.items())
        known = self._labels.get(key)
        if known is None:
            known = self._labels[key] = {intern(name): intern(value) for name, value in given.items()}
        return known

    def owners(self, listed: Sequence[Data]) -> tuple[Reference, ...]:
        found = references(listed)
        return self._tuples.setdefault(found, found)  # type: ignore[no-any-return]

    def ports(self, spec: Data) -> tuple[GivenPort, ...]:
        found = []
        for containers, init in (("containers", False), ("initContainers", True)):
            for container in spec.get(containers, ()):
                for port in container.get("ports", ()):
                    get = port.get
                    found.append(
                        (
                            get("name"), get("protocol", ""), get("containerPort"), init,
                            get("hostPort"), get("hostIP", ""),
                        )
                    )  # fmt: skip
        if not found:
            return ()
        ports = tuple(found)
        return self._tuples.setdefault(ports, ports)  # type: ignore[no-any-return]


def _ready(status: Data) -> bool:
    """Whether the pod is ready. Where no condition says so, a pod is taken to be ready."""
    ready = "True"
    for condition in status.get("conditions", ()):
        if condition.get("type") == "Ready":
            ready = condition.get("status")
    return ready == "True"


_STATUS_IPS = ("status", "podIPs")
_STATUS_IP = ("status", "podIP")
_SEPARATORS = {POD_IPS: ",", POD_IP: "", AWS_IPS: ","}
_ANNOTATED = tuple((name, separator, (*PATH, name)) for name, separator in _SEPARATORS.items())


def _given_addresses(status: Data, annotations: Mapping[str, str]) -> tuple[tuple[str, ...], Path]:
    """The addresses of the first of five places that has any, and that place."""
    several = status.get("podIPs")
    if several:
        return tuple([item.get("ip", "") for item in several]), _STATUS_IPS
    if status.get("podIP"):
        return (status["podIP"],), _STATUS_IP
    for annotation, separator, path in _ANNOTATED if annotations else ():
        given = annotations.get(annotation)
        if given:
            return tuple(given.split(separator)) if separator else (given,), path
    return (), ()


def _claims(annotations: Mapping[str, str], given: tuple[str, ...]) -> Iterator[str]:
    """Addresses that annotations name beside those that count."""
    for name in (POD_IP, POD_IPS):
        text = annotations.get(name)
        if text:
            for each in text.split(","):
                address, _, length = each.partition("/")
                if address not in given or length not in ("", "32", "128"):
                    yield each


def _finished(status: Data, annotations: Mapping[str, str], *, leaving: bool) -> bool:
    """Whether the pod's addresses may already belong to another pod."""
    if status.get("phase") in FINISHED:
        return True
    return leaving and (annotations.get(POD_IP) == "" or annotations.get(AWS_IPS) == "")
