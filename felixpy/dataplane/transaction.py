"""(present table, wanted table) → the input of one iptables-restore that leads from one to the other.

One input changes one table of one family, in a single commit. Its lines follow Felix's phases (felix/iptables/table.go,
applyUpdates): declare new chains and flush those to be deleted, write the rules of Felix's chains, write inserts into
kernel chains, delete stale chains. Felix visits its chains in random order; here they are sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType
from typing import NamedTuple

from felixpy.dataplane.current import CurrentTable, Rule, Spelling, read_rules
from felixpy.dataplane.wanted import Content, Insert, WantedTable
from felixpy.ruleset import TABLES

NO_SPELLING: Spelling = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Transaction:
    """One restore input, without the lines that open and close it.

    `chains` are those it changes. `suspects` are present rules, with their chains, that have the wanted hash but
    another text: they were changed by others, or the tools spell them differently.
    """

    family: int
    table: str
    lines: tuple[str, ...]
    chains: tuple[str, ...]
    suspects: tuple[tuple[str, Rule], ...] = ()

    @property
    def text(self) -> str:
        return "\n".join((f"*{self.table}", *self.lines, "COMMIT", ""))


def transaction(
    current: CurrentTable, wanted: WantedTable, *, rewrite: bool, spelling: Spelling = NO_SPELLING
) -> Transaction | None:
    """The change of a table, None if it is as wanted.

    A chain that differs is changed rule by rule, so that rules above the first difference keep their counters; with
    `rewrite` it is flushed and written again. Felix does the former with legacy tables and the latter with nft, where
    the cost of a change does not depend on its size.
    """
    view = _View(current.family, spelling)
    present = current.owned()
    stale = sorted(present.keys() - wanted.chains.keys(), key=str.encode)
    changed = [
        name
        for name in sorted(wanted.chains, key=str.encode)
        if name not in present or not view.alike(present[name], wanted.chains[name])
    ]
    emptied = {*stale, *(changed if rewrite else wanted.chains.keys() - present.keys())}
    lines = [f":{name} - -" for name in sorted(emptied, key=str.encode)]
    suspects: list[tuple[str, Rule]] = []
    for name in changed:
        content = wanted.chains[name]
        if name in present:
            suspects.extend((name, rule) for rule in view.suspects(current.rules(name), content.rules()))
        if name in emptied:
            lines.extend(content.appended(name))
        else:
            lines.extend(view.mended(name, current.rules(name), content.rules()))
    guests = []
    for name in _insert_chains(current, wanted):
        there, inserts = current.rules(name), wanted.inserts.get(name, ())
        if reinserted := list(view.reinserted(name, there, inserts)):
            guests.append(name)
            lines.extend(reinserted)
            suspects.extend((name, rule) for rule in view.suspects(_ours(there), [insert.rule for insert in inserts]))
    lines.extend(f"--delete-chain {name}" for name in stale)
    if not lines:
        return None
    return Transaction(current.family, current.name, tuple(lines), (*changed, *guests, *stale), tuple(suspects))


def _ours(rules: Sequence[Rule]) -> list[Rule]:
    return [rule for rule in rules if rule.identity]


def _insert_chains(current: CurrentTable, wanted: WantedTable) -> list[str]:
    """Foreign chains with present or wanted inserts: kernel chains in hook order, then the rest.

    Chains that do not exist any more are left out.
    """
    concerned = current.guests().keys() | wanted.inserts.keys()
    kernel = TABLES[current.name]
    others = sorted((concerned - set(kernel)) & current.chains.keys(), key=str.encode)
    return [*(name for name in kernel if name in concerned), *others]


class _View(NamedTuple):
    """Compares rules of a family, and writes the lines that turn one list of rules into another."""

    family: int
    spelling: Spelling

    def same(self, rule: Rule, there: Rule) -> bool:
        return rule.is_like(there, self.family, self.spelling)

    def alike(self, present: str, wanted: Content) -> bool:
        """Whether a chain is as wanted: its text is equal, or its rules are in the spelling of the tools."""
        if present == wanted.printed(self.family):
            return True
        there, goal = read_rules(present), wanted.rules()
        return len(there) == len(goal) and all(map(self.same, goal, there))

    def suspects(self, present: Sequence[Rule], wanted: Sequence[Rule]) -> Iterator[Rule]:
        for rule, there in zip(wanted, present, strict=False):
            if rule.identity == there.identity and not self.same(rule, there):
                yield rule

    def mended(self, chain: str, present: Sequence[Rule], wanted: Sequence[Rule]) -> Iterator[str]:
        """Lines that replace rules that differ, then delete or append rules at the end.

        Each deletion has the same number, as the rules below move up.
        """
        for number, (rule, there) in enumerate(zip_longest(wanted, present), start=1):
            if rule is None:
                yield f"-D {chain} {len(wanted) + 1}"
            elif there is None:
                yield f"-A {chain} {rule.text}"
            elif not self.same(rule, there):
                yield f"-R {chain} {number} {rule.text}"

    def reinserted(self, chain: str, present: Sequence[Rule], inserts: Sequence[Insert]) -> Iterator[str]:
        """Lines that delete all inserts and write them again, if any of them is not in its place.

        Rules are deleted by value, not by number, in case foreign rules were added or deleted since the table was read.
        """
        foreign = sum(not rule.identity for rule in present)
        if self.in_place(present, inserts, foreign):
            return
        yield from (f"-D {chain} {rule.text}" for rule in _ours(present))
        top = [insert.rule for insert in inserts if insert.below == 0]
        yield from (f"-I {chain} {rule.text}" for rule in reversed(top))
        for above, insert in enumerate(inserts):
            if 0 < insert.below < foreign:
                yield f"-I {chain} {above + insert.below + 1} {insert.rule.text}"
            elif insert.below:
                yield f"-A {chain} {insert.rule.text}"

    def in_place(self, present: Sequence[Rule], inserts: Sequence[Insert], foreign: int) -> bool:
        """Whether every insert follows the right number of foreign rules, and there are no other inserts."""
        if len(present) != len(inserts) + foreign:
            return False
        wanted = iter(inserts)
        insert = next(wanted, None)
        passed = 0
        for rule in present:
            if insert and min(insert.below, foreign) == passed and self.same(insert.rule, rule):
                insert = next(wanted, None)
            elif rule.identity:
                return False
            else:
                passed += 1
        return insert is None
