"""The layout of a lab: its nodes and pods, their network namespaces and addresses.

Every node of the manifests is built, or only one of them. The addresses of nodes that are not built, of their pods, and
of the rest of the world are in the namespace "outside". The names of a lab's namespaces begin with its name:

    felixpy                 the home node: the one of --node, or the one with most pods
    felixpy@node2           another node
    felixpy.outside         everything that is neither pod nor node
    felixpy.shop.web-1      pod web-1 of namespace shop
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

from felixpy.errors import UsageError, natural, unknown_node
from felixpy.model import Cluster, Host, NamedPort, Source, Workload
from felixpy.topology.addresses import AddressBook
from felixpy.topology.endpoints import Directory, Endpoint
from felixpy.topology.nodes import TUNNELS, machine_of

DEFAULT_NAME = "felixpy"
OUTSIDE = "outside"
FAMILIES = (4, 6)

MOST_PODS = 1000
"""Pods of one lab: all of a machine's namespaces share the kernel's table of 1,024 neighbours."""

NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,30}[a-z0-9])?", re.ASCII)
LONGEST_NAMESPACE = 200
"""Names of network namespaces are names of files, which have at most 255 characters."""

_LINK_NAME = re.compile(r"[^\s/:%]{1,15}")
"""Valid names of interfaces. (net/core/dev.c, dev_valid_name)"""

_TUNNEL_DEVICES = frozenset(device for tunnels in TUNNELS.values() for _, device in tunnels)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPod:
    """A pod. `netns` is that of "outside" if its node is not built.

    `serves` are the (protocol, port) pairs that are answered, `floating` further addresses that are routed to it.
    """

    namespace: str
    name: str
    node: str
    netns: str
    interface: str
    addresses: tuple[str, ...]
    ports: tuple[NamedPort, ...] = ()
    serves: tuple[tuple[str, int], ...] = ()
    floating: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabNode:
    """A node: (interface, its addresses) pairs; `uplink` is the interface to everything that is not on the node.

    `netns` is that of "outside" if it is not built.
    """

    name: str
    netns: str
    uplink: str
    interfaces: tuple[tuple[str, tuple[str, ...]], ...]

    def address(self, family: int) -> str:
        """The node's address, which is the uplink's first of a family; "" if it has none."""
        return next((text for text in dict(self.interfaces)[self.uplink] if family_of(text) == family), "")


@dataclass(frozen=True, kw_only=True)
class LabLayout:
    """A whole lab. `internet` has an address for each family; addresses in the nets of `nobody` are not answered."""

    name: str
    nodes: tuple[LabNode, ...]
    pods: tuple[LabPod, ...]
    internet: tuple[str, ...]
    nobody: tuple[str, ...] = ()

    @property
    def outside(self) -> str:
        """The namespace for everything that is neither node nor pod."""
        return f"{self.name}.{OUTSIDE}"

    @property
    def home(self) -> LabNode:
        return next(node for node in self.nodes if node.netns == self.name)

    @property
    def built_nodes(self) -> list[LabNode]:
        return [node for node in self.nodes if node.netns != self.outside]

    @property
    def built_pods(self) -> list[LabPod]:
        return [pod for pod in self.pods if pod.netns != self.outside]

    @cached_property
    def spaces(self) -> Mapping[tuple[str, str], str]:
        """The namespace of each endpoint by kind and name."""
        nodes = {("host", node.name): node.netns for node in self.nodes}
        return nodes | {("pod", pod.key): pod.netns for pod in self.pods}

    def space(self, endpoint: Endpoint) -> str:
        """The network namespace of an endpoint."""
        return self.spaces.get((endpoint.kind, endpoint.name), self.outside)

    @cached_property
    def directory(self) -> Directory:
        """Finds pods, nodes and addresses by the names that users give."""
        nowhere = Source("", 0)
        pods = tuple(
            Workload(pod.namespace, pod.name, pod.node, pod.interface, pod.addresses, {}, (), pod.ports, nowhere)
            for pod in self.pods
        )
        cluster = Cluster(workloads=pods)
        hosts = {node.name: Host(interfaces=_by_uplink(node)) for node in self.nodes}
        return Directory(cluster, AddressBook(cluster, hosts, hosts))

    def directory_in(self, namespace: str) -> Directory:
        """The directory with a default namespace for bare names."""
        known = self.directory
        return Directory(known.cluster, known.book, namespace=namespace) if namespace else known

    def document(self) -> dict[str, Any]:
        """The layout as plain values for JSON; `parsed` reads it."""
        return asdict(self)

    @classmethod
    def parsed(cls, data: Mapping[str, Any]) -> LabLayout:
        nodes = (
            LabNode(**{**node, "interfaces": tuple((name, tuple(texts)) for name, texts in node["interfaces"])})
            for node in data["nodes"]
        )
        pods = (
            LabPod(
                **{
                    **pod,
                    "addresses": tuple(pod["addresses"]),
                    "ports": tuple(NamedPort(*port) for port in pod["ports"]),
                    "serves": tuple((protocol, port) for protocol, port in pod["serves"]),
                    "floating": tuple(pod["floating"]),
                }
            )
            for pod in data["pods"]
        )
        return cls(
            name=data["name"],
            nodes=tuple(nodes),
            pods=tuple(pods),
            internet=tuple(data["internet"]),
            nobody=tuple(data["nobody"]),
        )


def family_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


def _by_uplink(node: LabNode) -> dict[str, tuple[str, ...]]:
    """A node's interfaces, the uplink first: its first address is the node's."""
    interfaces = dict(node.interfaces)
    return {node.uplink: interfaces.pop(node.uplink), **interfaces}


def check_name(name: str) -> None:
    """Raise UsageError for a name that no lab can have."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name}: a lab's name has 1 to 32 of a-z, 0-9 and - (neither first nor last)")


