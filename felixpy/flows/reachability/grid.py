"""The connections of one family of one input: combines both halves of every connection.

A connection gets through if the sender's node lets it out and the receiver's node lets it in. Between endpoints of one
node the first half is the whole way. No rules are evaluated for addresses that belong to no endpoint.
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
    """A rule that is not understood and could change the result: its node, what is not understood, its place and text.

    `place` is table, chain and number.
    """

    node: str
    family: int
    words: str
    place: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassFlows:
    """The flows of a class of endpoints, whose masks have a bit for each endpoint.

    `near` is what one of them lets out to others of its node, `far` to all other peers, `into` what it lets in from
    elsewhere. On other nodes `sender` and `receiver` represent all `members`, on their own node `neighbour` does;
    `host` is the mask of their node as a peer of others. `never` is the mask of traffic that no policy lets them send.
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
    """A reading of rules that are not understood: what halves let through with it."""

    out: Callable[[PacketSet, PacketSet], PacketSet]
    """A function of what a half allows and what is unsure about it."""
    translated: Callable[[PacketSet, PacketSet], PacketSet]


PLAIN = RuleReading(lambda allowed, unsure: allowed, lambda allowed, unsure: allowed)
POSSIBLE = RuleReading(join, lambda allowed, unsure: allowed)
SURE = RuleReading(minus, minus)


class Grid:
    """The rows and columns of one family. `ends` are by the position of the endpoint in the universe.

    `here` are masks of the endpoints of the same node, by position; `owners` masks of endpoints by address.
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
        """Return the peers that an endpoint reaches, with the traffic."""
        return self._row(position, PLAIN)

    def column(self, position: int) -> PacketSet:
        """Return the endpoints that a class of outside addresses reaches, with the traffic."""
        return self._column(position, PLAIN)

    def unsure_row(self, position: int) -> PacketSet:
        """Return the part of a row that depends on rules that are not understood."""
        if not self._any_unsure:
            return {}
        return minus(self._row(position, POSSIBLE), self._row(position, SURE))

    def unsure_column(self, position: int) -> PacketSet:
        if not self._any_unsure:
            return {}
        return minus(self._column(position, POSSIBLE), self._column(position, SURE))

    def never(self, position: int) -> int:
        """Return the mask of traffic that no policy lets an endpoint send."""
        return self.ends[position].never

    def sends(self, position: int, peer: int) -> int:
        """Return the mask of traffic that an endpoint lets out to one on another node."""
        far, receiver = self.ends[position].far, self.ends[peer].receiver
        return union(traffic_with(packets, receiver) for packets in (far.allowed, *far.translated.values()))

    def accepts(self, position: int, peer: int) -> int:
        """Return the mask of traffic that an endpoint lets in from one on another node."""
        return traffic_with(self.ends[position].into.allowed, self.ends[peer].sender)

    def kind(self, position: int) -> int:
        """Return the mask of endpoints that behave the same as one of them."""
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
        """Return what endpoints of a class reach on their node, and elsewhere."""
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
        """Yield what an endpoint lets out, by the mask of the sender that the receiver sees."""
        yield end.sender, reading.out(half.allowed, half.unsure)
        for source, packets in half.translated.items():
            yield self._sender(end, source), reading.translated(packets, half.unsure)

    def _sender(self, end: ClassFlows, source: int) -> int:
        """Return the mask of the sender that the receiver sees: the node, or the peer with the source that NAT set."""
        if source < 0:
            return end.host
        return self.owners.get(source) or self.space.externals.peers((Layer(Range(source, source)),))

    def _column(self, position: int, reading: RuleReading) -> PacketSet:
        return self._all_members(self._of_sender(1 << position, reading), near=False)

    def _all_members(self, packets: PacketSet, *, near: bool) -> PacketSet:
        """Return packets with all members of classes in place of their representatives."""
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

    # --- incoming halves

    def _of_sender(self, sender: int, reading: RuleReading) -> PacketSet:
        """Return what receivers let in from one sender, given as a mask of one bit."""
        if reading not in self._let_in:
            self._let_in[reading] = by_sender(
                (end.receiver, reading.out(end.into.allowed, end.into.unsure)) for end in self._classes
            )
        return self._let_in[reading].get(sender.bit_length() - 1, {})

    @cached_property
    def _any_unsure(self) -> bool:
        return any(half.unsure for end in self._classes for half in (end.near, end.far, end.into))
