"""What rules ask of packets, as values.

Each class is one question. `felixpy.walk.tests` answers it for one packet, `felixpy.flows.programs.perspective` for all
packets at once. A new match of iptables or nftables is spelt in these terms, or adds a class here and answers in both.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from felixpy.netfilter.numbers import Range

Side = Literal["source", "destination"]


class AddressIn(Struct, frozen=True):
    """An address in one of some ranges."""

    side: Side
    ranges: tuple[Range, ...]


class Masked(Struct, frozen=True):
    """An address that has certain bits: a net whose mask has gaps."""

    side: Side
    bits: int
    mask: int


class InSet(Struct, frozen=True):
    """A member of a set, with the side that each dimension is taken from (``src`` or ``dst``)."""

    name: str
    sides: tuple[str, ...]


class Interface(Struct, frozen=True):
    """The interface that the packet came in by (`incoming`) or leaves by; a pattern may end with ``+``."""

    incoming: bool
    pattern: str

    def fits(self, name: str) -> bool:
        return name.startswith(self.pattern[:-1]) if self.pattern.endswith("+") else name == self.pattern


class Protocol(Struct, frozen=True):
    """A protocol by number."""

    number: int


class Ports(Struct, frozen=True):
    """A port in one of some ranges, at one of the sides."""

    sides: tuple[Side, ...]
    ranges: tuple[Range, ...]


class IcmpTypes(Struct, frozen=True):
    """Types of ICMP, as type * 256 + code."""

    range: Range


class TcpFlags(Struct, frozen=True):
    """Of some flags of TCP exactly those that are wanted, as bits."""

    examined: int
    wanted: int


class Marked(Struct, frozen=True):
    """A mark of the packet, or of its connection."""

    mark: int
    mask: int
    connection: bool = False


class Tracked(Struct, frozen=True):
    """What connection tracking says: one of some states, as bits of `felixpy.netfilter.numbers.STATES`."""

    states: int


class Local(Struct, frozen=True):
    """An address of the machine; `limit` is ``in`` or ``out`` where only those of that interface count."""

    side: Side
    limit: str = ""


class ReversePath(Struct, frozen=True):
    """The way back to the source leads through the interface that the packet came by, or (`fails`) does not."""

    fails: bool


class Constant(Struct, frozen=True):
    """What always holds, or never."""

    holds: bool


class Assumed(Struct, frozen=True):
    """What no packet shows by itself, such as a rate: `text` is the criterion, `words` say what is taken for granted.

    `holds` is the answer under that assumption.
    """

    text: str
    words: str
    holds: bool


class NotUnderstood(Struct, frozen=True):
    """A criterion without a meaning here; `text` is how the rule spells it, `reason` why."""

    text: str
    reason: str


Criterion: TypeAlias = (
    AddressIn
    | Masked
    | InSet
    | Interface
    | Protocol
    | Ports
    | IcmpTypes
    | TcpFlags
    | Marked
    | Tracked
    | Local
    | ReversePath
    | Constant
    | Assumed
    | NotUnderstood
)


class Test(NamedTuple):
    """A criterion that must hold, or with `negated` must not."""

    criterion: Criterion
    negated: bool = False


ALWAYS, NEVER = Constant(True), Constant(False)
