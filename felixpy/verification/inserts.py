"""Differences in Felix's inserts in kernel chains: missing, duplicate or misplaced ones, and foreign rules above them.

Felix puts its inserts before all foreign rules, or after them with chainInsertMode Append, and some always after them.
(felix/iptables/table.go)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from felixpy.dataplane.current import HISTORIC, OWNED_CHAIN, Rule
from felixpy.dataplane.wanted import Insert
from felixpy.errors import InputError
from felixpy.iptables.reader import read_rule
from felixpy.netfilter.actions import ConnectionMark, Nothing, SetMark
from felixpy.netfilter.rules import Table
from felixpy.ruleset import TABLES
from felixpy.verification.baseline import Baseline, Damage
from felixpy.verification.chains import Draft, TableView
from felixpy.verification.finding import Finding


def compare_inserts(view: TableView, baseline: Baseline) -> Iterator[Draft]:
    """The differences in inserts in one table."""
    concerned = view.current.guests().keys() | view.wanted.inserts.keys()
    kernel = [name for name in TABLES[view.name] if name in concerned]
    others = sorted((concerned - set(kernel)) & view.current.chains.keys(), key=str.encode)
    for name in (*kernel, *others):
        there = view.current.rules(name)
        yield from _Chain(view, baseline, name, there, view.wanted.inserts.get(name, ())).drafts()


@dataclass
class _Chain:
    """One kernel chain. `there` are all of its rules, `inserts` the wanted inserts."""

    view: TableView
    baseline: Baseline
    name: str
    there: Sequence[Rule]
    inserts: Sequence[Insert]

    def __post_init__(self) -> None:
        self.ours = [n for n, rule in enumerate(self.there) if rule.identity]
        self.foreign = [n for n, rule in enumerate(self.there) if not rule.identity]
        self.pairs = self._pairs()
        self.right = self.baseline.placed(self.view.family, self.name, self.there, self.inserts)

    def _pairs(self) -> dict[int, int]:
        """The positions of inserts: found by hash, then by content, then rules that lost their hash or were changed."""
        found: dict[int, int] = {}
        for is_it in (self.view.is_same, _same_hash, self._says_the_same):
            for number, insert in enumerate(self.inserts):
                free = (n for n in self.ours if n not in found.values())
                place = next((n for n in free if is_it(insert.rule, self.there[n])), -1)
                if number not in found and place >= 0:
                    found[number] = place
        return found

    def _says_the_same(self, wanted: Rule, there: Rule) -> bool:
        return self.view.content(wanted) == self.view.content(there)

    def drafts(self) -> Iterator[Draft]:
        yield from self._missing()
        yield from self._changed()
        yield from self._surplus()
        yield from self._order()

    def _missing(self) -> Iterator[Draft]:
        places = self._places()
        for number, insert in enumerate(self.inserts):
            if number not in self.pairs:
                lines = [line for at, line in enumerate(self.right) if at != places[number]]
                finding = self.view.finding("insert-missing", self.name, -1, insert.rule, None)
                yield self._draft(finding, lines, insert.rule)

    def _places(self) -> list[int]:
        """The positions of the inserts in the wanted chain."""
        return [above + min(insert.below, len(self.foreign)) for above, insert in enumerate(self.inserts)]

    def _changed(self) -> Iterator[Draft]:
        places = self._places()
        for number, position in sorted(self.pairs.items()):
            wanted, there = self.inserts[number].rule, self.there[position]
            if self.view.is_same(wanted, there):
                continue
            says = self._says_the_same(wanted, there)
            if says and wanted.identity == there.identity:
                continue
            finding = self.view.finding("hash-changed" if says else "rule-tampered", self.name, position, wanted, there)
            lines = list(self.right)
            lines[places[number]] = self.view.text(self.name, there)
            yield self._draft(finding, lines, wanted, there)

    def _surplus(self) -> Iterator[Draft]:
        """Rules of Felix, or with jumps to its chains, that are not wanted inserts of this chain."""
        known = {insert.rule.identity for insert in self.inserts}
        for position in self.ours:
            if position in self.pairs.values():
                continue
            rule = self.there[position]
            kind = "insert-duplicate" if rule.identity in known else self._strange(rule)
            lines = list(self.right)
            lines.insert(self._amid(position), self.view.text(self.name, rule))
            yield self._draft(self.view.finding(kind, self.name, position, None, rule), lines, rule)

    def _strange(self, rule: Rule) -> str:
        return (
            "foreign-jump" if rule.identity == HISTORIC and OWNED_CHAIN.match(self.view.target(rule)) else "rule-extra"
        )

    def _amid(self, position: int) -> int:
        """The position in the wanted chain after the same number of foreign rules."""
        above = sum(n < position for n in self.foreign)
        inserts = sum(self.pairs.get(number, -1) < position for number in self.pairs)
        return min(above + inserts, len(self.right))

    def _order(self) -> Iterator[Draft]:
        """Foreign rules above inserts, or below those that come last; each one that decides is a finding."""
        ahead = self._ahead()
        deciding = [n for n in ahead if self._decides(n)]
        yield from map(self._foreign, deciding)
        if not deciding and (ahead or self._is_out_of_order()):
            yield self._moved(ahead)

    def _foreign(self, position: int) -> Draft:
        """A foreign rule above inserts, compared with the chain without it: a denial below would act the same."""
        rule = self.there[position]
        text = self.view.text(self.name, rule)
        others = list(self.right)
        others.remove(text)
        finding = self.view.finding("foreign-rule-ahead", self.name, position, None, rule)
        draft = self._draft(finding, [text, *others], rule)
        without = {} if self.view.name == "nat" else {self.name: others}
        return draft._replace(damage=replace(draft.damage, without=without))

    def _ahead(self) -> list[int]:
        """The positions of foreign rules above an insert that should be above them."""
        tops = [self.pairs[n] for n, insert in enumerate(self.inserts) if insert.below == 0 and n in self.pairs]
        return [n for n in self.foreign if tops and n < max(tops)]

    def _is_out_of_order(self) -> bool:
        """Whether inserts are in another order, or foreign rules are below those that should be last."""
        places = [self.pairs[number] for number in sorted(self.pairs)]
        lasts = [self.pairs[n] for n, insert in enumerate(self.inserts) if insert.below and n in self.pairs]
        return places != sorted(places) or any(n > min(lasts) for n in self.foreign if lasts)

    def _moved(self, ahead: Sequence[int]) -> Draft:
        number = next((n for n in sorted(self.pairs) if self._is_displaced(n)), min(self.pairs, default=0))
        position, rule = self.pairs[number], self.inserts[number].rule
        finding = self.view.finding("insert-moved", self.name, position, rule, self.there[position])
        details = [f"rule {n + 1} stands above it: {self.there[n].text}" for n in ahead]
        lines = [self.view.text(self.name, there) for there in self.there]
        return self._draft(replace(finding, there="", details=tuple(details)), lines, rule)

    def _is_displaced(self, number: int) -> bool:
        """Whether an insert has another number than it should have among the same rules."""
        return self.pairs[number] != self._places()[number]

    def _draft(self, finding: Finding, lines: Sequence[str], *rules: Rule) -> Draft:
        texts = tuple(self.view.text(self.name, rule) for rule in rules)
        return Draft(finding, Damage(self.view.family, self.view.name, {self.name: lines}, rules=texts))

    def _decides(self, position: int) -> bool:
        """Whether a foreign rule can decide packets before they reach the insert."""
        tables = self.baseline.observed.dump.tables[self.view.family]
        return decides(self.view.text(self.name, self.there[position]), tables.get(self.view.name, {}))


def _same_hash(wanted: Rule, there: Rule) -> bool:
    return wanted.identity == there.identity


def decides(text: str, table: Table) -> bool:
    """Whether a rule may end the evaluation of its kernel chain, itself or through a chain that it jumps to.

    >>> decides("-A FORWARD -j LOG", {}), decides("-A FORWARD -p tcp -j DROP", {})
    (False, True)
    """
    return _decides(text, table, frozenset(), own=False)


def _decides(text: str, table: Table, seen: frozenset[str], *, own: bool) -> bool:
    try:
        rule = read_rule(text)
    except InputError:
        return True
    if isinstance(rule.body.action, Nothing | SetMark | ConnectionMark) or rule.target in seen:
        return False
    if rule.target == "RETURN":
        return not own  # in a kernel chain that applies the chain's policy, in other chains it only returns
    if rule.target not in table:
        return True
    if OWNED_CHAIN.match(rule.target):
        return True
    inner = seen | {rule.target}
    return rule.goto or any(_decides(line, table, inner, own=True) for _, line, _ in table[rule.target].lines)
