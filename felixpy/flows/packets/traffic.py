"""Traffic: protocols, ports and types of ICMP, cut into the smallest pieces that rules distinguish.

All rules treat a piece the same, so a set of traffic is a mask with a bit for each piece, and results are exact without
evaluating single ports. Ports are 1 to 65535, as 0 is never used. Only those ICMP types are included that can open a
connection or need none: others pass with the connection that they belong to, or are invalid.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from felixpy.flows.packets.traffic_words import Numbers, Traffic, TrafficPart
from felixpy.netfilter.numbers import ICMP, NUMBERS, OPENING_ICMP, PROTOCOLS, UNTRACKED_ICMP, WITH_PORTS, Range, joined

ALWAYS = tuple(NUMBERS[name] for name in ("tcp", "udp", "sctp"))
"""Protocols that are always distinguished, whether rules mention them or not."""

PORTS = Range(1, 65535)
LARGEST_PROTOCOL = 255
TITLES: Mapping[int, str] = {
    NUMBERS["tcp"]: "TCP", NUMBERS["udp"]: "UDP", NUMBERS["sctp"]: "SCTP", NUMBERS["icmp"]: "ICMP",
    NUMBERS["icmpv6"]: "ICMPv6", NUMBERS["udplite"]: "UDPLite", NUMBERS["dccp"]: "DCCP", 4: "IP-in-IP",
}  # fmt: skip
WELL_KNOWN = ((NUMBERS["tcp"], 80), (NUMBERS["udp"], 53), (NUMBERS["tcp"], 443), (NUMBERS["tcp"], 22))
USUAL_SOURCE = 49152
OTHERS = "other"
"""The name of all protocols that no rule mentions."""


def title(protocol: int) -> str:
    """Return the usual name of a protocol.

    >>> title(6), title(47), title(200)
    ('TCP', 'GRE', 'protocol 200')
    """
    known = TITLES.get(protocol)
    return known or (PROTOCOLS[protocol].upper() if protocol in PROTOCOLS else f"protocol {protocol}")


@dataclass(slots=True)
class Mentions:
    """The numbers that rules mention; ports and ICMP (type * 256 + code) as the first numbers of pieces."""

    family: int
    protocols: set[int] = field(default_factory=set)
    starts: dict[int, set[int]] = field(default_factory=dict)
    source_starts: dict[int, set[int]] = field(default_factory=dict)

    def ports(self, protocols: Iterable[int], ranges: Iterable[Range], *, source: bool) -> None:
        """Add ports of some protocols, or of all that have ports if none is given."""
        starts = self.source_starts if source else self.starts
        for protocol in protocols or WITH_PORTS:
            self.protocols.add(protocol)
            found = starts.setdefault(protocol, set())
            for first, last in ranges:
                found |= {first, last + 1}

    def icmp(self, ranges: Iterable[Range]) -> None:
        self.ports([ICMP[self.family]], ranges, source=False)

    def with_(self, other: Mentions) -> Mentions:
        """Return the numbers that either has."""
        found = Mentions(self.family, self.protocols | other.protocols)
        for each in (self, other):
            for mine, theirs in ((found.starts, each.starts), (found.source_starts, each.source_starts)):
                for protocol, starts in theirs.items():
                    mine.setdefault(protocol, set()).update(starts)
        return found


class ProtocolBlock(NamedTuple):
    """The pieces of one protocol; the protocol None is all that no rule mentions.

    A piece is a range of destination `numbers` (ports, or ICMP) with a range of `sources`. Its bit is `offset` and the
    position of the sources times the number of ranges of numbers, and the position of the numbers.
    """

    protocol: int | None
    offset: int
    numbers: tuple[Range, ...]
    sources: tuple[Range, ...]

    @property
    def size(self) -> int:
        return len(self.numbers) * len(self.sources)

    @property
    def mask(self) -> int:
        return (1 << self.size) - 1 << self.offset

    def rows(self, traffic: int) -> Iterator[tuple[Range, int]]:
        """Yield for each range of sources with traffic the mask of numbers."""
        width = len(self.numbers)
        row = (1 << width) - 1
        for at, sources in enumerate(self.sources):
            yield sources, traffic >> self.offset + at * width & row

    def pieces(self, numbers: int, sources: int) -> int:
        """Return the mask of pieces with some numbers from some sources, both given as masks."""
        width = len(self.numbers)
        found = 0
        for at in range(len(self.sources)):
            if sources >> at & 1:
                found |= numbers << self.offset + at * width
        return found


EVERY_NUMBER: tuple[Range, ...] = (Range(0, 0),)
"""The single number of a protocol without ports."""


class TrafficSpace:
    """All traffic of one family, in pieces; with `every_icmp` also ICMP types that open no connection.

    They are part of an open connection, unless packets are `single` ones. With `coarse` types are distinguished only
    where rules mention them, which makes fewer pieces.
    """

    def __init__(
        self, mentions: Mentions, *, every_icmp: bool = False, single: bool = False, coarse: bool = False
    ) -> None:
        self.family, self.every_icmp, self.single = mentions.family, every_icmp or single, single
        own = ICMP[self.family]
        listed = dict.fromkeys((*ALWAYS, own, *sorted(mentions.protocols)))
        blocks: list[ProtocolBlock] = []
        offset = 0
        for protocol in (*listed, None):
            numbers = sources = EVERY_NUMBER
            if protocol == own:
                types = [Range(0, 0xFFFF)] if coarse else self._icmp_types()
                numbers = _cut(types, mentions.starts.get(own, ()))
            elif protocol in WITH_PORTS and protocol is not None:
                numbers = _cut([PORTS], mentions.starts.get(protocol, ()))
                sources = _cut([PORTS], mentions.source_starts.get(protocol, ()))
            blocks.append(ProtocolBlock(protocol, offset, numbers, sources))
            offset += blocks[-1].size
        self.blocks = tuple(blocks)
        self.all = (1 << offset) - 1
        self._by_protocol = {block.protocol: block for block in blocks}
        self._told: dict[int, Traffic] = {}
        self._filled: dict[tuple[int, int], int] = {}

    def _icmp_types(self) -> list[Range]:
        """Return the ICMP types as ranges of numbers."""
        types = OPENING_ICMP[self.family] | UNTRACKED_ICMP[self.family]
        return [Range(kind << 8, kind << 8 | 0xFF) for kind in (range(256) if self.every_icmp else sorted(types))]

    # --- numbers of another space

    def masks_in(self, finer: TrafficSpace) -> list[int]:
        """Return for each piece, by its position, the mask of the same traffic in a finer space."""
        found = [0] * self.all.bit_length()
        for block in finer.blocks:
            own = self._by_protocol.get(block.protocol) or self._by_protocol[None]
            width = len(own.numbers)
            columns = [_holder(own.numbers, numbers) for numbers in block.numbers]
            for row, sources in enumerate(block.sources):
                start = own.offset + _holder(own.sources, sources) * width
                offset = block.offset + row * len(block.numbers)
                for at, column in enumerate(columns):
                    found[start + column] |= 1 << offset + at
        return found

    # --- the traffic of criteria

    def protocol(self, number: int) -> int:
        """Return the mask of a protocol. Raises KeyError for one that was not mentioned."""
        return self._by_protocol[number].mask

    def ports(self, ranges: Iterable[Range], *, source: bool) -> int:
        """Return the mask of traffic of all protocols with ports in the ranges."""
        found = 0
        for block in self.blocks:
            if block.protocol in WITH_PORTS:
                found |= _within(block, list(ranges), source=source)
        return found

    def service(self, protocol: int, number: int, *, source: bool) -> int:
        """Return the mask of one port of a protocol; `number` is type and code for ICMP, 0 for other protocols."""
        block = self._by_protocol[protocol]
        has_sources = protocol in WITH_PORTS
        return _within(block, [Range(number, number)], source=source and has_sources)

    def icmp(self, ranges: Iterable[Range]) -> int:
        return _within(self._by_protocol[ICMP[self.family]], list(ranges), source=False)

    @cached_property
    def untracked(self) -> int:
        """The mask of traffic that connection tracking ignores (`UNTRACKED_ICMP`)."""
        return self.icmp(Range(kind << 8, kind << 8 | 0xFF) for kind in UNTRACKED_ICMP[self.family])

    @cached_property
    def unasked(self) -> int:
        """The mask of ICMP types that open no connection: a single packet that belongs to none is invalid."""
        if not self.single:
            return 0
        opening = self.icmp(Range(kind << 8, kind << 8 | 0xFF) for kind in OPENING_ICMP[self.family])
        return self._by_protocol[ICMP[self.family]].mask & ~self.untracked & ~opening

    def sample(self, traffic: int) -> tuple[int, int, int]:
        """Return one packet of some traffic: protocol, port or ICMP type and code, and source port (0 for any).

        Well-known ports are preferred.
        """
        for protocol, port in WELL_KNOWN:
            block = self._by_protocol[protocol]
            at = next(at for at, numbers in enumerate(block.numbers) if numbers.last >= port)
            if traffic & block.pieces(1 << at, (1 << len(block.sources)) - 1):
                traffic &= block.pieces(1 << at, (1 << len(block.sources)) - 1)
                return protocol, port, self._source_port(block, traffic)
        lowest = (traffic & -traffic).bit_length() - 1
        block = next(block for block in self.blocks if block.mask >> lowest & 1)
        if block.protocol is None:
            listed = {each.protocol for each in self.blocks}
            return next(number for number in range(LARGEST_PROTOCOL - 2, 0, -1) if number not in listed), 0, 0
        return (
            block.protocol,
            block.numbers[(lowest - block.offset) % len(block.numbers)].first,
            self._source_port(block, 1 << lowest),
        )

    def _source_port(self, block: ProtocolBlock, traffic: int) -> int:
        usual = next(
            (at for at, sources in enumerate(block.sources) if sources.first <= USUAL_SOURCE <= sources.last), -1
        )
        every = (1 << len(block.numbers)) - 1
        if usual >= 0 and traffic & block.pieces(every, 1 << usual):
            return USUAL_SOURCE
        lowest = (traffic & -traffic).bit_length() - 1
        return block.sources[(lowest - block.offset) // len(block.numbers)].last

    def lifted(self, traffic: int) -> int:
        """Return the mask of the same protocols and source ports with any destination port; ICMP types are kept."""
        found = traffic
        for block in self.blocks:
            if block.protocol in WITH_PORTS and traffic & block.mask:
                width = len(block.numbers)
                for at, (_, numbers) in enumerate(block.rows(traffic)):
                    if numbers:
                        found |= (1 << width) - 1 << block.offset + at * width
        return found

    # --- in words

    def tell(self, traffic: int) -> Traffic:
        """Return the traffic of a mask as protocols with ranges of numbers."""
        told = self._told.get(traffic)
        if told is None:
            missing = self.all & ~traffic if traffic & self._by_protocol[None].mask else 0
            told = Traffic(tuple(self._parts(traffic)), traffic == self.all, tuple(self._parts(missing)))
            self._told[traffic] = told
        return told

    def _parts(self, traffic: int) -> Iterator[TrafficPart]:
        for block in self.blocks:
            if not traffic & block.mask:
                continue
            name = OTHERS if block.protocol is None else title(block.protocol)
            whole = (1 << len(block.numbers)) - 1
            rows: dict[int, list[Range]] = {}
            for source, numbers in block.rows(traffic):
                if numbers:
                    rows.setdefault(numbers, []).append(source)
            for numbers, sources in rows.items():
                yield TrafficPart(
                    protocol=name,
                    number=block.protocol,
                    kind=_kind(block.protocol, self.family),
                    numbers=() if numbers == whole else _merged(block.numbers, numbers),
                    sources=() if len(sources) == len(block.sources) else joined(sources),
                )

    def filled(self, traffic: int, shadow: int) -> int:
        """Return the mask of the traffic and those pieces of the shadow (a mask) that it surrounds."""
        key = traffic, shadow & ~traffic
        found = self._filled.get(key)
        if found is None:
            found = self._filled[key] = self._fill(*key)
        return found

    def _fill(self, traffic: int, shadow: int) -> int:
        for block in self.blocks:
            if not shadow & block.mask:
                continue
            if block.size == 1:
                if traffic & self._by_protocol[None].mask:
                    traffic |= block.mask
                continue
            rows = zip(block.rows(traffic), block.rows(shadow), strict=True)
            for at, ((_, row), (_, dark)) in enumerate(rows):
                traffic |= _surrounded(block.numbers, row, dark) << block.offset + at * len(block.numbers)
        return traffic


def _kind(protocol: int | None, family: int) -> Numbers:
    if protocol == ICMP[family]:
        return "icmp"
    return "ports" if protocol in WITH_PORTS else "none"


def _holder(ranges: Sequence[Range], piece: Range) -> int:
    """Return the position of the range that contains a piece; 0 if there is only one range."""
    return max(bisect_right(ranges, piece.first, key=lambda each: each.first) - 1, 0)


def _cut(domain: Sequence[Range], starts: Iterable[int]) -> tuple[Range, ...]:
    """Return the domain in pieces, with a new one at each start.

    >>> _cut([Range(1, 9)], {4, 5, 99})
    (Range(first=1, last=3), Range(first=4, last=4), Range(first=5, last=9))
    """
    cuts = sorted(starts)
    found = []
    for first, last in domain:
        inside = cuts[bisect_left(cuts, first + 1) : bisect_left(cuts, last + 1)]
        found += [Range(low, high - 1) for low, high in zip((first, *inside), (*inside, last + 1), strict=True)]
    return tuple(found)


def _within(block: ProtocolBlock, ranges: Sequence[Range], *, source: bool) -> int:
    """Return the mask of a block's pieces in the ranges; a piece is inside or outside, as rules made the cuts."""
    pieces = block.sources if source else block.numbers
    chosen = 0
    for first, last in ranges:
        low = bisect_left(pieces, first, key=lambda piece: piece.first)
        high = bisect_left(pieces, last + 1, key=lambda piece: piece.first)
        if low < high:
            chosen |= (1 << high) - (1 << low)
    if source:
        return block.pieces((1 << len(block.numbers)) - 1, chosen)
    return block.pieces(chosen, (1 << len(block.sources)) - 1)


def _merged(ranges: Sequence[Range], chosen: int) -> tuple[Range, ...]:
    """Return the chosen ranges (a mask of positions), joining neighbours."""
    return joined(piece for at, piece in enumerate(ranges) if chosen >> at & 1)


def _surrounded(ranges: Sequence[Range], row: int, dark: int) -> int:
    """Return the mask of those dark pieces in a run that has only traffic beside it."""
    found, at = 0, 0
    while dark >> at:
        if not dark >> at & 1:
            at += 1
            continue
        end = at
        while dark >> end & 1:
            end += 1
        beside = [number for number in (at - 1, end) if 0 <= number < len(ranges)]
        if beside and all(row >> number & 1 for number in beside):
            found |= (1 << end) - (1 << at)
        at = end
    return found
