"""How the installed tools print a rule.

Releases and backends of iptables differ in a few spellings: nft, for one, drops ``--nflog-range``. So a rule in the
kernel that differs in text from the wanted one has not always been changed. To find out, the tools load the wanted rule
into an empty namespace and print it.
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
        # A rule that cannot be tried stays a suspect and is written again, which is always correct.
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
