"""Who reaches whom on what, in one family of one input: both halves of every connection put together.

A connection gets through if the sender's node lets it out and the receiver's node lets it in. Between endpoints of one
node the first half is the whole way. Nobody is asked at addresses that are no endpoint's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from felixpy.flows.packets.packet_sets import (
    PacketSet,
    bits,
    by_sender,
    join,
    join_all,
    meet,
    minus,
    of_peers,
    traffic_with,
    union,
)
from felixpy.flows.packets.peers import Layer
from felixpy.flows.programs.crossing import Half
from felixpy.flows.reachability.universe import FamilySpace
from felixpy.netfilter.numbers import Range


class Doubt(NamedTuple):
    """A rule that is not understood and could change what is said: on which node, what about it, where, and its text.

    `place` is table, chain and number.
    """

    node: str
    family: int
    words: str
    place: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassFlows:
    """What is known of a class of endpoints.

    `near` is what one of them lets out to others of its node, `far` to everybody else, `into` what it lets in from
    elsewhere. Elsewhere `sender` and `receiver` stand for all `members`, on their own node `neighbour` does; `host` is
    the bit of their node as others see it. `never` is the traffic that they may not send whatever policy says.
    """

    members: int
    sender: int
    receiver: int
    neighbour: int
    near: Half
    far: Half
    into: Half
    host: int
    never: int


class RuleReading(NamedTuple):
    """How rules are read that are not understood: what halves let through then."""

    out: Callable[[PacketSet, PacketSet], PacketSet]
    """Of what a half allows and of what is unsure about it."""
    translated: Callable[[PacketSet, PacketSet], PacketSet]


PLAIN = RuleReading(lambda allowed, unsure: allowed, lambda allowed, unsure: allowed)
POSSIBLE = RuleReading(join, lambda allowed, unsure: allowed)
SURE = RuleReading(minus, minus)


class Grid:
    """Rows and columns of one family. `ends` are by the position of the endpoint in the universe.

    `here` are the endpoints of the same node, by the position of each.
    """

    def __init__(
        self,
        space: FamilySpace,
        ends: Mapping[int, ClassFlows],
        here: Mapping[int, int],
        owners: Mapping[int, int],
        doubts: Iterable[Doubt],
    ) -> None:
        self.space, self.ends, self.here, self.owners = space, ends, here, owners
        self.positions = ends.keys()
        self.doubts = tuple(dict.fromkeys(doubts))
        self.outside = space.externals.mask
        self.everybody = self.outside | union(here.values())
        self._classes = list({id(end): end for end in ends.values()}.values())
        self._elsewhere = {end.receiver.bit_length() - 1: end.members for end in self._classes}
        self._nearby = {end.neighbour.bit_length() - 1: end.members for end in self._classes}
        self._let_in: dict[RuleReading, dict[int, PacketSet]] = {}
        self._rows: dict[tuple[int, RuleReading], tuple[PacketSet, PacketSet]] = {}
        self._grown: dict[tuple[bool, int], int] = {}

    def row(self, position: int) -> PacketSet:
        """Whom an endpoint reaches on what."""
        return self._row(position, PLAIN)

    def column(self, position: int) -> PacketSet:
        """Whom a class of outside addresses reaches on what."""
        return self._column(position, PLAIN)

    def unsure_row(self, position: int) -> PacketSet:
        """What could be otherwise, as there are rules that are not understood."""
        if not self._any_unsure:
            return {}
        return minus(self._row(position, POSSIBLE), self._row(position, SURE))

    def unsure_column(self, position: int) -> PacketSet:
        if not self._any_unsure:
            return {}
        return minus(self._column(position, POSSIBLE), self._column(position, SURE))

    def never(self, position: int) -> int:
        """Traffic that an endpoint may not send whatever policy says."""
        return self.ends[position].never

    def sends(self, position: int, peer: int) -> int:
        """The traffic that an endpoint lets out to another one elsewhere."""
        far, receiver = self.ends[position].far, self.ends[peer].receiver
        return union(traffic_with(packets, receiver) for packets in (far.allowed, *far.translated.values()))

    def accepts(self, position: int, peer: int) -> int:
        """The traffic that an endpoint lets in from another one elsewhere."""
        return traffic_with(self.ends[position].into.allowed, self.ends[peer].sender)

    def kind(self, position: int) -> int:
        """The endpoints that behave the same as one of them, as bits."""
        return self.ends[position].members

    # --- rows of classes, and of endpoints

    def _row(self, position: int, reading: RuleReading) -> PacketSet:
        near, far = self._of_class(self.ends[position], reading)
        here, own = self.here[position], 1 << position
        beyond, around = ~(here | own), here & ~own
        row: PacketSet = {}
        for traffic in dict.fromkeys((*far, *near)):
            peers = far.get(traffic, 0) & beyond | near.get(traffic, 0) & around
            if peers:
                row[traffic] = peers
        return row

    def _of_class(self, end: ClassFlows, reading: RuleReading) -> tuple[PacketSet, PacketSet]:
        """Whom an endpoint of a class reaches on its node and elsewhere; this is asked to be told of all members."""
        key = id(end), reading
        if key not in self._rows:
            near = join_all(packets for _, packets in self._sent(end.near, end, reading))
            far: PacketSet = {}
            for sender, packets in self._sent(end.far, end, reading):
                far = join(far, of_peers(packets, self.outside))
                inside = of_peers(packets, ~self.outside)
                if inside:
                    far = join(far, meet(inside, self._of_sender(sender, reading)))
            self._rows[key] = self._all_members(near, near=True), self._all_members(far, near=False)
        return self._rows[key]

    def _sent(self, half: Half, end: ClassFlows, reading: RuleReading) -> Iterator[tuple[int, PacketSet]]:
        """What leaves an endpoint, by whom the receiver takes for the sender."""
        yield end.sender, reading.out(half.allowed, half.unsure)
        for source, packets in half.translated.items():
            yield self._sender(end, source), reading.translated(packets, half.unsure)

    def _sender(self, end: ClassFlows, source: int) -> int:
        """Who the receiver takes for the sender: the node, or whoever has the address that NAT put in."""
        if source < 0:
            return end.host
        return self.owners.get(source) or self.space.externals.peers((Layer(Range(source, source)),))

    def _column(self, position: int, reading: RuleReading) -> PacketSet:
        return self._all_members(self._of_sender(1 << position, reading), near=False)

    def _all_members(self, packets: PacketSet, *, near: bool) -> PacketSet:
        """Classes of endpoints in place of those that stand for them."""
        found: PacketSet = {}
        for traffic, peers in packets.items():
            key = near, peers
            if key not in self._grown:
                members = self._nearby if near else self._elsewhere
                grown = union(members.get(at, 0) for at in bits(peers & ~self.outside))
                self._grown[key] = grown | peers & self.outside
            if self._grown[key]:
                found[traffic] = self._grown[key]
        return found

    # --- what is let in

    def _of_sender(self, sender: int, reading: RuleReading) -> PacketSet:
        """What receivers let in from one sender, given by its bit."""
        if reading not in self._let_in:
            self._let_in[reading] = by_sender(
                (end.receiver, reading.out(end.into.allowed, end.into.unsure)) for end in self._classes
            )
        return self._let_in[reading].get(sender.bit_length() - 1, {})

    @cached_property
    def _any_unsure(self) -> bool:
        return any(half.unsure for end in self._classes for half in (end.near, end.far, end.into))
