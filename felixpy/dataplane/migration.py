"""Changing the data plane of a node in place.

The new rules are written while the old ones are still in force, and the old ones are removed afterwards. In between a
packet passes only if both sets of rules allow it: there is no moment without policy. A revert after a failure works in
the opposite order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from felixpy.dataplane.enforcer import AnyEnforcer, Enforcer, Program, Scratch, WantedRules
from felixpy.kernel import Kernel


class Migrated(NamedTuple):
    """Current states, or wanted states, of the new backend and of those that it replaces."""

    new: Any
    old: tuple[Any, ...]


class MigratedGoal(NamedTuple):
    """The wanted state that restores what each backend held at an earlier time."""

    new: Any
    old: tuple[Any, ...]

    @property
    def dataplane(self) -> str:
        name: str = self.new.dataplane
        return name

    @property
    def ipsets(self) -> Any:
        return self.new.ipsets


class MigrationProgram(NamedTuple):
    """The program for the new backend, and those that clear the others, with their titles."""

    new: Program
    old: tuple[tuple[str, Program], ...]

    @property
    def empty(self) -> bool:
        return self.new.empty and all(program.empty for _, program in self.old)

    def summary(self) -> str:
        gone = [f"took {program.summary()} out of {title}" for title, program in self.old if not program.empty]
        return "; ".join([self.new.summary(), *gone])

    def places(self) -> Iterator[str]:
        yield from self.new.places()
        for title, program in self.old:
            yield from (f"{title}: {place}" for place in program.places())

    def repairs(self) -> Iterator[str]:
        yield from self.new.repairs()


class Migration(Enforcer[Migrated, Any, MigrationProgram]):
    """Enforces with the new backend, and removes Felix's rules from the old ones."""

    def __init__(self, new: AnyEnforcer, old: Sequence[AnyEnforcer]) -> None:
        self.new, self.old = new, tuple(old)
        self.name, self.title, self.scratch = new.name, new.title, new.scratch
        self.replaces = tuple(each.title for each in old)

    def nothing(self, beside: WantedRules | None = None) -> Any:
        return self.new.nothing(beside)

    def as_it_was(self, state: Migrated) -> MigratedGoal:
        pairs = zip(self.old, state.old, strict=True)
        return MigratedGoal(self.new.as_it_was(state.new), tuple(each.as_it_was(there) for each, there in pairs))

    def in_another(self, kernel: Kernel, scratch: Scratch | None = None) -> Self:
        return type(self)(self.new.in_another(kernel, scratch), [each.in_another(kernel, scratch) for each in self.old])

    def read(self, wanted: Any) -> Migrated:
        new, old = self._goals(wanted)
        pairs = zip(self.old, old, strict=True)
        return Migrated(self.new.read(new), tuple(each.read(goal) for each, goal in pairs))

    def _goals(self, wanted: Any) -> Migrated:
        """The wanted state of each backend."""
        if isinstance(wanted, MigratedGoal):
            return Migrated(*wanted)
        return Migrated(wanted, tuple(each.nothing(wanted) for each in self.old))

    def plan(self, wanted: Any, state: Migrated | None = None) -> MigrationProgram:
        state = state or self.read(wanted)
        new, old = self._goals(wanted)
        parts = zip(self.old, old, state.old, strict=True)
        gone = tuple((each.title, each.plan(goal, there)) for each, goal, there in parts)
        return MigrationProgram(self.new.plan(new, state.new), gone)

    def inputs(self, program: MigrationProgram) -> Iterator[tuple[str, str]]:
        yield from self.new.inputs(program.new)
        for each, (_, gone) in zip(self.old, program.old, strict=True):
            yield from each.inputs(gone)

    def run(self, program: MigrationProgram, wanted: Any) -> list[str]:
        """Write the new rules first; in a revert the old ones first, before the new ones are removed."""
        new, old = self._goals(wanted)
        if isinstance(wanted, MigratedGoal):
            self._run_old(old)
            self.new.run(program.new, new)
            return []
        remarks = self.new.run(program.new, new)
        return [*remarks, *self._run_old(old)]

    def _run_old(self, goals: Sequence[Any]) -> list[str]:
        """Run the old backends one after the other, each planned when the one before is done: they share IP sets.

        Only the remarks of the last are returned: sets that an earlier one left in use may be gone by then.
        """
        remarks: list[str] = []
        for each, goal in zip(self.old, goals, strict=True):
            remarks = each.run(each.plan(goal), goal)
        return remarks

    def rehearse(self, wanted: Any) -> None:
        self.new.rehearse(wanted)
