"""Endpoints that behave the same are asked for all at once: the flows are those that each on its own has.

Clusters are drawn whose pods have replicas on several nodes, most of them alike, some with something of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from ipaddress import ip_address
from itertools import product
from operator import and_
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from felixpy.compiler import Compiler
from felixpy.flows import Connectivity, compare, survey
from felixpy.flows.packets.packet_sets import bits, traffic_with, union
from felixpy.flows.reachability import sides
from felixpy.flows.reachability.groups import Groups
from felixpy.flows.reachability.sides import InputSide
from felixpy.flows.reachability.universe import Universe
from felixpy.model import Cluster, HostEndpoint, Node, Owner, Workload
from felixpy.tracing import Nodes, Tracer
from tests.clusters import cluster, node
from tests.elsewhere import elsewhere
from tests.property.strategies import things
from tests.property.test_flows import VALUES, agree, nodes_of
from tests.property.test_walk import tame

pytestmark = pytest.mark.property

EXAMPLES = settings.default.max_examples if settings.default else 0
MORE_NODES = ("node3", "node4", "node5")
SEEDS = st.integers(0, 1 << 30).map(Random)


def replicas(pod: Workload, draw: Random, number: int) -> Iterator[Workload]:
    """A pod and several more of its kind, somewhere."""
    yield structs.replace(pod, owner=Owner("Deployment", pod.name))
    for copy in range(draw.choice((1, 4, 6))):
        shift = 0x1000 * (1 + copy) + number
        more = structs.replace(
            pod,
            name=f"{pod.name}-{copy}",
            node=draw.choice((pod.node, *MORE_NODES)),
            interface=f"{pod.interface}{copy}",
            addresses=tuple(str(ip_address(int(ip_address(own)) + shift)) for own in pod.addresses),
            owner=Owner("Deployment", pod.name),
            floating=(),
        )
        if draw.random() < 0.2:
            more = structs.replace(more, labels={**more.labels, "app": "other"}, profiles=("custom",))
        if draw.random() < 0.1:
            nearby = (f"10.65.1.{140 + copy}" if "." in own else own for own in more.addresses)
            more = structs.replace(more, addresses=tuple(nearby)) if number == 0 else more
        yield more


def grown(found: list[object], draw: Random) -> Cluster:
    """Nodes that differ in little, and replicas."""
    hosts = draw.random() < 0.3
    kept: list[object] = [
        node(name, bgp_v4=f"192.0.2.{at}/24", vxlan_tunnel_v4=f"10.65.9.{at}")
        for at, name in enumerate(MORE_NODES[: draw.choice((1, 3))], 3)
    ]
    for number, thing in enumerate(found):
        match thing:
            case HostEndpoint() if not hosts:
                pass
            case Workload():
                kept += replicas(thing, draw, number)
            case Node() if draw.random() < 0.2:
                kept.append(structs.replace(thing, vxlan_tunnel_v4=""))
            case _:
                kept.append(thing)
    return cluster(*kept)


CLUSTERS = st.builds(grown, things().map(tame), SEEDS)


def apart(nodes: Nodes) -> Connectivity:
    """Every endpoint on its own."""
    universe = Universe([InputSide(nodes, apart=True)])
    return Connectivity(universe.sides[0], universe)


@settings(max_examples=2 * EXAMPLES)
@given(whole=CLUSTERS, values=VALUES, mostly=st.sampled_from([0, sides.MOSTLY]))
def test_classes_have_the_flows_of_their_members(whole: Cluster, values: dict[str, str], mostly: int) -> None:
    nodes = nodes_of(whole, values)
    with patch.object(sides, "MOSTLY", mostly):
        for fold in (True, False):
            assert list(survey(nodes).flows(fold=fold, hosts=True)) == list(apart(nodes).flows(fold=fold, hosts=True))


@settings(max_examples=EXAMPLES // 2)
@given(whole=CLUSTERS, values=VALUES, draw=SEEDS)
def test_classes_have_the_flows_that_walks_say(whole: Cluster, values: dict[str, str], draw: Random) -> None:
    nodes = nodes_of(whole, values)
    agree(survey(nodes), Tracer(nodes), draw)


@settings(max_examples=EXAMPLES // 2)
@given(whole=CLUSTERS, other=CLUSTERS)
def test_changes_are_those_of_all_members(whole: Cluster, other: Cluster) -> None:
    """The second cluster has the policies, profiles and sets of another one, and a pod less."""
    later = replace(
        whole, policies=other.policies, network_sets=other.network_sets, profiles=other.profiles,
        workloads=whole.workloads[1:],
    )  # fmt: skip
    before, after = (Nodes(Compiler(each)) for each in (whole, later))
    found = compare(before, after)
    assert found == compare(before, after, apart=True)
    assert found == compare(before, after, hands=elsewhere)


@settings(max_examples=EXAMPLES)
@given(whole=CLUSTERS, values=VALUES)
def test_classes_are_told_as_their_members(whole: Cluster, values: dict[str, str]) -> None:
    found = survey(nodes_of(whole, values))
    pairs = found.pairs(fold=False, hosts=True, classes=True)
    members = {unit.peer: pairs.members(unit.bits) for unit in pairs.units}
    told = [
        flow._replace(source=source, destination=destination)
        for flow in pairs.flows()
        for source in members.get(flow.source, [flow.source])
        for destination in members.get(flow.destination, [flow.destination])
        if source != destination
    ]
    single = list(found.flows(fold=False, hosts=True))
    assert len(told) == len(single)
    assert set(told) == set(single)


@settings(max_examples=EXAMPLES // 2)
@given(whole=CLUSTERS, values=VALUES)
def test_groups_have_what_all_and_what_some_of_their_pairs_have(whole: Cluster, values: dict[str, str]) -> None:
    found = survey(nodes_of(whole, values))
    pairs = found.pairs(fold=False, hosts=True)
    names = {at: endpoint.identity.space or "nodes" for at, endpoint in pairs.endpoints.items()}
    groups = Groups(pairs, names)
    told = {
        (str(flow.source), str(flow.destination), flow.family): (flow.every, flow.some)
        for flow in groups.flows()
        if "external" not in (flow.source.kind, flow.destination.kind)
    }
    expected = {}
    for sheet in pairs.sheets:
        space = sheet.space
        for one, another in product(groups.members, repeat=2):
            members = (bits(groups.members[name] & sheet.present) for name in (one, another))
            each = [
                space.traffic.filled(traffic, sheet.never.get(a, 0))
                if (traffic := traffic_with(sheet.rows[a], 1 << b))
                else 0
                for a, b in product(*map(list, members))
                if a != b
            ]
            every, either = (reduce(and_, each), union(each)) if each else (0, 0)
            if either:
                some = either & ~every
                both = (space.traffic.tell(every) if every else None, space.traffic.tell(some) if some else None)
                expected[one, another, space.family] = both
    assert told == expected
