"""A compiled node, looked up by name: its chains, its rules by hash, its sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from felixpy.errors import Path, Place
from felixpy.ipsets import IPSet
from felixpy.model import Cluster
from felixpy.ruleset import ARP, Chain, Ruleset, Table


class Spot(NamedTuple):
    """A chain in a table; families that hold it."""

    table: str
    chain: Chain
    families: tuple[int, ...]


class Found(NamedTuple):
    """A rule: its chain, its position from 0, and the number of the policy rule it was made from, or -1."""

    table: str
    chain: Chain
    position: int

    @property
    def number(self) -> int:
        return self.chain.numbers[self.position]

    @property
    def path(self) -> Path:
        """The path of the policy rule in its manifest, () if there is none."""
        return self.chain.origin.path(self.number)

    def place(self, cluster: Cluster) -> Place | None:
        """File and line of the policy rule, or of the object that the chain belongs to."""
        source = self.chain.origin.source
        return cluster.where(source, self.path) if source and source.file else None


class RuleIndex:
    """One node's compiled rules, by name."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset, self.node = ruleset, ruleset.node

    @cached_property
    def chains(self) -> Mapping[str, tuple[Spot, ...]]:
        """Felix's chains and its parts of kernel chains, table by table."""
        spots: dict[str, dict[tuple[str, ...], Spot]] = {}
        for table, chain in self._chains():
            known = spots.setdefault(chain.name, {})
            key = (table.name, *chain.hashes[-1:])  # the last hash covers the whole chain
            before = known[key].families if key in known else ()
            known[key] = Spot(table.name, chain, (*before, table.family))
        return {name: tuple(found.values()) for name, found in spots.items()}

    def spots(self, name: str, table: str = "") -> list[Spot]:
        """Chains of that name, in one table only if one is given. In nft, names of ARP chains have filter's layer."""
        found = self.chains.get(name, ())
        chosen = [spot for spot in found if table in ("", spot.table)]
        return chosen or [spot for spot in found if table == "filter" and spot.table == ARP]

    @cached_property
    def rules(self) -> Mapping[str, Found]:
        """Rules by hash; chains that are equal in several tables or families are included once."""
        found: dict[str, Found] = {}
        for table, chain in self._chains():
            for position, identity in enumerate(self.ruleset.identities(table, chain)):
                found.setdefault(identity, Found(table.name, chain, position))
        return found

    def drawn(self) -> Iterator[tuple[str, Found]]:
        """(hash, rule) for rules that were made from a rule of a policy or profile."""
        for table, chain in self._chains():
            if chain.origin.rules:
                for position, identity in enumerate(self.ruleset.identities(table, chain)):
                    found = Found(table.name, chain, position)
                    if found.path:
                        yield identity, found

    @cached_property
    def sets(self) -> Mapping[str, IPSet]:
        return {ipset.name: ipset for ipset in self.ruleset.sets}

    @cached_property
    def users(self) -> Mapping[str, tuple[str, ...]]:
        """The chains that jump to a chain, or use a set, by the name of that."""
        found: dict[str, dict[str, None]] = {}
        for table, chain in self._chains():
            for body in chain.bodies:
                for word in body.split():
                    if word.startswith("cali"):
                        found.setdefault(word, {})[chain.name] = None
            for target in table.maps.get(chain.name, {}).values():
                found.setdefault(target, {})[chain.name] = None
        return {name: tuple(users) for name, users in found.items()}

    def _chains(self) -> Iterator[tuple[Table, Chain]]:
        for table in self.ruleset.tables.values():
            for chain in table.all_chains():
                yield table, chain
