"""Differences in Felix's chains: missing and stale chains, and rules that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from felixpy.dataplane.current import CurrentTable, Rule, Spelling
from felixpy.dataplane.wanted import WantedTable
from felixpy.errors import many
from felixpy.iptables.reader import read_body
from felixpy.iptables.words import without_hash
from felixpy.netfilter.rules import Body
from felixpy.verification.alignment import Pair, align
from felixpy.verification.baseline import Damage, rule_line
from felixpy.verification.finding import KINDS, Finding


class Draft(NamedTuple):
    """A finding and its damage, from which its effect on traffic is computed later.

    If several rules of a chain differ, `together` is the damage of all of them: they may have no effect alone.
    """

    finding: Finding
    damage: Damage
    together: Damage | None = None


LineOf = Callable[[str, int], int]
"""The line of a rule in a saved file, by chain and position."""

KIND_OF_WAY: Mapping[str, str] = {
    "tampered": "rule-tampered",
    "replaced": "rule-replaced",
    "missing": "rule-missing",
    "extra": "rule-extra",
}


@dataclass(eq=False)
class TableView:
    """One table of one family: the current and the wanted state, and the tools' spelling of rules."""

    current: CurrentTable
    wanted: WantedTable
    spelling: Spelling
    line_of: LineOf

    @property
    def family(self) -> int:
        return self.current.family

    @property
    def name(self) -> str:
        return self.current.name

    def is_same(self, wanted: Rule, there: Rule) -> bool:
        """Whether the text of a rule is as wanted."""
        return wanted.is_like(there, self.family, self.spelling)

    def content(self, rule: Rule) -> object:
        """The content of a rule, for comparing; for one that the tools spell differently, that of their spelling."""
        printed = rule.printed(self.family)
        text = without_hash(self.spelling.get((self.family, printed), printed))
        try:
            return read_body(text, self.family).content
        except IndexError:  # an incomplete rule is compared by its text
            return text

    def suspects(self) -> Iterator[tuple[str, Rule]]:
        """Rules with the right hash and another text: changed, or spelt differently by the tools."""
        yield from ((name, rule) for name, rule, _ in self._odd())

    def respelt(self) -> int:
        """The number of rules with another text but the same meaning."""
        return sum(self.content(rule) == self.content(there) for _, rule, there in self._odd())

    def _odd(self) -> Iterator[tuple[str, Rule, Rule]]:
        """(chain, wanted rule, current rule) for rules with equal hash and different text."""
        for name, rules in self._both():
            there = {rule.identity: rule for rule in reversed(self.current.rules(name))}
            for rule in rules:
                if rule.identity in there and not self.is_same(rule, there[rule.identity]):
                    yield name, rule, there[rule.identity]

    def _both(self) -> Iterator[tuple[str, Sequence[Rule]]]:
        """(chain, wanted rules) for existing chains whose text differs: Felix's own, and kernel chains with inserts."""
        for name, content in self.wanted.chains.items():
            if name in self.current.chains and self.current.chains[name] != content.printed(self.family):
                yield name, content.rules()
        for name, inserts in self.wanted.inserts.items():
            if name in self.current.chains:
                yield name, [insert.rule for insert in inserts]

    def align(self, wanted: Sequence[Rule], there: Sequence[Rule]) -> list[Pair]:
        return align(wanted, there, self.content)

    def finding(self, kind: str, chain: str, position: int, wanted: Rule | None, there: Rule | None) -> Finding:
        """A finding about one rule; about the whole chain if the position is -1."""
        return Finding(
            kind=KINDS[kind],
            families=(self.family,),
            table=self.name,
            chain=chain,
            number=position + 1,
            line=self.line_of(chain, position) if there else 0,
            wanted=wanted.printed(self.family) if wanted else "",
            there=there.printed(self.family) if there else "",
        )

    def target(self, rule: Rule) -> str:
        """The chain or target that a rule leads to, "" for none."""
        try:
            return self.read(rule).target
        except IndexError:  # an incomplete rule has no target
            return ""

    def read(self, rule: Rule) -> Body:
        """A rule, parsed. Raises IndexError for an incomplete one."""
        return read_body(without_hash(rule.printed(self.family)), self.family)

    def leads_to(self, name: str, rules: Sequence[Rule]) -> bool:
        """Whether one of the rules jumps to a chain."""
        return any(self.target(rule) == name for rule in rules)

    def has_hook(self, chain: str) -> bool:
        """Whether packets reach an unwanted chain without a jump: it is at a hook."""
        return False

    def without(self, chain: str) -> Mapping[str, Sequence[str]]:
        """Verdict maps without the elements that lead to a chain."""
        return {}

    def leading(self, chain: str) -> Mapping[str, Sequence[str]]:
        """Verdict maps with the elements that lead to an unwanted chain."""
        return {}

    def text(self, chain: str, rule: Rule) -> str:
        return rule_line(chain, rule, self.family)


def compare_chains(view: TableView) -> Iterator[Draft]:
    """The differences in Felix's chains in one table."""
    present = view.current.owned()
    for name, content in sorted(view.wanted.chains.items()):
        if name not in present:
            yield _missing(view, name)
        elif not present[name] and content.printed(view.family):
            yield _emptied(view, name)
        elif present[name] != content.printed(view.family):
            yield from _compare(view, name)
    for name in sorted(present.keys() - view.wanted.chains.keys()):
        yield _stale(view, name)


