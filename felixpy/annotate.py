"""Compiled rules with comments: above each chain and set, the object that it was made from.

The lines begin with "#", which iptables-restore, ipset restore and nft skip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from felixpy.errors import Place, spell
from felixpy.escape import comment
from felixpy.ipsets import IPSet
from felixpy.model import Cluster, Source
from felixpy.ruleset import FELIX_OWN, TABLES, Chain, Origin, Ruleset, Table

Purpose = Callable[[str], str]
"""Returns the first line of a template, which says what its chains are for, by the template's name."""

POLICY_TEMPLATE = "cali-pi"
"""The template of policy chains: each of their rules has a comment, so that the template's line is left out."""


@dataclass(frozen=True)
class Notes:
    """The comment lines above chains, rules and sets; `cluster` knows the places, `purpose` what a template is for."""

    cluster: Cluster
    purpose: Purpose

    def chain(self, name: str, origin: Origin, template: str) -> Iterator[str]:
        """Comment lines: the object that a chain was made from, and what its template is for."""
        if origin is FELIX_OWN:
            yield comment(f"{name}: {self.purpose(template)}")
            return
        yield comment(f"{name}: {origin.words}{self._where(origin.source)}")
        if template != POLICY_TEMPLATE:
            yield comment(f"  {self.purpose(template)}")

    def rule(self, origin: Origin, number: int, drawn: int) -> Iterator[str]:
        """A comment line with path and place of policy rule `number`, unless the rule above (`drawn`) is part of it."""
        path = origin.path(number)
        if number != drawn and path:
            yield comment(f"  {spell(path)}{self._where(origin.source, path)}")

    def set(self, ipset: IPSet) -> Iterator[str]:
        """Comment lines: what a set holds, and the first policy rule that uses it."""
        yield comment(ipset.words)
        if ipset.origin:
            place = self._where(ipset.origin.source, ipset.origin.path)
            yield comment(f"  first used by {ipset.origin.subject}, {spell(ipset.origin.path)}{place}")

    def _where(self, source: Source | None, path: tuple[str | int, ...] = ()) -> str:
        if source is None or not source.file:
            return ""
        place: Place = self.cluster.where(source, path)
        return f" ({place})"


def annotated_rules(ruleset: Ruleset, family: int, notes: Notes, *, restore: bool) -> str:
    """One family's rules, as `Ruleset.save` or `Ruleset.restore` print them, with comments."""
    lines = (
        line
        for name in TABLES
        if (family, name) in ruleset.tables
        for line in _table(ruleset.tables[family, name], notes, restore=restore)
    )
    return "".join(f"{line}\n" for line in lines)


def annotated_sets(ruleset: Ruleset, notes: Notes, families: tuple[int, ...]) -> str:
    """The sets, as `Ruleset.ipset_save` prints them, with comments."""
    parts: list[str] = []
    for ipset in sorted(ruleset.sets, key=lambda ipset: ipset.name):
        if ipset.family in families:
            parts.extend(f"{line}\n" for line in notes.set(ipset))
            parts.append(ipset.save())
    return "".join(parts)


def _table(table: Table, notes: Notes, *, restore: bool) -> Iterator[str]:
    yield f"*{table.name}"
    yield from (f":{name} ACCEPT [0:0]" for name in TABLES[table.name])
    for chain in table.chains:
        if not chain.bodies:
            yield from notes.chain(chain.name, chain.origin, chain.template)
        yield f":{chain.name} - [0:0]"
    for chain in table.all_chains():
        if chain.bodies:
            yield from notes.chain(chain.name, chain.origin, chain.template)
            yield from _rules(chain, table.family, notes, restore=restore)
    yield "COMMIT"


def _rules(chain: Chain, family: int, notes: Notes, *, restore: bool) -> Iterator[str]:
    """The rules; in a policy's chain each of the policy's rules is announced."""
    drawn = -1
    for rule, number in zip(chain.each_rule(family, restore=restore), chain.numbers, strict=True):
        yield from notes.rule(chain.origin, number, drawn)
        drawn = number
        yield from rule
