"""The network namespace and backend that a command works on: the options, choosing from them, and writing rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Optional

import typer

from felixpy.cli import invocation
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.dataplane.enforcer import AnyEnforcer, Applied
    from felixpy.dataplane.enforcer import WantedRules as Wanted
    from felixpy.dataplane.tools import BackendChoice, Tools
    from felixpy.kernel import Machine

Netns = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it at run time
    typer.Option("--netns", metavar="NAME", help="The network namespace to work on, by name or path."),
]
OnHost = Annotated[bool, typer.Option("--host", help="Work on this machine itself.")]


class IptablesKind(StrEnum):
    """Which kind of iptables."""

    auto = "auto"
    legacy = "legacy"
    nft = "nft"


BackendName = Annotated[
    IptablesKind, typer.Option("--backend", help="The iptables backend; auto detects the one that is in use.")
]
LockWait = Annotated[
    int,
    typer.Option("--wait", metavar="SECONDS", min=1, help="How long to wait for a lock that another process holds."),
]


class ChosenNamespace(NamedTuple):
    """A namespace as chosen on the command line, and its name in messages; a `fresh` one is made and removed again."""

    netns: str | None
    words: str
    fresh: bool = False

    @contextmanager
    def machine(self) -> Iterator[Machine]:
        from felixpy.kernel import open_machine

        with open_machine(self.netns) as machine:
            if not self.fresh:
                yield machine
                return
            with machine.scratch() as nowhere:
                yield nowhere


def choose_place(netns: str | None, *, host: bool, command: str) -> ChosenNamespace:
    """The namespace that options choose. Raises UsageError for none or two: there is no default."""
    if netns and host:
        raise UsageError("--netns and --host exclude each other")
    if not netns and not host:
        raise UsageError(
            f"felixpy {command} needs --netns NAME for a network namespace or --host for this machine itself; "
            "felixpy lab down takes a lab away"
        )
    return live_place(netns)


def live_place(netns: str | None) -> ChosenNamespace:
    """The namespace of that name, or this machine for None."""
    return ChosenNamespace(netns, f"network namespace {netns}" if netns else "this machine")


def lab_or_nothing() -> ChosenNamespace:
    """The home node of the default lab if it is up, else a fresh namespace, which a new lab would start with."""
    from felixpy.lab.layout import DEFAULT_NAME
    from felixpy.lab.state import exists

    if exists(DEFAULT_NAME):
        return live_place(DEFAULT_NAME)
    return ChosenNamespace(None, "an empty network namespace", fresh=True)


def enforcer_for(machine: Machine, wanted: Wanted, backend: IptablesKind, wait: int) -> AnyEnforcer:
    """The enforcer that writes these rules into a namespace, and then removes those of the other data plane.

    Raises UsageError if --backend names a kind of iptables and the rules are for nftables.
    """
    from felixpy.dataplane.backends import EnforcerOptions, enforcer_of, find
    from felixpy.dataplane.nftables.enforcer import NFTABLES

    found = find(machine)
    if wanted.dataplane == NFTABLES:
        if backend is not IptablesKind.auto:
            raise UsageError(
                f"--backend {backend.value} is a kind of iptables, and this node's data plane is nftables; "
                "--dataplane iptables says that iptables is meant"
            )
        name, others = NFTABLES, found.iptables.ours
    else:
        name, others = settle(backend, found.iptables), (NFTABLES,) if found.nftables else ()
    enforcer = enforcer_of(
        machine, name, machine.scratch, instead_of=others, options=EnforcerOptions(wait, found.answers)
    )
    if enforcer.replaces:
        there = " and ".join(enforcer.replaces)
        say(f"rules of Felix are in {there}, too; they go once those of {enforcer.title} are in force")
    return enforcer


def tools_of(machine: Machine, backend: IptablesKind, wait: int) -> Tools:
    """The iptables and ipset commands for a backend on a machine."""
    from felixpy.dataplane.tools import Tools, choose, look

    answers = look(machine)
    return Tools(machine, settle(backend, choose(answers)), wait, answers)


def settle(backend: IptablesKind, found: BackendChoice) -> str:
    """The backend to use; warns on stderr if the namespace uses another one."""
    chosen = found.backend if backend is IptablesKind.auto else backend.value
    if chosen != found.backend and not found.guessed:
        say(f"warning: --backend {chosen}, but {found.backend} is what is in use here")
    for other in found.ours:
        if other != chosen:
            say(
                f"warning: the {other} tables hold rules of Felix, too, and both take effect; "
                f"felixpy remove --backend {other} takes them out"
            )
    return chosen


def enforce(enforcer: AnyEnforcer, wanted: Wanted, tell: Callable[[str], None] | None = None) -> Applied[Any, Any]:
    """Write the rules; pass remarks to `tell`, and on Ctrl-C the state in which it left the rules."""
    tell = tell or say
    try:
        applied = enforcer.apply(wanted)
    except KeyboardInterrupt as stop:
        tell("; ".join(["interrupted", *getattr(stop, "__notes__", ())]))
        raise
    for remark in applied.remarks:
        tell(remark)
    return applied


def say(text: str) -> None:
    """Write a message to stderr."""
    invocation.tell(f"felixpy: {text}")