def _missing(view: TableView, name: str) -> Draft:
    """A missing chain, together with the rules that jump to it: the kernel cannot have these."""
    wanted = view.wanted.chains[name].rules()
    callers = {
        caller: [view.text(caller, rule) for rule in content.rules() if view.target(rule) != name]
        for caller, content in view.wanted.chains.items()
        if view.leads_to(name, content.rules())
    }
    finding = replace(view.finding("chain-missing", name, -1, None, None), wanted=many(len(wanted), "rule"))
    rules = tuple(view.text(name, rule) for rule in wanted)
    return Draft(finding, Damage(view.family, view.name, {**callers, name: None}, rules=rules, maps=view.without(name)))


def _emptied(view: TableView, name: str) -> Draft:
    """A chain that exists without any of its rules."""
    wanted = view.wanted.chains[name].rules()
    finding = view.finding("rule-missing", name, -1, None, None)
    finding = replace(finding, there="no rule", wanted=many(len(wanted), "rule"))
    rules = tuple(view.text(name, rule) for rule in wanted)
    return Draft(finding, Damage(view.family, view.name, {name: ()}, rules=rules))


def _stale(view: TableView, name: str) -> Draft:
    """An unwanted chain, together with the rules that jump to it."""
    there = view.current.rules(name)
    callers: dict[str, list[str]] = {}
    for caller, text in view.current.owned().items():
        if caller in view.wanted.chains and name in text and view.leads_to(name, view.current.rules(caller)):
            edits = _Edits(view, caller)
            for at, pair in edits.wrong():
                if pair.way == "extra" and edits.leads_to(pair) == name:
                    callers.setdefault(caller, edits.lines(at))
    finding = replace(view.finding("chain-stale", name, -1, None, None), there=many(len(there), "rule"))
    lines = [view.text(name, rule) for rule in there]
    maps = view.leading(name)
    chains: dict[str, Sequence[str] | None] = dict(callers)
    if view.has_hook(name):
        chains[name] = lines
    rules = tuple(lines) if chains or maps else ()
    return Draft(finding, Damage(view.family, view.name, chains, rules=rules, maps=maps))


class _Edits:
    """The differences in one chain, rule by rule."""

    def __init__(self, view: TableView, name: str) -> None:
        self.view, self.name = view, name
        self.wanted, self.there = view.wanted.chains[name].rules(), view.current.rules(name)
        self.pairs = view.align(self.wanted, self.there)
        self.right = [view.text(name, rule) for rule in self.wanted]

    def wrong(self) -> Iterator[tuple[int, Pair]]:
        yield from ((at, pair) for at, pair in enumerate(self.pairs) if pair.way not in ("same", "renamed"))

    def leads_to(self, pair: Pair) -> str:
        """The chain that a missing or extra rule leads to."""
        rule = self.wanted[pair.wanted] if pair.wanted >= 0 else self.there[pair.there]
        return self.view.target(rule)

    def lines(self, at: int) -> list[str]:
        """The wanted chain with only this difference."""
        pair, lines = self.pairs[at], list(self.right)
        changed = [self.view.text(self.name, self.there[pair.there])] if pair.there >= 0 else []
        if pair.wanted >= 0:
            lines[pair.wanted : pair.wanted + 1] = changed
        else:
            before = max((earlier.wanted for earlier in self.pairs[:at]), default=-1)
            lines[before + 1 : before + 1] = changed
        return lines

    def draft(self, at: int) -> Draft:
        pair, view = self.pairs[at], self.view
        mine = self.wanted[pair.wanted] if pair.wanted >= 0 else None
        theirs = self.there[pair.there] if pair.there >= 0 else None
        position = pair.there if theirs else pair.wanted
        finding = view.finding(KIND_OF_WAY[pair.way], self.name, position, mine, theirs)
        rules = tuple(view.text(self.name, rule) for rule in (mine, theirs) if rule)
        return Draft(finding, Damage(view.family, view.name, {self.name: self.lines(at)}, rules=rules))

    def together(self, drafts: Sequence[Draft]) -> Damage:
        lines = [self.view.text(self.name, rule) for rule in self.there]
        rules = tuple(dict.fromkeys(text for draft in drafts for text in draft.damage.rules))
        return Damage(self.view.family, self.view.name, {self.name: lines}, rules=rules)


def _compare(view: TableView, name: str) -> Iterator[Draft]:
    """The differences in one chain. Rules that jump to a missing or stale chain are reported with that chain."""
    edits = _Edits(view, name)
    wrong = list(edits.wrong())
    told_there = {
        "missing": view.wanted.chains.keys() - view.current.chains.keys(),
        "extra": view.current.owned().keys() - view.wanted.chains.keys(),
    }
    drafts = [edits.draft(at) for at, pair in wrong if edits.leads_to(pair) not in told_there.get(pair.way, ())]
    several = edits.together(drafts) if len(drafts) > 1 else None
    yield from (draft._replace(together=several) for draft in drafts)
    renamed = next((pair for pair in edits.pairs if pair.way == "renamed"), None)
    if renamed and not wrong:
        wanted, there = edits.wanted[renamed.wanted], edits.there[renamed.there]
        yield Draft(view.finding("hash-changed", name, renamed.there, wanted, there), Damage(view.family, view.name))
