"""Flows are exact: whatever packet is sent, the flows say what the walk of that packet says.

What comes out is checked, names and ranges included: a flow covers a packet if its ends are among the flow's peers and
its protocol and ports in the flow's ranges. Packets are drawn at the edges of everything that rules mention. Left out
are destinations that NAT rewrites, which are no flows of their own, and what Felix lets no pod send, which counts as
part of what is around it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from felixpy.calico_versions import CALICO_VERSIONS, V3_32, CalicoVersion
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.effective import configure
from felixpy.errors import InputError
from felixpy.flows import Connectivity, Flow, Peer, compare, survey
from felixpy.flows.packets.packet_sets import bits
from felixpy.flows.packets.traffic_words import Traffic, TrafficPart
from felixpy.flows.reachability.sides import InputSide
from felixpy.flows.reachability.universe import Universe
from felixpy.model import Cluster, HostEndpoint, Icmp, Owner, Pool, Workload
from felixpy.netfilter.numbers import ICMP, UNTRACKED_ICMP, WITH_PORTS, spell_address
from felixpy.netfilter.rules import Dump, Line
from felixpy.testing.verdict import FirstPacket, Oracle
from felixpy.tracing import Nodes, Question, Tracer
from tests.clusters import ALLOW, cluster
from tests.property.strategies import NODES, things
from tests.property.test_walk import HOSTS, PLAIN_CLUSTERS, SETTINGS, tame

pytestmark = pytest.mark.property

EXAMPLES = settings.default.max_examples if settings.default else 0
CELLS = 30
"""Packets that are sent through each cluster."""

OWNERS = (Owner("Deployment", "web"), Owner("Deployment", "web"), Owner("Job", "once"), None)


VALUES = st.builds(
    lambda some, outgoing: some | outgoing,
    SETTINGS,
    st.sampled_from(({}, {}, {"NATOutgoingAddress": "192.0.2.77"}, {"NATOutgoingAddress": "10.65.0.2"})),
)


class Shot(NamedTuple):
    """A packet: both ends as a trace names them, with their address, and what is sent."""

    source: str
    destination: str
    family: int
    protocol: int
    number: int
    source_port: int

    def question(self) -> Question:
        return Question(
            source=self.source,
            destination=self.destination,
            protocol=self.protocol,
            port=self.number if self.protocol in WITH_PORTS else None,
            source_port=self.source_port or 1,
            icmp=divmod(self.number, 256) if self.protocol == ICMP[self.family] else None,
            family=self.family,
        )


# --- what a flow covers


def is_peer(peer: Peer, name: str) -> bool:
    if peer.kind == "external":
        return "/" not in name and not name.startswith("host:") and any(within(name, part) for part in peer.ranges)
    if peer.kind == "host":
        return name == f"host:{peer.name}"
    return name in {f"{peer.space}/{pod}" for pod in peer.pods or (peer.name,)}


def within(address: str, part: str) -> bool:
    if (":" in address) != (":" in part):
        return False
    first, dash, last = part.partition("-")
    if dash:
        return ip_address(first) <= ip_address(address) <= ip_address(last)  # type: ignore[operator]
    return ip_address(address) in ip_network(part)


def is_part(part: TrafficPart, shot: Shot, listed: Iterable[int | None]) -> bool:
    if part.number is None and part.kind != "icmp":
        return shot.protocol not in listed
    own = shot.protocol == ICMP[shot.family] if part.kind == "icmp" else shot.protocol == part.number
    return (
        own
        and (not part.numbers or any(low <= shot.number <= high for low, high in part.numbers))
        and (not part.sources or any(low <= shot.source_port <= high for low, high in part.sources))
    )


def carries(traffic: Traffic, shot: Shot, listed: Iterable[int | None]) -> bool:
    return traffic.everything or any(is_part(part, shot, listed) for part in traffic.parts)


def covered(flows: Iterable[Flow], shot: Shot, listed: Iterable[int | None]) -> bool:
    return any(
        flow.family in (None, shot.family)
        and is_peer(flow.source, shot.source)
        and is_peer(flow.destination, shot.destination)
        and carries(flow.traffic, shot, listed)
        for flow in flows
    )


# --- packets


def listed(found: Connectivity, family: int) -> tuple[int | None, ...]:
    """Protocols that are told apart."""
    return tuple(block.protocol for block in found.universe.families[family].traffic.blocks)


def never(shot: Shot) -> bool:
    """Whether Felix lets no pod send that: VXLAN and IP-in-IP."""
    return (shot.protocol, shot.number) == (17, 4789) or shot.protocol == 4


def shots(found: Connectivity, draw: random.Random, count: int = CELLS) -> Iterator[Shot]:
    """Packets between endpoints, and between them and addresses at the edges of ranges."""
    for family, grid in found.grids.items():
        inside = [
            f"host:{endpoint.identity.name}" if endpoint.identity.kind == "host" else "/".join(endpoint.identity[1:])
            for position, endpoint in found.endpoints.items()
            if grid.everybody >> position & 1
        ]
        outside = [spell_address(number, family) for number in edges(found, family)]
        services = list(pieces(found, family, draw))
        for _ in range(count if inside else 0):
            source = draw.choice([*inside, *draw.sample(outside, min(len(inside), len(outside)))])
            others = [*inside, *draw.sample(outside, min(len(inside), len(outside)))] if source in inside else inside
            destination = draw.choice(others)
            if destination != source:
                yield Shot(source, destination, family, *draw.choice(services))


def edges(found: Connectivity, family: int) -> Iterator[int]:
    """The first and last address of each range; no packet for the machine itself or for many leaves it."""
    externals = found.universe.families[family].externals
    for position in bits(externals.mask):
        for addresses in externals.ranges(1 << position):
            for number in externals.free(addresses):
                address = ip_address(spell_address(number, family))
                if not (address.is_loopback or address.is_multicast or address.is_unspecified):
                    yield number


def pieces(found: Connectivity, family: int, draw: random.Random) -> Iterator[tuple[int, int, int]]:
    """Protocol, number and source port of a packet from each piece of the traffic."""
    known = listed(found, family)
    stranger = next(number for number in (200, 201, 202, 203) if number not in known)
    for block in found.universe.families[family].traffic.blocks:
        for sources in block.sources:
            for values in block.numbers:
                yield stranger if block.protocol is None else block.protocol, draw.choice(values), draw.choice(sources)


class Fate(NamedTuple):
    """What walks say of a packet, and whether both ends are on one node, or one is on none."""

    allowed: bool
    certain: bool
    near: bool


def sent(tracer: Tracer, shot: Shot) -> Fate | None:
    """Walk a packet as a trace does, less the reports; None if it is not for whom it is sent to, or never answered."""
    question = shot.question()
    source, destination = tracer.directory.pair(shot.source, shot.destination, shot.family)
    packet = tracer._packet(question, source, destination)
    name = source.node or destination.node
    certain, near = True, destination.node in ("", name)
    for number in (1, 2):
        node = tracer.nodes.get(name)
        assert node
        sends = number == 1 and source.kind == "host"
        walk = node.walker.walk(replace(packet, in_interface="" if sends else tracer._way_in(node, packet, source)))
        certain = certain and walk.certain
        if "destination" in walk.rewritten:
            return None
        if walk.verdict != "accept":
            return Fate(False, certain, near)
        owner = tracer.directory.owner(walk.destination)
        if owner.node in ("", name):
            break
        packet = tracer._sent_on(packet, walk, node, masquerade=False)
        name = owner.node
        if tracer.directory.owner(packet.source).node == name:
            # NAT gave it the address of a pod on the node where it arrives: what answers goes to that pod, so nothing
            # is ever connected, and a matrix does not show what a walk of the first packet still lets in.
            return None
    return Fate(True, certain, near)


# --- clusters


def orderly(found: Iterable[object]) -> list[object]:
    """Objects of which no two nodes have the same address; some pods belong to workloads, some are outside of pools."""
    owners: dict[str, str] = {}
    kept: list[object] = []
    for number, thing in enumerate(found):
        match thing:
            case HostEndpoint() if any(owners.setdefault(own, thing.node) != thing.node for own in thing.addresses):
                pass
            case Workload():
                owned = structs.replace(thing, owner=OWNERS[number % len(OWNERS)])
                outside = tuple(f"172.30.0.{number}" if ":" not in own else own for own in thing.addresses)
                kept.append(owned if number % 3 else structs.replace(owned, addresses=outside, floating=()))
            case _:
                kept.append(thing)
    return kept


def opened_up(whole: Cluster) -> Cluster:
    """The cluster with profiles that let through what no policy is about, as Kubernetes has it."""
    profiles = {
        name: structs.replace(each, inbound=(ALLOW,), outbound=(ALLOW,)) for name, each in whole.profiles.items()
    }
    return replace(whole, profiles=profiles)


STRICT = things().map(lambda found: cluster(*orderly([*HOSTS, *found])))
CLUSTERS = st.one_of(STRICT, STRICT.map(opened_up))
SEEDS = st.integers(0, 1 << 30).map(random.Random)


def nodes_of(whole: Cluster, values: dict[str, str], calico_version: CalicoVersion = V3_32) -> Nodes:
    try:
        compiler = Compiler(whole, calico_version)
    except InputError:
        assume(False)
    return Nodes(compiler, settings=[Setting(name, value) for name, value in values.items()])


def dumped(nodes: Nodes, *, named: bool) -> Nodes:
    """The same rules as saved texts, with manifests for the names or without."""
    dumps = {name: found.dump for name in nodes.cluster.node_names() if (found := nodes.get(name))}
    compiler = nodes.compiler if named else Compiler(Cluster())
    return Nodes(compiler, settings=nodes.settings, dumps=dumps)


def agree(found: Connectivity, tracer: Tracer, draw: random.Random) -> None:
    flows = list(found.flows(hosts=True))
    for shot in shots(found, draw):
        walked = sent(tracer, shot)
        if walked and not never(shot):
            assert walked.certain
            assert covered(flows, shot, listed(found, shot.family)) is walked.allowed, shot


# --- the laws


@pytest.mark.parametrize("most", [16, 0], ids=["remembered", "for each"])
@settings(max_examples=EXAMPLES)
@given(whole=CLUSTERS, values=VALUES, draw=SEEDS)
def test_flows_are_what_walks_say(most: int, whole: Cluster, values: dict[str, str], draw: random.Random) -> None:
    """Also where chains ask for too much to be remembered, as those of large nodes do."""
    nodes = nodes_of(whole, values)
    with patch("felixpy.flows.programs.views.MOST_FACTORS", most):
        agree(survey(nodes), Tracer(nodes), draw)


@pytest.mark.parametrize("name", ["v3.8", "v3.28"])
@settings(max_examples=EXAMPLES // 4)
@given(whole=PLAIN_CLUSTERS, values=VALUES, draw=SEEDS)
def test_flows_of_older_versions(name: str, whole: Cluster, values: dict[str, str], draw: random.Random) -> None:
    nodes = nodes_of(whole, values, CALICO_VERSIONS[name])
    agree(survey(nodes), Tracer(nodes), draw)


@settings(max_examples=EXAMPLES // 2)
@given(found=things().map(tame), values=SETTINGS, draw=SEEDS)
def test_flows_are_what_policies_say(found: list[object], values: dict[str, str], draw: random.Random) -> None:
    """Less the discovery of neighbours and tunnels between nodes, which the oracle leaves out."""
    whole = cluster(*orderly(thing for thing in found if not isinstance(thing, Pool)))
    nodes = nodes_of(whole, values)
    surveyed = survey(nodes)
    flows = list(surveyed.flows(hosts=True))
    oracle = Oracle(whole, {name: configure(whole, name, nodes.settings) for name in NODES})
    endpoints: dict[str, Workload | HostEndpoint] = {f"{pod.namespace}/{pod.name}": pod for pod in whole.workloads}
    endpoints |= {f"host:{host.node}": host for host in whole.host_endpoints}
    for shot in shots(surveyed, draw):
        discovers = shot.protocol == ICMP[6] and shot.number >> 8 in UNTRACKED_ICMP[6]
        if not never(shot) and not discovers:
            packet = FirstPacket(
                source=endpoints.get(shot.source, shot.source),
                destination=endpoints.get(shot.destination, shot.destination),
                protocol=shot.protocol,
                port=shot.number,
                source_port=shot.source_port,
                icmp=None if shot.protocol != ICMP[shot.family] else Icmp(*divmod(shot.number, 256)),
                family=shot.family,
            )
            allowed = oracle.verdict(packet).allowed
            assert covered(flows, shot, listed(surveyed, shot.family)) is allowed, shot


@settings(max_examples=EXAMPLES // 2)
@given(whole=CLUSTERS, values=VALUES)
def test_saved_rules_have_the_flows_of_manifests(whole: Cluster, values: dict[str, str]) -> None:
    nodes = nodes_of(whole, values)
    assert list(survey(dumped(nodes, named=True)).flows(hosts=True)) == list(survey(nodes).flows(hosts=True))


@settings(max_examples=EXAMPLES // 2)
@given(whole=CLUSTERS, other=CLUSTERS, draw=SEEDS)
def test_changes_are_what_differs_between_walks(whole: Cluster, other: Cluster, draw: random.Random) -> None:
    """The second cluster has the policies, profiles and sets of another one."""
    later = replace(whole, policies=other.policies, network_sets=other.network_sets, profiles=other.profiles)
    before, after = nodes_of(whole, {}), nodes_of(later, {})
    changes = compare(before, after)
    assert not changes.appeared
    assert not changes.vanished
    walks = Tracer(before), Tracer(after)
    universe = Universe([InputSide(before), InputSide(after)])
    found = Connectivity(universe.sides[0], universe)
    for shot in shots(found, draw):
        first, second = (sent(tracer, shot) for tracer in walks)
        if first and second and not never(shot):
            expected = (first.allowed, second.allowed)
            opened, closed = (
                covered(flows, shot, listed(found, shot.family)) for flows in (changes.opened, changes.closed)
            )
            assert (opened, closed) == (expected == (False, True), expected == (True, False)), shot


@settings(max_examples=EXAMPLES // 2)
@given(whole=CLUSTERS, draw=SEEDS)
def test_saved_rules_say_much_without_names(whole: Cluster, draw: random.Random) -> None:
    """A pod is an interface then. What its own address would decide is told to be in doubt."""
    nodes = nodes_of(whole, {})
    found, nameless = survey(nodes), survey(dumped(nodes, named=False))
    tracer = Tracer(nodes)
    flows, unsure = list(nameless.flows(hosts=False)), list(nameless.unsure(hosts=False))
    interfaces = {f"{pod.namespace}/{pod.name}": f"{pod.node}/{pod.interface}" for pod in whole.workloads}
    for shot in shots(found, draw):
        ends = [end for end in shot[:2] if end in interfaces]
        if len(ends) != 1 or any(end.startswith("host:") for end in shot[:2]) or shot.family not in nameless.grids:
            continue
        fate = sent(tracer, shot)
        renamed = shot._replace(
            source=interfaces.get(shot.source, shot.source),
            destination=interfaces.get(shot.destination, shot.destination),
        )
        protocols = listed(nameless, shot.family)
        if fate and not never(shot) and not covered(unsure, renamed, protocols):
            assert covered(flows, renamed, protocols) is fate.allowed, shot


STRANGE = ("-m time --timestart 10:00 -j DROP", "-m time --timestart 10:00 -j ACCEPT", "-j STRANGE",
           "-p tcp -m string --string x -j RETURN", "-m set --match-set nobody-knows src -j ACCEPT")  # fmt: skip


def with_strangers(dump: Dump, draw: random.Random) -> Dump:
    """The dump with a few rules in it that nobody understands."""
    tables = {family: {name: dict(table) for name, table in found.items()} for family, found in dump.tables.items()}
    for _ in range(3):
        table = draw.choice([*tables.values()])["filter"]
        old = table[draw.choice(sorted(table))]
        lines = list(old.lines)
        lines.insert(draw.randint(0, len(lines)), Line(0, f"-A {old.name} {draw.choice(STRANGE)}"))
        table[old.name] = replace(old, lines=lines)
    return Dump(tables, dump.sets)


@settings(max_examples=EXAMPLES // 2)
@given(whole=CLUSTERS, draw=SEEDS)
def test_doubts_are_those_of_walks(whole: Cluster, draw: random.Random) -> None:
    """A walk over two nodes is in doubt as soon as it is on one of them, flows only if that matters in the end."""
    plain = nodes_of(whole, {})
    dumps = {name: with_strangers(node.dump, draw) for name in NODES if (node := plain.get(name))}
    nodes = Nodes(plain.compiler, dumps=dumps)
    found, tracer = survey(nodes), Tracer(nodes)
    flows, unsure = list(found.flows(hosts=True)), list(found.unsure(hosts=True))
    for shot in shots(found, draw):
        fate = sent(tracer, shot)
        if fate and not never(shot):
            protocols = listed(found, shot.family)
            assert covered(flows, shot, protocols) is fate.allowed, shot
            doubtful = covered(unsure, shot, protocols)
            assert doubtful is not fate.certain if fate.near else not (doubtful and fate.certain), shot
