"""Pod → Workload, as Calico makes a WorkloadEndpoint of a pod. (libcalico-go/lib/backend/k8s/conversion)"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha1
from sys import intern
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.completion.owners import Owners
from felixpy.manifests.objects import pod_annotations as notes
from felixpy.manifests.validation.addresses import host
from felixpy.manifests.validation.findings import Finding, Ignored
from felixpy.manifests.validation.metadata import metadata, or_empty, subdomain
from felixpy.manifests.validation.names import is_endpoint_name
from felixpy.manifests.validation.quantities import dscp
from felixpy.manifests.validation.shapes import ListOf, Object, flag, integer, text
from felixpy.model import (
    NAMESPACE_LABEL,
    NAMESPACE_PREFIX,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    SERVICE_ACCOUNT_PREFIX,
    HostPod,
    HostPort,
    Labels,
    NamedPort,
    Qos,
    Source,
    Workload,
)

Data = Mapping[str, Any]

FINISHED = frozenset({"Failed", "Succeeded", "Completed"})
PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp", "": "tcp"}
INHERITED = (NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX)

POD_IP = "cni.projectcalico.org/podIP"
POD_IPS = "cni.projectcalico.org/podIPs"
AWS_IPS = "vpc.amazonaws.com/pod-ips"
PATH = ("metadata", "annotations")
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - what a hostIP may say, nothing listens here
EMPTY: Data = {}
NO_EXTRAS = ((), (), None, None)

Ports = tuple[tuple[NamedPort, ...], tuple[tuple[str, int], ...]]
"""A pod's named ports, and (protocol, port) of all ports that it serves."""


def _usable_limits(annotations: Mapping[str, str], path: Path) -> Iterator[Finding]:
    for annotation, effect in notes.odd_limits(annotations):
        yield Finding((*path, annotation), effect, severity="warning")


_CONTAINERS = ListOf(
    Object(
        {
            "ports": ListOf(
                Object(
                    {
                        "name": text(),
                        "containerPort": integer(0, 65535),
                        "hostPort": integer(0, 65535),
                        "hostIP": text(),
                        "protocol": text(),
                    },
                    opened=True,
                ),
                "ports",
            )
        },
        opened=True,
    ),
    "containers",
)
POD = Object(
    {
        "metadata": metadata(annotated=(_usable_limits,)),
        "spec": Object(
            {
                "nodeName": text(or_empty(subdomain)),
                "hostNetwork": flag(),
                "serviceAccountName": text(),
                "serviceAccount": text(),
                "containers": _CONTAINERS,
                "initContainers": _CONTAINERS,
            },
            opened=True,
        ),
        "status": Object(
            {
                "phase": text(),
                "podIP": text(),
                "podIPs": ListOf(Object({"ip": text()}, opened=True)),
                "conditions": ListOf(Object({"type": text(), "status": text()}, opened=True)),
            },
            opened=True,
        ),
    },
    required=("metadata",),
    opened=True,
)


def interface_name(prefix: str, namespace: str, name: str) -> str:
    """The host's end of the pod's veth pair.

    Calico takes the prefix from its environment, never from a FelixConfiguration.

    >>> interface_name("cali", "default", "podA")
    'cali7f94ce7c295'
    """
    return prefix + sha1(f"{namespace}.{name}".encode()).hexdigest()[:11]


class Pods:
    """Converts pods. What many pods have in common (labels, profiles, ports) is kept once."""

    def __init__(self, interface_prefix: str, owners: Owners | None = None) -> None:
        self.interface_prefix = interface_prefix
        self.owners = owners or Owners()
        self.labels: dict[tuple[Any, ...], Labels] = {}
        self.profiles: dict[tuple[str, str], tuple[str, ...]] = {}
        self.ports: dict[Ports, Ports] = {}
        self.named: dict[tuple[str, str, int, bool], NamedPort] = {}

    def __call__(self, data: Data, source: Source) -> Workload | None:
        """The workload; None for pods that Calico does not know: host network, not scheduled, or without address.

        Raises Ignored when an address or a list in an annotation is unreadable.
        """
        spec = data.get("spec", EMPTY)
        node = spec.get("nodeName")
        if not node or spec.get("hostNetwork"):
            return None
        own = data["metadata"]
        annotations = own.get("annotations", EMPTY)
        addresses = _addresses(data, annotations)
        namespace, name = own["namespace"], own["name"]
        account = spec.get("serviceAccountName") or spec.get("serviceAccount") or ""
        if not addresses or _finished(data, annotations):
            return None
        namespace = intern(namespace)
        labels = self._labels(own.get("labels", EMPTY), namespace, account)
        named, served = self._ports(spec)
        return Workload(
            namespace, name, intern(node), interface_name(self.interface_prefix, namespace, name), addresses,
            labels, self._profiles(namespace, account), named, source,
            *(_extras(annotations, addresses) if annotations else NO_EXTRAS), served, self.owners.find(own),
            _host_ports(spec), *_state(data),
        )  # fmt: skip

    def on_host(self, data: Data, source: Source) -> HostPod | None:
        """A pod in the network of its node; None for all others, and for pods that no longer run."""
        spec, own = data.get("spec", EMPTY), data["metadata"]
        node, annotations = spec.get("nodeName"), own.get("annotations", EMPTY)
        if not node or not spec.get("hostNetwork") or _finished(data, annotations):
            return None
        try:
            addresses = _addresses(data, annotations)
            named, _ = self._ports(spec)
        except Ignored:
            addresses, named = (), ()
        ready, leaving = _state(data)
        return HostPod(
            own["namespace"], own["name"], node, own.get("labels", EMPTY), named, source,
            addresses, self.owners.find(own), ready, leaving,
        )  # fmt: skip

    def _labels(self, own: Labels, namespace: str, account: str) -> Labels:
        """The pod's own labels, less those that look inherited, and Calico's three."""
        key = (namespace, account, *own.items())
        labels = self.labels.get(key)
        if labels is None:
            labels = {intern(k): intern(v) for k, v in own.items() if not k.startswith(INHERITED)}
            labels[NAMESPACE_LABEL] = namespace
            labels[ORCHESTRATOR_LABEL] = "k8s"
            if account:
                labels[SERVICE_ACCOUNT_LABEL] = intern(account)
            self.labels[key] = labels
        return labels

    def _profiles(self, namespace: str, account: str) -> tuple[str, ...]:
        profiles = self.profiles.get((namespace, account))
        if profiles is None:
            profiles = (f"kns.{namespace}", f"ksa.{namespace}.{account}") if account else (f"kns.{namespace}",)
            self.profiles[namespace, account] = profiles
        return profiles

    def _ports(self, spec: Data) -> Ports:
        """Ports with names, those of init containers last, and what containers serve.

        Unknown protocols do not count.
        """
        found, served = [], []
        for containers, init in (("containers", False), ("initContainers", True)):
            for container in spec.get(containers, ()):
                for port in container.get("ports", ()):
                    name, number = port.get("name"), port.get("containerPort")
                    protocol = PROTOCOLS.get(port.get("protocol", ""))
                    if not number or not protocol:
                        continue
                    if not init:
                        served.append((protocol, number))
                    if name:
                        key = (name, protocol, number, init)
                        found.append(self.named.get(key) or self._named(key))
        if not found and not served:
            return (), ()
        ports = tuple(found), tuple(served)
        return self.ports.setdefault(ports, ports)

    def _named(self, key: tuple[str, str, int, bool]) -> NamedPort:
        if not is_endpoint_name(key[0]):
            reason = f'"{key[0]}" is no name for a port; Felix ignores the whole pod'
            raise Ignored(("spec", "containers"), reason)
        port = self.named[key] = NamedPort(*key)
        return port


