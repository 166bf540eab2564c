"""How the tools at hand print a rule.

Releases and backends of iptables differ in a few spellings: nft, for one, drops ``--nflog-range``. A rule in the kernel
that does not read as we expect has therefore not always been changed by somebody. The tools themselves can tell: they
load the rule into an empty namespace and print it.
"""

from __future__ import annotations

from collections.abc import Iterable

from felixpy.dataplane import setsync
from felixpy.dataplane.culprit import alone
from felixpy.dataplane.current import CurrentTable, Rule, read_tables
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.transaction import Transaction
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import FelixpyError


def ask_for_spelling(tools: Tools, changes: Iterable[Transaction], wanted: Wanted) -> dict[tuple[int, str], str]:
    """(family, our spelling) → theirs, for the suspects of the changes. `tools` work in an empty namespace."""
    found: dict[tuple[int, str], str] = {}
    try:
        tools.restore_sets(setsync.headers(wanted.sets.values()))
        for change in changes:
            lines = [f"-A {chain} {rule.text}" for chain, rule in change.suspects]
            if lines and not tools.restore(change.family, alone(lines, change.table)).status:
                table = read_tables(tools.tables(change.family), change.family)[change.table]
                found.update(_pairs(change, table))
    except FelixpyError:
        # What cannot be asked stays a suspect; then it is written once more, which is right in any case.
        return found
    return found


def _pairs(change: Transaction, table: CurrentTable) -> Iterable[tuple[tuple[int, str], str]]:
    by_chain: dict[str, list[Rule]] = {}
    for chain, rule in change.suspects:
        by_chain.setdefault(chain, []).append(rule)
    for chain, rules in by_chain.items():
        printed = table.rules(chain) if chain in table.chains else ()
        if len(printed) == len(rules):
            for rule, there in zip(rules, printed, strict=True):
                yield (change.family, rule.printed(change.family)), there.text
