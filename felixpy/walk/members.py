"""Lookups in IP sets, as the kernel does them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from felixpy.errors import InputError, Place, Problem, UsageError
from felixpy.netfilter.numbers import BITS, ICMP, NUMBERS, parse_address
from felixpy.netfilter.rules import SavedSet
from felixpy.walk.run import PacketRun, Test

FAMILIES = {"inet": 4, "inet6": 6}
"""Families by how ipset names them."""

SOCKETS = {4: socket.AF_INET, 6: socket.AF_INET6}

PLAIN = frozenset({"family", "hashsize", "maxelem", "bucketsize", "initval", "range", "timeout", "counters", "comment",
                   "forceadd", "skbinfo"})  # fmt: skip
"""Options of a set that do not change who is in it."""

ICMP_NAMES: Mapping[str, str] = {
    "echo-reply": "0/0", "echo-request": "8/0", "destination-unreachable": "3/0", "time-exceeded": "11/0",
}  # fmt: skip
"""Names that ipset prints for types of ICMP."""


class UnknownSet(Exception):
    """A set of a type that is not understood."""


class Member(NamedTuple):
    """A member of several dimensions: prefix lengths of its addresses, and one value for each dimension."""

    lengths: tuple[int, ...]
    values: tuple[object, ...]
    excludes: bool


Reader = Callable[[PacketRun], object]


def _port(run: PacketRun, port: int) -> object:
    """The port of a packet in set lookups; for ICMP it is type and code. (ip_set_getport.c)"""
    if run.protocol == ICMP[run.family]:
        return run.protocol, run.icmp_type << 8 | run.icmp_code
    return run.protocol, port


ADDRESSES: Mapping[str, Reader] = {"src": lambda run: run.source, "dst": lambda run: run.destination}
PORTS: Mapping[str, Reader] = {
    "src": lambda run: _port(run, run.source_port),
    "dst": lambda run: _port(run, run.port),
}
READERS = {"ip": ADDRESSES, "net": ADDRESSES, "port": PORTS}
"""What a dimension of a kind takes from the packet, by side."""

Nets = list[tuple[int, dict[int, bool]]]
"""Masks, the longest first, each with the nets of that length and whether they belong to the set."""


class Members:
    """A set's members, indexed at the first lookup."""

    def __init__(self, saved: SavedSet) -> None:
        """Raise UnknownSet for types that are not understood."""
        method, _, kinds = saved.type.partition(":")
        self.saved, self.dimensions = saved, kinds.split(",")
        odd = set(saved.options) - PLAIN
        if method not in ("hash", "bitmap") or set(self.dimensions) - set(READERS) or odd:
            words = f"{saved.type} {' '.join(sorted(odd))}".strip()
            raise UnknownSet(f"set {saved.name} is of a type that is not understood: {words}")
        self.family = 6 if saved.options.get("family") == "inet6" else 4
        self._nets: Nets | None = None
        self._tables: list[tuple[tuple[int, ...], dict[tuple[object, ...], bool]]] | None = None

    def test(self, sides: list[str], family: int) -> Test:
        """Return a function that tests whether a packet of a family is in the set, with the given sides as dimensions.

        A set of the other family, or with more dimensions than sides, matches no packet (`ip_set_test` in
        net/netfilter/ipset/ip_set_core.c); of the nets that contain an address the longest decides.
        """
        if len(sides) < len(self.dimensions) or not holds_packets(self.saved, family):
            return lambda run: False
        if self.dimensions in (["ip"], ["net"]):
            return self._one_source if sides[0] == "src" else self._one_destination
        readers = [READERS[kind][side] for kind, side in zip(self.dimensions, sides, strict=False)]
        return lambda run: self._holds(tuple(read(run) for read in readers))

    def nets(self) -> Nets:
        """The members of a set of one dimension, the longest masks first."""
        if self._nets is None:
            self._nets = self._read_nets()
        return self._nets

    def rows(self) -> Iterator[Member]:
        """The members of a set of several dimensions, in the order in which they decide."""
        found = [member for text in self.saved.members for member in self._members(text)]
        yield from sorted(found, key=lambda member: member.lengths, reverse=True)

    def _one_source(self, run: PacketRun) -> bool:
        return self._contains(run.source)

    def _one_destination(self, run: PacketRun) -> bool:
        return self._contains(run.destination)

    def _contains(self, address: int) -> bool:
        for mask, nets in self._nets or self.nets():
            found = nets.get(address & mask)
            if found is not None:
                return found
        return False

    def _holds(self, values: tuple[object, ...]) -> bool:
        if self._tables is None:
            self._tables = self._read_tables()
        for masks, members in self._tables:
            found = members.get(_masked(values, masks))
            if found is not None:
                return found
        return False

    # --- reading

    def _read_nets(self) -> Nets:
        """Index the members of a set of one dimension; single addresses, the most frequent, have a fast path."""
        kind, full = SOCKETS[self.family], _mask(BITS[self.family], self.family)
        levels: dict[int, dict[int, bool]] = {full: {}}
        singles = levels[full]
        for member in self.saved.members:
            try:
                if member.isascii() and "/" not in member and " " not in member:
                    singles[int.from_bytes(socket.inet_pton(kind, member), "big")] = True
                    continue
                text, *extensions = member.split() or [""]
                address, _, length = text.partition("/")
                mask = _mask(int(length or BITS[self.family]), self.family)
                number = int.from_bytes(socket.inet_pton(kind, address), "big")
            except (OSError, ValueError) as wrong:
                raise self._odd(member) from wrong
            levels.setdefault(mask, {})[number & mask] = "nomatch" not in extensions
        return sorted(levels.items(), reverse=True)

    def _read_tables(self) -> list[tuple[tuple[int, ...], dict[tuple[object, ...], bool]]]:
        """One table for each combination of prefix lengths."""
        tables: dict[tuple[int, ...], dict[tuple[object, ...], bool]] = {}
        for text in self.saved.members:
            for member in self._members(text):
                masks = tuple(_mask(length, self.family) for length in member.lengths)
                tables.setdefault(masks, {})[_masked(member.values, masks)] = not member.excludes
        return sorted(tables.items(), reverse=True)

    def _members(self, member: str) -> Iterator[Member]:
        """The members in a line of several dimensions: one for each port of a range."""
        text, *extensions = member.split() or [""]
        parts = text.split(",")
        if len(parts) != len(self.dimensions):
            raise self._odd(member)
        lengths: list[int] = []
        alternatives: list[list[object]] = [[]]
        for kind, part in zip(self.dimensions, parts, strict=True):
            try:
                if kind == "port":
                    ports = [*_ports(part)]
                    alternatives = [[*values, port] for values in alternatives for port in ports]
                    continue
                address, _, length = part.partition("/")
                lengths.append(int(length or BITS[self.family]))
                number = parse_address(address).number
            except (ValueError, KeyError, UsageError) as wrong:
                raise self._odd(member) from wrong
            for values in alternatives:
                values.append(number)
        yield from (Member(tuple(lengths), tuple(values), "nomatch" in extensions) for values in alternatives)

    def _odd(self, member: str) -> InputError:
        reason = f"member {member or '(empty)'} of set {self.saved.name} ({self.saved.type}) is not understood"
        return InputError([Problem(place=Place("ipset save"), reason=reason)])


