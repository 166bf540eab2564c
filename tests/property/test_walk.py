"""The walk through the rules and the oracle's reading of the policies are two roads to one answer.

They meet on generated clusters and packets, also where a packet passes two nodes. Left out is what the oracle leaves
out: policy that is not asked at the ends of a connection, what a host itself sends into a tunnel, past its host
endpoint, and rules of which Felix draws more than two blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from felixpy import walk
from felixpy.calico_versions import CALICO_VERSIONS, V3_32, CalicoVersion
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.effective import configure
from felixpy.errors import InputError
from felixpy.iptables.forms import read_dump
from felixpy.match import split_ports
from felixpy.model import Cluster, HostEndpoint, Policy, PortRange, Profile, Rule, Workload
from felixpy.netfilter.numbers import ICMP, OPENING_ICMP, UNTRACKED_ICMP, protocol_number
from felixpy.testing.verdict import FirstPacket, Oracle, Peer
from felixpy.tracing import Nodes, Question, Tracer
from felixpy.walk import Walker
from tests.clusters import cluster, host_endpoint
from tests.property.strategies import NODES, things

pytestmark = pytest.mark.property

EXAMPLES = settings.default.max_examples if settings.default else 0
"""Each example compiles nodes and walks several packets, so of variations a share of the usual number does."""

HOSTS = tuple(
    host_endpoint(f"host-{name}", "eth0", f"192.0.2.{at}", f"2001:db8::{at}", node=name, labels=labels, profiles=named)
    for at, name, labels, named in zip((1, 2), NODES, ({"app": "db"}, {"tier": "x"}), (("custom",), ()), strict=True)
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "DefaultEndpointToHostAction": st.sampled_from(("ACCEPT", "RETURN")),
        "IptablesFilterAllowAction": st.just("RETURN"),
        "IptablesMarkMask": st.just("0xff00ff00"),
        "FlowLogsLocalReporter": st.just("Enabled"),
        "DisableConntrackInvalidCheck": st.just("true"),
    },
)
ADDRESSES = {
    4: ("198.51.100.9", "10.65.1.130", "10.65.7.7", "203.0.113.1"),
    6: ("2001:db8:1::9", "fd00::5", "fd00::1:7"),
}


@dataclass(frozen=True, slots=True)
class Shipment:
    """A packet in the words of both roads: names for the trace, objects for the oracle."""

    source: str
    destination: str
    family: int
    protocol: str | int
    port: int
    source_port: int
    sender: Peer
    receiver: Peer


def many_blocks(rule: Rule) -> bool:
    """Whether Felix needs more than two blocks of alternatives; then it reads some of them wrongly."""
    sides = (rule.source, rule.destination)
    ports = sum(
        len(list(split_ports(port for port in side.ports if isinstance(port, PortRange))))
        + sum(isinstance(port, str) for port in side.ports)
        > 1
        for side in sides
    )
    nets = max(sum(sum((":" in net) is six for net in side.nets) > 1 for side in sides) for six in (False, True))
    return ports + nets > 2


def few(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if not many_blocks(rule))


def tame(found: Iterable[object]) -> list[object]:
    """The objects without what the oracle does not look at."""
    kept: list[object] = [*HOSTS]
    for thing in found:
        match thing:
            case Policy():
                at_ends = structs.replace(thing, do_not_track=False, pre_dnat=False, apply_on_forward=False)
                kept.append(structs.replace(at_ends, inbound=few(thing.inbound), outbound=few(thing.outbound)))
            case Profile():
                kept.append(structs.replace(thing, inbound=few(thing.inbound), outbound=few(thing.outbound)))
            case Workload():
                kept.append(structs.replace(thing, spoofable=(), floating=()))
            case HostEndpoint():
                pass
            case _:
                kept.append(thing)
    return kept


def into_a_tunnel(whole: Cluster, one: Shipment) -> bool:
    """Whether a host sends it to a pod of another node through the tunnel of the pod's pool."""
    if not isinstance(one.sender, HostEndpoint) or not isinstance(one.receiver, Workload):
        return False
    nets = [ip_network(pool.cidr) for pool in whole.pools if pool.ipip or pool.vxlan]
    addresses = [ip_address(text) for text in one.receiver.addresses if (":" in text) == (one.family == 6)]
    return one.sender.node != one.receiver.node and any(address in net for net in nets for address in addresses)


