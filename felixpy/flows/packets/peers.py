"""Peers: the endpoints of a cluster by their addresses, and all other addresses in ranges that no rule distinguishes.

Every peer has a bit: endpoints first, in the order of their universe, then one for each class of addresses that belong
to exactly the same nets and sets. Addresses of endpoints and nodes do not cut ranges; only rules do.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, pairwise
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from felixpy.flows.packets.packet_sets import bits, of_bits
from felixpy.netfilter.numbers import BITS, Range, spell_address


class Layer(NamedTuple):
    """A range of addresses that belong to a net or set, or are excepted from it (`inside` is false)."""

    range: Range
    inside: bool = True


Layers: TypeAlias = tuple[Layer, ...]
"""The content of a net or set: a later layer overrides earlier ones."""


Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Positions of pieces of the address space: (first, end) of each run of neighbours, ascending; end is exclusive."""


def refine(class_of: list[int], sizes: list[int], inside: Iterable[int]) -> None:
    """Split in place the classes that have members inside and members outside.

    Members are numbers; `class_of` has the class of each member, `sizes` the number of members of each class.

    >>> class_of, sizes = [0, 0, 0], [3]
    >>> refine(class_of, sizes, [1])
    >>> class_of, sizes
    ([0, 1, 0], [2, 1])
    """
    by_class: dict[int, list[int]] = {}
    for thing in inside:
        by_class.setdefault(class_of[thing], []).append(thing)
    for number, things in by_class.items():
        if len(things) < sizes[number]:
            sizes[number] -= len(things)
            for thing in things:
                class_of[thing] = len(sizes)
            sizes.append(len(things))


class Externals:
    """The addresses that belong to no endpoint, in classes; the first class has the bit position `offset`.

    `known` are addresses in use by endpoints and nodes: they are looked up one by one and do not cut ranges.
    """

    def __init__(self, family: int, layered: Iterable[Layers], known: Iterable[int], offset: int) -> None:
        self.family, self.offset = family, offset
        self._have = frozenset(known)
        self._known = sorted(self._have)
        several = list(layered)
        last = (1 << BITS[family]) - 1
        edges = {0}
        for layers in several:
            for (low, high), _ in layers:
                if low != high or low not in self._have:
                    edges |= {low, high + 1}
        edges.discard(last + 1)
        self._starts = sorted(edges)
        self._ends = [*(start - 1 for start in self._starts[1:]), last]
        self._classes, self._class_of = self._sorted_out({self._spans(layers) for layers in several})
        self.count = len(self._classes)

    @property
    def mask(self) -> int:
        return (1 << self.count) - 1 << self.offset

    def _sorted_out(self, layered: Iterable[Spans]) -> tuple[list[list[int]], list[int]]:
        """Return classes, each as its pieces, and the class of each piece; classes are in order of their first pieces.

        Two pieces are in one class if no net distinguishes them; each net splits the classes of its pieces.
        """
        class_of = [0] * len(self._starts)
        sizes = [len(self._starts)]
        for spans in layered:
            refine(class_of, sizes, _positions(self._fewer(spans)))
        ranks: dict[int, int] = {}
        classes: list[list[int]] = []
        for piece, number in enumerate(class_of):
            rank = ranks.setdefault(number, len(classes))
            if rank == len(classes):
                classes.append([])
            classes[rank].append(piece)
        return classes, [ranks[number] for number in class_of]

    def _fewer(self, spans: Spans) -> Spans:
        """Return the pieces or all others, whichever are fewer."""
        if 2 * sum(end - first for first, end in spans) <= len(self._starts):
            return spans
        edges = (0, *(edge for span in spans for edge in span), len(self._starts))
        return tuple((first, end) for first, end in zip(edges[::2], edges[1::2], strict=True) if first < end)

    def _spans(self, layers: Layers) -> Spans:
        """Return the pieces that are inside of layers."""
        spans: list[tuple[int, int]] = []
        for inside, run in groupby(layers, key=attrgetter("inside")):
            found = self._of_ranges(layer.range for layer in run)
            spans = list(_merged([*spans, *found])) if inside else list(_without(spans, list(_merged(found))))
        return tuple(spans)

    def _of_ranges(self, ranges: Iterable[Range]) -> list[tuple[int, int]]:
        found = []
        for low, high in ranges:
            if low == high and low in self._have:
                continue
            first, end = bisect_left(self._starts, low), bisect_left(self._starts, high + 1)
            if first < end:
                found.append((first, end))
        return found

    def peers(self, layers: Layers) -> int:
        """Return the mask of classes that are inside of layers."""
        spans = self._spans(layers)
        few = self._fewer(spans)
        found = of_bits({self._class_of[piece] for piece in _positions(few)})
        return (found if few == spans else found ^ (1 << self.count) - 1) << self.offset

    def masks_in(self, finer: Externals) -> list[int]:
        """Return for each class, by its number, the mask of the same addresses among finer classes, from bit 0."""
        found = [0] * self.count
        for number, pieces in enumerate(finer._classes):
            address = next((free for piece in pieces for free in finer._free_of(piece)), finer._starts[pieces[0]])
            found[self._class_of[bisect_right(self._starts, address) - 1]] |= 1 << number
        return found

    def _free_of(self, piece: int) -> Iterator[int]:
        return self.free(Range(self._starts[piece], self._ends[piece]))

    def ranges(self, peers: int) -> tuple[Range, ...]:
        """Return the addresses of some classes (a mask); ranges with only known addresses between them are joined."""
        pieces = sorted(piece for position in bits(peers >> self.offset) for piece in self._classes[position])
        found: list[Range] = []
        for position in pieces:
            low, high = self._starts[position], self._ends[position]
            if self._all_known(low, high):
                continue
            if found and self._all_known(found[-1].last + 1, low - 1):
                found[-1] = Range(found[-1].first, high)
            else:
                found.append(Range(low, high))
        return tuple(found)

    def free(self, addresses: Range) -> Iterator[int]:
        """Yield the first and the last address of a range that are not known."""
        low, high = addresses
        have = self._known[bisect_left(self._known, low) : bisect_right(self._known, high)]
        while have and have[0] == low:
            low, have = low + 1, have[1:]
        while have and have[-1] == high:
            high, have = high - 1, have[:-1]
        if low <= high:
            yield from (low, high) if low != high else (low,)

    def _all_known(self, low: int, high: int) -> bool:
        """Return whether all addresses from `low` to `high` are known; true if there are none."""
        return bisect_right(self._known, high) - bisect_left(self._known, low) == high - low + 1


