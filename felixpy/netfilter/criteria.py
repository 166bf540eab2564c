"""The criteria of rules, as values.

`felixpy.walk.tests` evaluates a criterion for one packet, `felixpy.flows.programs.perspective` for sets of packets. A
new match of iptables or nftables is expressed with these classes, or adds a class here and its evaluation in both.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from felixpy.netfilter.numbers import Range

Side = Literal["source", "destination"]


class AddressIn(Struct, frozen=True):
    """The address is in one of the ranges."""

    side: Side
    ranges: tuple[Range, ...]


class Masked(Struct, frozen=True):
    """The address has certain bits: a network whose mask is not a prefix."""

    side: Side
    bits: int
    mask: int


class InSet(Struct, frozen=True):
    """The packet matches a set; each dimension is taken from ``src`` or ``dst``."""

    name: str
    sides: tuple[str, ...]


class Interface(Struct, frozen=True):
    """The incoming or outgoing interface of the packet; a pattern may end with ``+``."""

    incoming: bool
    pattern: str

    def fits(self, name: str) -> bool:
        return name.startswith(self.pattern[:-1]) if self.pattern.endswith("+") else name == self.pattern


class Protocol(Struct, frozen=True):
    """The packet's protocol, by number."""

    number: int


class Ports(Struct, frozen=True):
    """The port of one of the sides is in one of the ranges."""

    sides: tuple[Side, ...]
    ranges: tuple[Range, ...]


class IcmpTypes(Struct, frozen=True):
    """The ICMP type and code are among these, as type * 256 + code."""

    range: Range


class TcpFlags(Struct, frozen=True):
    """Of the TCP flags in a mask exactly the wanted ones are set, as bits."""

    examined: int
    wanted: int


class Marked(Struct, frozen=True):
    """The mark of the packet, or of its connection, has a value under a mask."""

    mark: int
    mask: int
    connection: bool = False


class Tracked(Struct, frozen=True):
    """The state in connection tracking is one of these, as bits of `felixpy.netfilter.numbers.STATES`."""

    states: int


class Local(Struct, frozen=True):
    """The address is one of the node's; `limit` is ``in`` or ``out`` if it must be one of that interface."""

    side: Side
    limit: str = ""


class ReversePath(Struct, frozen=True):
    """The route back to the source is through the incoming interface, or (`fails`) is not."""

    fails: bool


class Constant(Struct, frozen=True):
    """Always true, or always false."""

    holds: bool


class Assumed(Struct, frozen=True):
    """A criterion that depends on more than the packet, such as a rate: `text` is its spelling, `words` the assumption.

    `holds` is the result under that assumption.
    """

    text: str
    words: str
    holds: bool


class NotUnderstood(Struct, frozen=True):
    """A match that is not supported; `text` is its spelling in the rule, `reason` says why."""

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
    """A criterion that must be true, or with `negated` false."""

    criterion: Criterion
    negated: bool = False


ALWAYS, NEVER = Constant(True), Constant(False)
