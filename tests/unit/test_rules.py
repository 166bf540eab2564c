"""Rules of policies on their way to the dataplane: which sets stand for their selectors, named ports and services."""

from __future__ import annotations

import pytest

from felixpy.ipsets import named_port_set, selector_set, service_set
from felixpy.model import PortRange, Rule, ServiceName, Side
from felixpy.rules import ActiveSide, activate

HTTP, HTTPS = PortRange(80, 80), PortRange(443, 443)
SVC = ServiceName("default", "svc")
MERGED = "(has(a)) && (!(has(b)))"

SIDES = [
    ("nothing", Side(), ActiveSide()),
    ("selector", Side(selector="has(a)"), ActiveSide(sets=(selector_set("has(a)"),))),
    ("notSelector", Side(not_selector="has(b)"), ActiveSide(not_sets=(selector_set("has(b)"),))),
    ("both are merged", Side(selector="has(a)", not_selector="has(b)"), ActiveSide(sets=(selector_set(MERGED),))),
    (
        "numbered ports keep the selector's set",
        Side(selector="has(a)", ports=(HTTP, HTTPS)),
        ActiveSide(sets=(selector_set("has(a)"),), ports=(HTTP, HTTPS)),
    ),
    (
        "named ports alone make it needless",
        Side(selector="has(a)", ports=("http",)),
        ActiveSide(port_sets=(named_port_set("has(a)", "tcp", "http"),)),
    ),
    (
        "unless there are numbered ones beside them",
        Side(selector="has(a)", ports=("http", HTTPS, "dns")),
        ActiveSide(
            sets=(selector_set("has(a)"),),
            ports=(HTTPS,),
            port_sets=(named_port_set("has(a)", "tcp", "http"), named_port_set("has(a)", "tcp", "dns")),
        ),
    ),
    (
        "a named port without a selector is anybody's",
        Side(ports=("http",)),
        ActiveSide(port_sets=(named_port_set("all()", "tcp", "http"),)),
    ),
    (
        "notPorts belong to the positive selector, whose set stays",
        Side(selector="has(a)", not_ports=("http", HTTPS)),
        ActiveSide(
            sets=(selector_set("has(a)"),),
            not_ports=(HTTPS,),
            not_port_sets=(named_port_set("has(a)", "tcp", "http"),),
        ),
    ),
    (
        "or to anybody, whatever notSelector says",
        Side(not_selector="has(b)", not_ports=("http",)),
        ActiveSide(
            not_sets=(selector_set("has(b)"),),
            not_port_sets=(named_port_set("all()", "tcp", "http"),),
        ),
    ),
    (
        "the merged selector counts for named ports",
        Side(selector="has(a)", not_selector="has(b)", ports=("http",)),
        ActiveSide(port_sets=(named_port_set(MERGED, "tcp", "http"),)),
    ),
    (
        "networks stay",
        Side(nets=("10.0.0.0/8",), not_nets=("10.1.0.0/16",)),
        ActiveSide(nets=("10.0.0.0/8",), not_nets=("10.1.0.0/16",)),
    ),
]


@pytest.mark.parametrize("side, expected", [row[1:] for row in SIDES], ids=[row[0] for row in SIDES])
def test_sides(side: Side, expected: ActiveSide) -> None:
    for rule, place in (
        (Rule(action="allow", protocol="tcp", source=side), "source"),
        (Rule(action="allow", protocol="tcp", destination=side), "destination"),
    ):
        active = activate(7, rule)
        assert active.number == 7
        assert getattr(active, place) == expected
        assert (active.source, active.destination).count(ActiveSide()) >= 1


def test_a_service_is_addresses_as_source_and_addresses_with_ports_as_destination() -> None:
    side = Side(service=SVC)
    active = activate(0, Rule(action="allow", source=side, destination=side))
    assert active.source == ActiveSide(sets=(service_set(SVC, with_ports=False),))
    assert active.destination == ActiveSide(service_sets=(service_set(SVC, with_ports=True),))


def test_a_service_stands_behind_the_selector() -> None:
    active = activate(0, Rule(action="allow", source=Side(selector="has(a)", service=SVC)))
    assert active.source.sets == (selector_set("has(a)"), service_set(SVC, with_ports=False))


@pytest.mark.parametrize(
    "protocol, given, expected",
    [
        (None, None, None),
        ("tcp", None, None),
        ("icmp", None, 4),
        ("icmpv6", None, 6),
        (1, None, None),
        (58, None, None),
        ("tcp", 6, 6),
        (None, 4, 4),
    ],
)
def test_the_names_of_icmp_bind_a_rule_to_a_family_but_their_numbers_do_not(
    protocol: str | int | None, given: int | None, expected: int | None
) -> None:
    assert activate(0, Rule(action="allow", protocol=protocol, ip_version=given)).ip_version == expected


@pytest.mark.parametrize("protocol, counts_as", [(None, "any"), ("udp", "udp"), (132, "sctp"), ("icmp", "tcp")])
def test_named_ports_take_the_protocol_of_the_rule(protocol: str | int | None, counts_as: str) -> None:
    active = activate(0, Rule(action="allow", protocol=protocol, destination=Side(ports=("http",))))
    assert [spec.protocol for spec in active.destination.port_sets] == [counts_as]


def test_all_sets_are_listed_source_first_and_positive_first() -> None:
    side = Side(selector="has(a)", ports=(HTTP, "http"), not_ports=("dns",), service=SVC)
    active = activate(0, Rule(action="allow", protocol="tcp", source=side, destination=Side(not_selector="has(b)")))
    assert list(active.all_sets()) == [
        selector_set("has(a)"),
        service_set(SVC, with_ports=False),
        named_port_set("has(a)", "tcp", "http"),
        named_port_set("has(a)", "tcp", "dns"),
        selector_set("has(b)"),
    ]