def _positions(spans: Spans) -> Iterator[int]:
    return chain.from_iterable(range(first, end) for first, end in spans)


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield spans in order, joining those that touch or overlap.

    >>> list(_merged([(4, 6), (0, 2), (9, 10), (2, 5)]))
    [(0, 6), (9, 10)]
    """
    first = end = -1
    for one, other in sorted(spans):
        if one > end:
            if first < end:
                yield first, end
            first, end = one, other
        else:
            end = max(end, other)
    if first < end:
        yield first, end


def _without(spans: Iterable[tuple[int, int]], taken: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield spans without those in `taken`; both are in order.

    >>> list(_without([(0, 4), (5, 8)], [(2, 3), (3, 6)]))
    [(0, 2), (6, 8)]
    """
    at = 0
    for first, end in spans:
        while at < len(taken) and taken[at][1] <= first:
            at += 1
        reached, place = first, at
        while place < len(taken) and taken[place][0] < end:
            if reached < taken[place][0]:
                yield reached, taken[place][0]
            reached = max(reached, taken[place][1])
            place += 1
        if reached < end:
            yield reached, end


class AddressOwners:
    """The endpoints that have addresses, on one side of a comparison. `owners` are masks of one bit by address."""

    def __init__(self, owners: Mapping[int, int]) -> None:
        self.owners = owners
        self._addresses = sorted(owners)
        self._before = [0]
        for address in self._addresses:
            self._before.append(self._before[-1] | owners[address])

    def peers(self, layers: Layers) -> int:
        """Return the mask of endpoints whose addresses are inside of layers."""
        found = 0
        for (low, high), inside in layers:
            if low == high:
                those = self.owners.get(low, 0)
            else:
                first, end = bisect_left(self._addresses, low), bisect_right(self._addresses, high)
                those = self._before[end] ^ self._before[first] if first < end else 0
            found = found | those if inside else found & ~those
        return found


def spell_range(addresses: Range, family: int) -> str:
    """Return the text of a range: a CIDR if it is one, else first-last.

    >>> spell_range(Range(0x0A000000, 0x0A0000FF), 4), spell_range(Range(0x0A000001, 0x0A000003), 4)
    ('10.0.0.0/24', '10.0.0.1-10.0.0.3')
    """
    first, last = addresses
    size = last - first + 1
    if size & size - 1 == 0 and first % size == 0:
        return f"{spell_address(first, family)}/{BITS[family] - size.bit_length() + 1}"
    return f"{spell_address(first, family)}-{spell_address(last, family)}"


def outline(ranges: Sequence[Range]) -> tuple[Range, list[Range]] | None:
    """Return one CIDR and the ranges excepted from it, if they describe several ranges; None if less than most is left.

    >>> outline([Range(0, 3), Range(5, 7)])
    (Range(first=0, last=7), [Range(first=4, last=4)])
    """
    if len(ranges) < 2:
        return None
    whole = Range(ranges[0].first, ranges[-1].last)
    size = whole.last - whole.first + 1
    gaps = [Range(low.last + 1, high.first - 1) for low, high in pairwise(ranges)]
    excepted = sum(last - first + 1 for first, last in gaps)
    if size & size - 1 or whole.first % size or 2 * excepted > size:
        return None
    return whole, gaps
