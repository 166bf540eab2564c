"""Bringing a namespace to what is wanted, or leaving it as it was: what the data planes have in common.

The state is read, a program is made from it, and the program is run. If that fails for good, everything written so far
is put back, so what was in force before stays in force. Killed at any point, the next run reads what is there and goes
on from that.
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
    """What the kernel shall hold of Felix's."""

    @property
    def dataplane(self) -> str:
        """``iptables`` or ``nftables``."""
        ...

    @property
    def ipsets(self) -> Mapping[str, SetState]:
        """The sets that ipset makes, which do not belong to any table."""
        ...


class Program(Protocol):
    """What is to be done. An empty one means that nothing is."""

    @property
    def empty(self) -> bool: ...

    def summary(self) -> str:
        """What it changes, in numbers."""
        ...

    def places(self) -> Iterator[str]:
        """What it changes, by name."""
        ...

    def repairs(self) -> Iterator[str]:
        """What was found damaged, although it bears our signs."""
        ...


State = TypeVar("State")
Wanted = TypeVar("Wanted", bound=WantedRules)
Planned = TypeVar("Planned", bound=Program)


class Applied(NamedTuple, Generic[State, Planned]):
    """What was done: the state before, the program that was run, and remarks."""

    before: State
    program: Planned
    remarks: tuple[str, ...]


class Enforcer(ABC, Generic[State, Wanted, Planned]):
    """Works on one namespace with one backend: a kind of iptables, or nftables.

    `name` is what options call it, `title` what people are told. `scratch` gives namespaces that nobody uses, in which
    the tools are asked about things. `replaces` are the titles of backends out of which it takes what is Felix's.
    """

    name: str
    title: str
    scratch: Scratch | None
    replaces: tuple[str, ...] = ()

    @abstractmethod
    def nothing(self, beside: WantedRules | None = None) -> Wanted:
        """Nothing of Felix's, but for the IP sets of what another backend shall hold."""

    @abstractmethod
    def as_it_was(self, state: State) -> Wanted:
        """What was ours in some state."""

    @abstractmethod
    def read(self, wanted: Wanted) -> State:
        """What is there. What nothing wanted is about need not be readable."""

    @abstractmethod
    def plan(self, wanted: Wanted, state: State | None = None) -> Planned:
        """What is to be done now, or in some state."""

    @abstractmethod
    def inputs(self, program: Planned) -> Iterator[tuple[str, str]]:
        """(command, its input) of everything that writes, in order."""

    @abstractmethod
    def run(self, program: Planned, wanted: Wanted) -> list[str]:
        """Do it; returns remarks about what did not matter enough to fail. Raises what the tools' answers mean."""

    @abstractmethod
    def rehearse(self, wanted: Wanted) -> None:
        """Load everything into this namespace, which is empty. Raises KernelRefused with the line that is to blame."""

    @abstractmethod
    def in_another(self, kernel: Kernel, scratch: Scratch | None = None) -> Self:
        """The same backend in another namespace."""

    def apply(self, wanted: Wanted) -> Applied[State, Planned]:
        """Do it, or raise and leave the namespace as it was. What was raised says so, an interruption in a note."""
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
        """Bring back what was ours in an earlier state."""
        wanted = self.as_it_was(before)
        self.run(self.plan(wanted), wanted)

    def _put_back(self, before: State) -> str:
        """Undo what was written; returns what to say about it."""
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
