"""The facts about a pod that are used: read once from its manifest, which then need not be kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from sys import intern
from typing import Any, NamedTuple

from msgspec import UNSET

from felixpy.errors import Path
from felixpy.manifests.completion.owners import Reference
from felixpy.manifests.objects import pod_annotations as notes
from felixpy.manifests.objects.pod_record import (
    NO_SPEC,
    NO_STATUS,
    Condition,
    Container,
    OwnerReference,
    OwnMetadata,
    OwnSpec,
    PodRecord,
    Status,
)
from felixpy.model import Labels, Source

FINISHED = frozenset({"Failed", "Succeeded", "Completed"})
POD_IP = "cni.projectcalico.org/podIP"
POD_IPS = "cni.projectcalico.org/podIPs"
AWS_IPS = "vpc.amazonaws.com/pod-ips"
PATH = ("metadata", "annotations")
EMPTY: Mapping[str, str] = {}

GivenPort = tuple[str | None, str, int | None, bool, int | None, str]
"""A container's port: name, protocol, number, whether of an init container, hostPort, hostIP."""


_READ = frozenset({notes.FLOATING, notes.SOURCE_PREFIXES, notes.DSCP, *(limit.annotation for limit in notes.LIMITS)})
"""Annotations that say something beside the pod's addresses."""


class PodFacts:
    """The fields of a valid pod that Calico and felixpy use.

    `given` are its addresses as written, `where` their path; `claims` are further addresses in annotations, and
    `host_address` is that of its node.
    `owners` are what metadata.ownerReferences say.
    """

    __slots__ = (
        "account", "annotations", "claims", "finished", "given", "has_uid", "host_address", "host_network", "labels",
        "leaving", "name", "namespace", "node", "owners", "ports", "ready", "where",
    )  # fmt: skip

    def __init__(
        self,
        own: OwnMetadata,
        spec: OwnSpec,
        status: Status,
        labels: Labels,
        owners: tuple[Reference, ...],
        ports: tuple[GivenPort, ...],
    ) -> None:
        annotations = own.annotations or EMPTY
        self.namespace, self.name = intern(own.namespace or "default"), own.name
        self.node, self.host_network = intern(spec.node or ""), spec.host_network or False
        self.account = intern(spec.account or spec.old_account or "")
        self.labels, self.owners, self.ports = labels, owners, ports
        self.given, self.where = _given_addresses(status, annotations)
        address = status.host_address
        self.host_address = intern(address) if type(address) is str else ""
        self.leaving = own.deleted is not None
        self.finished = _finished(status, annotations, leaving=self.leaving)
        self.ready = _ready(status.conditions) if status.conditions else True
        self.has_uid = own.uid is not UNSET
        self.annotations: Mapping[str, str] = EMPTY
        self.claims: tuple[str, ...] = ()
        if annotations:
            self.annotations = {name: annotations[name] for name in _READ & annotations.keys()} or EMPTY
            self.claims = tuple(_claims(annotations, self.given))
        address = status.address
        if address and address not in self.given:
            self.claims += (address,)

    def absence(self) -> str:
        """Why a pod is not an endpoint of Calico, as a phrase after its kind."""
        if self.host_network:
            return "in the network of a node"
        if not self.node:
            return "without a node"
        return "no longer running" if self.finished else "without an address"

    def address_path(self, index: int) -> Path:
        """The path of the address with this index."""
        return (*self.where, index, "ip") if self.where == _STATUS_IPS else self.where


class Placed(NamedTuple):
    """A valid pod with a node, which needs no completion."""

    pod: PodFacts
    source: Source


class SharedByPods:
    """Values that many pods have in common, each kept once."""

    def __init__(self) -> None:
        self._labels: dict[tuple[Any, ...], Labels] = {}
        self._tuples: dict[Any, Any] = {}

    def labels(self, given: Labels) -> Labels:
        key = tuple(given.items())
        known = self._labels.get(key)
        if known is None:
            known = self._labels[key] = self.new_labels(given)
        return known

    def new_labels(self, given: Labels) -> Labels:
        """Labels that no pod had before."""
        return {intern(name): intern(value) for name, value in given.items()}

    def owners(self, listed: Sequence[OwnerReference]) -> tuple[Reference, ...]:
        found = tuple([(each.kind, each.name, each.controller is True) for each in listed])
        known = self._tuples.get(found)
        if known is None:
            known = self._tuples[found] = self.new_owners(found)
        return known

    def new_owners(self, found: tuple[Reference, ...]) -> tuple[Reference, ...]:
        """Owners that no pod had before."""
        return found

    def ports(
        self, containers: Sequence[Container] | None, init_containers: Sequence[Container] | None
    ) -> tuple[GivenPort, ...]:
        found = _given_ports(containers, init=False) if containers else []
        if init_containers:
            found += _given_ports(init_containers, init=True)
        return self.same(tuple(found)) if found else ()

    def same(self, ports: tuple[GivenPort, ...]) -> tuple[GivenPort, ...]:
        """The one kept tuple of all that are equal."""
        return self._tuples.setdefault(ports, ports)  # type: ignore[no-any-return]


def facts(pod: PodRecord, shared: SharedByPods) -> PodFacts:
    """The facts about a pod, using shared values."""
    own, spec = pod.metadata, pod.spec or NO_SPEC
    labels = shared.labels(own.labels or EMPTY)
    owners = shared.owners(own.owners) if own.owners else ()
    ports = shared.ports(spec.containers, spec.init_containers)
    return PodFacts(own, spec, pod.status or NO_STATUS, labels, owners, ports)


def _given_ports(containers: Sequence[Container], *, init: bool) -> list[GivenPort]:
    return [
        (port.name, port.protocol or "", port.number, init, port.host_port, port.host_address or "")
        for container in containers
        for port in container.ports or ()
    ]


def _ready(conditions: Sequence[Condition]) -> bool:
    """Whether the pod is ready; a pod without the condition is assumed to be ready."""
    ready: str | None = "True"
    for condition in conditions:
        if condition.type == "Ready":
            ready = condition.status
    return ready == "True"


_STATUS_IPS = ("status", "podIPs")
_STATUS_IP = ("status", "podIP")
_SEPARATORS = {POD_IPS: ",", POD_IP: "", AWS_IPS: ","}
_ANNOTATED = tuple((name, separator, (*PATH, name)) for name, separator in _SEPARATORS.items())


def _given_addresses(status: Status, annotations: Mapping[str, str]) -> tuple[tuple[str, ...], Path]:
    """The addresses in the first of five places that has any, and the path of that place."""
    if status.addresses:
        return tuple([each.ip or "" for each in status.addresses]), _STATUS_IPS
    if status.address:
        return (status.address,), _STATUS_IP
    for annotation, separator, path in _ANNOTATED if annotations else ():
        given = annotations.get(annotation)
        if given:
            return tuple(given.split(separator)) if separator else (given,), path
    return (), ()


def _claims(annotations: Mapping[str, str], given: tuple[str, ...]) -> Iterator[str]:
    """Addresses in annotations besides the given ones."""
    for name in (POD_IP, POD_IPS):
        text = annotations.get(name)
        if text:
            for each in text.split(","):
                address, _, length = each.partition("/")
                if address not in given or length not in ("", "32", "128"):
                    yield each


def _finished(status: Status, annotations: Mapping[str, str], *, leaving: bool) -> bool:
    """Whether the pod's addresses may already belong to another pod."""
    if status.phase in FINISHED:
        return True
    return leaving and (annotations.get(POD_IP) == "" or annotations.get(AWS_IPS) == "")
