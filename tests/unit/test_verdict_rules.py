"""What each criterion of a rule means to a packet, and what a selector, a port's name and a service stand for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from felixpy.model import (
    Cluster,
    HostEndpoint,
    Icmp,
    NamedPort,
    NetworkSet,
    Policy,
    PolicyKey,
    PortRange,
    Profile,
    Rule,
    ServiceName,
    Side,
    Slice,
    Source,
    Tier,
    Workload,
)
from felixpy.testing.verdict import FirstPacket, Oracle

HERE = Source("cluster.yaml", 1)
OPEN = Profile(name="open", inbound=(), outbound=(), labels={"zone": "open"}, source=HERE)


def pod(name: str, *addresses: str, ports: tuple[NamedPort, ...] = ()) -> Workload:
    return Workload("ns", name, "node1", f"cali{name}", addresses, {"app": name}, ("open",), ports, HERE)


CLIENT = pod("client", "10.0.0.1", "fd00::1", ports=(NamedPort("reply", "tcp", 4000),))
SERVER = pod("server", "10.0.0.2", "fd00::2", ports=(NamedPort("web", "tcp", 80), NamedPort("web", "udp", 81)))
TWIN = pod("twin", "10.0.0.1")
PARTNERS = NetworkSet(
    name="partners",
    namespace="",
    nets=("10.0.0.0/30", "198.51.100.0/24"),
    labels={"role": "partner"},
    profiles=(),
    source=HERE,
)
HOST = HostEndpoint(
    name="host",
    node="node1",
    interface="eth0",
    addresses=("192.168.0.1",),
    labels={"role": "host"},
    profiles=(),
    ports=(NamedPort("ssh", "tcp", 2022),),
    source=HERE,
)
WEB = Slice(service=ServiceName("ns", "web"), addresses=("10.0.0.2", "10.0.0.9"), ports=(("tcp", 80),), source=HERE)
BARE = Slice(service=ServiceName("ns", "bare"), addresses=("10.0.0.1",), ports=(), source=HERE)


def matches(rule: Rule, *sets: NetworkSet, **changes: Any) -> bool:
    """Whether a rule that allows lets a packet from CLIENT to SERVER in; nothing else would."""
    guard = Policy(
        key=PolicyKey("GlobalNetworkPolicy", "", "guard"),
        tier="default",
        order=None,
        selector="app == 'server'",
        ingress=True,
        egress=False,
        inbound=(rule,),
        outbound=(),
        source=HERE,
    )
    cluster = Cluster(
        workloads=(CLIENT, SERVER, TWIN),
        host_endpoints=(HOST,),
        network_sets=sets or (PARTNERS,),
        policies=(guard,),
        profiles={"open": OPEN},
        tiers={"default": Tier(name="default", order=1e6, passes=False)},
        slices=(WEB, BARE),
    )
    values: dict[str, Any] = {"source": CLIENT, "destination": SERVER, "protocol": "tcp", "port": 80} | changes
    return Oracle(cluster).ask(FirstPacket(**values), "ingress").allowed


MATCHING: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, True),
    # protocols
    ({"protocol": "tcp"}, {}, True),
    ({"protocol": 6}, {}, True),
    ({"protocol": "udp"}, {}, False),
    ({"protocol": 47}, {"protocol": 47}, True),
    ({"not_protocol": "tcp"}, {}, False),
    ({"not_protocol": 17}, {}, True),
    ({"protocol": "sctp"}, {"protocol": 132}, True),
    # families
    ({"ip_version": 4}, {}, True),
    ({"ip_version": 6}, {}, False),
    ({"ip_version": 6}, {"family": 6}, True),
    ({"protocol": "icmp"}, {"protocol": "icmp"}, True),
    ({"protocol": "icmp"}, {"protocol": 1, "family": 6}, False),
    ({"protocol": 1}, {"protocol": 1, "family": 6}, True),
    ({"protocol": "icmpv6"}, {"protocol": "icmpv6", "family": 6}, True),
    ({"protocol": "icmpv6"}, {"protocol": "icmpv6"}, False),
    # ICMP
    ({"protocol": "icmp", "icmp": Icmp(8)}, {"protocol": "icmp"}, True),
    ({"protocol": "icmp", "icmp": Icmp(8, 0)}, {"protocol": "icmp"}, True),
    ({"protocol": "icmp", "icmp": Icmp(8, 1)}, {"protocol": "icmp"}, False),
    ({"protocol": "icmp", "icmp": Icmp(3)}, {"protocol": "icmp", "icmp": Icmp(3, 4)}, True),
    ({"protocol": "icmp", "icmp": Icmp(3)}, {"protocol": "icmp"}, False),
    ({"protocol": "icmpv6", "icmp": Icmp(128)}, {"protocol": "icmpv6", "family": 6}, True),
    ({"protocol": "icmp", "not_icmp": Icmp(8)}, {"protocol": "icmp"}, False),
    ({"protocol": "icmp", "not_icmp": Icmp(8, 1)}, {"protocol": "icmp"}, True),
    ({"not_icmp": Icmp(8)}, {}, True),
    # nets
    ({"source": Side(nets=("10.0.0.0/24",))}, {}, True),
    ({"source": Side(nets=("10.1.0.0/24", "10.0.0.1/32"))}, {}, True),
    ({"source": Side(nets=("10.0.0.2/32",))}, {}, False),
    ({"destination": Side(nets=("10.0.0.2/32",))}, {}, True),
    ({"source": Side(nets=("fd00::/16",))}, {}, False),
    ({"source": Side(nets=("fd00::/16", "10.0.0.0/8"))}, {}, True),
    ({"source": Side(nets=("fd00::/16",))}, {"family": 6}, True),
    ({"source": Side(not_nets=("10.0.0.0/24",))}, {}, False),
    ({"source": Side(not_nets=("10.1.0.0/24",))}, {}, True),
    ({"source": Side(not_nets=("fd01::/16",))}, {}, False),
    ({"source": Side(not_nets=("0.0.0.0/0",))}, {}, False),
    ({"source": Side(nets=("10.0.0.0/8",), not_nets=("10.0.0.0/30",))}, {}, False),
    # selectors: addresses, whoever else has them
    ({"source": Side(selector="app == 'client'")}, {}, True),
    ({"source": Side(selector="app == 'client'")}, {"family": 6}, True),
    ({"source": Side(selector="app == 'client'")}, {"source": "FD00:0::1"}, True),
    ({"source": Side(selector="app == 'server'")}, {}, False),
    ({"source": Side(selector="app == 'twin'")}, {}, True),
    ({"source": Side(selector="app == 'twin'")}, {"family": 6}, False),
    ({"source": Side(selector="zone == 'open'")}, {}, True),
    ({"source": Side(selector="role == 'partner'")}, {}, True),
    ({"source": Side(selector="role == 'partner'")}, {"source": "198.51.100.7"}, True),
    ({"source": Side(selector="role == 'partner'")}, {"source": "192.0.2.1"}, False),
    ({"source": Side(selector="all()")}, {"source": "192.0.2.1"}, False),
    ({"source": Side(not_selector="app == 'server'")}, {}, True),
    ({"source": Side(not_selector="app == 'twin'")}, {}, False),
    ({"source": Side(not_selector="role == 'partner'")}, {}, False),
    ({"source": Side(not_selector="all()")}, {"source": "192.0.2.1"}, True),
    ({"source": Side(selector="has(app)", not_selector="app == 'twin'")}, {}, True),
    ({"source": Side(selector="has(app)", not_selector="app in {'twin', 'client'}")}, {}, False),
    ({"source": Side(selector="app == 'twin' || app == 'x'", not_selector="app == 'twin'")}, {}, False),
    ({"source": Side(selector="role == 'host'")}, {"source": "192.168.0.1"}, True),
    ({"source": Side(selector="role == 'host'")}, {"source": "192.168.0.2"}, False),
    # ports
    ({"protocol": "tcp", "destination": Side(ports=(PortRange(80, 80),))}, {}, True),
    ({"protocol": "tcp", "destination": Side(ports=(PortRange(1, 79), PortRange(81, 90)))}, {}, False),
    ({"protocol": "tcp", "destination": Side(ports=(PortRange(81, 90), PortRange(70, 80)))}, {}, True),
    ({"protocol": "tcp", "destination": Side(not_ports=(PortRange(70, 80),))}, {}, False),
    ({"protocol": "tcp", "destination": Side(not_ports=(PortRange(81, 90),))}, {}, True),
    ({"protocol": "tcp", "source": Side(ports=(PortRange(4000, 4000),))}, {"source_port": 4000}, True),
    ({"protocol": "tcp", "source": Side(ports=(PortRange(4000, 4000),))}, {}, False),
    ({"protocol": "tcp", "source": Side(not_ports=(PortRange(4000, 4000),))}, {"source_port": 4000}, False),
    ({"destination": Side(ports=(PortRange(1, 65535),))}, {"protocol": "icmp"}, False),
    # named ports: address, protocol and number of any endpoint that has the name
    ({"protocol": "tcp", "destination": Side(ports=("web",))}, {}, True),
    ({"protocol": "tcp", "destination": Side(ports=("web",))}, {"port": 81}, False),
    ({"protocol": "udp", "destination": Side(ports=("web",))}, {"protocol": "udp", "port": 81}, True),
    ({"destination": Side(ports=("web",))}, {"protocol": "udp", "port": 81}, True),
    ({"destination": Side(ports=("web",))}, {"protocol": "udp", "port": 80}, False),
    ({"destination": Side(ports=("other",))}, {}, False),
    ({"destination": Side(ports=("web", PortRange(99, 99))), "protocol": "tcp"}, {"port": 99}, True),
    ({"destination": Side(ports=("web",), selector="app == 'server'")}, {}, True),
    ({"destination": Side(ports=("web",), selector="app == 'client'")}, {}, False),
    ({"destination": Side(ports=(PortRange(80, 80),), selector="app == 'client'"), "protocol": "tcp"}, {}, False),
    ({"source": Side(ports=("reply",))}, {"source_port": 4000}, True),
    ({"source": Side(ports=("reply",), selector="app == 'twin'")}, {"source_port": 4000}, False),
    ({"destination": Side(not_ports=("web",))}, {}, False),
    ({"destination": Side(not_ports=("web",))}, {"port": 443}, True),
    ({"destination": Side(not_ports=("web",), selector="app == 'server'")}, {}, False),
    ({"destination": Side(not_ports=("web",), not_selector="app == 'client'")}, {}, False),
    ({"destination": Side(not_ports=("web",))}, {"protocol": "icmp"}, True),
    ({"source": Side(ports=("ssh",))}, {"source": "192.168.0.1", "source_port": 2022}, True),
    # services
    ({"destination": Side(service=ServiceName("ns", "web"))}, {}, True),
    ({"destination": Side(service=ServiceName("ns", "web"))}, {"port": 81}, False),
    ({"destination": Side(service=ServiceName("ns", "web"))}, {"protocol": "udp"}, False),
    ({"destination": Side(service=ServiceName("", "web"))}, {}, False),
    ({"source": Side(service=ServiceName("ns", "bare"))}, {}, True),
    ({"source": Side(service=ServiceName("ns", "web"))}, {}, False),
    ({"source": Side(service=ServiceName("ns", "web"))}, {"source": "10.0.0.9"}, True),
]


@pytest.mark.parametrize("criteria, changes, expected", MATCHING)
def test_a_rule_matches(criteria: dict[str, Any], changes: dict[str, Any], expected: bool) -> None:
    assert matches(Rule(action="allow", **criteria), **changes) is expected


@pytest.mark.parametrize("source, expected", [("198.51.100.7", True), ("192.0.2.1", False), ("10.0.0.1", True)])
def test_network_sets_inherit_labels(source: str, expected: bool) -> None:
    rule = Rule(action="allow", source=Side(selector="zone == 'open' && !has(role)"))
    networks = replace(PARTNERS, profiles=("open",), labels={}, nets=("198.51.100.0/24",))
    assert matches(rule, networks, source=source) is expected
