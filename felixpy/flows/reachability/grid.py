"""Who reaches whom on what, in one family of one input: both halves of every connection put together.

A connection gets through if the sender's node lets it out and the receiver's node lets it in. Between endpoints of one
node the first half is the whole way. Nobody is asked at addresses that are no endpoint's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from felixpy.flows.packets.packet_sets import PacketSet, by_sender, join, meet, minus, of_peers, union
from felixpy.flows.packets.peers import AddressOwners, Layer
from felixpy.flows.programs.crossing import Crossing, EndpointPlace, Half, Perspectives
from felixpy.flows.programs.evaluation import Memory
from felixpy.flows.programs.perspective import Perspective, RuleView
from felixpy.flows.reachability.sides import InputSide
from felixpy.flows.reachability.universe import FamilySpace, Universe
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


@dataclass(slots=True)
class EndpointFlows:
    """What is known of one endpoint: what it lets out and in, who else is on its node, and its node's own bit.

    `never` is the traffic that it may not send whatever policy says.
    """

    bit: int
    out: Half
    into: Half
    here: int = 0
    host: int = 0
    never: int = 0


class Grid:
    """Rows and columns of one family. `ends` are by the position of the endpoint in the universe."""

    def __init__(
        self,
        space: FamilySpace,
        everybody: int,
        ends: Mapping[int, EndpointFlows],
        owners: Mapping[int, int],
        doubts: Iterable[Doubt],
    ) -> None:
        self.space, self.everybody, self.ends, self._owners = space, everybody, ends, owners
        self.doubts = tuple(dict.fromkeys(doubts))
        self.outside = space.externals.mask

    def row(self, position: int) -> PacketSet:
        """Whom an endpoint reaches on what."""
        end = self.ends[position]
        return self._row(end, end.out.allowed, end.out.translated, self._let_in)

    def column(self, position: int) -> PacketSet:
        """Whom a class of outside addresses reaches on what."""
        return self._let_in.get(position, {})

    def unsure_row(self, position: int) -> PacketSet:
        """What could be otherwise, as there are rules that are not understood."""
        if not self._any_unsure:
            return {}
        end = self.ends[position]
        out = end.out
        possible = self._row(end, join(out.allowed, out.unsure), out.translated, self._perhaps_let_in)
        plain = minus(out.allowed, out.unsure)
        translated = {source: minus(packets, out.unsure) for source, packets in out.translated.items()}
        return minus(possible, self._row(end, plain, translated, self._surely_let_in))

    def unsure_column(self, position: int) -> PacketSet:
        if not self._any_unsure:
            return {}
        return minus(self._perhaps_let_in.get(position, {}), self._surely_let_in.get(position, {}))

    def _row(
        self, end: EndpointFlows, plain: PacketSet, translated: Mapping[int, PacketSet], let_in: Mapping[int, PacketSet]
    ) -> PacketSet:
        """What goes to the end's own node, or to nobody, is settled; elsewhere the receiver is asked."""
        settled = self.outside | end.here
        row: PacketSet = {}
        for sender, packets in (
            (end.bit, plain),
            *((self._sender(end, source), packets) for source, packets in translated.items()),
        ):
            row = join(row, of_peers(packets, settled))
            far = of_peers(packets, self.everybody & ~settled)
            if far:
                row = join(row, meet(far, let_in.get(sender.bit_length() - 1, {})))
        return row

    def _sender(self, end: EndpointFlows, source: int) -> int:
        """Who the receiver takes for the sender: the node, or whoever has the address that NAT put in."""
        if source < 0:
            return end.host
        return self._owners.get(source) or self.space.externals.peers((Layer(Range(source, source)),))

    @cached_property
    def _any_unsure(self) -> bool:
        return any(end.out.unsure or end.into.unsure for end in self.ends.values())

    @cached_property
    def _let_in(self) -> dict[int, PacketSet]:
        return by_sender((end.bit, end.into.allowed) for end in self.ends.values())

    @cached_property
    def _perhaps_let_in(self) -> dict[int, PacketSet]:
        return by_sender((end.bit, join(end.into.allowed, end.into.unsure)) for end in self.ends.values())

    @cached_property
    def _surely_let_in(self) -> dict[int, PacketSet]:
        return by_sender((end.bit, minus(end.into.allowed, end.into.unsure)) for end in self.ends.values())


def make_grid(side: InputSide, universe: Universe, family: int) -> Grid:
    """Go through the rules of every node of a side."""
    space = universe.families[family]
    places: dict[str, list[tuple[int, EndpointPlace]]] = {name: [] for name in side.names}
    owners: dict[int, int] = {}
    hosts: dict[str, int] = {}
    for endpoint in side.endpoints:
        address = endpoint.addresses.get(family)
        if address is None and endpoint.identity.kind != "interface":
            continue
        position = universe.position(side, endpoint.identity)
        bit = 0
        if address is not None:
            bit = 1 << position
            owners[address] = owners.get(address, 0) | bit
        if endpoint.identity.kind == "host":
            hosts[endpoint.node] = bit
        places[endpoint.node].append((position, EndpointPlace(bit, address, endpoint.interface)))
    directory = AddressOwners(owners)
    egress, ingress = (
        Perspective(space.traffic, directory, space.externals, direction) for direction in ("egress", "ingress")
    )
    perspectives = Perspectives(egress, ingress)
    memory = Memory()
    ends: dict[int, EndpointFlows] = {}
    doubts: list[Doubt] = []
    for name in side.names:
        crossing = Crossing(
            side.programs[family][name],
            side.machines[name],
            perspectives,
            owners,
            [place for _, place in places[name]],
            memory,
        )
        here = union(place.bit for _, place in places[name])
        for position, place in places[name]:
            end = EndpointFlows(
                bit=1 << position,
                out=crossing.egress(place),
                into=crossing.ingress(place),
                here=here,
                host=hosts.get(name, 0),
                never=crossing.never(place),
            )
            ends[position] = end
            doubts += (_doubt(name, family, line) for line in (*end.out.doubts, *end.into.doubts))
    return Grid(space, egress.everybody, ends, owners, doubts)


def _doubt(node: str, family: int, line: RuleView) -> Doubt:
    words = line.unknown or "it asks for the address of an endpoint, which is not known"
    return Doubt(node, family, words, line.rule.place, line.rule.text)
