"""All inputs of the tools that lead from one state of a namespace to another, in a safe order.

Sets are filled before the rules that use them are written, and destroyed when no rule uses them any more. In between
come the tables, one transaction for each; a stale chain is deleted in the transaction that removes the last jump to it.
The tables of a family share an input, so that only the time of one command lies between sets and rules.
(felix/dataplane/linux/int_dataplane.go, apply)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from felixpy.dataplane import setsync
from felixpy.dataplane.current import CurrentTable, Spelling, State
from felixpy.dataplane.setsync import SetChange
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.transaction import NO_SPELLING, Transaction, transaction
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import many
from felixpy.ruleset import TABLES

FAMILIES = (4, 6)


class Step(NamedTuple):
    """The changes of one family: first its sets, then its tables."""

    family: int
    fill: SetChange | None
    tables: tuple[Transaction, ...]

    @property
    def text(self) -> str:
        """The input of iptables-restore."""
        return "".join(change.text for change in self.tables)


class Program(NamedTuple):
    """The changes to make: sets to fill, tables to change, sets to destroy."""

    fills: tuple[SetChange, ...]
    tables: tuple[Transaction, ...]
    stale_sets: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not (self.fills or self.tables or self.stale_sets)

    def steps(self) -> Iterator[Step]:
        """The changes by family; families are independent of each other."""
        for family in FAMILIES:
            fill = next((fill for fill in self.fills if fill.family == family), None)
            tables = tuple(change for change in self.tables if change.family == family)
            yield Step(family, fill, tables)

    def summary(self) -> str:
        """The number of changes, in words."""
        sets = sum(len(change.sets) for change in self.fills) + len(self.stale_sets)
        chains = sum(len(change.chains) for change in self.tables)
        parts = [many(sets, "set")] if sets else []
        if chains:
            parts.append(f"{many(chains, 'chain')} in {many(len(self.tables), 'table')}")
        return " and ".join(parts) or "nothing"

    def places(self, most: int = 4) -> Iterator[str]:
        """The names of what it changes: sets, then chains by table, at most `most` of each."""
        sets = sorted({name for change in self.fills for name in change.sets} | {*self.stale_sets})
        if sets:
            yield f"sets {shortened(sets, most)}"
        for change in self.tables:
            yield f"table {change.table} (IPv{change.family}) {shortened(change.chains, most)}"

    def repairs(self) -> Iterator[str]:
        """What was changed by others although it has Felix's names and hashes, in words."""
        for change in self.tables:
            for chain in dict.fromkeys(chain for chain, _ in change.suspects):
                yield f"table {change.table} (IPv{change.family}): a rule of {chain} had been changed and is put right"

    def inputs(self, tools: Tools) -> Iterator[tuple[str, str]]:
        """(command, its input), in order."""
        for step in self.steps():
            if step.fill:
                yield "ipset restore", step.fill.text
            if step.tables:
                yield " ".join(tools.restore_command(step.family)), step.text
        if self.stale_sets:
            yield "ipset restore", setsync.destroy(self.stale_sets)


def shortened(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many more there are.

    >>> shortened(["a", "b"], 3), shortened(["a", "b", "c", "d", "e"], 3)
    ('a, b', 'a, b, c and 2 more')
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def plan(state: State, wanted: Wanted, backend: str, spelling: Spelling = NO_SPELLING) -> Program:
    """The program that leads from a state of a namespace to the wanted one."""
    fills = (setsync.fill(state.sets, wanted.sets, family) for family in FAMILIES)
    changes = (
        plan_table(state.table(family, name), wanted, backend, spelling) for family in FAMILIES for name in TABLES
    )
    return Program(
        tuple(fill for fill in fills if fill),
        tuple(change for change in changes if change),
        setsync.stale(state.sets, wanted.sets),
    )


def plan_table(current: CurrentTable, wanted: Wanted, backend: str, spelling: Spelling) -> Transaction | None:
    """The change of one table, None if it is as wanted."""
    goal = wanted.table(current.family, current.name)
    return transaction(current, goal, rewrite=backend == "nft", spelling=spelling)