def belongs(netns: str, lab: str) -> bool:
    """Whether the name of a network namespace is one of a lab's.

    >>> [belongs(netns, "a") for netns in ("a", "a@node1", "a.shop.web", "a-b", "a-b.outside")]
    [True, True, True, False, False]
    """
    return netns == lab or netns.startswith((f"{lab}.", f"{lab}@"))


def layout_of(
    cluster: Cluster,
    name: str = DEFAULT_NAME,
    *,
    node: str = "",
    home: str = "",
    hosts: Mapping[str, Host] | None = None,
) -> LabLayout:
    """Lay out a lab for a cluster: for `node` alone or for all of them.

    `home` is the home node of the lab so far, `hosts` are the interfaces of nodes. Raises UsageError for unknown nodes
    and for clusters that are too large.
    """
    check_name(name)
    known = cluster.node_names()
    if not known:
        raise UsageError("no node is named anywhere in the input; say where pods run with --node")
    if node and node not in known:
        raise UsageError(unknown_node(node, known))
    built = [node] if node else known
    per_node = Counter(workload.node for workload in cluster.workloads)
    if (pods := sum(per_node[each] for each in built)) > MOST_PODS:
        advice = "choose one node with --node" if len(built) > 1 else "a lab is for fewer"
        raise UsageError(f"{pods} pods are too many for a lab, {MOST_PODS} is the most; {advice}")
    if home not in built:
        home = max(built, key=lambda each: per_node[each])
    spaces = {each: name if each == home else _limited(f"{name}@{each}") for each in built}
    book = AddressBook(cluster, hosts or {})
    directory = Directory(cluster, book)
    return LabLayout(
        name=name,
        nodes=tuple(
            _node(cluster, each, spaces.get(each, f"{name}.{OUTSIDE}"), book, (hosts or {}).get(each)) for each in known
        ),
        pods=tuple(_pods(cluster, name, spaces.keys())),
        internet=tuple(directory.find("internet", family).address for family in FAMILIES),
        nobody=tuple(_nobody(cluster)),
    )


def _node(cluster: Cluster, name: str, netns: str, book: AddressBook, host: Host | None) -> LabNode:
    """A node and its interfaces. Tunnels are not built: their addresses are on the uplink."""
    machine = machine_of(cluster, name, host, book)
    found: dict[str, list[str]] = {}
    for interface, addresses in machine.interfaces.items():
        real = _LINK_NAME.fullmatch(interface) and interface != "lo" and interface not in _TUNNEL_DEVICES
        found.setdefault(interface if real else machine.uplink, []).extend(addresses)
    reached_by = [address for family in FAMILIES if (address := book.address(name, family))]
    uplink = found.setdefault(machine.uplink, [])
    found[machine.uplink] = [*(text for text in reached_by if text in uplink), *uplink]
    interfaces = tuple((interface, tuple(dict.fromkeys(texts))) for interface, texts in sorted(found.items()))
    return LabNode(name=name, netns=netns, uplink=machine.uplink, interfaces=interfaces)


def _pods(cluster: Cluster, lab: str, built: Collection[str]) -> Iterator[LabPod]:
    """All pods; of two with one address, the first in order has it."""
    behind: dict[str, set[tuple[str, int]]] = {}
    for part in cluster.slices:
        for address in part.addresses:
            behind.setdefault(address, set()).update(part.ports)
    taken: set[str] = set()
    for workload in sorted(cluster.workloads, key=lambda pod: (pod.namespace, natural(pod.name))):
        addresses = tuple(text for text in workload.addresses if text not in taken)
        taken.update(addresses)
        served = {*workload.serves, *(port for text in addresses for port in behind.get(text, ()))}
        here = workload.node in built
        yield LabPod(
            namespace=workload.namespace,
            name=workload.name,
            node=workload.node,
            netns=_limited(f"{lab}.{workload.namespace}.{workload.name}") if here else f"{lab}.{OUTSIDE}",
            interface=workload.interface,
            addresses=addresses,
            ports=workload.ports,
            serves=tuple(sorted(served)),
            floating=tuple(floating for own, floating in workload.floating if own in addresses),
        )


def _nobody(cluster: Cluster) -> Iterable[str]:
    """The networks of pods and services: unused addresses in them are not answered by "outside"."""
    nets = [pool.cidr for pool in cluster.pools if pool.workloads] + list(cluster.service_cidrs)
    return sorted({str(net) for net in map(ip_network, nets) if net.prefixlen >= 8})


def _limited(text: str) -> str:
    """A name short enough for a file; a name that is cut ends with a hash."""
    clean = re.sub(r"[^A-Za-z0-9.@_-]", "_", text)
    if clean == text and len(text) <= LONGEST_NAMESPACE:
        return text
    return f"{clean[:LONGEST_NAMESPACE]}-{sha256(text.encode()).hexdigest()[:8]}"
