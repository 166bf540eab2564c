"""A node with Felix's tables as wanted, and the same with one difference.

Foreign tables stay as they are on the node, in their places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from felixpy.dataplane.wanted import Wanted
from felixpy.names import LAYERS
from felixpy.netfilter.rules import Chain, Dump
from felixpy.nftables.dumps import dump_of
from felixpy.nftables.reading import ListedChain, ListedSet, ListedTable
from felixpy.verification.baseline import Damage, whole
from felixpy.verification.nftables.observed import TITLES, ListedNode


@dataclass(eq=False)
class ListedBaseline:
    """The wanted tables, by IP family, among foreign ones."""

    wanted: Wanted
    right: Mapping[int, ListedTable]
    observed: ListedNode

    @cached_property
    def dump(self) -> Dump:
        """The node without differences."""
        own = {family: self._with_leftovers(family) for family in self.right}
        return dump_of(self._among_others(own), sorted({*own, *self.observed.families}))

    def with_damage(self, damage: Damage) -> Dump:
        """The node with one difference."""
        sets = {**(self.dump.sets or {}), **damage.sets}
        if damage.whole:
            return whole(self.observed.dump, sets, damage)
        if damage.beside:
            return damage.beside
        if not (damage.chains or damage.maps or damage.bases):
            return replace(self.dump, sets=sets)
        table = self._damaged(damage)
        found = dump_of(self._among_others({damage.family: table}), [damage.family])
        return replace(found, tables={damage.family: self._shared(found, damage)}, sets=sets)

    def without(self, damage: Damage) -> Dump:
        """The state with which `with_damage` is compared."""
        return self.dump

    # --- tables

    def _with_leftovers(self, family: int) -> ListedTable:
        """The wanted table with unwanted chains that are not at a hook: no rule jumps to them."""
        right, there = self.right[family], self.observed.own(family)
        if there is None:
            return right
        stale = {name: chain for name, chain in there.chains.items() if name not in right.chains and not chain.base}
        maps = {name: one for name, one in there.maps.items() if name not in right.maps}
        return replace(right, chains={**right.chains, **stale}, maps={**right.maps, **maps})

    def _among_others(self, own: Mapping[int, ListedTable]) -> list[ListedTable]:
        """All tables, those of Felix at their place in the listing, else last."""
        by_title = {TITLES[family]: table for family, table in own.items()}
        found = []
        for table in self.observed.tables:
            if table.title not in TITLES.values():
                found.append(table)
            elif table.title in by_title:
                found.append(by_title.pop(table.title))
        return [*found, *by_title.values()]

    def _damaged(self, damage: Damage) -> ListedTable:
        table = self._with_leftovers(damage.family)
        chains = dict(table.chains)
        for name, lines in damage.chains.items():
            listed = listed_name(damage.table, name)
            if lines is None:
                chains.pop(listed, None)
            else:
                chains[listed] = self._chain(listed, damage.family, chains.get(listed), lines)
        for name, base in damage.bases.items():
            if name in chains:
                chains[name] = ListedChain(name, base, chains[name].lines)
        maps = {
            **table.maps,
            **{name: ListedSet(name, "ifname : verdict", elements=list(found)) for name, found in damage.maps.items()},
        }
        return replace(table, chains=chains, maps=maps)

    def _chain(self, name: str, family: int, right: ListedChain | None, lines: Iterable[str]) -> ListedChain:
        """A chain with other rules; an unwanted one keeps its hook."""
        there = self.observed.own(family)
        known = right or (there.chains.get(name) if there else None)
        return ListedChain(name, known.base if known else None, [(0, line.split(" ", 2)[2]) for line in lines])

    def _shared(self, found: Dump, damage: Damage) -> Mapping[str, Mapping[str, Chain]]:
        """Unchanged chains, which need not be parsed again."""
        family = damage.family
        words = tuple(f"@{name}" for name in damage.maps)
        right = self.dump.tables[family]
        return {
            name: {each: _same(right.get(name, {}).get(each), chain, words) for each, chain in chains.items()}
            for name, chains in found.tables[family].items()
        }


def _same(right: Chain | None, chain: Chain, words: Sequence[str]) -> Chain:
    if right is None or right.policy != chain.policy or right.lines != chain.lines:
        return chain
    return chain if words and any(word in line.text for line in chain.lines for word in words) else right


def listed_name(layer: str, name: str) -> str:
    """A chain's name in its table.

    >>> listed_name("filter", "cali-FORWARD"), listed_name("ip calico", "early")
    ('filter-cali-FORWARD', 'early')
    """
    return f"{layer}-{name}" if layer in LAYERS else name
