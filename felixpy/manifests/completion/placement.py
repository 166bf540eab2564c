"""Nodes and addresses for pods that have none yet, as a scheduler and Calico's address management might choose them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from itertools import chain
from typing import Any

from felixpy.manifests.objects.pod_facts import PodFacts
from felixpy.manifests.reading.documents import Document

DEFAULT_RANGE = "10.244.0.0/16"
"""Where addresses come from when the input has no pool for pods: the range that kubeadm's tutorials use."""

DEFAULT_NODE = "node1"

_CALICO = ("projectcalico.org/v3", "crd.projectcalico.org/v1")


class NoAddressLeft(Exception):
    """A pool has no free address; the message names it."""


class Placement:
    """Chooses nodes and addresses. Scheduling constraints are ignored."""

    def __init__(self, documents: Sequence[Document], placed: Sequence[PodFacts], node: str | None) -> None:
        self._wanted = node
        self._known = {*_nodes(documents), *(pod.node for pod in placed)}
        self._homes = _homes(documents)
        for pod in placed:
            if pod.host_address:
                self._homes.setdefault(pod.host_address, pod.node)
        self.ranges = _ranges(documents)
        claimed = (_without_length(text) for pod in placed for text in (*pod.given, *pod.claims))
        for address in chain(_used(documents), claimed):
            for each in self.ranges:
                each.block(address)

    @property
    def origin(self) -> str:
        """The networks that addresses are taken from, in words."""
        return " and ".join(each.name for each in self.ranges)

    @property
    def nodes(self) -> list[str]:
        """All nodes, for DaemonSets."""
        return sorted(self._known | ({self._wanted} if self._wanted else set())) or [DEFAULT_NODE]

    def node(self, spec: Mapping[str, Any]) -> str:
        """The node in a pod's spec, else that of ``--node``, else the first node."""
        return spec.get("nodeName") or self._wanted or self.nodes[0]

    def home(self, status: Mapping[str, Any]) -> str:
        """The node with the hostIP of a pod's status, "" if it is unknown."""
        several = status.get("hostIPs")
        listed = [item.get("ip") for item in several if isinstance(item, dict)] if isinstance(several, list) else []
        return next((self._homes[given] for given in (status.get("hostIP"), *listed) if given in self._homes), "")

    def addresses(self, identity: str) -> list[str]:
        """An unused address of each family. Raises NoAddressLeft."""
        return [each.take(identity) for each in self.ranges]


class PoolAddresses:
    """Addresses of one pool.

    An address is chosen by a hash of the pod's identity; if it is in use, the next free one is taken. So a new workload
    changes the addresses of another one only in case of a collision, unlike with a counter.
    """

    def __init__(self, name: str, network: IPv4Network | IPv6Network) -> None:
        self.name, self.network = name, network
        edges = (1, 1) if network.version == 4 and network.num_addresses > 2 else (0, 0)
        if network.version == 6 and network.num_addresses > 1:
            edges = (1, 0)
        self._first = int(network.network_address) + edges[0]
        self._size = network.num_addresses - sum(edges)
        self._taken: set[int] = set()

    def block(self, text: str) -> None:
        """Mark an address as used; text that is not an address is ignored."""
        try:
            address = ip_address(text)
        except ValueError:
            return
        offset = int(address) - self._first
        if address.version == self.network.version and 0 <= offset < self._size:
            self._taken.add(offset)

    def take(self, identity: str) -> str:
        if len(self._taken) >= self._size:
            raise NoAddressLeft(f"{self.name} has no address left for another pod")
        offset = int.from_bytes(sha256(identity.encode()).digest()[:16], "big") % self._size
        while offset in self._taken:
            offset = (offset + 1) % self._size
        self._taken.add(offset)
        return str(type(self.network.network_address)(self._first + offset))


