"""The network of a lab: namespaces, veth pairs and routes, and the changes from one lab to another.

    pod  eth0 ══ cali…  node  eth0 ══ node1-eth0  outside  (any other address in the world)

A pod has /32 and /128 addresses and a gateway that no interface has: its node answers for it with proxy ARP, for which
the node needs a default route; the IPv6 gateway is the link-local address of the cali interface. Nodes are routed to
each other through "outside", without encapsulation. There every address without a route is local, so that any address
in the rest of the world can answer pods and connect to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from felixpy.lab.layout import LabLayout, LabNode, LabPod, family_of

Sysctls = tuple[tuple[str, str], ...]
"""Files below /proc/sys with what is to be written, in this order."""

LINK_IN_POD = "eth0"
CALI_MAC = "ee:ee:ee:ee:ee:ee"
POD_GATEWAY = {4: "169.254.1.1", 6: "fe80::ecee:eeff:feee:eeee"}
"""What Calico's CNI plugin gives to pods; the second follows from the cali interfaces' MAC address."""

NODE_GATEWAY = {4: "169.254.0.1", 6: "fe80::1"}
"""The outside's address on each of its links."""

EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
FULL = {4: 32, 6: 128}
MAIN_TABLE, LOCAL_TABLE = 254, 255
FELIX_METRIC = 1024
"""The defaults of IPv4NormalRoutePriority and IPv6NormalRoutePriority."""

_LONGEST_LINK = 15

# Duplicate address detection would keep new IPv6 addresses from being used for two seconds.
SPACE_SYSCTLS: Sysctls = (
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    # IPv4 settings of the machine are inherited; arp_ignore would leave neighbours in other networks without an answer.
    ("net/ipv4/conf/all/arp_ignore", "0"),
    ("net/ipv4/conf/default/arp_ignore", "0"),
    # Echo requests without raw sockets, as container engines allow them.
    ("net/ipv4/ping_group_range", "0 2147483647"),
)
"""Of every namespace."""

ROUTER_SYSCTLS: Sysctls = (
    # Writing ip_forward sets others back to their defaults, so it comes first.
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
)
NODE_SYSCTLS: Sysctls = (
    ("net/netfilter/nf_conntrack_acct", "1"),
    # No rate limit for ICMP errors: every packet that a rule rejects gets one.
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "1000000"),
    ("net/ipv6/icmp/ratelimit", "0"),
)
OUTSIDE_SYSCTLS: Sysctls = (("net/ipv4/ip_nonlocal_bind", "1"), ("net/ipv6/ip_nonlocal_bind", "1"))

_CALI_SYSCTLS = (
    ("net/ipv6/conf/{}/accept_ra", "0"),
    ("net/ipv4/conf/{}/route_localnet", "1"),
    ("net/ipv4/neigh/{}/proxy_delay", "0"),
    ("net/ipv4/conf/{}/proxy_arp", "1"),
    ("net/ipv4/conf/{}/forwarding", "1"),
    ("net/ipv4/conf/{}/rp_filter", "0"),
    ("net/ipv6/conf/{}/proxy_ndp", "1"),
    ("net/ipv6/conf/{}/forwarding", "1"),
)
"""What Felix writes for a pod's interface, in its order. (felix/dataplane/linux/endpoint_mgr.go)"""


