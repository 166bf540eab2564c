"""One rule's criteria as iptables matches: which family, in which order, and what has to go into blocks."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.ipsets import SetSpec
from felixpy.match import Block, RuleMatch, first_mark, match, split_ports
from felixpy.model import Icmp, PortRange, Rule
from felixpy.rules import ActiveRule, ActiveSide

SEVEN_RANGES = tuple(PortRange(first, first + 1) for first in range(1, 15, 2))
RANGES = (*SEVEN_RANGES, PortRange(15, 16))
SINGLE = tuple(PortRange(port, port) for port in range(1, 17))
BLOCKS_PASSED = " -m mark --mark 0x80000/0x80000"
SEVEN_TEXT = "1:2,3:4,5:6,7:8,9:10,11:12,13:14"

A, B, PORT_SET = SetSpec("set-a"), SetSpec("set-b"), SetSpec("ports")


def side(**values: Any) -> ActiveSide:
    return ActiveSide(**values)


def active(
    source: ActiveSide | None = None, destination: ActiveSide | None = None, *, version: int | None = None, **rule: Any
) -> ActiveRule:
    return ActiveRule(
        number=0,
        rule=Rule(action="allow", **rule),
        ip_version=version,
        source=source or ActiveSide(),
        destination=destination or ActiveSide(),
    )


def matched(rule: ActiveRule, family: int = 4) -> RuleMatch | None:
    return match(rule, family, "0x80000")


@pytest.mark.parametrize(
    "ports, expected",
    [
        ((), []),
        (SINGLE[:1], ["1"]),
        (SINGLE[:15], ["1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"]),
        (SINGLE, ["1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", "16"]),
        (SINGLE[:15] * 2 + SINGLE[:1], [",".join(map(str, SINGLE[:15]))] * 2 + ["1"]),
        (SEVEN_RANGES, [SEVEN_TEXT]),
        (RANGES, [SEVEN_TEXT, "15:16"]),
        ((*SEVEN_RANGES, PortRange(99, 99)), [f"{SEVEN_TEXT},99"]),
        ((*SEVEN_RANGES, PortRange(99, 99), PortRange(98, 98)), [f"{SEVEN_TEXT},99", "98"]),
        ((*SINGLE[:14], PortRange(20, 21), PortRange(22, 22)), [",".join(map(str, SINGLE[:14])), "20:21,22"]),
    ],
)
def test_ports_are_packed_into_fifteen_places_a_range_taking_two(
    ports: tuple[PortRange, ...], expected: list[str]
) -> None:
    assert list(split_ports(ports)) == expected


ONE_RULE = [
    (active(), ""),
    (active(protocol="tcp"), " -p tcp"),
    (active(protocol=132), " -p 132"),
    (active(not_protocol="udp"), " ! -p udp"),
    (active(side(nets=("10.0.0.0/8",))), " --source 10.0.0.0/8"),
    (active(None, side(nets=("10.0.0.0/8",))), " --destination 10.0.0.0/8"),
    (active(side(not_nets=("10.0.0.0/8",))), " ! --source 10.0.0.0/8"),
    (active(side(sets=(A, B))), " -m set --match-set cali40set-a src -m set --match-set cali40set-b src"),
    (active(None, side(not_sets=(A,))), " -m set ! --match-set cali40set-a dst"),
    (active(None, side(service_sets=(PORT_SET,))), " -m set --match-set cali40ports dst,dst"),
    (active(side(port_sets=(PORT_SET,)), protocol="tcp"), " -p tcp -m set --match-set cali40ports src,src"),
    (active(None, side(not_port_sets=(PORT_SET,))), " -m set ! --match-set cali40ports dst,dst"),
    (active(None, side(ports=(PortRange(80, 80),)), protocol="tcp"), " -p tcp -m multiport --destination-ports 80"),
    (active(None, side(ports=SEVEN_RANGES), protocol="tcp"), f" -p tcp -m multiport --destination-ports {SEVEN_TEXT}"),
    (
        active(side(not_ports=RANGES, not_port_sets=(PORT_SET,)), protocol="tcp"),
        (
            f" -p tcp -m multiport ! --source-ports {SEVEN_TEXT} -m multiport ! --source-ports 15:16"
            " -m set ! --match-set cali40ports src,src"
        ),
    ),
    (active(icmp=Icmp(8, 0), protocol="icmp"), " -p icmp -m icmp --icmp-type 8/0"),
    (active(icmp=Icmp(8), protocol=1), " -p 1 -m icmp --icmp-type 8"),
    (active(not_icmp=Icmp(3), protocol="icmp"), " -p icmp -m icmp ! --icmp-type 3"),
]


@pytest.mark.parametrize("rule, expected", ONE_RULE, ids=[row[1] or "everything" for row in ONE_RULE])
def test_criteria_that_one_rule_can_hold(rule: ActiveRule, expected: str) -> None:
    assert matched(rule) == RuleMatch(expected)


def test_the_order_of_all_criteria() -> None:
    """As Felix builds them: positive ones first, source before destination, ICMP last in either half."""
    port, other = PortRange(80, 80), PortRange(81, 81)
    positive = {"nets": ("10.0.0.0/8",), "sets": (A,), "ports": (port,)}
    both = side(**positive, not_sets=(B,), not_ports=(other,), not_port_sets=(PORT_SET,))
    rule = active(both, both, protocol="icmp", not_protocol="tcp", icmp=Icmp(8, 0), not_icmp=Icmp(3, 1))
    assert matched(rule) == RuleMatch(
        " -p icmp"
        " --source 10.0.0.0/8 -m set --match-set cali40set-a src -m multiport --source-ports 80"
        " --destination 10.0.0.0/8 -m set --match-set cali40set-a dst -m multiport --destination-ports 80"
        " -m icmp --icmp-type 8/0"
        " ! -p tcp"
        " -m set ! --match-set cali40set-b src -m multiport ! --source-ports 81"
        " -m set ! --match-set cali40ports src,src"
        " -m set ! --match-set cali40set-b dst -m multiport ! --destination-ports 81"
        " -m set ! --match-set cali40ports dst,dst"
        " -m icmp ! --icmp-type 3/1"
    )


def test_sets_and_icmp_have_their_own_names_in_ipv6() -> None:
    rule = active(side(sets=(A,), nets=("fd00::/8",)), protocol="icmpv6", icmp=Icmp(128, 0), not_icmp=Icmp(1))
    assert matched(rule, 6) == RuleMatch(
        " -p icmpv6 --source fd00::/8 -m set --match-set cali60set-a src -m icmp6 --icmpv6-type 128/0"
        " -m icmp6 ! --icmpv6-type 1"
    )


V4, V6 = "10.0.0.0/8", "fd00::/8"


@pytest.mark.parametrize(
    "rule, families",
    [
        (active(), (4, 6)),
        (active(version=4), (4,)),
        (active(version=6), (6,)),
        (active(side(nets=(V4,))), (4,)),
        (active(None, side(nets=(V6,))), (6,)),
        (active(side(nets=(V4, V6))), (4, 6)),
        (active(side(nets=(V4,)), side(nets=(V6,))), ()),
        (active(side(not_nets=(V4,))), (4,)),
        (active(None, side(not_nets=(V4, V6))), (4, 6)),
        (active(side(nets=(V4, V6), not_nets=("fd00::/16",))), (6,)),
        (active(side(nets=("0.0.0.0/0",))), (4,)),
        (active(side(not_nets=("0.0.0.0/0", V6))), (6,)),
        (active(side(not_nets=(V4, "::/0"))), (4,)),
        (active(None, side(not_nets=("0.0.0.0/0", "10.0.0.0/8"))), ()),
        (active(side(nets=(V4,)), version=6), ()),
    ],
)
def test_families_in_which_a_rule_means_something(rule: ActiveRule, families: tuple[int, ...]) -> None:
    assert tuple(family for family in (4, 6) if matched(rule, family) is not None) == families


def test_networks_of_the_other_family_do_not_count() -> None:
    rule = active(side(nets=(V4, V6), not_nets=("10.1.0.0/16", "fd00:1::/32")))
    assert matched(rule, 6) == RuleMatch(
        f" --source fd00::/8{BLOCKS_PASSED}",
        (Block((" --source fd00:1::/32",), negated=True, merges=False),),
    )


def block(*alternatives: str, merges: bool = False, negated: bool = False) -> Block:
    return Block(tuple(f" {alternative}" for alternative in alternatives), negated, merges)


NETS, MORE_NETS = ("10.0.0.0/24", "10.0.1.0/24"), ("11.0.0.0/24", "11.0.1.0/24")
SOURCES = ("--source 10.0.0.0/24", "--source 10.0.1.0/24")
NOT_SOURCES = ("--source 11.0.0.0/24", "--source 11.0.1.0/24")
TO = ("--destination 10.0.0.0/24", "--destination 10.0.1.0/24")

BLOCKS = [
    ("two networks", active(side(nets=NETS)), "", [block(*SOURCES)]),
    (
        "a network and an exception",
        active(side(nets=NETS[:1], not_nets=MORE_NETS[:1])),
        " --source 10.0.0.0/24",
        [block(NOT_SOURCES[0], negated=True)],
    ),
    ("two exceptions", active(side(not_nets=MORE_NETS)), "", [block(*NOT_SOURCES, negated=True)]),
    (
        "two networks leave room for one exception",
        active(side(nets=NETS, not_nets=MORE_NETS[:1])),
        " ! --source 11.0.0.0/24",
        [block(*SOURCES)],
    ),
    (
        "but not for two",
        active(side(nets=NETS, not_nets=MORE_NETS)),
        "",
        [block(*SOURCES), block(*NOT_SOURCES, negated=True)],
    ),
    (
        "networks on both sides",
        active(side(nets=NETS), side(nets=NETS)),
        "",
        [block(*SOURCES), block(*TO, merges=True)],
    ),
    (
        "positive blocks come before negated ones, so the first block of networks does not merge",
        active(side(nets=NETS[:1], not_nets=MORE_NETS[:1]), side(nets=NETS)),
        " --source 10.0.0.0/24",
        [block(*TO), block(NOT_SOURCES[0], negated=True)],
    ),
    (
        "more ports than fit",
        active(None, side(ports=RANGES), protocol="tcp"),
        " -p tcp",
        [
            block(
                f"-p tcp -m multiport --destination-ports {SEVEN_TEXT}", "-p tcp -m multiport --destination-ports 15:16"
            )
        ],
    ),
    (
        "a named port beside numbers; only numbers repeat the protocol",
        active(side(ports=SINGLE[:1], port_sets=(PORT_SET,)), protocol="udp"),
        " -p udp",
        [block("-p udp -m multiport --source-ports 1", "-m set --match-set cali40ports src,src")],
    ),
    (
        "two named ports, no protocol",
        active(None, side(port_sets=(PORT_SET, A))),
        "",
        [block("-m set --match-set cali40ports dst,dst", "-m set --match-set cali40set-a dst,dst")],
    ),
    (
        "ports before networks, sources before destinations",
        active(side(ports=SINGLE, nets=NETS), side(nets=NETS, ports=SINGLE), protocol="tcp"),
        " -p tcp",
        [
            *(
                block(
                    *(f"-p tcp -m multiport --{way}-ports {ports}" for ports in split_ports(SINGLE)),
                    merges=way == "destination",
                )
                for way in ("source", "destination")
            ),
            block(*SOURCES, merges=True),
            block(*TO, merges=True),
        ],
    ),
]


@pytest.mark.parametrize("rule, rest, blocks", [row[1:] for row in BLOCKS], ids=[row[0] for row in BLOCKS])
def test_alternatives_become_blocks(rule: ActiveRule, rest: str, blocks: list[Block]) -> None:
    found = matched(rule)
    assert found is not None
    assert found.text == f"{rest}{BLOCKS_PASSED}"
    assert list(found.blocks) == blocks


def test_the_marks_start_as_passed_where_a_negated_block_comes_first() -> None:
    assert first_mark([block("--source 10.0.0.0/8", negated=True)], "0x80000") == "0x80000"
    assert first_mark([block("--source 10.0.0.0/8"), block("--source ::", negated=True)], "0x80000") == "0x0"
