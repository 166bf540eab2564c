"""The numbers in rules: protocols, ports, addresses, marks and states of connections."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from felixpy.errors import UsageError
from felixpy.remembered import remembered

PROTOCOLS: Mapping[int, str] = {
    1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup", 17: "udp",
    20: "hmp", 22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp", 38: "idpr-cmtp", 41: "ipv6",
    43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 57: "skip",
    58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp", 88: "eigrp", 89: "ospf", 93: "ax.25",
    94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 124: "isis",
    132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite", 137: "mpls-in-ip", 138: "manet", 139: "shim6",
    140: "wesp", 141: "rohc", 142: "ethernet", 262: "mptcp",
}  # fmt: skip
"""Debian's /etc/protocols, which the tools consult."""

State = Literal["new", "established", "related", "invalid", "untracked"]

STATES: Mapping[str, int] = {
    "INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 16, "SNAT": 32, "DNAT": 64,
}  # fmt: skip
"""Bits of what conntrack says; a packet has one of the first five, and its connection's rewriting in the others."""

NUMBERS: Mapping[str, int] = {name: number for number, name in PROTOCOLS.items()} | {
    "icmpv6": 58, "ipv6-icmp": 58, "all": 0,
}  # fmt: skip

WITH_PORTS = frozenset(NUMBERS[name] for name in ("tcp", "udp", "udplite", "sctp", "dccp"))
ICMP = {4: NUMBERS["icmp"], 6: NUMBERS["icmpv6"]}
ECHO_REQUEST = {4: 8, 6: 128}
BITS = {4: 32, 6: 128}
"""Length of an address."""

OPENING_ICMP = {4: frozenset({8, 13, 15, 17}), 6: frozenset({128, 139})}
"""ICMP requests: only these open a connection; other types belong to one or are invalid. (nf_conntrack_proto_icmp.c)"""

UNTRACKED_ICMP = {4: frozenset[int](), 6: frozenset({*range(130, 137), 143})}
"""Multicast listeners and neighbour discovery, which conntrack leaves alone. (nf_conntrack_proto_icmpv6.c)"""

SYN, ACK = 0x02, 0x10
FLAGS: Mapping[str, int] = {
    "FIN": 0x01, "SYN": SYN, "RST": 0x04, "PSH": 0x08, "ACK": ACK, "URG": 0x20, "ALL": 0x3F, "NONE": 0,
}  # fmt: skip
"""TCP's flags; a connection is opened by SYN alone, later packets are taken to carry ACK."""


class Range(NamedTuple):
    """Numbers first..last, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


class Address(NamedTuple):
    """An address as a number, and its family."""

    number: int
    family: int


@remembered(1 << 16)
def parse_address(text: str) -> Address:
    """Parse an address. Raises UsageError for any other text."""
    family = 6 if ":" in text else 4
    try:
        packed = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, text)
    except (OSError, ValueError):
        raise UsageError(f'"{text}" is not an IP address') from None
    return Address(int.from_bytes(packed, "big"), family)


def spell_address(number: int, family: int) -> str:
    """The usual text of an address.

    >>> spell_address(0x0A000001, 4)
    '10.0.0.1'
    """
    packed = number.to_bytes(16 if family == 6 else 4, "big")
    return socket.inet_ntop(socket.AF_INET6 if family == 6 else socket.AF_INET, packed)


def protocol_number(protocol: str | int) -> int:
    """The number of a protocol given by name or number. Raises UsageError for an unknown name.

    >>> protocol_number("tcp"), protocol_number("icmpv6"), protocol_number("200")
    (6, 58, 200)
    """
    if isinstance(protocol, int):
        return protocol
    if protocol.isdecimal():
        return int(protocol)
    if protocol.lower() not in NUMBERS:
        raise UsageError(f'"{protocol}" is not a protocol')
    return NUMBERS[protocol.lower()]


def is_loopback(address: Address) -> bool:
    return address.number >> 24 == 127 if address.family == 4 else address.number == 1


def net_bits(text: str) -> tuple[int, int, int]:
    """An address with a length or mask as bits, mask and family.

    >>> net_bits("10.0.0.0/8") == net_bits("10.1.2.3/255.0.0.0") == (10 << 24, 255 << 24, 4)
    True

    Raises UsageError and ValueError.
    """
    address, _, length = text.partition("/")
    number, family = parse_address(address)
    bits = BITS[family]
    if length.isdecimal() or not length:
        mask = (1 << bits) - (1 << bits - int(length or bits))
    else:
        mask = parse_address(length).number
    return number & mask, mask, family


def net_range(bits: int, mask: int, family: int) -> Range | None:
    """The addresses of a net, None if its mask has gaps."""
    free = mask ^ (1 << BITS[family]) - 1
    return None if free & free + 1 else Range(bits, bits | free)


def joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same numbers as ranges in ascending order, none of which overlap or touch.

    >>> joined([Range(80, 90), Range(22, 22), Range(91, 99), Range(85, 86)])
    (Range(first=22, last=22), Range(first=80, last=99))
    """
    found: list[Range] = []
    for each in sorted(ranges):
        if found and each.first <= found[-1].last + 1:
            found[-1] = Range(found[-1].first, max(found[-1].last, each.last))
        else:
            found.append(each)
    return tuple(found)


def parse_ranges(text: str) -> tuple[Range, ...]:
    """Parse ports as iptables prints them; an open range extends to the lowest or highest port.

    >>> parse_ranges("80,8000:8080")
    (Range(first=80, last=80), Range(first=8000, last=8080))
    """
    found = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        low = int(first or 0)
        found.append(Range(low, int(last or 65535) if colon else low))
    return tuple(found)


def parse_mark(text: str) -> tuple[int, int]:
    """Parse a mark as (value, mask); without a mask it is all bits.

    >>> parse_mark("0x10000/0x30000"), parse_mark("5")
    ((65536, 196608), (5, 4294967295))
    """
    mark, _, mask = text.partition("/")
    return int(mark, 0), int(mask, 0) if mask else 0xFFFFFFFF