class Space(NamedTuple):
    """A network namespace."""

    netns: str
    sysctls: Sysctls


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a veth pair. `addresses` are CIDRs."""

    netns: str
    name: str
    addresses: tuple[str, ...] = ()
    mac: str = ""
    sysctls: Sysctls = ()


class Veth(NamedTuple):
    """A veth pair; the namespace of `far` is made before that of `near`."""

    near: VethEnd
    far: VethEnd


class LinkRoute(NamedTuple):
    """A route; without a gateway its scope is the link. `onlink`: no other route leads to the gateway."""

    netns: str
    destination: str
    device: str
    gateway: str = ""
    kind: str = "unicast"
    onlink: bool = False
    table: int = MAIN_TABLE
    metric: int = 0


class Topology(NamedTuple):
    """Namespaces in the order in which they can be made; pairs and routes in any order."""

    spaces: tuple[Space, ...] = ()
    veths: frozenset[Veth] = frozenset()
    routes: frozenset[LinkRoute] = frozenset()

    @property
    def empty(self) -> bool:
        return not any(self)

    def without(self, other: Topology) -> Topology:
        """The parts that another topology does not have."""
        spaces = tuple(space for space in self.spaces if space not in other.spaces)
        return Topology(spaces, self.veths - other.veths, self.routes - other.routes)


def topology_of(layout: LabLayout) -> Topology:
    """The topology of a layout."""
    wires = _wires(layout)
    outside = Space(layout.outside, (*SPACE_SYSCTLS, *ROUTER_SYSCTLS, *OUTSIDE_SYSCTLS))
    nodes = [Space(node.netns, (*SPACE_SYSCTLS, *ROUTER_SYSCTLS, *NODE_SYSCTLS)) for node in layout.built_nodes]
    pods = [Space(pod.netns, SPACE_SYSCTLS) for pod in layout.built_pods]
    homes = {node.name: node for node in layout.built_nodes}
    veths = [wire for node in layout.built_nodes for wire in _node_wires(layout, node, wires)]
    veths += [_pod_veth(pod, homes[pod.node]) for pod in layout.built_pods]
    routes = [
        *_outside_routes(layout, wires, homes),
        *(route for node in layout.built_nodes for route in _node_routes(node)),
        *(route for pod in layout.built_pods for route in _pod_routes(pod, homes[pod.node])),
    ]
    return Topology((outside, *nodes, *pods), frozenset(veths), frozenset(routes))


def without_pods(topology: Topology, layout: LabLayout) -> Topology:
    """The topology without pods: nodes and "outside" only."""
    pods = {pod.netns for pod in layout.built_pods}
    devices = {(veth.far.netns, veth.far.name) for veth in topology.veths if veth.near.netns in pods}
    return Topology(
        tuple(space for space in topology.spaces if space.netns not in pods),
        frozenset(veth for veth in topology.veths if veth.near.netns not in pods),
        frozenset(
            route for route in topology.routes if route.netns not in pods and (route.netns, route.device) not in devices
        ),
    )


def present(topology: Topology, links: Mapping[str, Collection[str]]) -> Topology:
    """The parts of a topology that still exist: `links` are the interfaces of existing namespaces.

    Those of pods' namespaces need not be given: an end of a pair never outlives the other.
    """
    veths = frozenset(
        veth for veth in topology.veths if veth.near.netns in links and veth.far.name in links.get(veth.far.netns, ())
    )
    ends = {(end.netns, end.name) for veth in veths for end in veth}
    return Topology(
        tuple(space for space in topology.spaces if space.netns in links),
        veths,
        frozenset(
            route
            for route in topology.routes
            if route.netns in links and (route.device in ("", "lo") or (route.netns, route.device) in ends)
        ),
    )


class TopologyChange(NamedTuple):
    """What has to be removed and what has to be made."""

    gone: Topology
    new: Topology


def difference(before: Topology, after: Topology) -> TopologyChange:
    """The change from one topology to another, without what is removed together with its namespace or interface."""
    spaces = {space.netns for space in before.spaces if space in after.spaces}
    kept = frozenset(veth for veth in before.veths & after.veths if {veth.near.netns, veth.far.netns} <= spaces)
    lost = {(end.netns, end.name) for veth in before.veths - kept for end in veth}
    routes = frozenset(
        route for route in before.routes if route.netns in spaces and (route.netns, route.device) not in lost
    )
    gone = Topology(
        tuple(space for space in before.spaces if space.netns not in spaces),
        frozenset(veth for veth in before.veths - kept if veth.far.netns in spaces),
        routes - after.routes,
    )
    new = Topology(
        tuple(space for space in after.spaces if space.netns not in spaces), after.veths - kept, after.routes - routes
    )
    return TopologyChange(gone, new)


# --- the pieces


def _wires(layout: LabLayout) -> dict[tuple[str, str], str]:
    """The names of the ends in "outside" of nodes' interfaces, by (node, interface)."""
    names: dict[tuple[str, str], str] = {}
    for node in layout.built_nodes:
        for interface, _ in node.interfaces:
            name = f"{node.name}-{interface}"
            if len(name) > _LONGEST_LINK or name in names.values():
                name = f"w{sha256(f'{node.name}/{interface}'.encode()).hexdigest()[:12]}"
            names[node.name, interface] = name
    return names


