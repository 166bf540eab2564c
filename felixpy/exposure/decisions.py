"""Which rules decide about connections: every class of traffic between two peers is traced, equal results joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from felixpy.errors import UsageError
from felixpy.flows import Connectivity, PortChoice
from felixpy.flows.packets.packet_sets import bits, union
from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.reachability.grid import Grid
from felixpy.flows.reachability.pairs import Focus, Pairs
from felixpy.netfilter.numbers import ICMP, WITH_PORTS, Range, parse_address, spell_address
from felixpy.tracing import Question, Trace, Tracer
from felixpy.tracing.reasons import reason

USUAL_SOURCE = Question(source="", destination="").source_port

MOST = 200_000
"""So many packets are traced at most, which takes several minutes."""


class Decision(NamedTuple):
    """Some traffic, its verdict, the reason in words, and the deciding rules at each end."""

    allowed: bool
    traffic: Traffic
    family: int
    words: str
    rules: tuple[dict[str, Any], ...]

    def json(self) -> dict[str, Any]:
        return {
            "verdict": "allow" if self.allowed else "deny",
            "connection": str(self.traffic),
            **self.traffic.json(),
            "family": self.family,
            "reason": self.words,
            "rules": list(self.rules),
        }


class Decisions:
    """Explains connections. For a peer of several pods, the first pod is traced."""

    def __init__(self, found: Connectivity, pairs: Pairs, ports: Sequence[PortChoice], focus: Focus | None) -> None:
        self.found, self.pairs, self.ports, self.focus = found, pairs, ports, focus
        self.tracer = Tracer(found.side.nodes)
        self._units = {unit.peer: unit for unit in pairs.units}
        self._known: dict[tuple[Peer, Peer], list[Decision]] = {}

    def of(self, flow: Flow) -> dict[str, Any]:
        """The JSON keys for what decides about an allowed connection; none for those of ingress controllers."""
        if not self._has(flow.source) or not self._has(flow.destination):
            return {}
        found = self.between(flow.source, flow.destination)
        wanted = [each for each in found if each.allowed and flow.family in (None, each.family)]
        return {"decisions": [each.json() for each in wanted]}

    def denied(self) -> Iterator[dict[str, Any]]:
        """All denied traffic between the peers that are shown, with what decides about it.

        Raises UsageError if that would take too long.
        """
        outside = dict.fromkeys(
            peer for flow in self.pairs.flows(self.focus, apart=True) for peer in flow[:2] if peer.kind == "external"
        )
        everybody = [*self._units, *outside]
        asked = [pair for pair in product(everybody, repeat=2) if self._is_asked(*pair)]
        pieces = sum(self._asked(grid).bit_count() for grid in self.found.grids.values())
        if len(asked) * pieces > MOST:
            raise UsageError("--explain: that are too many connections; narrow it with --focus, -n or --ports")
        for source, destination in asked:
            for decision in self.between(source, destination):
                if not decision.allowed:
                    yield {"source": source.json(), "destination": destination.json(), **decision.json()}

    def between(self, source: Peer, destination: Peer) -> list[Decision]:
        """All traffic from one peer to another, grouped by what decides about it."""
        key = source, destination
        if key not in self._known:
            self._known[key] = [
                each for family, grid in self.found.grids.items() for each in self._decided(key, family, grid)
            ]
        return self._known[key]

    def _is_asked(self, source: Peer, destination: Peer) -> bool:
        if "external" in (source.kind, destination.kind) and source.kind == destination.kind:
            return False
        if source == destination and len(source.pods) < 2:
            return False
        return self.focus is None or any(
            unit and unit.bits & self.focus.endpoints for unit in map(self._units.get, (source, destination))
        )

    def _has(self, peer: Peer) -> bool:
        return peer in self._units or peer.kind == "external"

    def _asked(self, grid: Grid) -> int:
        traffic = grid.space.traffic
        return union(choice.mask(traffic) for choice in self.ports) if self.ports else traffic.all

    def _decided(self, key: tuple[Peer, Peer], family: int, grid: Grid) -> Iterator[Decision]:
        source, destination = (self._address(peer, family, grid, second=number > 0 and key[0] == peer)
                               for number, peer in enumerate(key))  # fmt: skip
        if not source or not destination:
            return
        sender = self._units.get(key[0])
        never = grid.never(sender.first) if sender and sender.first in grid.positions else 0
        groups: dict[tuple[bool, str, str], tuple[int, Trace]] = {}
        for piece in bits(self._asked(grid) & ~never):
            found = self._trace(source, destination, family, grid.space.traffic.sample(1 << piece))
            why = found.allowed, reason(found).words, repr([*map(_rule_key, self._rules(found))])
            groups[why] = groups.get(why, (0, found))[0] | 1 << piece, groups.get(why, (0, found))[1]
        for (allowed, words, _), (mask, found) in groups.items():
            told = grid.space.traffic.tell(grid.space.traffic.filled(mask, never))
            yield Decision(allowed, told, family, words, tuple(self._rules(found)))

    def _trace(self, source: str, destination: str, family: int, sample: tuple[int, int, int]) -> Trace:
        protocol, number, source_port = sample
        icmp = divmod(number, 256) if protocol == ICMP[family] else None
        question = Question(
            source=source, destination=destination, protocol=protocol, family=family, icmp=icmp,
            port=number if protocol in WITH_PORTS else None, source_port=source_port or USUAL_SOURCE,
        )  # fmt: skip
        return self.tracer.trace(question)

    def _address(self, peer: Peer, family: int, grid: Grid, *, second: bool) -> str:
        """An address of a peer; with `second` that of another pod, for a peer that sends to itself."""
        if peer.kind == "external":
            addresses = (address for span in _spans(peer, family) for address in grid.space.externals.free(span))
            return next((spell_address(address, family) for address in addresses), "")
        unit = self._units[peer]
        own = [*bits(unit.bits)][1 if second else 0]
        number = self.found.endpoints[own].addresses.get(family)
        return "" if number is None else spell_address(number, family)

    def _rules(self, found: Trace) -> Iterator[dict[str, Any]]:
        """The deciding rule at each end."""
        for report in found.reports:
            for index, hit in [*enumerate(report.enforced)][-1:]:
                place = {"file": hit.place.file, "line": hit.place.line} if hit.place else {}
                yield {"reporter": report.reporter, **hit.record(index), **place}


def _rule_key(rule: dict[str, Any]) -> tuple[object, ...]:
    return tuple(rule[key] for key in ("reporter", "kind", "namespace", "name", "tier", "action", "rule_index"))


def _spans(peer: Peer, family: int) -> Iterator[Range]:
    """The ranges of an external peer as numbers."""
    for text in peer.ranges:
        if (":" in text) != (family == 6):
            continue
        if "-" in text:
            first, last = (parse_address(part).number for part in text.split("-"))
            yield Range(first, last)
        else:
            base, _, length = text.partition("/")
            low = parse_address(base).number
            yield Range(low, low + (1 << ((32 if family == 4 else 128) - int(length))) - 1)
