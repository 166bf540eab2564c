"""The enforcer for iptables and ipset, with the legacy or the nft backend.

The steps of a program are run in order. A table that others change at the same time is read and planned again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Self

from felixpy.dataplane import setsync
from felixpy.dataplane.culprit import offending
from felixpy.dataplane.current import EMPTY, CurrentTable, State, read_sets, read_tables
from felixpy.dataplane.enforcer import Enforcer, Scratch, WantedRules
from felixpy.dataplane.program import FAMILIES, Program, Step, plan, plan_table
from felixpy.dataplane.spelling import ask_for_spelling
from felixpy.dataplane.tools import Tools, failure, is_about_a_line, line_number
from felixpy.dataplane.transaction import Transaction
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import Done, Kernel

ATTEMPTS = 5
"""How often a table is read again because others change it at the same time."""

PAUSE_SECONDS = 0.02


class IptablesEnforcer(Enforcer[State, Wanted, Program]):
    """Works with the tools of one backend. `scratch` is also used to find the rule for which a table was refused."""

    def __init__(self, tools: Tools, scratch: Scratch | None = None) -> None:
        self.tools, self.scratch = tools, scratch
        self.name, self.title = tools.backend, f"iptables ({tools.backend})"
        self.spelling: dict[tuple[int, str], str] = {}
        self._readable: set[int] = set()

    def nothing(self, beside: WantedRules | None = None) -> Wanted:
        return Wanted({}, beside.ipsets if beside else {})

    def as_it_was(self, state: State) -> Wanted:
        return Wanted.as_it_was(state)

    def in_another(self, kernel: Kernel, scratch: Scratch | None = None) -> Self:
        return type(self)(self.tools.in_another(kernel), scratch)

    def inputs(self, program: Program) -> Iterator[tuple[str, str]]:
        return program.inputs(self.tools)

    def read(self, wanted: Wanted) -> State:
        """Read the current state. A family that is not needed and cannot be read counts as empty."""
        with self.tools.one_look():
            tables: dict[tuple[int, str], CurrentTable] = {}
            for family in FAMILIES:
                tables |= self._tables(family, wanted.families)
            return State(tables, read_sets(self.tools.sets()))

    def _tables(self, family: int, needed: set[int]) -> dict[tuple[int, str], CurrentTable]:
        try:
            text = self.tools.tables(family)
        except FelixpyError:
            if family in needed | self._readable:
                raise
            return {}
        self._readable.add(family)
        return {(family, name): table for name, table in read_tables(text, family).items()}

    def plan(self, wanted: Wanted, state: State | None = None) -> Program:
        """The program that leads from the current state, or from `state`, to the wanted one.

        Rules that seem to have been changed are compared again in the spelling of the installed tools.
        """
        state = state or self.read(wanted)
        program = plan(state, wanted, self.tools.backend, self.spelling)
        if self.scratch is None or not any(change.suspects for change in program.tables):
            return program
        try:
            with self.scratch() as kernel:
                self.spelling |= ask_for_spelling(self.tools.in_another(kernel), program.tables, wanted)
        except EnvironmentMissing:
            # No scratch namespace, as in a container: what looks changed is written again, which is always correct.
            return program
        return plan(state, wanted, self.tools.backend, self.spelling)

    def run(self, program: Program, wanted: Wanted) -> list[str]:
        """Run all steps."""
        for step in program.steps():
            if step.fill:
                self.tools.restore_sets(step.fill.text)
            if step.tables:
                self._restore_all(step, wanted)
        return list(self._destroy(program.stale_sets))

    def _restore_all(self, step: Step, wanted: Wanted) -> None:
        """Change the tables of a family. Raises FelixpyError.

        iptables-restore commits table by table and stops at the first that fails: those before it have been written.
        """
        done = self.tools.restore(step.family, step.text)
        if not done.status:
            return
        above = 0
        for change in step.tables:
            again = self._replan(change, wanted)
            if again == change and done.status:
                raise self.refusal(change, done, above)
            if again:
                self._restore(again, wanted)
                done = Done(0)
            above += len(change.lines) + 2

    def _restore(self, change: Transaction, wanted: Wanted) -> None:
        """Change a table, with retries while others change it too. Raises FelixpyError."""
        done = self.tools.restore(change.family, change.text)
        for _ in range(ATTEMPTS - 1):
            if not done.status:
                return
            again = self._replan(change, wanted)
            if again == change:
                break
            if again is None:
                return
            time.sleep(PAUSE_SECONDS)
            change = again
            done = self.tools.restore(change.family, change.text)
        if done.status:
            raise self.refusal(change, done)

    def _replan(self, change: Transaction, wanted: Wanted) -> Transaction | None:
        """The change of the same table, planned again from its current state; None if none is left."""
        state = State(self._tables(change.family, {change.family}), {})
        return plan_table(state.table(change.family, change.table), wanted, self.tools.backend, self.spelling)

    def refusal(self, change: Transaction, done: Done, above: int = 0) -> FelixpyError:
        """The exception for a failed restore, with the refused line; `above` lines of the input precede this table."""
        lines = ["", f"*{change.table}", *change.lines, "COMMIT"]
        number = line_number(done) - above
        line = lines[number] if 0 < number < len(lines) else ""
        if line in ("", "COMMIT") and is_about_a_line(done):
            found = self._culprit(change)
            number, line = (found + 2, change.lines[found]) if found >= 0 else (0, "")
        where = f"table {change.table} (IPv{change.family})" + (f", line {number + above}, {line!r}," if line else "")
        return failure(self.tools.restore_command(change.family)[0], done, where)

    def _culprit(self, change: Transaction) -> int:
        """The index of the line that the kernel refuses, -1 if that cannot be determined."""
        if self.scratch is None:
            return -1
        try:
            sets = read_sets(self.tools.sets())
            with self.scratch() as kernel:
                tools = self.tools.in_another(kernel)
                tools.restore_sets(setsync.headers(sets.values()))
                return offending(
                    change.lines, change.table, lambda text: bool(tools.restore(change.family, text).status)
                )
        except FelixpyError:
            # The first failure is the one to report.
            return -1

    def _destroy(self, stale: tuple[str, ...]) -> Iterator[str]:
        """Destroy unused sets; yield a remark for each that is still in use and therefore stays."""
        if not stale:
            return
        in_use = self.tools.sets_in_use()
        free = tuple(name for name in stale if name not in in_use)
        for name in sorted(in_use.intersection(stale)):
            yield f"set {name} is stale, but rules or sets of others use it: it stays"
        if free:
            try:
                self.tools.restore_sets(setsync.destroy(free))
            except KernelRefused as refusal:
                yield f"stale sets stay: {refusal}"

    def rehearse(self, wanted: Wanted) -> None:
        """Load everything: each table first with --test, which only parses it, then into the kernel."""
        program = plan(EMPTY, wanted, self.tools.backend)
        for fill in program.fills:
            self.tools.restore_sets(fill.text)
        for change in program.tables:
            for test in (True, False):
                done = self.tools.restore(change.family, change.text, test=test)
                if done.status:
                    raise self.refusal(change, done)
