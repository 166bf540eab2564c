"""The bits of the packet mark: their allocation and spelling.

Bits are allocated from the lowest one of the mask upwards, in a fixed order; the remaining ones number the endpoints in
IPVS mode. (felix/markbits, felix/rules/endpoints.go)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace

from msgspec import Struct

FIRST_FREE = 2
"""Position 0 means no mark, and position 1 endpoints that are not Calico's."""


def spell(mark: int) -> str:
    """Go's %#x, for which zero is "0x0"."""
    return f"{mark:#x}"


class Marks(Struct, frozen=True):
    """Mark bits by name, each a single bit, and `endpoint`: all the bits that are left."""

    bits: tuple[tuple[str, int], ...]
    endpoint: int

    @property
    def non_cali(self) -> int:
        """The mark, in IPVS mode, of packets that are not from a Calico endpoint: the lowest endpoint bit."""
        return self.endpoint & -self.endpoint

    def named(self) -> SimpleNamespace:
        """The marks as text, by the names that templates use: ``mark.accept``, ``mark.accept_or_pass`` …"""
        bits = dict(self.bits)
        everything = bits["accept"] | bits["pass"] | bits["scratch0"] | bits["scratch1"]
        combined = {
            "all": everything,
            "all_but_accept": everything & ~bits["accept"],
            "accept_or_pass": bits["accept"] | bits["pass"],
            "scratch": bits["scratch0"] | bits["scratch1"],
            "endpoint": self.endpoint,
            "non_cali": self.non_cali,
        }
        return SimpleNamespace(**{name: spell(mark) for name, mark in (bits | combined).items()})


def allocate(mask: int, order: Sequence[str]) -> Marks:
    """Allocate one bit of `mask` for each name in `order`.

    >>> [spell(bit) for _, bit in allocate(0xff, ["accept", "pass", "drop"]).bits]
    ['0x1', '0x2', '0x4']

    Raises ValueError if the mask has too few bits, of which one must be left for endpoints: Felix panics.
    (felix/rules/rule_defs.go: Config.validate)
    """
    free = [1 << position for position in range(32) if mask >> position & 1]
    if len(free) <= len(order):
        raise ValueError(f"{spell(mask)}: the rules need {len(order) + 1} mark bits and {len(free)} are set")
    named = tuple(zip(order, free, strict=False))
    return Marks(named, mask & ~sum(bit for _, bit in named))


def _fnv1(name: str) -> int:
    """FNV-1, 32 bits: the hash that spreads endpoints over the mark space."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value * 0x01000193 & 0xFFFFFFFF) ^ byte
    return value


def _spread(position: int, mask: int) -> int:
    """Distribute the bits of `position` over the set bits of `mask`, lowest first."""
    mark = 0
    for bit in (1 << place for place in range(32) if mask >> place & 1):
        if position & 1:
            mark |= bit
        position >>= 1
    return mark


def endpoint_marks(workloads: Iterable[str], hosts: Iterable[str], mask: int) -> Mapping[str, int | None]:
    """A mark for each interface in IPVS mode, None for those for which the mask has no position left.

    Felix probes from the name's hash for the next free position, so in a collision the result depends on the order of
    arrival, which is random for workloads. Here workloads whose own position is free come first, then those that have
    to move, then hosts' interfaces, each in the given order. (felix/rules/epmark.go)
    """
    size = 1 << mask.bit_count()
    taken = set(range(min(FIRST_FREE, size)))
    marks: dict[str, int | None] = {}
    waiting = []
    for interface in workloads:
        marks[interface] = None
        position = _fnv1(interface) % size
        if position in taken:
            waiting.append(interface)
        else:
            taken.add(position)
            marks[interface] = _spread(position, mask)
    for interface in (*waiting, *hosts):
        start = _fnv1(interface) % size
        free = next((at % size for at in range(start, start + size) if at % size not in taken), None)
        marks[interface] = None if free is None else _spread(free, mask)
        taken.update(() if free is None else (free,))
    return marks
