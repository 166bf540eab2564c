"""From one data plane to another, in place.

The new rules are written while the old ones are still in force, and these go when that is done. In between both are in
force, and a packet passes only if both let it pass: never is there a moment without policy. On the way back, after a
failure, it is the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from felixpy.dataplane.enforcer import AnyEnforcer, Enforcer, Program, Scratch, WantedRules
from felixpy.kernel import Kernel


class Migrated(NamedTuple):
    """What the new backend and those before it hold, or what each shall hold."""

    new: Any
    old: tuple[Any, ...]


class MigratedGoal(NamedTuple):
    """What each backend held at some time."""

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
    """What is to be done with the new backend, and what to be taken out of the others, with their titles."""

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
    """Works with the new backend, and takes what is Felix's out of the old ones."""

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
        """What each shall hold."""
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
        """The new rules first; on the way back the old ones, which come back before the new ones go."""
        new, old = self._goals(wanted)
        if isinstance(wanted, MigratedGoal):
            self._run_old(old)
            self.new.run(program.new, new)
            return []
        remarks = self.new.run(program.new, new)
        return [*remarks, *self._run_old(old)]

    def _run_old(self, goals: Sequence[Any]) -> list[str]:
        """Both kinds of iptables use the same sets, so each is planned when the one before it is done.

        What the first has to say about sets that the other still uses is no longer true then.
        """
        remarks: list[str] = []
        for each, goal in zip(self.old, goals, strict=True):
            remarks = each.run(each.plan(goal), goal)
        return remarks

    def rehearse(self, wanted: Any) -> None:
        self.new.rehearse(wanted)
