"""The surroundings of a node: its interfaces and addresses, and the senders and receivers of its packets."""

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
"""The bits of a tag that describe a packet and that rules do not change."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known about a node in one family: the interfaces of its pods and itself, by address.

    `pods` and `own` are interfaces by address. `behind` are the interfaces of all pods, also of pods without an address
    of the family, which can only send packets with addresses that are not theirs.
    """

    machine: Machine
    pods: Mapping[int, str]
    own: Mapping[int, str]
    behind: frozenset[str]

    @classmethod
    def of(cls, machine: Machine, pods: Mapping[str, Sequence[str]], family: int) -> Ground:
        """Return the ground of a machine. `pods` are the texts of addresses by interface."""
        behind = {text: name for name, texts in pods.items() for text in texts}
        own = {text: name for name, texts in machine.interfaces.items() for text in texts}
        loopback = {LOOPBACKS[family]: LOOPBACK}
        here, there = ({a.number: name for text, name in found.items() if (a := parse_address(text)).family == family}
                       for found in (own, behind))  # fmt: skip
        return cls(machine, there, {**loopback, **here}, frozenset(pods))


class Row(NamedTuple):
    """Senders that no rule distinguishes: the interface by which their packets arrive ("" for packets of the node), and
    one of their addresses.

    `bit` is the mask of the same peers among the receivers. `spoofed` packets arrive by an interface that does not lead
    back to their source.
    """

    interface: str
    address: int
    bit: int
    spoofed: bool = False


class Signature(NamedTuple):
    """What NAT made of packets that get through: the new source (-1: an address of the node), and the new destination.

    A destination is (address, port); None is an address of the node, or the old port.
    """

    source: int | None = None
    destination: tuple[int | None, int | None] | None = None


Fates: TypeAlias = dict[tuple[int, Signature], PacketSet]
"""The packets that get through, by their variant (bits of `VARIANTS`) and what NAT made of them."""


@dataclass(frozen=True, slots=True)
class Receivers:
    """All receivers: each address of the node and its pods, and for each interface all classes of other addresses."""

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
        """Return the mask of classes that are inside of layers, by any interface."""
        return self.copies(self.externals.peers(layers))

    def by(self, interface: str) -> int:
        """Return the mask of all classes that are reached by an interface."""
        return self.externals.mask << self.interfaces.index(interface) * self.count

    def copies(self, peers: int) -> int:
        """Return a mask of classes repeated for every interface."""
        return union(peers << at * self.count for at in range(len(self.interfaces)))

    def tell(self, bit: int) -> tuple[str, int]:
        """Return the interface and the class (a mask of one bit) of a receiver that is no endpoint of the node."""
        at, position = divmod(bit.bit_length() - 1 - self.offset, self.count)
        return self.interfaces[at], 1 << self.offset + position


class Classes(dict[int, int]):
    """An address of each class, by the bit of the class."""

    @property
    def inverse(self) -> dict[int, int]:
        return {address: bit for bit, address in self.items()}