def plain(policy: Policy, order: int) -> Policy:
    """A policy that every Calico version can say, at a place of its own."""
    return structs.replace(policy, tier="default", order=float(order))


CLUSTERS = things().map(tame).map(lambda found: cluster(*found))
PLAIN_CLUSTERS = CLUSTERS.map(
    lambda whole: replace(
        whole, policies=tuple(plain(p, n) for n, p in enumerate(p for p in whole.policies if not p.staged))
    )
)


@st.composite
def shipments(draw: st.DrawFn, whole: Cluster) -> Shipment:
    family = draw(st.sampled_from((4, 4, 6)))
    pods = [
        (f"{pod.namespace}/{pod.name}", pod)
        for pod in whole.workloads
        if any((":" in address) == (family == 6) for address in pod.addresses)
    ]
    hosts = [(f"host:{host.node}", host) for host in whole.host_endpoints]
    outside = [(address, address) for address in ADDRESSES[family]]
    inside: list[tuple[str, Peer]] = [*pods, *pods, *hosts]
    source = draw(st.sampled_from([*inside, *outside]))
    others = [*inside, *outside] if source in inside else inside
    # No rule guards what a machine says to itself.
    destination = draw(st.sampled_from([other for other in others if other in pods or other != source]))
    protocol = draw(st.sampled_from(("tcp", "tcp", "udp", "sctp", "icmp" if family == 4 else "icmpv6", 200)))
    ports = (80, 81, 53, 22, 179, 8080, 6443, 30000, 40000)
    return Shipment(
        source=source[0],
        destination=destination[0],
        family=family,
        protocol=protocol,
        port=draw(st.sampled_from(ports)) if protocol in ("tcp", "udp", "sctp") else 0,
        source_port=draw(st.sampled_from((49152, 80, 53, 22))),
        sender=source[1],
        receiver=destination[1],
    )


def agree(
    whole: Cluster,
    values: dict[str, str],
    calico_version: CalicoVersion,
    sent: Iterable[Shipment],
    dataplane: str = "iptables",
) -> None:
    parameters = [Setting(name, value) for name, value in values.items()]
    try:
        compiler = Compiler(whole, calico_version, dataplane)
    except InputError:
        assume(False)
    tracer = Tracer(Nodes(compiler, settings=parameters))
    oracle = Oracle(whole, {name: configure(whole, name, parameters) for name in NODES})
    for one in sent:
        if into_a_tunnel(whole, one):
            continue
        expected = oracle.verdict(
            FirstPacket(
                source=one.sender,
                destination=one.receiver,
                protocol=one.protocol,
                port=one.port,
                source_port=one.source_port,
                family=one.family,
            )
        )
        found = tracer.trace(
            Question(
                source=one.source,
                destination=one.destination,
                protocol=one.protocol,
                port=one.port,
                source_port=one.source_port,
                family=one.family,
            )
        )
        assert found.certain or found.not_programmed
        assert found.allowed is expected.allowed, (one, expected.steps, found.legs)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_rules_do_what_policies_say(data: st.DataObject) -> None:
    whole = data.draw(CLUSTERS)
    agree(whole, data.draw(SETTINGS), V3_32, [data.draw(shipments(whole)) for _ in range(8)])


