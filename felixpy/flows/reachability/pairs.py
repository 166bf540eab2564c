"""Turns rows of numbers into flows between named peers: replicas are folded, ranges joined, equal families merged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from felixpy.flows.packets.packet_sets import PacketSet, bits, of_peers, union
from felixpy.flows.packets.peers import outline, spell_range
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.reachability.sides import SideEndpoint
from felixpy.flows.reachability.universe import FamilySpace
from felixpy.netfilter.numbers import Range

NOT_APART: Mapping[int, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The connections of one family: rows of endpoints, and columns of classes of outside addresses, by position.

    `never` are masks of traffic that no policy lets an endpoint send; it is shown as part of the traffic around it.
    `present` is the mask of endpoints that have an address of the family.
    """

    space: FamilySpace
    rows: Mapping[int, PacketSet]
    columns: Mapping[int, PacketSet]
    never: Mapping[int, int]
    present: int
    kinds: Mapping[int, int] = field(default_factory=dict)
    """The masks of endpoints that behave the same as each, by position, where these are known."""


class Unit(NamedTuple):
    """Endpoints that are shown as one peer; `bits` is their mask, `first` the position of one of them."""

    peer: Peer
    bits: int
    first: int

    @property
    def others(self) -> int:
        return self.bits & ~(1 << self.first)


class Focus(NamedTuple):
    """The peers that flows must have at one end: masks of endpoints, and of classes of outside addresses by family."""

    endpoints: int
    outside: Mapping[int, int]


