"""Compiled rules with comments: above each chain and set, which object it came from, in plain words.

The lines begin with "#", which iptables-restore and ipset restore skip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from felixpy.errors import Place, spell
from felixpy.model import Cluster, Source
from felixpy.ruleset import FELIX_OWN, TABLES, Chain, Ruleset, Table

Purpose = Callable[[str], str]
"""What a template says about itself, by the template's name."""


def annotated_rules(ruleset: Ruleset, family: int, cluster: Cluster, purpose: Purpose, *, restore: bool) -> str:
    """One family's rules, as `Ruleset.save` or `Ruleset.restore` print them, with comments."""
    lines = (
        line
        for name in TABLES
        if (family, name) in ruleset.tables
        for line in _table(ruleset.tables[family, name], cluster, purpose, restore=restore)
    )
    return "".join(f"{line}\n" for line in lines)


def annotated_sets(ruleset: Ruleset, cluster: Cluster, families: tuple[int, ...]) -> str:
    """The sets, as `Ruleset.ipset_save` prints them, with comments."""
    parts = []
    for ipset in sorted(ruleset.sets, key=lambda ipset: ipset.name):
        if ipset.family in families:
            parts.append(f"# {ipset.words}\n")
            if ipset.origin:
                place = _where(cluster, ipset.origin.source, ipset.origin.path)
                parts.append(f"#   first asked for by {ipset.origin.subject}, {spell(ipset.origin.path)}{place}\n")
            parts.append(ipset.save())
    return "".join(parts)


def _where(cluster: Cluster, source: Source | None, path: tuple[str | int, ...] = ()) -> str:
    if source is None or not source.file:
        return ""
    place: Place = cluster.where(source, path)
    return f" ({place})"


def _table(table: Table, cluster: Cluster, purpose: Purpose, *, restore: bool) -> Iterator[str]:
    yield f"*{table.name}"
    yield from (f":{name} ACCEPT [0:0]" for name in TABLES[table.name])
    for chain in table.chains:
        if not chain.bodies:
            yield from _heading(chain, cluster, purpose)
        yield f":{chain.name} - [0:0]"
    for chain in table.all_chains():
        if chain.bodies:
            yield from _heading(chain, cluster, purpose)
            yield from _rules(chain, table.family, cluster, restore=restore)
    yield "COMMIT"


POLICY_TEMPLATE = "cali-pi"
"""Chains drawn by it need no words about such chains in general: their rules are announced one by one."""


def _heading(chain: Chain, cluster: Cluster, purpose: Purpose) -> Iterator[str]:
    if chain.origin is FELIX_OWN:
        yield f"# {chain.name}: {purpose(chain.template)}"
        return
    yield f"# {chain.name}: {chain.origin.words}{_where(cluster, chain.origin.source)}"
    if chain.template != POLICY_TEMPLATE:
        yield f"#   {purpose(chain.template)}"


def _rules(chain: Chain, family: int, cluster: Cluster, *, restore: bool) -> Iterator[str]:
    """The rules; in a policy's chain each of the policy's rules is announced."""
    drawn = -1
    for rule, number in zip(chain.each_rule(family, restore=restore), chain.numbers, strict=True):
        if number != drawn and chain.origin.path(number):
            path = chain.origin.path(number)
            yield f"#   {spell(path)}{_where(cluster, chain.origin.source, path)}"
        drawn = number
        yield from rule
