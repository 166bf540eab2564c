"""What a node stands on: its interfaces and addresses, who sends packets there, and who may receive them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from felixpy.flows.packets.packet_sets import PacketSet, union
from felixpy.flows.packets.peers import AddressOwners, Externals, Layers
from felixpy.flows.packets.tags import DNAT, ESTABLISHED, INVALID, RELATED, SPOOFED, STATELESS
from felixpy.netfilter.numbers import Range, parse_address
from felixpy.walk import Machine

LOOPBACK = "lo"
LOOPBACKS = {4: 127 << 24 | 1, 6: 1}
NEVER_SENT = {4: Range(127 << 24, (128 << 24) - 1), 6: Range(0, 1)}
"""Addresses that never leave a machine."""

VARIANTS = ESTABLISHED | RELATED | INVALID | STATELESS | DNAT | SPOOFED
"""What a tag says about a packet from the beginning to the end."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known about a node in one family: the interfaces of its pods and itself, by address.

    `behind` are all interfaces of pods, also of those without an address of the family: they have no packets but with
    addresses that are not theirs.
    """

    machine: Machine
    pods: Mapping[int, str]
    own: Mapping[int, str]
    behind: frozenset[str]

    @classmethod
    def of(cls, machine: Machine, pods: Mapping[str, Sequence[str]], family: int) -> Ground:
        """`pods` are addresses by interface."""
        behind = {text: name for name, texts in pods.items() for text in texts}
        own = {text: name for name, texts in machine.interfaces.items() for text in texts}
        loopback = {LOOPBACKS[family]: LOOPBACK}
        here, there = ({a.number: name for text, name in found.items() if (a := parse_address(text)).family == family}
                       for found in (own, behind))  # fmt: skip
        return cls(machine, there, {**loopback, **here}, frozenset(pods))


class Row(NamedTuple):
    """Senders that no rule tells apart: by which interface their packets come ("" for the node's own), and one of their
    addresses. `bit` is theirs among the receivers; `spoofed` packets do not come the way that leads back to them.
    """

    interface: str
    address: int
    bit: int
    spoofed: bool = False


class Signature(NamedTuple):
    """What NAT made of packets that get through: the new source (-1 for one of the node's own) and destination."""

    source: int | None = None
    destination: tuple[int | None, int | None] | None = None


Fates: TypeAlias = dict[tuple[int, Signature], PacketSet]
"""What gets through, by variant of the packet and what NAT made of it."""


@dataclass(frozen=True, slots=True)
class Receivers:
    """Who may be a receiver: each address of the node and its pods, and classes of others by each interface."""

    locals: AddressOwners
    externals: Externals
    interfaces: tuple[str, ...]

    @property
    def count(self) -> int:
        return self.externals.count

    @property
    def offset(self) -> int:
        return self.externals.offset

    @property
    def mask(self) -> int:
        return self.copies(self.externals.mask)

    def peers(self, layers: Layers) -> int:
        """Others that are inside, by whatever interface."""
        return self.copies(self.externals.peers(layers))

    def by(self, interface: str) -> int:
        """Everybody else who is reached by an interface."""
        return self.externals.mask << self.interfaces.index(interface) * self.count

    def copies(self, peers: int) -> int:
        """Classes by every interface."""
        return union(peers << at * self.count for at in range(len(self.interfaces)))

    def tell(self, bit: int) -> tuple[str, int]:
        """The interface and the class, as a bit of the classes, of a receiver that is not an endpoint of the node."""
        at, position = divmod(bit.bit_length() - 1 - self.offset, self.count)
        return self.interfaces[at], 1 << self.offset + position


class Classes(dict[int, int]):
    """Addresses by the bit of their class."""

    @property
    def inverse(self) -> dict[int, int]:
        return {address: bit for bit, address in self.items()}