class Pairs:
    """Flows of one or two families between `endpoints`, which are by position; others are left out.

    With `fold` the pods of a workload are one peer if all of them reach, and are reached by, the same peers with the
    same traffic.
    """

    def __init__(
        self,
        sheets: Sequence[Sheet],
        endpoints: Mapping[int, SideEndpoint],
        *,
        fold: bool = True,
        external: bool = True,
        classes: bool = False,
    ) -> None:
        """With `classes`, all endpoints that send and receive the same are one peer, independent of workloads."""
        self.sheets, self.endpoints, self.external = sheets, endpoints, external
        units = self._in_classes() if classes else self._units(fold=fold)
        self.units = sorted(units, key=lambda unit: _order(unit.peer))
        self._ranks = {unit.first: rank for rank, unit in enumerate(self.units)}
        self._first_bits = union(1 << unit.first for unit in self.units)
        self._peers: dict[tuple[int, int], Peer] = {}

    # --- endpoints that are shown as one

    def _units(self, *, fold: bool) -> Iterator[Unit]:
        groups: dict[object, list[int]] = defaultdict(list)
        for position, endpoint in self.endpoints.items():
            owner = endpoint.owner if fold else None
            key: object = (endpoint.identity.space, owner) if owner else endpoint.identity
            groups[key].append(position)
        several = {key: members for key, members in groups.items() if len(members) > 1}
        broken = self._uneven(several)
        for key, members in groups.items():
            owner = self.endpoints[members[0]].owner if fold else None
            if owner and key not in broken:
                names = tuple(sorted(self.endpoints[position].identity.name for position in members))
                space = self.endpoints[members[0]].identity.space
                peer = Peer("workload", space, owner.name, owner.kind, names)
                yield Unit(peer, union(1 << position for position in members), members[0])
            else:
                yield from (self._alone(position) for position in members)

    def _in_classes(self) -> Iterator[Unit]:
        """Yield a unit for endpoints that behave the same and all reach each other with the same traffic."""
        groups: dict[object, list[int]] = defaultdict(list)
        for position in self.endpoints:
            kinds = tuple(sheet.kinds.get(position, 1 << position) for sheet in self.sheets)
            groups[kinds].append(position)
        broken = self._uneven({key: members for key, members in groups.items() if len(members) > 1})
        number = 0
        for key, members in groups.items():
            if len(members) == 1 or key in broken:
                yield from (self._alone(position) for position in members)
                continue
            number += 1
            names = tuple(str(self._alone(position).peer) for position in members)
            peer = Peer("class", "", f"class-{number}", pods=names)
            yield Unit(peer, union(1 << position for position in members), members[0])

    def members(self, endpoints: int) -> list[Peer]:
        """Return the endpoints of a mask as single peers."""
        return [self._alone(position).peer for position in bits(endpoints)]

    def _alone(self, position: int) -> Unit:
        kind, space, name = self.endpoints[position].identity
        return Unit(Peer(kind, space, name, pods=(name,) if kind == "pod" else ()), 1 << position, position)

    def _uneven(self, groups: Mapping[object, Sequence[int]]) -> set[object]:
        """Return groups whose members do not all send and receive the same."""
        shown = union(1 << position for position in self.endpoints)
        masks = {key: union(1 << position for position in members) for key, members in groups.items()}
        homes = {position: key for key, members in groups.items() for position in members}
        broken: set[object] = set()
        for sheet in self.sheets:
            broken |= {key for key, mask in masks.items() if sheet.present & mask not in (0, mask)}
            split = _Splits(masks)
            for position, packets in sheet.rows.items():
                if not shown >> position & 1:
                    continue
                # Assume that the sender reaches all of its own group, which `_alike` checks.
                own = masks.get(homes.get(position), 0)
                broken |= {key for peers in packets.values() for key in split.by(peers | own)}
            for packets in sheet.columns.values() if self.external else ():
                broken |= {key for peers in packets.values() for key in split.by(peers)}
            for key, members in groups.items():
                outside = sheet.space.externals.mask if self.external else 0
                if key not in broken and not self._alike(sheet, members, masks[key], shown | outside):
                    broken.add(key)
        return broken

    def _alike(self, sheet: Sheet, members: Sequence[int], mask: int, shown: int) -> bool:
        """Return whether all members send the same to others that are shown, and to each other."""
        others = shown & ~mask
        seen = {tuple(sorted(of_peers(sheet.rows.get(position, {}), others).items())) for position in members}
        among: set[int] = set()
        for position in members:
            near = of_peers(sheet.rows.get(position, {}), mask)
            among.update(near)
            if union(near.values()) != mask & ~(1 << position):
                among.add(0)
        return len(seen) == 1 and len(among) <= 1

    # --- flows

    def flows(self, focus: Focus | None = None, *, apart: bool = False) -> Iterator[Flow]:
        """Yield all flows by source, those from outside last.

        Addresses with the same traffic are one peer of a flow; with `apart` addresses that differ in any flow are
        always different peers.
        """
        parts = {sheet.space.family: self._apart(sheet) for sheet in self.sheets} if apart else {}
        yield from self.sent(self.units, focus, parts)
        yield from self.entering(focus, parts)

    def sent(
        self, units: Iterable[Unit], focus: Focus | None = None, parts: Mapping[int, Sequence[int]] = NOT_APART
    ) -> Iterator[Flow]:
        """Yield the flows of some senders. `parts` are masks of classes of addresses by family, each a peer."""
        for unit in units:
            focused = focus is None or bool(unit.bits & focus.endpoints)
            cells = [self._row(unit, sheet) for sheet in self.sheets]
            for rank in sorted({rank for cell in cells for rank in cell}):
                if focused or (focus and self.units[rank].bits & focus.endpoints):
                    yield from self._merged(unit, self.units[rank], [cell.get(rank, 0) for cell in cells])
            for sheet in self.sheets if self.external else ():
                family = sheet.space.family
                some = sheet.space.externals.mask if focused or not focus else focus.outside.get(family, 0)
                for peer, traffic in self._in_order(sheet, self._to_outside(unit, sheet, some), parts.get(family)):
                    yield Flow(unit.peer, peer, sheet.space.traffic.tell(traffic))

    def entering(self, focus: Focus | None = None, parts: Mapping[int, Sequence[int]] = NOT_APART) -> Iterator[Flow]:
        """Yield the flows from outside."""
        for sheet in self.sheets if self.external else ():
            yield from self._from_outside(sheet, focus, parts.get(sheet.space.family))

    def asked(self, focus: Focus) -> set[Peer]:
        """Return the peers in focus, with outside addresses apart."""
        parts = ((sheet, part) for sheet in self.sheets for part in self._apart(sheet))
        outside = {
            self._outside(sheet.space, part) for sheet, part in parts if part & focus.outside.get(sheet.space.family, 0)
        }
        return outside | {unit.peer for unit in self.units if unit.bits & focus.endpoints}

    def _row(self, unit: Unit, sheet: Sheet) -> dict[int, int]:
        """Return traffic by the rank of the destination. For the sender's unit any other member represents it."""
        found: dict[int, int] = {}
        never = sheet.never.get(unit.first, 0)
        for traffic, peers in sheet.rows.get(unit.first, {}).items():
            filled = sheet.space.traffic.filled(traffic, never)
            for first in bits(peers & self._first_bits):
                found[self._ranks[first]] = filled
            if peers & unit.others:
                found[self._ranks[unit.first]] = filled
        return found

    def _to_outside(self, unit: Unit, sheet: Sheet, some: int) -> dict[int, int]:
        """Return masks of classes of outside addresses by traffic."""
        never = sheet.never.get(unit.first, 0)
        found: dict[int, int] = {}
        for traffic, peers in sheet.rows.get(unit.first, {}).items():
            if peers & some:
                filled = sheet.space.traffic.filled(traffic, never)
                found[filled] = found.get(filled, 0) | peers & some
        return found

    def _from_outside(self, sheet: Sheet, focus: Focus | None, parts: Sequence[int] | None) -> Iterator[Flow]:
        by_rank: dict[int, dict[int, int]] = defaultdict(dict)
        near = focus.outside.get(sheet.space.family, 0) if focus else 0
        for position, packets in sheet.columns.items():
            for traffic, peers in packets.items():
                for first in bits(peers & self._first_bits):
                    rank = self._ranks[first]
                    if focus is None or near >> position & 1 or self.units[rank].bits & focus.endpoints:
                        row = by_rank[rank]
                        row[traffic] = row.get(traffic, 0) | 1 << position
        for rank in sorted(by_rank):
            for peer, traffic in self._in_order(sheet, by_rank[rank], parts):
                yield Flow(peer, self.units[rank].peer, sheet.space.traffic.tell(traffic))

    def _in_order(
        self, sheet: Sheet, found: Mapping[int, int], parts: Sequence[int] | None
    ) -> Iterator[tuple[Peer, int]]:
        """Yield addresses with their traffic, the lowest first; classes without addresses are left out."""
        pieces = [(classes, traffic) for traffic, classes in found.items()]
        if parts is not None:
            pieces = [(part, traffic) for classes, traffic in pieces for part in parts if part & classes]
        peers = [(self._outside(sheet.space, classes), traffic) for classes, traffic in pieces]
        yield from sorted(((peer, t) for peer, t in peers if peer.ranges), key=lambda each: each[0].lowest)

    def _outside(self, space: FamilySpace, classes: int) -> Peer:
        key = space.family, classes
        if key not in self._peers:
            self._peers[key] = outside(space.externals.ranges(classes), space.family)
        return self._peers[key]

    def _apart(self, sheet: Sheet) -> list[int]:
        """Return masks of classes of outside addresses that all shown endpoints treat the same."""
        alike: dict[object, int] = defaultdict(int)
        for position, packets in sheet.columns.items():
            shown = {traffic: some for traffic, peers in packets.items() if (some := peers & self._first_bits)}
            alike[tuple(sorted(shown.items()))] |= 1 << position
        parts = list(alike.values())
        for unit in self.units:
            for classes in self._to_outside(unit, sheet, sheet.space.externals.mask).values():
                parts = [piece for part in parts for piece in (part & classes, part & ~classes) if piece]
        return parts

    def _merged(self, source: Unit, destination: Unit, traffic: Sequence[int]) -> Iterator[Flow]:
        """Yield the flows of a pair of endpoints; traffic of all families that both have is one flow."""
        if len(self.sheets) == 1:
            yield Flow(source.peer, destination.peer, self.sheets[0].space.traffic.tell(traffic[0]))
            return
        both = [
            (sheet, found)
            for sheet, found in zip(self.sheets, traffic, strict=True)
            if sheet.present >> source.first & sheet.present >> destination.first & 1
        ]
        told = [sheet.space.traffic.tell(found) for sheet, found in both]
        if len({told.family_free() for told in told}) == 1:
            yield Flow(source.peer, destination.peer, told[0])
            return
        for (sheet, found), words in zip(both, told, strict=True):
            if found:
                yield Flow(source.peer, destination.peer, words, sheet.space.family)