def _host(address: str) -> str:
    return f"{address}/{FULL[family_of(address)]}"


def _node_wires(layout: LabLayout, node: LabNode, wires: Mapping[tuple[str, str], str]) -> Iterator[Veth]:
    for interface, addresses in node.interfaces:
        near = VethEnd(node.netns, interface, tuple(map(_host, addresses)))
        gateways = (f"{NODE_GATEWAY[4]}/32", f"{NODE_GATEWAY[6]}/64")
        yield Veth(near, VethEnd(layout.outside, wires[node.name, interface], gateways))


def _pod_veth(pod: LabPod, node: LabNode) -> Veth:
    sysctls = tuple((path.format(pod.interface), value) for path, value in _CALI_SYSCTLS)
    return Veth(
        VethEnd(pod.netns, LINK_IN_POD, tuple(map(_host, pod.addresses))),
        VethEnd(node.netns, pod.interface, mac=CALI_MAC, sysctls=sysctls),
    )


def _pod_routes(pod: LabPod, node: LabNode) -> Iterator[LinkRoute]:
    """The routes of a pod, and the node's routes to it, which are those that Felix writes."""
    for family in sorted({family_of(address) for address in pod.addresses}):
        if family == 4:
            yield LinkRoute(pod.netns, _host(POD_GATEWAY[4]), LINK_IN_POD)
        yield LinkRoute(pod.netns, EVERYWHERE[family], LINK_IN_POD, POD_GATEWAY[family])
    for address in pod.addresses:
        yield LinkRoute(node.netns, _host(address), pod.interface, metric=FELIX_METRIC)


def _node_routes(node: LabNode) -> Iterator[LinkRoute]:
    for family, gateway in NODE_GATEWAY.items():
        yield LinkRoute(node.netns, EVERYWHERE[family], node.uplink, gateway, onlink=True)


def _outside_routes(
    layout: LabLayout, wires: Mapping[tuple[str, str], str], homes: Mapping[str, LabNode]
) -> Iterator[LinkRoute]:
    """The routes of "outside", all in table local, which is looked up first and has a route for all addresses."""
    found = [LinkRoute(layout.outside, net, "", kind="unreachable") for net in layout.nobody]
    found += [LinkRoute(layout.outside, destination, "lo", kind="local") for destination in EVERYWHERE.values()]
    for node in layout.nodes:
        for interface, addresses in node.interfaces:
            # Without an interface here the node is not built, so it is part of "outside".
            wire = wires.get((node.name, interface), "lo")
            kind = "local" if wire == "lo" else "unicast"
            found += [LinkRoute(layout.outside, _host(address), wire, kind=kind) for address in addresses]
    for pod in layout.pods:
        for address in (*pod.addresses, *pod.floating):
            if home := homes.get(pod.node):
                gateway = home.address(family_of(address))
                wire = wires[home.name, home.uplink]
                found.append(LinkRoute(layout.outside, _host(address), wire, gateway, onlink=True))
            else:
                found.append(LinkRoute(layout.outside, _host(address), "lo", kind="local"))
    by_destination = {route.destination: route for route in reversed(found)}
    return (route._replace(table=LOCAL_TABLE) for route in by_destination.values())
