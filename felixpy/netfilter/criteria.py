"""What rules ask of packets, as values.

Each class is one question. `felixpy.walk.tests` answers it for one packet, `felixpy.flows.programs.perspective` for all
packets at once. A new match of iptables or nftables is spelt in these terms, or adds a class here and answers in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from felixpy.netfilter.numbers import Range

Side = Literal["source", "destination"]


@dataclass(frozen=True, slots=True)
class AddressIn:
    """An address in one of some ranges."""

    side: Side
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Masked:
    """An address that has certain bits: a net whose mask has gaps."""

    side: Side
    bits: int
    mask: int


@dataclass(frozen=True, slots=True)
class InSet:
    """A member of a set, with the side that each dimension is taken from (``src`` or ``dst``)."""

    name: str
    sides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """The interface that the packet came in by (`incoming`) or leaves by; a pattern may end with ``+``."""

    incoming: bool
    pattern: str

    def fits(self, name: str) -> bool:
        return name.startswith(self.pattern[:-1]) if self.pattern.endswith("+") else name == self.pattern


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol by number."""

    number: int


@dataclass(frozen=True, slots=True)
class Ports:
    """A port in one of some ranges, at one of the sides."""

    sides: tuple[Side, ...]
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class IcmpTypes:
    """Types of ICMP, as type * 256 + code."""

    range: Range


@dataclass(frozen=True, slots=True)
class TcpFlags:
    """Of some flags of TCP exactly those that are wanted, as bits."""

    examined: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Marked:
    """A mark of the packet, or of its connection."""

    mark: int
    mask: int
    connection: bool = False


@dataclass(frozen=True, slots=True)
class Tracked:
    """What connection tracking says: one of some states, as bits of `felixpy.netfilter.numbers.STATES`."""

    states: int


@dataclass(frozen=True, slots=True)
class Local:
    """An address of the machine; `limit` is ``in`` or ``out`` where only those of that interface count."""

    side: Side
    limit: str = ""


@dataclass(frozen=True, slots=True)
class ReversePath:
    """The way back to the source leads through the interface that the packet came by, or (`fails`) does not."""

    fails: bool


@dataclass(frozen=True, slots=True)
class Constant:
    """What always holds, or never."""

    holds: bool


@dataclass(frozen=True, slots=True)
class Assumed:
    """What no packet shows by itself, such as a rate: `text` is the criterion, `words` say what is taken for granted.

    `holds` is the answer under that assumption.
    """

    text: str
    words: str
    holds: bool


@dataclass(frozen=True, slots=True)
class NotUnderstood:
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