def _ranges(documents: Sequence[Document]) -> list[PoolAddresses]:
    """A range for each family: the first pool for pods by name; without pools the default range."""
    found: dict[int, PoolAddresses] = {}
    pools = [data for data, _ in documents if data["kind"] == "IPPool" and data["apiVersion"] in _CALICO]
    for data in sorted(pools, key=lambda data: str(data["metadata"]["name"])):
        spec = data.get("spec") or {}
        if spec.get("disabled") or spec.get("assignmentMode") == "Manual":
            continue
        if "Workload" not in (spec.get("allowedUses") or ["Workload"]):
            continue
        try:
            network = ip_network(str(spec.get("cidr")), strict=False)
        except ValueError:
            continue
        name = f"IPPool {data['metadata']['name']} ({network})"
        found.setdefault(network.version, PoolAddresses(name, network))
    return [found[version] for version in sorted(found)] or [PoolAddresses(DEFAULT_RANGE, ip_network(DEFAULT_RANGE))]


def _nodes(documents: Sequence[Document]) -> Iterator[str]:
    """Names of nodes: of Node objects, and those that pods and host endpoints name."""
    for data, _ in documents:
        read = _NODES.get((data["apiVersion"], data["kind"]))
        if read and (name := read(data)):
            yield name


_NODES: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], str | None]] = {
    ("v1", "Node"): lambda data: str(data["metadata"]["name"]),
    ("v1", "Pod"): lambda data: (data.get("spec") or {}).get("nodeName"),
    (_CALICO[0], "WorkloadEndpoint"): lambda data: (data.get("spec") or {}).get("node"),
    (_CALICO[0], "HostEndpoint"): lambda data: (data.get("spec") or {}).get("node"),
    (_CALICO[1], "HostEndpoint"): lambda data: (data.get("spec") or {}).get("node"),
}


def _homes(documents: Sequence[Document]) -> dict[str, str]:
    """Nodes by address, from Node objects and from pods with nodeName and hostIP."""
    found: dict[str, str] = {}
    for data, _ in documents:
        if (data["apiVersion"], data["kind"]) == ("v1", "Node"):
            for address in _of_node(data):
                if isinstance(address, str) and address:
                    found.setdefault(address, str(data["metadata"]["name"]))
    for data, _ in documents:
        if (data["apiVersion"], data["kind"]) == ("v1", "Pod"):
            node, address = (data.get("spec") or {}).get("nodeName"), (data.get("status") or {}).get("hostIP")
            if node and isinstance(address, str) and address:
                found.setdefault(address, node)
    return found


def _used(documents: Sequence[Document]) -> Iterator[str]:
    for data, _ in documents:
        read = _ADDRESSES.get((data["apiVersion"], data["kind"]))
        if read:
            yield from (text for text in read(data) if isinstance(text, str) and text)


def _of_pod(data: Mapping[str, Any]) -> Iterator[Any]:
    status = data.get("status") or {}
    yield status.get("podIP")
    yield from (item.get("ip") for item in status.get("podIPs") or () if isinstance(item, dict))
    annotations = (data.get("metadata") or {}).get("annotations") or {}
    for name in ("cni.projectcalico.org/podIP", "cni.projectcalico.org/podIPs"):
        yield from (_without_length(text) for text in str(annotations.get(name) or "").split(","))


def _of_node(data: Mapping[str, Any]) -> Iterator[Any]:
    addresses = (data.get("status") or {}).get("addresses") or ()
    yield from (item.get("address") for item in addresses if isinstance(item, dict))
    annotations = (data.get("metadata") or {}).get("annotations") or {}
    for name, value in annotations.items():
        if str(name).startswith("projectcalico.org/IPv"):
            yield _without_length(str(value))


def _of_host_endpoint(data: Mapping[str, Any]) -> Iterator[Any]:
    yield from (data.get("spec") or {}).get("expectedIPs") or ()


def _of_workload_endpoint(data: Mapping[str, Any]) -> Iterator[Any]:
    yield from map(_without_length, (data.get("spec") or {}).get("ipNetworks") or ())


def _without_length(text: str) -> str:
    try:
        return str(ip_interface(text.strip()).ip)
    except ValueError:
        return ""


_ADDRESSES: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Iterator[Any]]] = {
    ("v1", "Pod"): _of_pod,
    ("v1", "Node"): _of_node,
    (_CALICO[0], "WorkloadEndpoint"): _of_workload_endpoint,
    (_CALICO[0], "HostEndpoint"): _of_host_endpoint,
    (_CALICO[1], "HostEndpoint"): _of_host_endpoint,
}
