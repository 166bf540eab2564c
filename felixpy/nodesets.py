"""IP sets that do not depend on policies: pools, hosts, tunnels, DSCP senders, ambient workloads.

(felix/dataplane/linux: masq_mgr, hostip_mgr, ipset_hosts_mgr, vxlan_mgr, dscp_mgr)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from ipaddress import ip_interface
from typing import NamedTuple

from msgspec import Struct

from felixpy.calico_versions import CalicoVersion
from felixpy.config import Config
from felixpy.ipsets import IPSet, Membership, SetMembers, SetType, family_of, selector_set, shown
from felixpy.model import Cluster, Host, HostEndpoint, Node, Workload
from felixpy.names import set_name

ISTIO_SELECTOR = (
    "pcns.istio.io/dataplane-mode == 'ambient' && istio.io/dataplane-mode != 'none'"
    " || istio.io/dataplane-mode == 'ambient'"
)

ISTIO_SET = selector_set(ISTIO_SELECTOR)
"""The spec of the endpoints in ambient mode, as a set of networks; Felix makes a set of addresses of it."""

LOOPBACK = {4: ("127.0.0.0", "127.0.0.1"), 6: ("::1",)}
"""Destinations of the loopback interface's local routes, the first in place of 127.0.0.0/8."""


class Encapsulation(Struct, frozen=True):
    """Which tunnels are enabled."""

    ipip: bool
    vxlan_v4: bool
    vxlan_v6: bool

    def vxlan(self, family: int) -> bool:
        return self.vxlan_v6 if family == 6 else self.vxlan_v4


def encapsulation(cluster: Cluster, config: Config) -> Encapsulation:
    """The enabled tunnels: settings override what the pools use; there is no setting for IPv6 VXLAN."""
    pools = cluster.pools
    vxlan = {family: any(p.vxlan and family_of(p.cidr) == family for p in pools) for family in (4, 6)}
    return Encapsulation(
        ipip=any(pool.ipip for pool in pools) if config.ipip_enabled is None else config.ipip_enabled,
        vxlan_v4=vxlan[4] if config.vxlan_enabled is None else config.vxlan_enabled,
        vxlan_v6=vxlan[6],
    )


def _bare(address: str) -> str:
    """An address without its length, in canonical spelling; "" stays ""."""
    return str(ip_interface(address).ip) if address else ""


