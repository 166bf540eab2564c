"""(present tables, wanted tables) → the inputs of ``nft -f -`` that lead from one to the other.

All tables are changed together or not at all, in one transaction. Only what differs is written: a chain that differs is
flushed and written again; of sets and maps, elements are added and deleted. Lines are in Felix's order
(felix/nftables/table.go, felix/nftables/ipsets.go): sets, maps, chains, rules, elements of maps, then deletions.

New sets are filled in an earlier transaction, as Felix does with all sets: the kernel (measured with 6.18) activates
elements of an interval set a moment after the rules of the same transaction, so a packet could miss them. An element
that is both present and wanted is never missing in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from felixpy.dataplane.nftables.content import Content, Elements, TableContent
from felixpy.dataplane.program import shortened
from felixpy.errors import many

Spelling = Mapping[tuple[str, str], str]
"""(family, a rule as we think that it is listed) → as the nft at hand lists it, where that is not the same."""

NO_SPELLING: Spelling = MappingProxyType({})

ELEMENTS_PER_LINE = 500
"""How many elements one command adds; nft takes much longer for a command each, as Felix writes them."""


DORMANT = "flags dormant"
"""The option of a table of which no chain is in force."""


class Suspect(NamedTuple):
    """A rule with the wanted hash but another text: as nft lists it, and the wanted rule as it is passed to nft."""

    chain: str
    listed: str
    written: str


@dataclass(frozen=True, slots=True)
class TableChange:
    """The lines that change one table; `chains` and `sets` (maps included) are the names that they change.

    `first` are lines for an earlier transaction. `anew` is the reason why the whole table is replaced, "" if it is not.
    """

    title: str
    first: tuple[str, ...]
    lines: tuple[str, ...]
    chains: tuple[str, ...]
    sets: tuple[str, ...]
    suspects: tuple[Suspect, ...] = ()
    anew: str = ""

    @property
    def family(self) -> str:
        return self.title.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class NftProgram:
    """The changes of all tables, for one transaction and, if needed, one before it."""

    tables: tuple[TableChange, ...]

    @property
    def empty(self) -> bool:
        return not self.tables

    @property
    def inputs(self) -> list[list[str]]:
        """The lines of each input for nft, in order."""
        first = [line for change in self.tables for line in change.first]
        rest = [line for change in self.tables for line in change.lines]
        return [lines for lines in (first, rest) if lines]

    def summary(self) -> str:
        """The number of changes, in words."""
        sets = sum(len(change.sets) for change in self.tables)
        chains = sum(len(change.chains) for change in self.tables)
        parts = [many(sets, "set")] if sets else []
        if chains:
            parts.append(f"{many(chains, 'chain')} in {many(len(self.tables), 'table')}")
        return " and ".join(parts) or ("nothing" if self.empty else many(len(self.tables), "table"))

    def places(self, most: int = 4) -> Iterator[str]:
        """The names of what it changes, at most `most` chains and sets of each table."""
        for change in self.tables:
            named = [*(["sets " + shortened(change.sets, most)] if change.sets else [])]
            named += [shortened(change.chains, most)] if change.chains else []
            yield f"table {change.title} {', '.join(named)}".rstrip()

    def repairs(self) -> Iterator[str]:
        """What was changed by others although it has Felix's names and hashes, in words."""
        for change in self.tables:
            if change.anew:
                yield f"table {change.title}: {change.anew}; the table is replaced"
            for chain in dict.fromkeys(suspect.chain for suspect in change.suspects):
                yield f"table {change.title}: a rule of {chain} had been changed and is put right"


def table_change(
    present: TableContent | None, wanted: TableContent | None, spelling: Spelling = NO_SPELLING
) -> TableChange | None:
    """The change of a table, None if it is as wanted. A table that is not wanted is deleted."""
    if wanted is None:
        return _removed(present) if present else None
    if present is None:
        return _Change(TableContent.empty(wanted.family, wanted.name), wanted, NO_SPELLING).change()
    if reason := _unchangeable(present, wanted):
        change = _Change(TableContent.empty(wanted.family, wanted.name), wanted, NO_SPELLING).change()
        lines = (f"delete table {wanted.title}", *change.first, *change.lines)
        return TableChange(change.title, (), lines, change.chains, change.sets, anew=reason)
    change = _Change(present, wanted, spelling).change()
    return change if change.chains or change.sets or DORMANT in present.options else None


def _removed(present: TableContent) -> TableChange:
    """Delete a table. It is made dormant first: while the kernel deletes it, maps are empty before rules are gone."""
    first = tuple(f"flush chain {present.title} {name}" for name, chain in present.chains.items() if chain.base)
    lines = (f"delete table {present.title}",)
    return TableChange(present.title, first, lines, tuple(present.chains), (*present.sets, *present.maps))


def _unchangeable(present: TableContent, wanted: TableContent) -> str:
    """Why a table has to be replaced as a whole, "" if it need not: sets in use cannot be declared differently."""
    for name, chain in wanted.chains.items():
        there = present.chains.get(name)
        if there is not None and (there.base is None) != (chain.base is None):
            return f"chain {name} has {'a' if there.base else 'no'} hook"
    for kind, here, goal in (("set", present.sets, wanted.sets), ("map", present.maps, wanted.maps)):
        other = present.maps if kind == "set" else present.sets
        for name, elements in goal.items():
            if name in here and here[name].declared != elements.declared:
                return f"{kind} {name} is declared as {here[name].declared}"
            if name in other:
                return f"{name} is no {kind}"
    return ""


