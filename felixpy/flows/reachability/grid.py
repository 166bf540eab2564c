"""Who reaches whom on what, in one family of one input: both halves of every connection put together.

A connection gets through if the sender's node lets it out and the receiver's node lets it in. Between endpoints of one
node the first half is the whole way. Nobody is asked at addresses that are no endpoint's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from felixpy.flows.packets.peers import AddressOwners, Layer
from felixpy.flows.programs.crossing import Crossing, EndpointPlace, Half, Perspectives
from felixpy.flows.programs.evaluation import Memory
from felixpy.flows.programs.perspective import Perspective
from felixpy.flows.programs.views import RuleView
from felixpy.flows.reachability.classes import EndpointClass, Home, Identity
from felixpy.flows.reachability.sides import InputSide
from felixpy.flows.reachability.universe import FamilySpace, Universe
from felixpy.netfilter.numbers import Address, Range, is_loopback, parse_address
from felixpy.topology.nodes import tunnelled_pools
from felixpy.walk import Machine


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
        self.space, self._ends, self._here, self._owners = space, ends, here, owners
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
        return self._ends[position].never

    def sends(self, position: int, peer: int) -> int:
        """The traffic that an endpoint lets out to another one elsewhere."""
        far, receiver = self._ends[position].far, self._ends[peer].receiver
        return union(traffic_with(packets, receiver) for packets in (far.allowed, *far.translated.values()))

    def accepts(self, position: int, peer: int) -> int:
        """The traffic that an endpoint lets in from another one elsewhere."""
        return traffic_with(self._ends[position].into.allowed, self._ends[peer].sender)

    def kind(self, position: int) -> int:
        """The endpoints that behave the same as one of them, as bits."""
        return self._ends[position].members

    # --- rows of classes, and of endpoints

    def _row(self, position: int, reading: RuleReading) -> PacketSet:
        near, far = self._of_class(self._ends[position], reading)
        here, own = self._here[position], 1 << position
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
        return self._owners.get(source) or self.space.externals.peers((Layer(Range(source, source)),))

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


def make_grid(side: InputSide, universe: Universe, family: int) -> Grid:
    """Go through the rules of every node of a side, or of one of each class of them."""
    return _Maker(side, universe, family).grid()


class _Maker:
    """Evaluates the classes of one family of a side."""

    def __init__(self, side: InputSide, universe: Universe, family: int) -> None:
        self.side, self.family, self.space = side, family, universe.families[family]
        self.positions = {each.identity: universe.position(side, each.identity) for each in side.endpoints}
        self.endpoints = {
            each.identity: each
            for each in side.endpoints
            if family in each.addresses or each.identity.kind == "interface"
        }
        classes = [each for each in side.classes.endpoints if each.sender in self.endpoints]
        self.owners: dict[int, int] = {}
        for identity in dict.fromkeys(each for found in classes for each in (found.sender, found.receiver)):
            place = self._place(identity)
            if place.address is not None:
                self.owners[place.address] = self.owners.get(place.address, 0) | place.bit
        directory = AddressOwners(self.owners)
        self.perspectives = Perspectives(
            Perspective(self.space.traffic, directory, self.space.externals, "egress"),
            Perspective(self.space.traffic, directory, self.space.externals, "ingress"),
        )
        self.memory = Memory()
        self.doubts: list[Doubt] = []

    def grid(self) -> Grid:
        ends: dict[int, ClassFlows] = {}
        for home in self.side.classes.homes:
            for found, end in self._ends(home):
                ends |= {self.positions[identity]: end for identity in found.members}
        local: dict[str, int] = {}
        for each in self.endpoints.values():
            local[each.node] = local.get(each.node, 0) | self._bit(each.identity)
        here = {self.positions[each.identity]: local[each.node] for each in self.endpoints.values()}
        return Grid(self.space, ends, here, self.owners, self.doubts)

    def _bit(self, identity: Identity) -> int:
        """The bit of an endpoint as a peer: none if nobody knows its address."""
        return 1 << self.positions[identity] if self.family in self.endpoints[identity].addresses else 0

    def _place(self, identity: Identity) -> EndpointPlace:
        endpoint = self.endpoints[identity]
        return EndpointPlace(self._bit(identity), endpoint.addresses.get(self.family), endpoint.interface)

    def _ends(self, home: Home) -> Iterator[tuple[EndpointClass, ClassFlows]]:
        """The classes of a node. Where it stands for others, too, its pods are asked as if they were all here, and as
        if all others were elsewhere.
        """
        classes = [found for found in self.side.classes.of(home) if found.sender in self.endpoints]
        here = union(self._bit(each) for found in classes for each in (found.sender, found.receiver))
        host = union(self._bit(found.receiver) for found in classes if found.receiver.kind == "host")
        crossing = self._crossing(home, classes, here)
        for found in classes:
            sender, receiver = self._place(found.sender), self._place(found.receiver)
            is_host = found.sender.kind == "host"
            near, far = crossing.egress(sender)
            end = ClassFlows(
                members=union(1 << self.positions[identity] for identity in found.members),
                sender=1 << self.positions[found.receiver if is_host else found.sender],
                receiver=1 << self.positions[found.receiver],
                neighbour=1 << self.positions[found.sender if is_host else found.receiver],
                near=near,
                far=far,
                into=crossing.ingress(sender if is_host else receiver),
                host=host,
                never=crossing.never(sender),
            )
            self.doubts += (
                _doubt(home.name, self.family, line)
                for half in (end.near, end.far, end.into) for line in half.doubts
            )  # fmt: skip
            yield found, end

    def _crossing(self, home: Home, local: Sequence[EndpointClass], here: int) -> Crossing:
        machine = self.side.machines[home.name]
        places = [self._place(each) for found in local for each in dict.fromkeys((found.sender, found.receiver))]
        routes = self._routes(machine, {place.address: place.interface for place in places if place.interface})
        return Crossing(
            self.side.programs[self.family][home.name], machine, self.perspectives, self.memory,
            owners=self.owners, routes=routes, places=[self._place(found.receiver) for found in local], here=here,
            away=self._routes(machine, {}) if len(home.nodes) > 1 else None,
        )  # fmt: skip

    def _routes(self, machine: Machine, local: Mapping[int | None, str]) -> dict[str, int]:
        """The peers that each interface leads to, "" for the node itself; all others are beyond the uplink."""
        routes: dict[str, int] = {}
        own = {number for texts in machine.interfaces.values() for number, _ in map(parse_address, texts)}
        for address, owners in self.owners.items():
            device = local.get(address) or self._tunnels.get(address, "")
            if address in own or is_loopback(Address(address, self.family)):
                device = ""
            elif not device:
                continue
            routes[device] = routes.get(device, 0) | owners
        return routes

    @cached_property
    def _tunnels(self) -> Mapping[int, str]:
        """The devices behind which pods of other nodes are, by address."""
        pools = [(int(net[0]), int(net[-1]), device) for net, device in tunnelled_pools(self.side.nodes.cluster)
                 if net.version == self.family]  # fmt: skip
        if not pools:
            return {}
        pods = (each for each in self.endpoints.values() if each.identity.kind == "pod")
        found = {}
        for number in (each.addresses[self.family] for each in pods):
            device = next((device for low, high, device in pools if low <= number <= high), "")
            if device:
                found[number] = device
        return found


def _doubt(node: str, family: int, line: RuleView) -> Doubt:
    words = line.unknown or "it asks for the address of an endpoint, which is not known"
    return Doubt(node, family, words, line.rule.place, line.rule.text)
