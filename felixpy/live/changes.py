"""The differences between two rulesets of one node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from felixpy.ipsets import IPSet
from felixpy.ruleset import Chain, Ruleset, Table


class ChainUpdate(NamedTuple):
    """A chain, or Felix's part of a kernel chain, before and after; None if it did not or does not exist."""

    family: int
    table: str
    name: str
    before: Chain | None
    after: Chain | None


class SetUpdate(NamedTuple):
    """A set before and after; None if it did not or does not exist. Members are compared on access."""

    name: str
    before: IPSet | None
    after: IPSet | None

    @property
    def added(self) -> list[str]:
        """Added members, sorted."""
        return sorted(_members(self.after) - _members(self.before))

    @property
    def removed(self) -> list[str]:
        """Removed members, sorted."""
        return sorted(_members(self.before) - _members(self.after))


def _members(ipset: IPSet | None) -> set[str]:
    return set(ipset.members) if ipset else set()


class PlaneChange(NamedTuple):
    """The data plane before and after."""

    before: str
    after: str


class RulesetChange(NamedTuple):
    """Everything that differs; false if nothing does.

    If the node's data plane changes, all chains of the old one are removed and those of the new one added.
    """

    chains: tuple[ChainUpdate, ...] = ()
    sets: tuple[SetUpdate, ...] = ()
    plane: PlaneChange | None = None

    def __bool__(self) -> bool:
        return bool(self.chains or self.sets or self.plane)


def difference(before: Ruleset, after: Ruleset) -> RulesetChange:
    """The differences between two rulesets. Chains that are the same object are not compared."""
    sets = tuple(_sets(before, after))
    if before.dataplane != after.dataplane:
        none = replace(before, tables={})
        chains = (*_chains(before, none), *_chains(none, after))
        return RulesetChange(chains, sets, PlaneChange(before.dataplane, after.dataplane))
    return RulesetChange(tuple(_chains(before, after)), sets)


def _chains(before: Ruleset, after: Ruleset) -> Iterator[ChainUpdate]:
    if before.tables is after.tables:
        return
    for family, name in sorted(before.tables.keys() | after.tables.keys()):
        old = _by_name(before.tables.get((family, name)))
        new = _by_name(after.tables.get((family, name)))
        for key in sorted(old.keys() | new.keys()):
            first, second = old.get(key), new.get(key)
            if first is second:
                continue
            if first is None or second is None or first.hashes != second.hashes:
                yield ChainUpdate(family, name, key[0], first, second)


def _by_name(table: Table | None) -> dict[tuple[str, str], Chain]:
    """Chains by (name, part); the part distinguishes Felix's rules at the top and the end of kernel chains."""
    if table is None:
        return {}
    found = {(chain.name, ""): chain for chain in table.chains}
    for part, chains in (("first", table.inserted), ("last", table.appended)):
        found.update({(name, part): chain for name, chain in chains.items()})
    return found


def _sets(before: Ruleset, after: Ruleset) -> Iterator[SetUpdate]:
    old = {each.name: each for each in before.sets}
    new = {each.name: each for each in after.sets}
    for name in sorted(old.keys() | new.keys()):
        first, second = old.get(name), new.get(name)
        if first is second:
            continue
        if first is None or second is None or _content(first) != _content(second):
            yield SetUpdate(name, first, second)


def _content(ipset: IPSet) -> tuple[object, ...]:
    return ipset.type, ipset.max_size, ipset.members
