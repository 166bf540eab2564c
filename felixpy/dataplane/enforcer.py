"""The base of enforcers: bring a namespace to the wanted state, or leave it as it was.

The state is read, a program is made from it, and the program is run. If that fails after retries, everything written
so far is reverted, so that the earlier rules stay in force. After a kill at any point, the next run reads the current
state and continues from there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeAlias, TypeVar

from felixpy.dataplane.current import SetState
from felixpy.errors import FelixpyError
from felixpy.kernel import Kernel

PATIENT_INTERRUPTIONS = 3
"""How often Ctrl-C has to be pressed once more until not even the old policy is put back."""

Scratch = Callable[[], AbstractContextManager[Kernel]]
"""Gives a namespace to try things in."""


class WantedRules(Protocol):
    """The wanted state of Felix's rules and sets in a kernel."""

    @property
    def dataplane(self) -> str:
        """``iptables`` or ``nftables``."""
        ...

    @property
    def ipsets(self) -> Mapping[str, SetState]:
        """The sets that ipset makes, which do not belong to any table."""
        ...


class Program(Protocol):
    """The changes to make; it is `empty` if there are none."""

    @property
    def empty(self) -> bool: ...

    def summary(self) -> str:
        """The number of changes, in words."""
        ...

    def places(self) -> Iterator[str]:
        """The names of the chains and sets that it changes."""
        ...

    def repairs(self) -> Iterator[str]:
        """What was changed by others although it has Felix's names and hashes, in words."""
        ...


State = TypeVar("State")
Wanted = TypeVar("Wanted", bound=WantedRules)
Planned = TypeVar("Planned", bound=Program)


class Applied(NamedTuple, Generic[State, Planned]):
    """The result of applying: the state before, the program that was run, and remarks."""

    before: State
    program: Planned
    remarks: tuple[str, ...]


class Enforcer(ABC, Generic[State, Wanted, Planned]):
    """Works on one namespace with one backend: a kind of iptables, or nftables.

    `name` is the backend's name in options, `title` in messages. `scratch` makes unused namespaces for trying things
    out. `replaces` are the titles of backends from which it removes Felix's rules.
    """

    name: str
    title: str
    scratch: Scratch | None
    replaces: tuple[str, ...] = ()

    @abstractmethod
    def nothing(self, beside: WantedRules | None = None) -> Wanted:
        """The wanted state with nothing of Felix's except the IP sets that another backend needs."""

    @abstractmethod
    def as_it_was(self, state: State) -> Wanted:
        """The wanted state that restores Felix's part of an earlier state."""

    @abstractmethod
    def read(self, wanted: Wanted) -> State:
        """Read the current state. Tables that the wanted state does not concern need not be readable."""

    @abstractmethod
    def plan(self, wanted: Wanted, state: State | None = None) -> Planned:
        """The program that leads from the current state, or from `state`, to the wanted one."""

    @abstractmethod
    def inputs(self, program: Planned) -> Iterator[tuple[str, str]]:
        """(command, its input) for each command that writes, in order."""

    @abstractmethod
    def run(self, program: Planned, wanted: Wanted) -> list[str]:
        """Run a program; return remarks on failures that were tolerated. Raises FelixpyError for all others."""

    @abstractmethod
    def rehearse(self, wanted: Wanted) -> None:
        """Load everything into this namespace, which is empty. Raises KernelRefused with the refused line."""

    @abstractmethod
    def in_another(self, kernel: Kernel, scratch: Scratch | None = None) -> Self:
        """The same backend in another namespace."""

    def apply(self, wanted: Wanted) -> Applied[State, Planned]:
        """Apply the wanted state, or revert to the earlier one and raise.

        The exception, or a note on KeyboardInterrupt, says that the rules were reverted.
        """
        before = self.read(wanted)
        program = self.plan(wanted, before)
        try:
            remarks = self.run(program, wanted)
        except BaseException as wrong:
            note = self._put_back(before)
            if isinstance(wrong, FelixpyError):
                raise type(wrong)(f"{wrong}; {note}") from wrong
            wrong.add_note(note)
            raise
        return Applied(before, program, (*program.repairs(), *remarks))

    def revert(self, before: State) -> None:
        """Restore Felix's part of an earlier state."""
        wanted = self.as_it_was(before)
        self.run(self.plan(wanted), wanted)

    def _put_back(self, before: State) -> str:
        """Revert to an earlier state; return the sentence that reports it."""
        for _ in range(PATIENT_INTERRUPTIONS):
            try:
                self.revert(before)
            except FelixpyError as worse:
                return f"putting back what was there before failed as well, so both are mixed now: {worse}"
            except KeyboardInterrupt:
                continue
            return "what was in force before still is"
        return "putting back what was there before was interrupted, so both are mixed now"


AnyEnforcer: TypeAlias = Enforcer[Any, Any, Any]