class _Change:
    """Compares a present table with the wanted one and writes the lines that change it."""

    def __init__(self, present: TableContent, wanted: TableContent, spelling: Spelling) -> None:
        self.present, self.wanted, self.spelling = present, wanted, spelling
        self.at = wanted.title
        self.changed = [
            name
            for name, chain in wanted.chains.items()
            if name not in present.chains or not self._alike(present.chains[name], chain)
        ]
        self.stale = [name for name in present.chains if name not in wanted.chains]

    def change(self) -> TableChange:
        sets = [*self._differing(self.present.sets, self.wanted.sets)]
        maps = [*self._differing(self.present.maps, self.wanted.maps)]
        return TableChange(
            self.at,
            tuple(self._first(sets)),
            tuple(self._lines(sets, maps)),
            (*self.changed, *self.stale),
            (*sets, *maps),
            tuple(self._suspects()),
        )

    def _differing(self, present: Mapping[str, Elements], wanted: Mapping[str, Elements]) -> Iterator[str]:
        for name in sorted(present.keys() | wanted.keys()):
            if name not in present or name not in wanted or present[name].members.keys() != wanted[name].members.keys():
                yield name

    def _first(self, sets: Sequence[str]) -> Iterator[str]:
        """Lines that make and fill new sets, which no rule uses yet."""
        new = [name for name in sets if name not in self.present.sets]
        if new:
            yield f"add table {self.at}"
        for name in new:
            yield from self._declared("set", name, self.present.sets, self.wanted.sets)
            yield from self._come(name, self.present.sets, self.wanted.sets)

    def _lines(self, sets: Sequence[str], maps: Sequence[str]) -> Iterator[str]:
        """All other lines. The first one also makes a dormant table active."""
        present, wanted = self.present, self.wanted
        yield f"add table {self.at}"
        for name in sets:
            if name in wanted.sets and name in present.sets:
                yield from self._gone(name, present.sets, wanted.sets)
                yield from self._come(name, present.sets, wanted.sets)
        kept = [name for name in maps if name in wanted.maps]
        for name in kept:
            yield from self._declared("map", name, present.maps, wanted.maps)
            yield from self._gone(name, present.maps, wanted.maps)
        yield from self._chains()
        for name in kept:
            yield from self._come(name, present.maps, wanted.maps)
        yield from (f"delete map {self.at} {name}" for name in maps if name not in wanted.maps)
        yield from (f"delete chain {self.at} {name}" for name in self.stale)
        yield from (f"delete set {self.at} {name}" for name in sets if name not in wanted.sets)

    def _chains(self) -> Iterator[str]:
        """Lines that flush changed and deleted chains, add new ones, and write the rules."""
        at, present = self.at, self.present.chains
        yield from (f"flush chain {at} {name}" for name in (*self.changed, *self.stale) if name in present)
        for name in self.changed:
            base = self.wanted.chains[name].base
            if name in present and present[name].base != base:
                yield f"delete chain {at} {name}"
            if name not in present or present[name].base != base:
                yield f"add chain {at} {name}" + (f" {{ {base.declared} }}" if base else "")
        for name in self.changed:
            head = f"add rule {at} {name} "
            yield from [head + rule for rule in self.wanted.chains[name].written()]

    def _declared(
        self, kind: str, name: str, present: Mapping[str, Elements], wanted: Mapping[str, Elements]
    ) -> Iterator[str]:
        if name not in present:
            yield f"add {kind} {self.at} {name} {{ {wanted[name].declared} }}"

    def _gone(self, name: str, present: Mapping[str, Elements], wanted: Mapping[str, Elements]) -> Iterator[str]:
        """Lines that delete elements, before others are added: intervals of a set must not overlap."""
        there = present[name].members if name in present else {}
        keys = [member.partition(" : ")[0] for member in there if member not in wanted[name].members]
        yield from self._bundled("delete", name, keys)

    def _come(self, name: str, present: Mapping[str, Elements], wanted: Mapping[str, Elements]) -> Iterator[str]:
        there = present[name].members if name in present else {}
        members = [written for listed, written in wanted[name].members.items() if listed not in there]
        yield from self._bundled("add", name, members)

    def _bundled(self, verb: str, name: str, elements: Iterable[str]) -> Iterator[str]:
        listed = [*elements]
        for start in range(0, len(listed), ELEMENTS_PER_LINE):
            yield f"{verb} element {self.at} {name} {{ {', '.join(listed[start : start + ELEMENTS_PER_LINE])} }}"

    def _alike(self, present: Content, wanted: Content) -> bool:
        if present.base != wanted.base:
            return False
        there, goal = present.listed(), wanted.listed()
        return there == goal or (len(there) == len(goal) and all(map(self._same, goal, there)))

    def _same(self, rule: str, there: str) -> bool:
        return rule == there or self.spelling.get((self.wanted.family, rule)) == there

    def _suspects(self) -> Iterator[Suspect]:
        for name in self.changed:
            if name not in self.present.chains:
                continue
            chain, present = self.wanted.chains[name], self.present.chains[name].listed()
            for rule, written, there in zip(chain.listed(), chain.written(), present, strict=False):
                if _comment(rule) == _comment(there) and not self._same(rule, there):
                    yield Suspect(name, rule, written)


def _comment(rule: str) -> str:
    return rule.rpartition(' comment "')[2]