@settings(max_examples=EXAMPLES // 2)
@given(st.data())
def test_rules_of_nftables_do_what_policies_say(data: st.DataObject) -> None:
    """They are walked as nft lists them."""
    whole = data.draw(CLUSTERS)
    values = {name.replace("Iptables", "Nftables"): value for name, value in data.draw(SETTINGS).items()}
    agree(whole, values, V3_32, [data.draw(shipments(whole)) for _ in range(8)], "nftables")


@settings(max_examples=EXAMPLES // 4)
@given(st.data())
def test_both_spellings_do_the_same(data: st.DataObject) -> None:
    """Rules as Felix writes them and as the kernel prints them; the kernel's may be more, as lists are split."""
    whole = data.draw(CLUSTERS)
    ruleset = Compiler(whole).compile("node1")
    sets = ruleset.ipset_save()
    printed, written = (
        Walker(read_dump({family: text(family) for family in ruleset.families}, sets))
        for text in (ruleset.save, ruleset.restore)
    )
    for packet in packets(data, whole):
        ends = [(found.verdict, found.mark, found.certain) for found in (printed.walk(packet), written.walk(packet))]
        assert ends[0] == ends[1]
        assert printed.allows(packet) is (ends[0][0] == "accept")


@settings(max_examples=EXAMPLES // 2)
@given(st.data())
def test_both_data_planes_do_the_same(data: st.DataObject) -> None:
    """Whatever packet comes by, policies of every kind included.

    Left out is what nft's test for a rewritten destination tells apart otherwise: what the host itself sends without
    a connection (untracked or invalid) meets the policy of host endpoints in iptables mode only, and what it sends to a
    rewritten destination meets that once more on nftables, before it leaves.
    """
    whole = data.draw(WHOLE_CLUSTERS)
    parameters = [Setting(name, value) for name, value in data.draw(SETTINGS).items()]
    twins = [one._replace(name=one.name.replace("Iptables", "Nftables")) for one in parameters]
    legacy = Walker(Compiler(whole).compile("node1", settings=parameters).dump)
    nft = Walker(Compiler(whole, dataplane="nftables").compile("node1", settings=twins).dump)
    for packet in packets(data, whole):
        if packet.in_interface or (has_connection(packet) and not packet.dnat):
            ends = [(found.verdict, found.mark, found.certain) for found in (legacy.walk(packet), nft.walk(packet))]
            assert ends[0] == ends[1], packet
            assert nft.allows(packet) is (ends[0][0] == "accept")


def has_connection(packet: walk.Packet) -> bool:
    """Whether connection tracking knows the packet once it has seen it."""
    family = 6 if ":" in packet.source else 4
    if packet.protocol in ("icmp", "icmpv6") and protocol_number(packet.protocol) == ICMP[family] and packet.icmp:
        opens = packet.state != "new" or packet.icmp[0] in OPENING_ICMP[family]
        if not opens or packet.icmp[0] in UNTRACKED_ICMP[family]:
            return False
    return packet.state not in ("untracked", "invalid")


WHOLE_CLUSTERS = things().map(lambda found: cluster(*HOSTS, *(t for t in found if not isinstance(t, HostEndpoint))))


def packets(data: st.DataObject, whole: Cluster) -> Iterator[walk.Packet]:
    """Packets of every class at any interface, whether they could come there or not."""
    interfaces = ["eth0", "", *(pod.interface for pod in whole.workloads)]
    for one in [data.draw(shipments(whole)) for _ in range(8)]:
        addresses = [a for pod in whole.workloads for a in pod.addresses] + [*ADDRESSES[4], *ADDRESSES[6]]
        source = data.draw(st.sampled_from(addresses))
        yield walk.Packet(
            source=source,
            destination=data.draw(st.sampled_from([a for a in addresses if (":" in a) == (":" in source)])),
            protocol=one.protocol,
            port=one.port,
            source_port=one.source_port,
            in_interface=data.draw(st.sampled_from(interfaces)),
            out_interface=data.draw(st.sampled_from(interfaces)),
            state=data.draw(st.sampled_from(("new", "established", "related", "invalid", "untracked"))),
            mark=data.draw(st.sampled_from((0, 0x10000, 0x30000))),
            icmp=data.draw(st.sampled_from((None, (8, 0), (0, 0), (3, 4), (128, 0), (135, 0)))),
            spoofed=data.draw(st.booleans()),
            dnat=data.draw(
                st.sampled_from((None, None, *((a, 80) for a in addresses if (":" in a) == (":" in source))))
            ),
        )


@pytest.mark.parametrize(
    "calico_version",
    [d for d in CALICO_VERSIONS.values() if d is not V3_32],
    ids=lambda calico_version: calico_version.name,
)
@settings(max_examples=EXAMPLES // 4)
@given(data=st.data())
def test_rules_of_older_versions(calico_version: CalicoVersion, data: st.DataObject) -> None:
    whole = data.draw(PLAIN_CLUSTERS)
    agree(whole, data.draw(SETTINGS), calico_version, [data.draw(shipments(whole)) for _ in range(4)])
