"""The halves of all connections of some inputs: what classes of endpoints let out and in, evaluated in parts.

A part is what some neighbouring classes of one side and family let out, or what they let in. Its result consists of
plain numbers, so that other processes and machines can evaluate it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple, TypeAlias

from felixpy.flows.packets.packet_sets import union
from felixpy.flows.packets.peers import AddressOwners
from felixpy.flows.programs.crossing import Crossing, EndpointPlace, Half, Perspectives
from felixpy.flows.programs.evaluation import Memory
from felixpy.flows.programs.perspective import Perspective
from felixpy.flows.programs.views import RuleView
from felixpy.flows.reachability.classes import EndpointClass, Home, Identity
from felixpy.flows.reachability.grid import ClassFlows, Doubt, Grid
from felixpy.flows.reachability.sides import InputSide
from felixpy.flows.reachability.universe import Universe
from felixpy.netfilter.numbers import Address, is_loopback, parse_address
from felixpy.topology.nodes import tunnelled_pools
from felixpy.walk import Machine
from felixpy.workers import Alone, Computed, Lost, Workers

CLASSES_OF_A_PART = 250
"""Classes of a part. Parts are large, as each process first computes what all classes let in from their own node."""

Hands: TypeAlias = Callable[[int], Workers]
"""Returns workers for a number of parts."""


def here(_: int) -> Workers:
    """Return this process as the only worker, for any number of parts."""
    return Alone()


class Part(NamedTuple):
    """Some classes of a side (by its number in the universe), and whether the part is what they let out or in."""

    side: int
    family: int
    out: bool
    first: int
    end: int


class Sent(NamedTuple):
    """What a class lets out to others of its node and elsewhere, and the mask of traffic that it may never send."""

    near: Half
    far: Half
    never: int
    doubts: tuple[Doubt, ...]


class Received(NamedTuple):
    """What a class lets in from elsewhere."""

    into: Half
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True)
class Evaluation:
    """Evaluates parts. Only the inputs are pickled: compiling them elsewhere gives the same numbers."""

    universe: Universe
    _sides: dict[tuple[int, int], SideEvaluation] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[type[Evaluation], tuple[Universe]]:
        return Evaluation, (self.universe,)

    def of(self, number: int, family: int) -> SideEvaluation:
        """Return the evaluation of one family of a side."""
        key = number, family
        if key not in self._sides:
            self._sides[key] = SideEvaluation(self.universe.sides[number], self.universe, family)
        return self._sides[key]

    def parts(self, number: int, family: int) -> Iterator[Part]:
        """Yield all parts of one family of a side, both parts of the same classes in a row: they share most chains."""
        count = len(self.of(number, family).classes)
        for first in range(0, count, CLASSES_OF_A_PART):
            for out in (True, False):
                yield Part(number, family, out, first, min(first + CLASSES_OF_A_PART, count))

    def evaluate(self, part: Part) -> list[Sent] | list[Received]:
        """Return what the classes of a part let out or in."""
        side = self.of(part.side, part.family)
        numbers = range(part.first, part.end)
        return [side.sent(number) for number in numbers] if part.out else [side.received(number) for number in numbers]


def make_grids(universe: Universe, sides: Sequence[InputSide], hands: Hands = here) -> list[Mapping[int, Grid]]:
    """Return the grids of some sides of a universe, by family.

    This process evaluates a part whose process ended. Raises what evaluating raises.
    """
    work = Evaluation(universe)
    wanted = [(universe.sides.index(side), family) for side in sides
              for family in universe.families if family in side.families]  # fmt: skip
    parts = [part for number, family in wanted for part in work.parts(number, family)]
    halves: dict[Part, list[Sent] | list[Received]] = {}
    for number, found in hands(len(parts)).run(Computed(work.evaluate), parts):
        halves[parts[number]] = work.evaluate(parts[number]) if isinstance(found, Lost) else found
    grids = {key: work.of(*key).grid(*_joined(halves, key, parts)) for key in wanted}
    return [{family: grids[number, family] for number, family in wanted if universe.sides[number] is side}
            for side in sides]  # fmt: skip


def _joined(
    halves: Mapping[Part, list[Sent] | list[Received]], key: tuple[int, int], parts: Iterable[Part]
) -> tuple[list[Sent], list[Received]]:
    """Return what all classes of one family of a side let out, and what they let in, in order."""
    own = [part for part in parts if (part.side, part.family) == key]
    every = [half for part in own for half in halves[part]]
    return [half for half in every if isinstance(half, Sent)], [half for half in every if isinstance(half, Received)]


class SideEvaluation:
    """Evaluates the classes of one family of a side, which are numbered."""

    def __init__(self, side: InputSide, universe: Universe, family: int) -> None:
        self.side, self.family, self.space = side, family, universe.families[family]
        self.positions = {each.identity: universe.position(side, each.identity) for each in side.endpoints}
        self.endpoints = {
            each.identity: each
            for each in side.endpoints
            if family in each.addresses or each.identity.kind == "interface"
        }
        self.owners: dict[int, int] = {}
        known = [each for each in side.classes.endpoints if each.sender in self.endpoints]
        for identity in dict.fromkeys(each for found in known for each in (found.sender, found.receiver)):
            place = self._place(identity)
            if place.address is not None:
                self.owners[place.address] = self.owners.get(place.address, 0) | place.bit
        directory = AddressOwners(self.owners)
        self.perspectives = Perspectives(
            Perspective(self.space.traffic, directory, self.space.externals, "egress"),
            Perspective(self.space.traffic, directory, self.space.externals, "ingress"),
        )
        self.memory = Memory()
        self._last: tuple[Home, Crossing] | None = None

    @cached_property
    def classes(self) -> Sequence[EndpointClass]:
        """All classes, by node."""
        return tuple(chain.from_iterable(map(self._at, self.side.classes.homes)))

    def _at(self, home: Home) -> Sequence[EndpointClass]:
        return [found for found in self.side.classes.of(home) if found.sender in self.endpoints]

    def sent(self, number: int) -> Sent:
        """Return what a class lets out."""
        found = self.classes[number]
        crossing, sender = self._crossing(found.home), self._place(found.sender)
        near, far = crossing.egress(sender)
        doubts = self._doubts(found.home, near, far)
        without = near if not near.doubts else replace(near, doubts=())
        return Sent(without, without if far is near else replace(far, doubts=()), crossing.never(sender), doubts)

    def received(self, number: int) -> Received:
        """Return what a class lets in."""
        found = self.classes[number]
        end = found.sender if found.sender.kind == "host" else found.receiver
        into = self._crossing(found.home).ingress(self._place(end))
        return Received(replace(into, doubts=()), self._doubts(found.home, into))

    def grid(self, sent: Sequence[Sent], received: Sequence[Received]) -> Grid:
        """Return the grid of all classes, given what each of them lets out and in."""
        ends: dict[int, ClassFlows] = {}
        doubts: list[Doubt] = []
        for found, out, into in zip(self.classes, sent, received, strict=True):
            end = self._end(found, out, into)
            doubts += (*out.doubts, *into.doubts)
            ends |= {self.positions[identity]: end for identity in found.members}
        local: dict[str, int] = {}
        for each in self.endpoints.values():
            local[each.node] = local.get(each.node, 0) | self._bit(each.identity)
        here = {self.positions[each.identity]: local[each.node] for each in self.endpoints.values()}
        return Grid(self.space, ends, here, self.owners, doubts)

    def _end(self, found: EndpointClass, out: Sent, into: Received) -> ClassFlows:
        is_host = found.sender.kind == "host"
        return ClassFlows(
            members=union(1 << self.positions[identity] for identity in found.members),
            sender=1 << self.positions[found.receiver if is_host else found.sender],
            receiver=1 << self.positions[found.receiver],
            neighbour=1 << self.positions[found.sender if is_host else found.receiver],
            near=out.near,
            far=out.far,
            into=into.into,
            host=self._hosts[found.home],
            never=out.never,
        )

    @cached_property
    def _hosts(self) -> Mapping[Home, int]:
        """The masks of nodes as peers of others."""
        return {
            home: union(self._bit(found.receiver) for found in self._at(home) if found.receiver.kind == "host")
            for home in self.side.classes.homes
        }

    def _doubts(self, home: Home, *halves: Half) -> tuple[Doubt, ...]:
        lines = dict.fromkeys(line for half in halves for line in half.doubts)
        return tuple(_doubt(home.name, self.family, line) for line in lines)

    def _bit(self, identity: Identity) -> int:
        """Return the mask of an endpoint as a peer: 0 if its address is unknown."""
        return 1 << self.positions[identity] if self.family in self.endpoints[identity].addresses else 0

    def _place(self, identity: Identity) -> EndpointPlace:
        endpoint = self.endpoints[identity]
        return EndpointPlace(self._bit(identity), endpoint.addresses.get(self.family), endpoint.interface)

    def _crossing(self, home: Home) -> Crossing:
        """Return the crossing of a node; the last one is cached, as the next class is mostly on the same node."""
        if self._last is None or self._last[0] is not home:
            self._last = home, self._cross(home)
        return self._last[1]

    def _cross(self, home: Home) -> Crossing:
        """Return the crossing of a node; if it represents others, its pods are local for one half only."""
        machine, local = self.side.machines[home.name], self._at(home)
        places = [self._place(each) for found in local for each in dict.fromkeys((found.sender, found.receiver))]
        routes = self._routes(machine, {place.address: place.interface for place in places if place.interface})
        return Crossing(
            self.side.programs[self.family][home.name], machine, self.perspectives, self.memory,
            owners=self.owners, routes=routes, places=[self._place(found.receiver) for found in local],
            here=union(place.bit for place in places),
            away=self._routes(machine, {}) if len(home.nodes) > 1 else None,
        )  # fmt: skip

    def _routes(self, machine: Machine, local: Mapping[int | None, str]) -> dict[str, int]:
        """Return masks of the peers that each interface leads to, "" for the node; all others are behind the uplink."""
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
        """Return the tunnel devices behind which pods of other nodes are, by address."""
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