class NodeAddresses:
    """The addresses of a cluster's nodes, from which the sets of all nodes are made, computed once."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._sorted: dict[tuple[object, ...], SetMembers] = {}

    @cached_property
    def hosts(self) -> Mapping[int, Sequence[str]]:
        """BGP addresses by family; only those written with a prefix length."""
        written = {family: [_bgp(node, family) for node in self._nodes.values()] for family in (4, 6)}
        return {family: [_bare(text) for text in texts if "/" in text] for family, texts in written.items()}

    @cached_property
    def tunnel_ends(self) -> Mapping[int, Mapping[str, str]]:
        """BGP addresses of the nodes that have a VXLAN tunnel as well, by family and node."""
        return {family: dict(self._ends(family)) for family in (4, 6)}

    def _ends(self, family: int) -> Iterator[tuple[str, str]]:
        for node in self._nodes.values():
            tunnel, address = node.vxlan_tunnel_v6 if family == 6 else node.vxlan_tunnel_v4, _bgp(node, family)
            if tunnel and address:
                yield node.name, _bare(address)

    def all_hosts(self, external: Sequence[str], family: int) -> SetMembers:
        """The members of a set of all nodes and external ones."""
        key = ("hosts", tuple(external), family)
        if key not in self._sorted:
            self._sorted[key] = members((*self.hosts[family], *external), family)
        return self._sorted[key]

    def other_tunnel_ends(self, own: str, external: Sequence[str], family: int) -> SetMembers:
        """The members of a set of the tunnel ends of all nodes but one, and external nodes."""
        key = ("tunnels", tuple(external), family)
        ends = self.tunnel_ends[family]
        if key not in self._sorted:
            self._sorted[key] = members((*ends.values(), *external), family)
        every, address = self._sorted[key], ends.get(own)
        if address is None or address in map(shown, external) or self._owners[family][address] > 1:
            return every
        return SetMembers(member for member in every if member != shown(address))

    @cached_property
    def _owners(self) -> Mapping[int, Mapping[str, int]]:
        """The number of nodes with each address; wrong input may have more than one."""
        return {family: Counter(ends.values()) for family, ends in self.tunnel_ends.items()}


def _bgp(node: Node, family: int) -> str:
    return node.bgp_v6 if family == 6 else node.bgp_v4


def members(addresses: Iterable[str], family: int) -> SetMembers:
    """The addresses of one family as set members, as the kernel prints them."""
    return SetMembers(sorted({shown(address) for address in addresses if family_of(address) == family}))


class NodeView(Struct, frozen=True):
    """Computes the sets of one node; one method for the members of each set."""

    membership: Membership
    addresses: NodeAddresses
    calico_version: CalicoVersion
    node: Node
    config: Config
    tunnels: Encapsulation
    host: Host
    workloads: Sequence[Workload]
    host_endpoints: Sequence[HostEndpoint]

    def pools(self, family: int) -> Iterable[str]:
        return (p.cidr for p in self.membership.cluster.pools if p.workloads)

    def masquerading_pools(self, family: int) -> Iterable[str]:
        return (p.cidr for p in self.membership.cluster.pools if p.nat_outgoing)

    def this_host(self, family: int) -> Iterator[str]:
        """Addresses of the node's interfaces, including Felix's VXLAN device if Felix can create it."""
        yield from LOOPBACK[family]
        own: list[str] = []
        for name, addresses in (self.host.interfaces or {}).items():
            if not self.config.excludes(name):
                own.extend(_bare(address) for address in addresses)
        yield from (address for address in own if not ip_interface(address).is_link_local)
        if self.tunnels.vxlan_v4 and self.node.vxlan_tunnel_v4 and _bare(self.node.bgp_v4) in own:
            yield self.node.vxlan_tunnel_v4

    def dscp_senders(self, family: int) -> Iterator[str]:
        endpoints: tuple[Workload | HostEndpoint, ...] = (*self.workloads, *self.host_endpoints)
        for endpoint in endpoints:
            if endpoint.dscp is not None:
                yield from endpoint.addresses

    def all_hosts(self, family: int) -> SetMembers:
        """All nodes, and external nodes, which are IPv4 only."""
        return self.addresses.all_hosts(self.config.external_nodes if family == 4 else (), family)

    def all_tunnel_hosts(self, family: int) -> SetMembers:
        """The other nodes that have both a tunnel and a BGP address of the family."""
        return self.addresses.other_tunnel_ends(self.node.name, self.config.external_nodes, family)

    def ambient_workloads(self, family: int) -> Iterable[str]:
        return (net.partition("/")[0] for net in self.membership.members(ISTIO_SET, family))

    def needs_all_hosts(self, family: int) -> bool:
        return self.config.nat_outgoing_exclusions == "IPPoolsAndHostIPs" or (self.tunnels.ipip and family == 4)


class _SetRow(NamedTuple):
    """A set: the condition for it, its type, its members, and its description."""

    exists: Callable[[NodeView, int], bool]
    type: SetType
    members: Callable[[NodeView, int], Iterable[str]]
    words: str


NODE_SETS: Mapping[str, _SetRow] = {
    "pools": _SetRow(lambda view, family: True, "hash:net", NodeView.pools, "every IP pool used by workloads"),
    "masq-ipam-pools": _SetRow(
        lambda view, family: True, "hash:net", NodeView.masquerading_pools, "IP pools with natOutgoing"
    ),
    "this-host": _SetRow(
        lambda view, family: True, "hash:ip", NodeView.this_host, "addresses of this node's interfaces"
    ),
    "dscp-src-net": _SetRow(
        lambda view, family: view.calico_version.has_dscp,
        "hash:net",
        NodeView.dscp_senders,
        "local endpoints with a DSCP value",
    ),
    "all-hosts-net": _SetRow(
        NodeView.needs_all_hosts, "hash:net", NodeView.all_hosts, "all nodes, and external ones of the configuration"
    ),
    "all-vxlan-net": _SetRow(
        lambda view, family: view.tunnels.vxlan(family),
        "hash:net",
        NodeView.all_tunnel_hosts,
        "the other nodes with a VXLAN tunnel, and external ones of the configuration",
    ),
    "all-istio-weps": _SetRow(
        lambda view, family: view.config.istio_ambient == "Enabled",
        "hash:ip",
        NodeView.ambient_workloads,
        "workloads in Istio's ambient mode",
    ),
}
"""The sets by id; the one of the pools has another id in each Calico version."""


def node_sets(view: NodeView) -> Iterator[IPSet]:
    """The policy-independent sets of a node, for each enabled family."""
    for family in view.config.families:
        for name, row in NODE_SETS.items():
            if row.exists(view, family):
                found = row.members(view, family)
                yield IPSet(
                    name=set_name(family, view.calico_version.pools_set if name == "pools" else name),
                    type=row.type,
                    family=family,
                    members=found if isinstance(found, SetMembers) else members(found, family),
                    max_size=view.config.max_ipset_size,
                    words=row.words,
                )
