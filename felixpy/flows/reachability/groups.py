"""Connections between groups of endpoints, such as namespaces: traffic of all pairs, and of only some pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from felixpy.flows.packets.packet_sets import PacketSet, bits, join_all
from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.flow import Peer
from felixpy.flows.reachability.pairs import Pairs, Sheet, outside


class GroupFlow(NamedTuple):
    """The traffic of one family from the members of a group to those of another, or from or to addresses outside.

    `every` gets through between all pairs of members, `some` between only some of them; None if there is none.
    """

    source: Peer
    destination: Peer
    family: int
    every: Traffic | None
    some: Traffic | None


class Groups:
    """Groups of the endpoints that `pairs` shows, by name: masks with bits by position in the universe."""

    def __init__(self, pairs: Pairs, names: Mapping[int, str]) -> None:
        """`names` are names of groups by the position of the endpoint; endpoints without one are left out."""
        self._pairs = pairs
        members: dict[str, int] = defaultdict(int)
        for position, name in names.items():
            members[name] |= 1 << position
        self.members: Mapping[str, int] = {name: members[name] for name in sorted(members)}

    def flows(self) -> Iterator[GroupFlow]:
        """Yield all flows, by sending group, those from outside last."""
        for sheet in self._pairs.sheets:
            groups = {name: present for name, mask in self.members.items() if (present := mask & sheet.present)}
            for name, mask in groups.items():
                rows = [(position, _row(sheet, position)) for position in bits(mask)]
                for other, receivers in groups.items():
                    yield from _told(sheet, peer(name), peer(other), _between(rows, receivers))
                if self._pairs.external:
                    yield from self._to_outside(sheet, name, [row for _, row in rows])
            if self._pairs.external:
                for name, mask in groups.items():
                    yield from self._from_outside(sheet, name, mask)

    def _to_outside(self, sheet: Sheet, name: str, rows: Sequence[PacketSet]) -> Iterator[GroupFlow]:
        """Yield flows to outside; ranges that the same members reach with the same traffic are one peer."""
        alike: dict[tuple[int, int], int] = defaultdict(int)
        known: dict[frozenset[tuple[int, int]], None] = dict.fromkeys(
            frozenset((traffic, some) for traffic, peers in row.items() if (some := peers & sheet.space.externals.mask))
            for row in rows
        )
        for position in bits(sheet.space.externals.mask):
            told = [next((traffic for traffic, peers in row if peers >> position & 1), 0) for row in known]
            alike[_common(told)] |= 1 << position
        for both, classes in alike.items():
            yield from _told(sheet, peer(name), _addresses(sheet, classes), both)

    def _from_outside(self, sheet: Sheet, name: str, mask: int) -> Iterator[GroupFlow]:
        alike: dict[tuple[int, int], int] = defaultdict(int)
        for position, row in sheet.columns.items():
            alike[_between([(-1, row)], mask)] |= 1 << position
        for both, classes in alike.items():
            yield from _told(sheet, _addresses(sheet, classes), peer(name), both)


def _row(sheet: Sheet, position: int) -> PacketSet:
    """Return the row of an endpoint, extended by traffic that no policy lets out where traffic surrounds it."""
    never = sheet.never.get(position, 0)
    row = sheet.rows.get(position, {})
    return join_all({sheet.space.traffic.filled(traffic, never): peers} for traffic, peers in row.items())


def peer(name: str) -> Peer:
    """Return a group as an end of flows."""
    return Peer("group", "", name)


def _addresses(sheet: Sheet, classes: int) -> Peer:
    return outside(sheet.space.externals.ranges(classes), sheet.space.family)


def _common(traffic: Sequence[int]) -> tuple[int, int]:
    """Return the masks of traffic that all have, and that only some have."""
    every, some = -1 if traffic else 0, 0
    for each in traffic:
        every &= each
        some |= each
    return every, some & ~every


def _between(rows: Sequence[tuple[int, PacketSet]], receivers: int) -> tuple[int, int]:
    """Return the traffic of all pairs, and of only some, of senders (by position) and other receivers (a mask)."""
    every, some = -1, 0
    for position, row in rows:
        left = receivers & ~(1 << position) if position >= 0 else receivers
        if not left:
            continue
        for traffic, peers in row.items():
            if peers & left:
                every &= traffic
                some |= traffic
                left &= ~peers
        if left:
            every = 0
    return (max(every, 0)), some & ~every


def _told(sheet: Sheet, source: Peer, destination: Peer, both: tuple[int, int]) -> Iterator[GroupFlow]:
    every, some = both
    if every or some:
        tell = sheet.space.traffic.tell
        family = sheet.space.family
        yield GroupFlow(source, destination, family, tell(every) if every else None, tell(some) if some else None)
