"""Compares two versions of a node's rules: exactly which packets get through now, and which no longer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain as chained
from itertools import product as combinations
from typing import Literal, NamedTuple, TypeAlias

from felixpy.flows.packets.ground import VARIANTS, Fates, Row
from felixpy.flows.packets.packet_sets import PacketSet, join_all, meet, minus, of_peers, of_traffic, union
from felixpy.flows.packets.tags import DNAT, EARLY, ESTABLISHED, STATELESS, UNTRACKED
from felixpy.flows.programs.alike import SharedAnswers
from felixpy.flows.programs.code import ChainText, NodeText, OpenQuestion
from felixpy.flows.programs.concerned import Concerned
from felixpy.flows.programs.evaluation import States
from felixpy.flows.programs.passage import Passage
from felixpy.netfilter.hooks import HOOK_NAMES, before_rewriting

MOST_QUESTIONS = 4
"""Most questions of which all combinations of answers are tried; of more, each question is tried by itself."""

LATE_TABLES = frozenset({"filter", "security"})
"""Tables that packets reach after all marks are set and destinations are rewritten."""


class ChangedPart(NamedTuple):
    """Some packets of one row: their variant (bits of `felixpy.flows.packets.tags`), traffic and receivers.

    `came` are the original traffic and receivers of packets whose destination a program other than Felix rewrites.
    """

    row: Row
    variant: int
    packets: PacketSet
    came: PacketSet | None = None


Parts: TypeAlias = list[ChangedPart]

Way = Literal["opens", "closes", "rewrites"]
"""Packets that only the later rules let through, only the earlier ones, or both, but with different addresses."""


class ChangedTraffic(NamedTuple):
    """Packets of equivalent rows; see `ChangedPart`."""

    way: Way
    variant: int
    packets: PacketSet
    came: PacketSet | None = None


@dataclass(slots=True)
class TrafficChange:
    """All packets that change, by the way in which they do."""

    opens: Parts = field(default_factory=list)
    closes: Parts = field(default_factory=list)
    rewrites: Parts = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.opens or self.closes or self.rewrites)

    def note(self, row: Row, differences: Iterable[ChangedTraffic], itself: int = 0) -> None:
        """Add the differences of a row, without packets to `itself` (a mask)."""
        for way, variant, packets, came in differences:
            some = of_peers(packets, ~itself) if itself else packets
            if some:
                getattr(self, way).append(ChangedPart(row, variant, some, came))


@dataclass(slots=True)
class Verdict:
    """The certain change, and `perhaps` another one that depends on unknown facts, which `conditions` describe."""

    change: TrafficChange
    perhaps: TrafficChange = field(default_factory=TrafficChange)
    conditions: tuple[str, ...] = ()


class Comparer:
    """Compares two texts of one space. `changed` are (table, chain) whose own rules differ."""

    def __init__(self, passage: Passage, before: NodeText, after: NodeText) -> None:
        self.passage, self.space = passage, passage.space
        self._texts = before, after
        self.before, self.after = (self.space.program(text) for text in (before, after))
        self.changed = tuple(self._changed())
        self._concerned = Concerned(passage, (self.before, self.after), self.changed)

    def verdict(self) -> Verdict:
        """Return what changes under the usual assumptions; if nothing does, what could change under others."""
        found = self.change()
        if found or not self.changed:
            return Verdict(found)
        conditions: list[str] = []
        perhaps = TrafficChange()
        for words, answers, mark in self._doubts():
            other = self.change(answers, mark)
            if other:
                conditions.append(words)
                perhaps = other
        return Verdict(found, perhaps, tuple(dict.fromkeys(conditions)))

    def change(self, answers: int | None = None, mark: int = 0) -> TrafficChange:
        """Return what changes for packets with a mark, under some answers (bits of a tag) to questions.

        `answers` None are the assumed ones.
        """
        found = TrafficChange()
        if not self.changed:
            return found
        tags = [tag | mark | (self.space.assumed if answers is None else answers) for tag in self.space.variants]
        passage, known = self.passage, SharedAnswers()
        for row in chained(self.space.rows, self._spoofed_rows()):
            differences = passage.recall(known, row, partial(self._differences, row, tags))
            found.note(row, differences, passage.itself(row))
        if self._asks_redirected:
            tags = [tag for tag in tags if tag & VARIANTS in (0, ESTABLISHED)]
            for row in self.space.rows:
                find = partial(self._redirected, row, tags)
                found.note(row, passage.recall(known, row, find, "redirected", passage.itself(row)))
        return found

    def _differences(self, row: Row, tags: Sequence[int]) -> list[ChangedTraffic]:
        """Return what changes for the packets of equivalent rows."""
        start = self._concerned.of(row, self.passage.start(row))
        if not start:
            return []
        old = self.passage.known_fates(self.before, row, tags, start)
        return list(_differing(old, self.passage.fates(self.after, row, tags, start)))

    # --- packets that a change can affect

    def _changed(self) -> Iterator[tuple[str, str]]:
        """Yield (table, chain) where the rules themselves, the sets that they look up or the policy differ."""
        before, after = self._texts
        for table in dict.fromkeys((*before.tables, *after.tables)):
            old, new = before.tables.get(table, {}), after.tables.get(table, {})
            for name in dict.fromkeys((*old, *new)):
                if self._own(old.get(name), before) != self._own(new.get(name), after):
                    yield table, name
        for hook in HOOK_NAMES:
            if before.hooks[hook] != after.hooks[hook]:
                yield from ((stage.table, stage.chain) for stage in (*before.hooks[hook], *after.hooks[hook]))

    def _own(self, chain: ChainText | None, text: NodeText) -> object:
        if chain is None:
            return None
        known = text.sets or {}
        sets = [(name, id(self.space.library.set(known[name])) if name in known else None)
                for body in chain.bodies for name in body.sets]  # fmt: skip
        return chain.policy, [body.text for body in chain.bodies], sets

    def _spoofed_rows(self) -> Sequence[Row]:
        """Return spoofed senders, without those whose packets are all dropped early by both programs."""
        arrivals = (
            [(stage, program.chain(stage.table, stage.chain), program.policy(stage.table, stage.chain))
             for stage in before_rewriting(program.stages("PREROUTING"))]
            for program in (self.before, self.after)
        )  # fmt: skip
        before, after = arrivals
        return self.passage.survivors(self.before) if before == after else self.space.spoofed

    @property
    def _asks_redirected(self) -> bool:
        """Whether destinations that other programs rewrite can make a difference."""
        return self.passage.tells_redirected or self._changes_early

    def _redirected(self, row: Row, tags: Iterable[int]) -> list[ChangedTraffic]:
        """Return what changes for packets that arrive for one destination and leave for another."""
        passage, everything = self.passage, self.passage.everything(row)
        to = everything if self._changes_early else self._concerned.of(row, everything)
        if not to:
            return []
        found: list[ChangedTraffic] = []
        start: States = {tag | EARLY: everything for tag in tags}
        came = [passage.before(program, row, start).states for program in (self.before, self.after)]
        for interface, peers in passage.sent_by(row, (self.before, self.after)):
            for (old, new), every in _cells(*came).items():
                packets = of_peers(every, peers)
                if not packets:
                    continue
                if old is not None and new is not None and (old ^ new) & UNTRACKED:
                    found.extend(self._redirected_once(row, (old, new), packets, to, interface))
                    continue
                passed = {} if old is None else passage.redirected(self.before, row, old, packets, to, interface)
                passes = {} if new is None else passage.redirected(self.after, row, new, packets, to, interface)
                found.extend(_differing(passed, passes, came=packets))
        return found

    def _redirected_once(
        self, row: Row, tags: tuple[int, int], packets: PacketSet, to: PacketSet, sent_by: str
    ) -> Iterator[ChangedTraffic]:
        """Yield what changes for packets that are tracked, and so can be redirected, on one side only."""
        old, new = tags
        if (old | new) & STATELESS:
            return
        passage, lost = self.passage, bool(new & UNTRACKED)
        sides = (self.before, old), (self.after, new)
        (alone, untracked), (program, tag) = sides[::-1] if lost else sides
        as_sent = join_all(passage.after(alone, row, {untracked: packets}).values())
        through = join_all(passage.redirected(program, row, tag, packets, to, sent_by).values())
        stopped = minus(passage.targets(tag, packets, to), through)
        ways: tuple[tuple[Way, PacketSet, PacketSet], ...] = (
            ("closes" if lost else "opens", minus(packets, as_sent), through),
            ("opens" if lost else "closes", as_sent, stopped),
            ("rewrites", as_sent, through),
        )
        for way, came, went in ways:
            yield ChangedTraffic(
                way, tag & VARIANTS | DNAT, of_traffic(went, self.space.traffic.lifted(union(came))), came
            )

    @property
    def _changes_early(self) -> bool:
        return any(table not in LATE_TABLES for table, _ in self.changed)

    # --- unknown facts

    def _doubts(self) -> Iterator[tuple[str, int, int]]:
        """Yield other possibilities: words, answers to questions (bits of a tag), and a mark of arriving packets."""
        # Questions in chains that no packet reaches are left out.
        questions = [question for question in self._questions() if question in self.space.questions]
        bits = [self.space.questions[question] for question in questions]
        usual = self.space.assumed
        if len(bits) <= MOST_QUESTIONS:
            flips = [union(bit for bit, on in zip(bits, choice, strict=True) if on)
                     for choice in combinations((False, True), repeat=len(bits))][1:]  # fmt: skip
        else:
            flips = [*bits, union(bits)]
        for flip in flips:
            words = " and ".join(_told(question) for question, bit in zip(questions, bits, strict=True) if flip & bit)
            yield words, usual ^ flip, 0
        if self._changes_early or not self._bases.isdisjoint(self.changed):
            for mark in self.space.marks:
                yield f"packets may come with mark {mark:#x}", usual, mark

    @property
    def _bases(self) -> set[tuple[str, str]]:
        return {(stage.table, stage.chain) for stage in self.before.every_stage()}

    def _questions(self) -> list[OpenQuestion]:
        """Return the questions in changed chains, in chains that lead to them, and in chains that they lead to."""
        found: dict[OpenQuestion, None] = {}
        for program in (self.before, self.after):
            tops = [code for table, name in self.changed if (code := program.chain(table, name))]
            changed = {id(code) for code in tops}
            callers = [code for root in program.roots() for code in root.closure
                       if changed & {id(inner) for inner in code.closure}]  # fmt: skip
            for code in (*callers, *(inner for top in tops for inner in top.closure)):
                found.update((question, None) for rule in code.rules for question in rule.questions())
        return list(found)


def _told(question: OpenQuestion) -> str:
    if question.is_open:
        return question.words
    return f"{question.text} (taken for granted: {question.words})"


def _cells(one: States, other: States) -> Mapping[tuple[int | None, int | None], PacketSet]:
    """Return packets by their tags on both sides, None where they were dropped."""
    found: dict[tuple[int | None, int | None], PacketSet] = {}
    for old, packets in one.items():
        rest = packets
        for new, again in other.items():
            if (old ^ new) & VARIANTS == 0 and (both := meet(packets, again)):
                found[old, new] = both
                rest = minus(rest, both)
        if rest:
            found[old, None] = rest
    for new, packets in other.items():
        rest = packets
        for old, again in one.items():
            if (old ^ new) & VARIANTS == 0:
                rest = minus(rest, again)
        if rest:
            found[None, new] = rest
    return found


def _differing(before: Fates, after: Fates, came: PacketSet | None = None) -> Iterator[ChangedTraffic]:
    """Yield what differs, variant by variant."""
    for variant in sorted({variant for variant, _ in (*before, *after)}):
        old, new = ({sign: packets for (which, sign), packets in fates.items() if which == variant}
                    for fates in (before, after))  # fmt: skip
        passed, passes = join_all(old.values()), join_all(new.values())
        opened, closed = minus(passes, passed), minus(passed, passes)
        same = join_all(meet(packets, new[sign]) for sign, packets in old.items() if sign in new)
        rewritten = minus(meet(passed, passes), same)
        ways: tuple[tuple[Way, PacketSet], ...] = ("opens", opened), ("closes", closed), ("rewrites", rewritten)
        for way, packets in ways:
            if packets:
                yield ChangedTraffic(way, variant, packets, came)
