"""Finds the packets that reach the differences of two programs of a node; all others are treated the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from felixpy.flows.packets.ground import Row
from felixpy.flows.packets.packet_sets import PacketSet, join, meet, of_peers
from felixpy.flows.programs.code import NodeProgram
from felixpy.flows.programs.passage import Passage
from felixpy.flows.programs.views import ChainView, Factor, RuleView
from felixpy.netfilter.actions import Rewrite
from felixpy.netfilter.criteria import Interface, Local

MOST_CRITERIA = 16
"""Most differing rules whose criteria about senders are used; for more only traffic and receivers are."""


Criteria: TypeAlias = tuple[Factor, ...]
"""Criteria about a sender's address."""


class Arrivals(NamedTuple):
    """An upper bound of the packets that reach a place: incoming interfaces (None: all), traffic and receivers."""

    interfaces: frozenset[str] | None
    packets: PacketSet


class Concerned:
    """An upper bound of the packets that the differences between two programs affect.

    `changed` are (table, chain) whose own rules differ.
    """

    def __init__(
        self, passage: Passage, programs: tuple[NodeProgram, NodeProgram], changed: Collection[tuple[str, str]]
    ) -> None:
        self.passage, self.space = passage, passage.space
        self._programs, self._changed = programs, changed
        self._reaches = [(own, reach) for own, reach in self._find_reaches() if reach]

    def of(self, row: Row, everything: PacketSet) -> PacketSet:
        """Return the part of `everything`, which a row may send, that can reach a difference."""
        packets: PacketSet = {}
        for own, (interfaces, some) in self._reaches:
            if interfaces is None or row.interface in interfaces or not row.interface:
                packets = join(packets, self.passage.of_sender(row, some, own))
        return meet(everything, packets)

    def _find_reaches(self) -> Iterator[tuple[Criteria, Arrivals | None]]:
        """Yield how packets reach differences, with the criteria about their senders there.

        Up to there both programs are the same. Packets whose destination is rewritten may reach a difference
        afterwards, so they are included.
        """
        before, after = self._programs
        stages = dict.fromkeys((*before.every_stage(), *after.every_stage()))
        roots = {stage: before.chain(stage.table, stage.chain) for stage in stages}
        for own, codes in self._differing_rules().items():
            for stage, root in roots.items():
                if (stage.table, stage.chain) in self._changed and root is None:
                    yield (), Arrivals(None, self.space.perspective.all)
                elif root and stage.table in codes:
                    yield own, self._reach(self.space.perspective.view(root), codes[stage.table], {})
        for stage, root in roots.items():
            if root and stage.nat:
                yield (), self._reach(self.space.perspective.view(root), {}, {})

    def _differing_rules(self) -> Mapping[Criteria, Mapping[str, Mapping[int, Arrivals]]]:
        """Return what meets rules that differ: by criteria about senders, table, and identity of the chain."""
        met = [(table, code, own, arrivals) for table, name in self._changed
               for code, own, arrivals in self._met(table, name)]  # fmt: skip
        told_apart = len({own for _, _, own, _ in met}) <= MOST_CRITERIA
        found: dict[Criteria, dict[str, dict[int, Arrivals]]] = {}
        for table, code, own, arrivals in met:
            codes = found.setdefault(own if told_apart else (), {}).setdefault(table, {})
            codes[code] = _either(codes.get(code), arrivals) or arrivals
        return found

    def _met(self, table: str, name: str) -> Iterator[tuple[int, Criteria, Arrivals]]:
        """Yield what meets the differing rules of a chain: those between the rules that are equal above and below.

        Each has the identity of the chain in either program.
        """
        old, new = (program.chain(table, name) for program in self._programs)
        policies = {program.policy(table, name) for program in self._programs}
        everything = Arrivals(None, self.space.perspective.all)
        lines: list[RuleView] = []
        if old and new and len(policies) == 1:
            one, other = (self.space.perspective.view(code).every for code in (old, new))
            above = _alike(one, other)
            below = _alike(one[above:][::-1], other[above:][::-1])
            lines = [*one[above : len(one) - below], *other[above : len(other) - below]]
        about = [(_of_sender(line), self._by(line, everything)) for line in lines] or [((), everything)]
        for code in filter(None, (old, new)):
            yield from ((id(code), own, arrivals) for own, arrivals in about)

    def _reach(
        self, view: ChainView, codes: Mapping[int, Arrivals], known: dict[int, Arrivals | None]
    ) -> Arrivals | None:
        """Return what reaches the chains in `codes` from a chain; without any, rules that rewrite destinations."""
        if id(view) not in known:
            found = codes.get(id(view.chain))
            for line in view.every:
                inner = Arrivals(None, self.space.perspective.all) if not codes and _moves(line) else None
                if line.target:
                    inner = self._reach(self.space.perspective.view(line.target), codes, known)
                if inner:
                    found = _either(found, self._by(line, inner))
            known[id(view)] = found
        return known[id(view)]

    def _by(self, line: RuleView, inner: Arrivals) -> Arrivals:
        """Return the part of `inner` that can meet a rule."""
        interfaces, packets = inner
        if line.packets is not None:
            packets = meet(packets, line.packets)
        for factor in line.factors:
            criterion, negated = factor.test
            if isinstance(criterion, Interface) and not negated:
                if criterion.incoming:
                    fitting = frozenset(name for name in self.space.named if criterion.fits(name))
                    interfaces = fitting if interfaces is None else interfaces & fitting
                else:
                    packets = of_peers(packets, self.passage.leave_by(criterion))
        return Arrivals(interfaces, packets)


def _of_sender(line: RuleView) -> Criteria:
    """Return the criteria of a rule about the sender's address itself."""
    return tuple(factor for factor in line.own if not isinstance(factor.test.criterion, Local))


def _either(one: Arrivals | None, other: Arrivals) -> Arrivals | None:
    if not other.packets:
        return one
    if one is None:
        return other
    unbound = one.interfaces is None or other.interfaces is None
    interfaces = None if unbound else (one.interfaces or frozenset()) | (other.interfaces or frozenset())
    return Arrivals(interfaces, join(one.packets, other.packets))


def _alike(one: Sequence[RuleView], other: Sequence[RuleView]) -> int:
    """Return the number of equal rules at the beginning of two chains; the chains that they call may differ."""
    pairs = enumerate(zip(one, other, strict=False))
    same = (at for at, (a, b) in pairs if a.rule.text != b.rule.text or a.rule.sets != b.rule.sets)
    return next(same, min(len(one), len(other)))


def _moves(line: RuleView) -> bool:
    """Return whether a rule rewrites destinations."""
    return isinstance(line.action, Rewrite) and line.action.side == "destination"
