"""Evaluates two inputs separately, each in numbers of its own, and translates the results to common numbers.

Endpoints have the same bits everywhere. Pieces of traffic and classes of other addresses are those that the rules of
one input distinguish; in common numbers each of them is one or several, as the rules of both inputs distinguish more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple, TypeAlias

from felixpy.flows.packets.packet_sets import PacketSet, bits, union
from felixpy.flows.packets.peers import Externals
from felixpy.flows.packets.traffic import TrafficSpace
from felixpy.flows.programs.code import Library
from felixpy.flows.programs.crossing import Half
from felixpy.flows.reachability.classes import Identity
from felixpy.flows.reachability.grid import ClassFlows, Doubt, Grid
from felixpy.flows.reachability.halves import Hands, make_grids
from felixpy.flows.reachability.sides import InputSide
from felixpy.flows.reachability.universe import FamilySpace, Told, Universe
from felixpy.workers import Computed, Lost, Workers

Renamed: TypeAlias = Mapping[int, Mapping[Identity, Identity]]
"""By the number of the input: the common identities of endpoints, where those in the input differ."""


class FamilyFlows(NamedTuple):
    """The content of a grid in numbers of one input, and what its rules distinguish, which defines these numbers."""

    traffic: TrafficSpace
    externals: Externals
    told: Told
    ends: Mapping[int, ClassFlows]
    here: Mapping[int, int]
    owners: Mapping[int, int]
    doubts: tuple[Doubt, ...]


class InputFlows(NamedTuple):
    """The flows of an input by family, and whether there are rules that the kernel rejects."""

    families: Mapping[int, FamilyFlows]
    refused: bool


class NumberedTogether(NamedTuple):
    """The grids of inputs by family, in numbers of a universe, and whether the kernel rejects any rules."""

    universe: Universe
    grids: Sequence[Mapping[int, Grid]]
    refused: bool


def grids_together(sides: Sequence[InputSide], renamed: Renamed, hands: Hands) -> NumberedTogether:
    """Return the grids of inputs whose rules are compiled and numbered together."""
    universe = Universe(sides, renamed=renamed)
    grids = make_grids(universe, sides, hands)
    return NumberedTogether(universe, grids, any(side.refused for side in sides))


@dataclass(frozen=True)
class Apart:
    """Evaluates one of several inputs whose endpoints are numbered together. Results are plain values."""

    sides: tuple[InputSide, ...]
    renamed: Renamed

    def evaluate(self, number: int) -> InputFlows:
        """Return the flows of an input, given by its number."""
        universe = Universe(self.sides, renamed=self.renamed, only=[number])
        grids = make_grids(universe, [self.sides[number]])[0]
        families = {family: _plain(grid, universe.mentioned[family]) for family, grid in grids.items()}
        return InputFlows(families, bool(self.sides[number].refused))


def _plain(grid: Grid, told: Told) -> FamilyFlows:
    space = grid.space
    return FamilyFlows(space.traffic, space.externals, told, grid.ends, grid.here, grid.owners, grid.doubts)


def grids_apart(sides: Sequence[InputSide], renamed: Renamed, hands: Workers) -> NumberedTogether:
    """Return the grids of inputs, each evaluated by a process of its own.

    This process evaluates an input whose process ended. Raises what evaluating raises.
    """
    work = Apart(tuple(sides), renamed)
    results = sorted(hands.run(Computed(work.evaluate), range(len(sides))), key=lambda each: each.number)
    found = [work.evaluate(number) if isinstance(result, Lost) else result for number, result in results]
    universe = Universe(sides, renamed=renamed, only=[])
    for family in sorted({family for each in found for family in each.families}):
        told = reduce(Told.with_, (each.families[family].told for each in found if family in each.families))
        universe.families[family] = universe.space_of(family, told, Library(family))
    grids = [
        {family: _Renumbering(flows, universe.families[family]).grid() for family, flows in each.families.items()}
        for each in found
    ]
    return NumberedTogether(universe, grids, any(each.refused for each in found))


class _Renumbering:
    """Translates the flows of one family of an input to other numbers."""

    def __init__(self, flows: FamilyFlows, space: FamilySpace) -> None:
        self._flows, self._space = flows, space
        self._offset = space.externals.offset
        self._pieces = flows.traffic.masks_in(space.traffic)
        self._classes = flows.externals.masks_in(space.externals)
        self._endpoints = (1 << self._offset) - 1
        self._traffic: dict[int, int] = {}
        self._outside: dict[int, int] = {}

    def grid(self) -> Grid:
        """Return the grid in the other numbers."""
        flows = self._flows
        known: dict[int, ClassFlows] = {}
        for end in flows.ends.values():
            if id(end) not in known:
                known[id(end)] = self._end(end)
        ends = {position: known[id(end)] for position, end in flows.ends.items()}
        return Grid(self._space, ends, flows.here, flows.owners, flows.doubts)

    def _end(self, end: ClassFlows) -> ClassFlows:
        near = self._half(end.near)
        far = near if end.far is end.near else self._half(end.far)
        return replace(end, near=near, far=far, into=self._half(end.into), never=self._of_traffic(end.never))

    def _half(self, half: Half) -> Half:
        translated = {source: self._packets(packets) for source, packets in half.translated.items()}
        return replace(
            half, allowed=self._packets(half.allowed), translated=translated, unsure=self._packets(half.unsure)
        )

    def _packets(self, packets: PacketSet) -> PacketSet:
        found: PacketSet = {}
        for traffic, peers in packets.items():
            others = self._of_peers(peers)
            if others:
                found[self._of_traffic(traffic)] = others
        return found

    def _of_traffic(self, traffic: int) -> int:
        found = self._traffic.get(traffic)
        if found is None:
            found = self._traffic[traffic] = union(self._pieces[at] for at in bits(traffic))
        return found

    def _of_peers(self, peers: int) -> int:
        outside = peers >> self._offset
        found = self._outside.get(outside)
        if found is None:
            found = self._outside[outside] = union(self._classes[at] for at in bits(outside)) << self._offset
        return peers & self._endpoints | found