def _host_ports(spec: Data) -> tuple[HostPort, ...]:
    """The ports that portmap redirects to the pod; on the network of the node they would be no redirection."""
    return tuple(
        HostPort(protocol, port["hostPort"], port["containerPort"], _host_address(port.get("hostIP", "")))
        for container in spec.get("containers", ())
        for port in container.get("ports", ())
        if port.get("hostPort") and port.get("containerPort") and (protocol := PROTOCOLS.get(port.get("protocol", "")))
    )


def _host_address(given: str) -> str:
    """The node's address that a hostPort is limited to, "" for all."""
    found = host(given) if given else None
    return "" if found is None or found in EVERY_ADDRESS else found


def _state(data: Data) -> tuple[bool, bool]:
    """Whether the pod is ready, and whether it is leaving. Where no condition says so, a pod is taken to be ready."""
    conditions = {each.get("type"): each.get("status") for each in data.get("status", EMPTY).get("conditions", ())}
    return conditions.get("Ready", "True") == "True", data["metadata"].get("deletionTimestamp") is not None


def _given_addresses(data: Data, annotations: Mapping[str, str]) -> tuple[list[str], Path]:
    """The addresses of the first of five places that has any, and that place."""
    status = data.get("status", EMPTY)
    several = status.get("podIPs")
    if several:
        return [item.get("ip", "") for item in several], ("status", "podIPs")
    if status.get("podIP"):
        return [status["podIP"]], ("status", "podIP")
    for annotation, separator in ((POD_IPS, ","), (POD_IP, None), (AWS_IPS, ",")):
        given = annotations.get(annotation)
        if given:
            return given.split(separator) if separator else [given], (*PATH, annotation)
    return [], ()


def address_path(data: Data, index: int) -> Path:
    """Where the pod's address of this number stands."""
    _, path = _given_addresses(data, data["metadata"].get("annotations", EMPTY))
    return (*path, index, "ip") if path == ("status", "podIPs") else path


def _addresses(data: Data, annotations: Mapping[str, str]) -> tuple[str, ...]:
    given, _ = _given_addresses(data, annotations)
    addresses = tuple(map(host, given))
    if None in addresses:
        index = addresses.index(None)
        raise Ignored(address_path(data, index), f'"{given[index]}" is not an address; Calico ignores the whole pod')
    return addresses  # type: ignore[return-value]


def _finished(data: Data, annotations: Mapping[str, str]) -> bool:
    """Whether the pod's addresses may already belong to another pod."""
    status = data.get("status", EMPTY)
    if status.get("phase") in FINISHED:
        return True
    leaving = data["metadata"].get("deletionTimestamp") is not None
    return leaving and (annotations.get(POD_IP) == "" or annotations.get(AWS_IPS) == "")


def absence(data: Data) -> str:
    """Why Calico does not know a pod of which nothing was made, in words that follow its kind."""
    spec = data.get("spec", EMPTY)
    if spec.get("hostNetwork"):
        return "in the network of a node"
    if not spec.get("nodeName"):
        return "without a node"
    return "no longer running" if _finished(data, data["metadata"].get("annotations", EMPTY)) else "without an address"


def _extras(
    annotations: Mapping[str, str], addresses: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], Qos | None, int | None]:
    """What annotations add. Raises Ignored for lists that cannot be read: Calico gives up on the pod."""
    try:
        name = notes.FLOATING
        floating = notes.floating(annotations, addresses)
        name = notes.SOURCE_PREFIXES
        spoofable = notes.source_prefixes(annotations)
    except notes.BadAnnotation as wrong:
        raise Ignored((*PATH, name), f"{wrong}; Calico ignores the whole pod") from None
    return spoofable, floating, notes.qos(annotations), dscp(annotations.get(notes.DSCP, "x"))