def outside(ranges: Sequence[Range], family: int) -> Peer:
    """Return addresses that belong to no endpoint as a peer."""
    texts = tuple(spell_range(addresses, family) for addresses in ranges)
    words = ",".join(texts)
    outlined = outline(ranges)
    if outlined:
        whole, gaps = outlined
        words = f"{spell_range(whole, family)} except {','.join(spell_range(gap, family) for gap in gaps)}"
    lowest = ranges[0].first if ranges else 0
    return Peer("external", "", "", ranges=texts, words=words, lowest=(family, lowest))


class _Splits:
    """Finds the groups of which a mask of peers contains some but not all members."""

    def __init__(self, masks: Mapping[object, int]) -> None:
        self._masks = masks
        self._all = union(masks.values())
        self._known: dict[int, list[object]] = {}

    def by(self, peers: int) -> list[object]:
        those = peers & self._all
        if those not in self._known:
            self._known[those] = [key for key, mask in self._masks.items() if those & mask not in (0, mask)]
        return self._known[those]


ORDER = {
    "class": 0,
    "group": 0,
    "workload": 0,
    "pod": 0,
    "interface": 1,
    "host": 2,
    "ingress-controller": 3,
    "service": 3,
    "external": 4,
}


def _order(peer: Peer) -> tuple[int, str, str]:
    return ORDER[peer.kind], peer.space, peer.name
