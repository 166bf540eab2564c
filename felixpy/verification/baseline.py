"""A node with Felix's part as wanted, and the same with one difference.

Foreign rules and chains stay as they are on the node, so that the effect of a difference is computed among the rules
that really surround it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from felixpy.dataplane.current import OWNED_SET, Rule
from felixpy.dataplane.wanted import Insert, Wanted
from felixpy.ipsets import IPSet
from felixpy.iptables.saved import make_chain
from felixpy.netfilter.rules import Dump, SavedSet, Table
from felixpy.netfilter.together import together
from felixpy.nftables.reading import Declared
from felixpy.ruleset import TABLES
from felixpy.verification.observed import Observed


@dataclass(frozen=True, slots=True)
class Damage:
    """A difference: chains of a table with their rules (None: no such chain), and sets.

    `rules`: the rules concerned, in full; packets are classified by them, too.
    `whole`: the whole family is as on the node.
    `beside`: tables of another backend, which packets pass as well.
    `unknown`: the difference itself is not known.
    `without`: chains to compare with, if not the wanted ones.
    `maps`, `bases` (nftables): verdict maps with their elements, and hooks of base chains (None: none), by listed name.
    """

    family: int
    table: str = ""
    chains: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    sets: Mapping[str, SavedSet] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    whole: bool = False
    beside: Dump | None = None
    unknown: bool = False
    without: Mapping[str, Sequence[str]] = field(default_factory=dict)
    maps: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bases: Mapping[str, Declared | None] = field(default_factory=dict)

    @property
    def does_something(self) -> bool:
        """Whether it can affect any packet."""
        return bool(self.chains or self.sets or self.whole or self.beside or self.unknown or self.maps or self.bases)


@dataclass(eq=False)
class Baseline:
    """The wanted rules and sets among foreign ones."""

    wanted: Wanted
    sets: Sequence[IPSet]
    observed: Observed

    @cached_property
    def dump(self) -> Dump:
        """The node without differences."""
        # The rules of a family that was not given are assumed to be as wanted: its sets may be given.
        families = sorted(self.wanted.families.union(self.observed.families))
        tables = {family: {name: self._table(family, name) for name in self._names(family)} for family in families}
        foreign = {name: found for name, found in (self.observed.dump.sets or {}).items() if not OWNED_SET.match(name)}
        return Dump(tables, {**foreign, **{ipset.name: saved_set(ipset) for ipset in self.sets}})

    def with_damage(self, damage: Damage) -> Dump:
        """The node with one difference."""
        sets = {**(self.dump.sets or {}), **damage.sets}
        if damage.whole:
            return whole(self.observed.dump, sets, damage)
        if damage.beside:
            return damage.beside
        return Dump(self._changed(damage, damage.chains), sets)

    def without(self, damage: Damage) -> Dump:
        """The state with which `with_damage` is compared."""
        return Dump(self._changed(damage, damage.without), self.dump.sets) if damage.without else self.dump

    def _changed(self, damage: Damage, chains: Mapping[str, Sequence[str] | None]) -> Mapping[int, Mapping[str, Table]]:
        """The tables of the node with other rules in some chains."""
        if not chains:
            return self.dump.tables
        tables = self.dump.tables[damage.family]
        changed = dict(tables.get(damage.table, {}))
        for name, rules in chains.items():
            if rules is None:
                changed.pop(name, None)
            else:
                policy = changed[name].policy if name in changed else ""
                changed[name] = make_chain(name, policy, damage.family, rules)
        return {damage.family: {**tables, damage.table: changed}}

    def _names(self, family: int) -> list[str]:
        others = set(self.observed.dump.tables.get(family, {})) - set(TABLES)
        return [*TABLES, *sorted(others)]

    def _table(self, family: int, name: str) -> Table:
        there = self.observed.dump.tables.get(family, {}).get(name, {})
        if name not in TABLES:
            return there
        current, wanted = self.observed.state.table(family, name), self.wanted.table(family, name)
        guests = current.guests()
        kernel = {
            chain: self.placed(family, chain, current.rules(chain), wanted.inserts.get(chain, ()))
            for chain in dict.fromkeys((*TABLES[name], *guests))
        }
        return {
            **{chain: found for chain, found in there.items() if chain not in kernel},
            **{
                chain: make_chain(chain, "", family, content.printed(family).split("\n")[:-1])
                for chain, content in wanted.chains.items()
            },
            **{
                chain: make_chain(chain, there[chain].policy if chain in there else "ACCEPT", family, lines)
                for chain, lines in kernel.items()
            },
        }

    def placed(self, family: int, chain: str, there: Sequence[Rule], inserts: Sequence[Insert]) -> list[str]:
        """The rules of a foreign chain with inserts in their places."""
        foreign = [rule_line(chain, rule, family) for rule in there if not rule.identity]
        lines = list(foreign)
        for above, insert in enumerate(inserts):
            lines.insert(above + min(insert.below, len(foreign)), rule_line(chain, insert.rule, family))
        return lines


def whole(there: Dump, sets: Mapping[str, SavedSet], damage: Damage) -> Dump:
    """All current tables of a family, with those of another backend; `sets` are used if none are known."""
    known = {**sets, **(there.sets or {})}
    found = replace(there, tables={damage.family: there.tables[damage.family]}, sets=known)
    return together(found, damage.beside, BESIDE, damage.family) if damage.beside else found


BESIDE = "beside"
"""Stands before the names of tables that packets pass as well."""


def rule_line(chain: str, rule: Rule, family: int) -> str:
    """A rule as iptables-save prints it.

    >>> rule_line("FORWARD", Rule("", "-j ACCEPT"), 4)
    '-A FORWARD -j ACCEPT'
    """
    return f"-A {chain} {rule.printed(family)}".rstrip()


def saved_set(ipset: IPSet) -> SavedSet:
    family = "inet6" if ipset.family == 6 else "inet"
    return SavedSet(ipset.name, ipset.type, {"family": family}, ipset.members)
