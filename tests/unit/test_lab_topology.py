"""A lab as namespaces, veth pairs and routes, and the way from one lab to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from felixpy.lab.layout import LabLayout, layout_of
from felixpy.lab.topology import (
    CALI_MAC,
    LOCAL_TABLE,
    LinkRoute,
    Topology,
    TopologyChange,
    difference,
    present,
    topology_of,
    without_pods,
)
from felixpy.model import Cluster
from tests.clusters import cluster, node, pod, pool

WEB = pod("web", "10.65.0.1", "fd00:65::1")
DB = pod("db", "10.65.0.2")
LOG = pod("log", "10.65.1.1", node="node2")
ONE = cluster(WEB, node(bgp_v4="192.0.2.1/24"), pool("10.65.0.0/16"))
TWO = cluster(WEB, DB, LOG, node(bgp_v4="192.0.2.1/24"), node("node2", bgp_v4="192.0.2.2/24"))


def laid_out(found: Cluster, **wanted: Any) -> Topology:
    return topology_of(layout_of(found, "trial", **wanted))


def routes(topology: Topology, netns: str) -> set[LinkRoute]:
    return {route for route in topology.routes if route.netns == netns}


def test_a_pod_has_an_interface_of_calicos_name_and_mac_in_its_node() -> None:
    topology = laid_out(ONE)
    [pair] = [veth for veth in topology.veths if veth.near.netns == "trial.default.web"]
    assert (pair.near.name, pair.near.addresses) == ("eth0", ("10.65.0.1/32", "fd00:65::1/128"))
    assert (pair.far.netns, pair.far.name, pair.far.mac) == ("trial", "caliweb", CALI_MAC)
    assert dict(pair.far.sysctls) == {
        "net/ipv6/conf/caliweb/accept_ra": "0",
        "net/ipv4/conf/caliweb/route_localnet": "1",
        "net/ipv4/neigh/caliweb/proxy_delay": "0",
        "net/ipv4/conf/caliweb/proxy_arp": "1",
        "net/ipv4/conf/caliweb/forwarding": "1",
        "net/ipv4/conf/caliweb/rp_filter": "0",
        "net/ipv6/conf/caliweb/proxy_ndp": "1",
        "net/ipv6/conf/caliweb/forwarding": "1",
    }


def test_routes_lead_from_the_pod_through_its_node_to_the_outside_and_back() -> None:
    topology = laid_out(ONE)
    assert routes(topology, "trial.default.web") == {
        LinkRoute("trial.default.web", "169.254.1.1/32", "eth0"),
        LinkRoute("trial.default.web", "0.0.0.0/0", "eth0", "169.254.1.1"),
        LinkRoute("trial.default.web", "::/0", "eth0", "fe80::ecee:eeff:feee:eeee"),
    }
    assert routes(topology, "trial") == {
        LinkRoute("trial", "0.0.0.0/0", "eth0", "169.254.0.1", onlink=True),
        LinkRoute("trial", "::/0", "eth0", "fe80::1", onlink=True),
        LinkRoute("trial", "10.65.0.1/32", "caliweb", metric=1024),
        LinkRoute("trial", "fd00:65::1/128", "caliweb", metric=1024),
    }
    wire = "node1-eth0"
    assert {route._replace(table=254) for route in routes(topology, "trial.outside")} == {
        LinkRoute("trial.outside", "0.0.0.0/0", "lo", kind="local"),
        LinkRoute("trial.outside", "::/0", "lo", kind="local"),
        LinkRoute("trial.outside", "10.65.0.0/16", "", kind="unreachable"),
        LinkRoute("trial.outside", "192.0.2.1/32", wire),
        LinkRoute("trial.outside", "2001:db8:198:18::1/128", wire),
        LinkRoute("trial.outside", "10.65.0.1/32", wire, "192.0.2.1", onlink=True),
        LinkRoute("trial.outside", "fd00:65::1/128", wire, "2001:db8:198:18::1", onlink=True),
    }
    assert {route.table for route in routes(topology, "trial.outside")} == {LOCAL_TABLE}


def test_pods_of_nodes_that_are_not_built_are_addresses_of_the_outside() -> None:
    topology = laid_out(TWO, node="node1")
    there = {route.destination: route.kind for route in routes(topology, "trial.outside")}
    assert there["10.65.1.1/32"] == there["192.0.2.2/32"] == "local"
    assert there["10.65.0.1/32"] == "unicast"
    assert {space.netns for space in topology.spaces} == {
        "trial.outside", "trial", "trial.default.web", "trial.default.db",
    }  # fmt: skip


def test_a_pod_with_one_family_has_a_gateway_of_that_only() -> None:
    six = laid_out(cluster(pod("web", "fd00:65::1")))
    assert {route.destination for route in routes(six, "trial.default.web")} == {"::/0"}


def test_namespaces_come_before_what_leads_to_them() -> None:
    topology = laid_out(TWO)
    order = [space.netns for space in topology.spaces]
    assert all(order.index(veth.far.netns) < order.index(veth.near.netns) for veth in topology.veths)


def test_wires_have_names_that_the_kernel_takes_and_that_differ() -> None:
    many = cluster(*(node(f"a-very-long-name-of-a-node-{number}") for number in range(9)), node("n1"))
    names = [veth.far.name for veth in laid_out(many).veths]
    assert len(set(names)) == 10
    assert "n1-eth0" in names
    assert max(map(len, names)) <= 15


def apply(topology: Topology, change: TopologyChange) -> Topology:
    """What is there after a change; a namespace or an interface takes along what is in it."""
    spaces = {*topology.spaces} - {*change.gone.spaces} | {*change.new.spaces}
    kept = {space.netns for space in topology.spaces} - {space.netns for space in change.gone.spaces}
    veths = {
        veth
        for veth in topology.veths - change.gone.veths
        if {veth.near.netns, veth.far.netns} <= kept
    }  # fmt: skip
    ends = {(end.netns, end.name) for veth in veths for end in veth}
    left = {
        route
        for route in topology.routes - change.gone.routes
        if route.netns in kept and (route.device in ("", "lo") or (route.netns, route.device) in ends)
    }
    order = {space.netns: number for number, space in enumerate((*change.new.spaces, *topology.spaces))}
    return Topology(
        tuple(sorted(spaces, key=lambda space: order[space.netns])),
        frozenset(veths | change.new.veths),
        frozenset(left | change.new.routes),
    )


LABS: dict[str, Topology] = {
    "nothing": Topology(),
    "one": laid_out(ONE),
    "two": laid_out(TWO),
    "two, the other at home": laid_out(TWO, home="node2"),
    "node1 of two": laid_out(TWO, node="node1"),
    "node2 of two": laid_out(TWO, node="node2"),
    "pod moved": laid_out(cluster(WEB, pod("db", "10.65.0.2", node="node2"), LOG)),
    "address changed": laid_out(cluster(pod("web", "10.65.0.9"), DB, LOG, node(bgp_v4="192.0.2.9/24"))),
}


@pytest.mark.parametrize("before", LABS)
@pytest.mark.parametrize("after", LABS)
def test_the_difference_leads_from_any_lab_to_any_other(before: str, after: str) -> None:
    change = difference(LABS[before], LABS[after])
    reached = apply(LABS[before], change)
    assert set(reached.spaces) == set(LABS[after].spaces)
    assert (reached.veths, reached.routes) == LABS[after][1:]
    assert (change.gone.empty and change.new.empty) == (LABS[before] == LABS[after])


def test_a_pod_that_comes_leaves_all_others_alone() -> None:
    change = difference(laid_out(cluster(WEB, LOG)), laid_out(cluster(WEB, LOG, DB)))
    assert change.gone.empty
    assert [space.netns for space in change.new.spaces] == ["trial.default.db"]
    assert {veth.near.netns for veth in change.new.veths} == {"trial.default.db"}
    assert {route.netns for route in change.new.routes} == {"trial.default.db", "trial", "trial.outside"}


DAMAGES: dict[str, Callable[[dict[str, set[str]]], object]] = {
    "pod gone": lambda links: links.pop("trial.default.web"),
    "node gone": lambda links: links.pop("trial"),
    "outside gone": lambda links: links.pop("trial.outside"),
    "cali gone": lambda links: links["trial"].remove("caliweb"),
    "wire gone": lambda links: links["trial.outside"].remove("node1-eth0"),
    "everything gone": lambda links: links.clear(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_gone_is_built_again_and_nothing_else(damage: str) -> None:
    whole = LABS["two"]
    links: dict[str, set[str]] = {space.netns: set() for space in whole.spaces}
    for veth in whole.veths:
        links[veth.far.netns].add(veth.far.name)
    assert present(whole, links) == whole
    DAMAGES[damage](links)
    left = present(whole, links)
    assert left != whole
    reached = apply(left, difference(left, whole))
    assert set(reached.spaces) == set(whole.spaces)
    assert (reached.veths, reached.routes) == whole[1:]


def test_nodes_can_be_built_before_their_pods() -> None:
    layout: LabLayout = layout_of(TWO, "trial")
    whole = topology_of(layout)
    first = without_pods(whole, layout)
    rest = whole.without(first)
    pods = {"trial.default.web", "trial.default.db", "trial.default.log"}
    assert {space.netns for space in rest.spaces} == {veth.near.netns for veth in rest.veths} == pods
    assert not {space.netns for space in first.spaces} & pods
    assert not {end.name for veth in first.veths for end in veth} & {"caliweb", "calidb", "calilog"}
    assert first.routes | rest.routes == whole.routes
    assert {route.device for route in first.routes} == {"lo", "eth0", "node1-eth0", "node2-eth0"}
