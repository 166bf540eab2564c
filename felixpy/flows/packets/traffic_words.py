"""Traffic as text and JSON: protocols with ranges of ports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from felixpy.netfilter.numbers import Range

Numbers = Literal["ports", "icmp", "none"]
"""The meaning of a protocol's numbers: ports, types of ICMP (type * 256 + code), or none."""


class TrafficPart(NamedTuple):
    """Traffic of one protocol; empty `numbers` are all of them, empty `sources` any source port.

    `protocol` is its title, `number` its number, None for all protocols that are not listed.
    """

    protocol: str
    number: int | None
    kind: Numbers
    numbers: tuple[Range, ...] = ()
    sources: tuple[Range, ...] = ()

    def values(self) -> list[str]:
        """Return the ports, or types of ICMP, as texts; none if it is all of them."""
        if self.kind == "icmp":
            return [text for numbers in self.numbers for text in _types(numbers)]
        return [str(numbers) for numbers in self.numbers]

    def __str__(self) -> str:
        text = " ".join(filter(None, [self.protocol, ",".join(self.values())]))
        return f"{text} from {','.join(map(str, self.sources))}" if self.sources else text

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"protocol": self.protocol}
        if self.number is not None:
            found["number"] = self.number
        if self.numbers:
            found["types" if self.kind == "icmp" else "ports"] = self.values()
        if self.sources:
            found["sourcePorts"] = [str(sources) for sources in self.sources]
        return found


class Traffic(NamedTuple):
    """Traffic in parts. If protocols that are not listed are part of it, `missing` is all traffic that is not."""

    parts: tuple[TrafficPart, ...]
    everything: bool = False
    missing: tuple[TrafficPart, ...] = ()

    def __str__(self) -> str:
        """Return ``All``, ``TCP 80,443; UDP 53``, or ``All but TCP 25``, whichever fits."""
        if self.everything:
            return "All"
        if self.missing:
            return f"All but {_listed(self.missing)}"
        return self.explicit()

    def explicit(self) -> str:
        """Return all parts by name; ``other`` are the protocols that are not listed."""
        return "All" if self.everything else _listed(self.parts) or "None"

    def family_free(self) -> Traffic:
        """Return the same traffic with ICMP of both families under one name, to compare families."""
        parts, missing = (
            tuple(ANY_ICMP if part.kind == "icmp" and not part.numbers else part for part in each)
            for each in (self.parts, self.missing)
        )
        return Traffic(parts, self.everything, missing)

    def json(self) -> dict[str, Any]:
        """Return ``{"all": true}``, or the protocols with their ports; one without listed ports has all of them."""
        if self.everything:
            return {"all": True}
        return {"all": False, "protocols": [part.json() for part in self.parts]}


ANY_ICMP = TrafficPart("ICMP", None, "icmp")


def _listed(parts: Iterable[TrafficPart]) -> str:
    return "; ".join(map(str, parts))


def _types(numbers: Range) -> Iterator[str]:
    """Yield types of ICMP as text: a whole type by its number, others with their codes.

    >>> list(_types(Range(0x0800, 0x08FF))), list(_types(Range(0x0301, 0x04FF))), list(_types(Range(0x0304, 0x0304)))
    (['8'], ['3/1-255', '4'], ['3/4'])
    """
    for kind in range(numbers.first >> 8, (numbers.last >> 8) + 1):
        low = max(numbers.first, kind << 8) & 0xFF
        high = min(numbers.last, kind << 8 | 0xFF) & 0xFF
        yield str(kind) if (low, high) == (0, 0xFF) else f"{kind}/{Range(low, high)}"
