"""The packet that is walked and the machine it meets."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from felixpy.canonical import PROTOCOLS
from felixpy.errors import UsageError

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

OPENING_ICMP = {4: frozenset({8, 13, 15, 17}), 6: frozenset({128, 139})}
"""ICMP requests: only these open a connection; other types belong to one or are invalid. (nf_conntrack_proto_icmp.c)"""

UNTRACKED_ICMP = {4: frozenset[int](), 6: frozenset({*range(130, 137), 143})}
"""Multicast listeners and neighbour discovery, which conntrack leaves alone. (nf_conntrack_proto_icmpv6.c)"""

SYN, ACK = 0x02, 0x10
FLAGS: Mapping[str, int] = {
    "FIN": 0x01, "SYN": SYN, "RST": 0x04, "PSH": 0x08, "ACK": ACK, "URG": 0x20, "ALL": 0x3F, "NONE": 0,
}  # fmt: skip
"""TCP's flags; a connection is opened by SYN alone, later packets are taken to carry ACK."""


class Address(NamedTuple):
    """An address as a number, and its family."""

    number: int
    family: int


@lru_cache(maxsize=1 << 16)
def parse_address(text: str) -> Address:
    """Raises UsageError for anything but an address."""
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
    """Raises UsageError for a name that is none.

    >>> protocol_number("tcp"), protocol_number("icmpv6"), protocol_number("200")
    (6, 58, 200)
    """
    if isinstance(protocol, int):
        return protocol
    if protocol.isdecimal():
        return int(protocol)
    if protocol.lower() not in NUMBERS:
        raise UsageError(f'"{protocol}" is no protocol')
    return NUMBERS[protocol.lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet at the moment it meets a machine.

    It came in by `in_interface`, or the machine sent it ("") itself. `out_interface` is where routing sends it, "" for
    the machine itself, None to let `Machine.route` say. `destination` is what the sender wrote; `dnat` is what the
    connection's destination is rewritten to if no rule of the machine does so. Ports count for protocols that have
    them, `icmp` (type, code) is by default an echo request.
    """

    source: str
    destination: str
    protocol: str | int = "tcp"
    source_port: int = 49152
    port: int = 0
    icmp: tuple[int, int] | None = None
    in_interface: str = ""
    out_interface: str | None = None
    state: State = "new"
    mark: int = 0
    dnat: tuple[str, int] | None = None
    forged: bool = False
    """The source is not where the routes back to it lead."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine's rules ask about besides the packet.

    `interfaces` are its own addresses by interface, `routes` the interfaces of single addresses such as its pods';
    everything else leaves by `uplink`.
    """

    interfaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    uplink: str = "eth0"

    def local(self) -> dict[str, frozenset[Address]]:
        """Own addresses by interface."""
        return {name: frozenset(map(parse_address, texts)) for name, texts in self.interfaces.items()}

    def route(self, address: str) -> str:
        """The interface that an address is reached by, "" for the machine's own."""
        parsed = parse_address(address)
        if is_loopback(parsed) or any(address in own for own in self.interfaces.values()):
            return ""
        return self.routes.get(address, self.uplink)


def is_loopback(address: Address) -> bool:
    return address.number >> 24 == 127 if address.family == 4 else address.number == 1
