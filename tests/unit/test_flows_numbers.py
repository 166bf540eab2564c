"""Packet sets, traffic and addresses as numbers: the algebra, and the way back to ranges."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from felixpy.flows.packets import packet_sets
from felixpy.flows.packets.packet_sets import PacketSet
from felixpy.flows.packets.peers import AddressOwners, Externals, Layer, outline, spell_range
from felixpy.flows.packets.traffic import Mentions, TrafficSpace
from felixpy.netfilter.numbers import Range, parse_address

# --- packet sets

Pairs = set[tuple[int, int]]


def pairs(packets: PacketSet) -> Pairs:
    return {(one, other) for traffic, peers in packets.items() for one in packet_sets.bits(traffic)
            for other in packet_sets.bits(peers)}  # fmt: skip


def random_region(draw: random.Random) -> PacketSet:
    """Three kinds of traffic shared out among six peers."""
    found: PacketSet = {}
    for peer in range(6):
        traffic = draw.choice((0, 0, 0b001, 0b011, 0b110, 0b111))
        if traffic:
            found[traffic] = found.get(traffic, 0) | 1 << peer
    return found


@pytest.mark.parametrize(
    "operation, expected",
    [
        (packet_sets.meet, lambda one, other: one & other),
        (packet_sets.minus, lambda one, other: one - other),
        (packet_sets.join, lambda one, other: one | other),
    ],
)
def test_operations_are_those_of_sets_and_keep_peers_apart(
    operation: Callable[[PacketSet, PacketSet], PacketSet], expected: Callable[[Pairs, Pairs], Pairs]
) -> None:
    draw = random.Random(1)
    for _ in range(300):
        one, other = random_region(draw), random_region(draw)
        found = operation(one, other)
        assert pairs(found) == expected(pairs(one), pairs(other))
        assert all(found)
        assert all(found.values())
        assert sum(peers.bit_count() for peers in found.values()) == packet_sets.union(found.values()).bit_count()


def test_what_receivers_let_in_turned_to_what_senders_reach() -> None:
    draw = random.Random(2)
    for _ in range(50):
        receivers = [(1 << number, random_region(draw)) for number in range(4)]
        turned = {
            (sender, receiver, traffic)
            for sender, packets in packet_sets.by_sender(receivers).items()
            for traffic, receiver in pairs(packets)
        }
        assert turned == {
            (sender, number, traffic)
            for number, (_, packets) in enumerate(receivers)
            for traffic, sender in pairs(packets)
        }


def test_parts_of_regions() -> None:
    packets = {0b011: 0b0011, 0b110: 0b0100}
    assert packet_sets.of_peers(packets, 0b0110) == {0b011: 0b0010, 0b110: 0b0100}
    assert packet_sets.of_traffic(packets, 0b010) == {0b010: 0b0111}
    assert packet_sets.traffic_with(packets, 0b0100) == 0b110
    assert packet_sets.traffic_with(packets, 0b1000) == 0


# --- traffic


def space(family: int = 4, *, every_icmp: bool = False, **ports: tuple[tuple[int, int], ...]) -> TrafficSpace:
    """Traffic in which ranges of ports are told apart: ``tcp=((80, 80),)``, source ports as ``tcp_from``."""
    mentions = Mentions(family)
    for name, ranges in ports.items():
        protocol = {"tcp": 6, "udp": 17, "sctp": 132}[name.removesuffix("_from")]
        mentions.ports([protocol], [Range(*pair) for pair in ranges], source=name.endswith("_from"))
    mentions.protocols |= {4, 47}
    mentions.icmp([Range(8 << 8, 8 << 8), Range(3 << 8 | 1, 5 << 8 | 255)])
    return TrafficSpace(mentions, every_icmp=every_icmp)


def ports(found: TrafficSpace, protocol: int, *ranges: tuple[int, int], source: bool = False) -> int:
    return found.protocol(protocol) & found.ports([Range(*pair) for pair in ranges], source=source)


HTTP = space(tcp=((80, 80), (443, 443), (8000, 8099)), udp=((53, 53), (4789, 4789)))


@pytest.mark.parametrize(
    "traffic, words, explicit",
    [
        (HTTP.all, "All", "All"),
        (0, "None", "None"),
        (ports(HTTP, 6, (80, 80), (443, 443)), "TCP 80,443", "TCP 80,443"),
        (ports(HTTP, 6, (8000, 8099)) | ports(HTTP, 17, (53, 53)), "TCP 8000-8099; UDP 53", None),
        (HTTP.protocol(6), "TCP", "TCP"),
        (HTTP.protocol(47), "GRE", "GRE"),
        (HTTP.icmp([Range(8 << 8, 8 << 8)]), "ICMP 8/0", None),
        (HTTP.icmp([Range(8 << 8, 8 << 8 | 255)]), "ICMP 8", None),
        (HTTP.protocol(1), "ICMP", None),
        (
            HTTP.all & ~ports(HTTP, 6, (80, 80)),
            "All but TCP 80",
            "TCP 1-79,81-65535; UDP; SCTP; ICMP; IP-in-IP; GRE; other",
        ),
    ],
)
def test_traffic_in_words(traffic: int, words: str, explicit: str | None) -> None:
    told = HTTP.tell(traffic)
    assert str(told) == words
    assert told.explicit() == (explicit or words)


def test_source_ports_are_told_where_they_matter() -> None:
    found = space(tcp=((80, 80),), tcp_from=((1024, 65535),))
    high = ports(found, 6, (1024, 65535), source=True)
    assert str(found.tell(high)) == "TCP from 1024-65535"
    assert str(found.tell(high & ports(found, 6, (80, 80)))) == "TCP 80 from 1024-65535"
    assert str(found.tell(high | ports(found, 6, (80, 80)))) == "TCP 80 from 1-1023; TCP from 1024-65535"
    assert str(found.tell(ports(found, 6, (80, 80)))) == "TCP 80"


NEVER = ports(HTTP, 17, (4789, 4789)) | HTTP.protocol(4)


@pytest.mark.parametrize(
    "traffic, words",
    [
        (HTTP.all & ~NEVER, "All"),
        (HTTP.protocol(17) & ~NEVER, "UDP"),
        (ports(HTTP, 17, (4790, 65535)), "UDP 4790-65535"),
        (ports(HTTP, 17, (54, 4788)), "UDP 54-4788"),
        (HTTP.protocol(6), "TCP"),
        (HTTP.all & ~NEVER & ~ports(HTTP, 6, (80, 80)), "All but TCP 80"),
    ],
)
def test_what_nobody_can_send_counts_as_what_is_around_it(traffic: int, words: str) -> None:
    assert str(HTTP.tell(HTTP.filled(traffic, NEVER))) == words


def test_types_of_icmp_that_open_no_connection_count_only_if_asked_for() -> None:
    unreachable = [Range(3 << 8, 3 << 8 | 255)]
    assert space().icmp(unreachable) == 0
    every = space(every_icmp=True)
    assert str(every.tell(every.icmp(unreachable))) == "ICMP 3"
    assert str(every.tell(every.icmp([Range(3 << 8 | 1, 5 << 8 | 255)]))) == "ICMP 3/1-255,4,5"


def test_json_of_traffic() -> None:
    told = HTTP.tell(ports(HTTP, 6, (80, 80), (8000, 8099)) | HTTP.icmp([Range(8 << 8, 8 << 8 | 255)]))
    assert told.json() == {
        "all": False,
        "protocols": [
            {"protocol": "TCP", "number": 6, "ports": ["80", "8000-8099"]},
            {"protocol": "ICMP", "number": 1, "types": ["8"]},
        ],
    }
    assert HTTP.tell(HTTP.all).json() == {"all": True}


# --- addresses


def address(text: str) -> int:
    return parse_address(text).number


def net(text: str, *, inside: bool = True) -> Layer:
    first, _, length = text.partition("/")
    number = address(first)
    return Layer(Range(number, number | (1 << 32 - int(length or 32)) - 1), inside)


TEN = (net("10.0.0.0/8"), net("10.1.0.0/16", inside=False), net("10.1.2.0/24"))


def externals(*layered: tuple[Layer, ...], known: tuple[str, ...] = ()) -> Externals:
    return Externals(4, layered, map(address, known), offset=3)


def words(found: Externals, peers: int) -> list[str]:
    return [spell_range(each, 4) for each in found.ranges(peers)]


def test_addresses_that_no_net_tells_apart_are_one_class() -> None:
    found = externals(TEN, (net("10.1.0.0/16"),), (net("192.0.2.0/24"), net("198.51.100.0/24")))
    assert [words(found, 1 << 3 + number) for number in range(found.count)] == [
        ["0.0.0.0-9.255.255.255", "11.0.0.0-192.0.1.255", "192.0.3.0-198.51.99.255", "198.51.101.0-255.255.255.255"],
        ["10.0.0.0/16", "10.2.0.0-10.255.255.255"],
        ["10.1.0.0/23", "10.1.3.0-10.1.255.255"],
        ["10.1.2.0/24"],
        ["192.0.2.0/24", "198.51.100.0/24"],
    ]
    assert words(found, found.peers(TEN)) == ["10.0.0.0/16", "10.1.2.0/24", "10.2.0.0-10.255.255.255"]
    assert words(found, found.mask) == ["0.0.0.0/0"]


@pytest.mark.parametrize(
    "rule, known, expected",
    [
        ((net("10.0.0.5"),), ("10.0.0.5",), []),
        ((net("10.0.0.4/31"),), ("10.0.0.5",), ["10.0.0.4/31"]),
        ((net("10.0.0.4/31"),), ("10.0.0.4", "10.0.0.5"), []),
        ((net("10.0.0.0/30"), net("10.0.0.5/32"), net("10.0.0.8/29")), ("10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"),
         ["10.0.0.0/28"]),
        ((net("10.0.0.0/31"), net("10.0.0.3/32")), ("10.0.0.2",), ["10.0.0.0/30"]),
        ((net("10.0.0.0/31"), net("10.0.0.2/32")), ("10.0.0.2",), ["10.0.0.0/31"]),
    ],
)  # fmt: skip
def test_addresses_that_somebody_has_cut_no_range(
    rule: tuple[Layer, ...], known: tuple[str, ...], expected: list[str]
) -> None:
    found = externals(rule, known=known)
    assert words(found, found.peers(rule)) == expected
    assert found.count <= 2


def test_free_addresses_at_the_edges_of_a_range() -> None:
    found = externals((net("10.0.0.0/29"),), known=("10.0.0.0", "10.0.0.1", "10.0.0.7"))

    def free(first: str, last: str) -> Iterator[int]:
        return found.free(Range(address(first), address(last)))

    assert list(free("10.0.0.0", "10.0.0.7")) == [address("10.0.0.2"), address("10.0.0.6")]
    assert list(free("10.0.0.0", "10.0.0.1")) == []


def test_endpoints_by_address_the_last_layer_decides() -> None:
    owners = {address("10.1.2.3"): 0b001, address("10.1.9.9"): 0b010, address("10.9.9.9"): 0b100}
    directory = AddressOwners(owners)
    assert directory.peers(TEN) == 0b101
    assert directory.peers((net("10.1.2.3"), net("10.9.9.9"), net("10.9.9.9", inside=False))) == 0b001
    assert directory.peers((net("192.0.2.0/24"),)) == 0


@pytest.mark.parametrize(
    "ranges, whole",
    [
        ([Range(0, 3), Range(5, 7)], Range(0, 7)),
        ([Range(8, 10), Range(12, 15)], Range(8, 15)),
        ([Range(0, 1), Range(6, 7)], Range(0, 7)),
        ([Range(0, 0), Range(7, 7)], None),
        ([Range(0, 3), Range(5, 8)], None),
        ([Range(4, 6), Range(8, 11)], None),
        ([Range(0, 7)], None),
    ],
)
def test_ranges_are_told_by_what_is_excepted_where_that_is_a_net(ranges: list[Range], whole: Range | None) -> None:
    found = outline(ranges)
    assert (found[0] if found else None) == whole