def holds_packets(saved: SavedSet, family: int) -> bool:
    """Whether a set can match packets of a family: a set of ports only matches those of both."""
    return saved.type == "bitmap:port" or FAMILIES.get(saved.options.get("family", "inet")) == family


class SetLibrary:
    """The saved sets of a node by name, for the rules of a family, each indexed once.

    Sets that `before` has, too, are reused.
    """

    def __init__(self, saved: Mapping[str, SavedSet] | None, family: int, before: SetLibrary | None = None) -> None:
        self._saved, self.family, self._before = saved or {}, family, before
        self._known: dict[str, Members] = {}

    def get(self, name: str) -> Members:
        """A set by name. Raises UnknownSet."""
        if name not in self._known:
            if name not in self._saved:
                raise UnknownSet(f"set {name}, which was not given")
            self._known[name] = self._read(self._saved[name])
        return self._known[name]

    def _read(self, saved: SavedSet) -> Members:
        if self._before and self._before.has(saved):
            return self._before.get(saved.name)
        return Members(saved)

    def has(self, saved: SavedSet) -> bool:
        """Whether the library contains this set object."""
        return self._saved.get(saved.name) is saved


def _ports(text: str) -> Iterable[tuple[int, int]]:
    """Parse ``tcp:80``, ``tcp:80-90`` or ``icmp:8/0``; the default protocol is TCP.

    >>> list(_ports("udp:53")), list(_ports("icmp:8/0")), list(_ports("icmp:echo-request"))
    ([(17, 53)], [(1, 2048)], [(1, 2048)])
    """
    name, _, port = text.rpartition(":")
    protocol = int(name) if name.isdecimal() else NUMBERS[name or "tcp"]
    port = ICMP_NAMES.get(port, port)
    if "/" in port:
        kind, _, code = port.partition("/")
        return [(protocol, int(kind) << 8 | int(code))]
    first, _, last = port.partition("-")
    return [(protocol, number) for number in range(int(first), int(last or first) + 1)]


def _mask(length: int, family: int) -> int:
    return (1 << BITS[family]) - (1 << BITS[family] - length)


def _masked(values: tuple[object, ...], masks: tuple[int, ...]) -> tuple[object, ...]:
    """Values with addresses masked, ports unchanged."""
    remaining = iter(masks)
    return tuple(value & next(remaining) if isinstance(value, int) else value for value in values)
