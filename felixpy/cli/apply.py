"""``felixpy apply``: put the rules and sets of a node into a kernel."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from felixpy.cli import invocation
from felixpy.cli.confirmation import check_answerable, confirmed, duration, interruptible
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.goal import Goal, LiveGoal
from felixpy.cli.target import (
    BackendName,
    IptablesKind,
    LockWait,
    Netns,
    OnHost,
    choose_place,
    enforce,
    enforcer_for,
    lab_or_nothing,
    say,
)
from felixpy.errors import EnvironmentMissing, UsageError

if TYPE_CHECKING:
    from felixpy.dataplane.enforcer import AnyEnforcer
    from felixpy.dataplane.enforcer import WantedRules as Wanted
    from felixpy.kernel import Machine

RESYNC_SECONDS = 90
"""How often Felix looks whether the kernel still holds what it wrote. (IpsetsRefreshInterval)"""


@takes_manifests("live")
def apply(
    given: Given,
    netns: Netns = None,
    host: OnHost = False,
    backend: BackendName = IptablesKind.auto,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the input of nft, or of ipset and iptables-restore; change nothing."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Load everything into an empty namespace to see whether the kernel accepts it; change nothing.",
        ),
    ] = False,
    confirm: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Option(
            "--confirm", metavar="TIME", help="Restore the old rules unless you confirm within this time, such as 30s."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep applying changes of the files until Ctrl-C. The rules stay in force.")
    ] = False,
    resync: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--resync",
            metavar="SECONDS",
            min=0,
            help="With --watch, how often to check the kernel for changes made by others. 0: never. Default: 90.",
        ),
    ] = None,
    wait: LockWait = 10,
) -> None:
    """Program a node's rules into a kernel, as Felix would.

    Only what differs is written. Rules and chains of others stay where they are. If anything fails, the rules that
    were in force before stay in force. The interfaces are those of the namespace unless given.

    Without --netns and --host the rules are applied to the lab: nodes and pods in network namespaces, which are made
    if they are not there yet (see felixpy lab).

    \b
    Examples:
      sudo felixpy apply                                 the lab of this folder's manifests, brought up or in step
      sudo felixpy apply shop/ --netns test              into a namespace made with ip netns add
      sudo felixpy apply shop/ --netns test --dry-run    what would be written
      sudo felixpy apply shop/ --netns test --watch      and from now on whatever the files say
      sudo felixpy apply shop/ --host --confirm 30s      this machine; back to the old rules unless confirmed
    """
    if sum((dry_run, check, confirm is not None, watch)) > 1:
        raise UsageError("--dry-run, --check, --confirm and --watch exclude each other")
    if resync is not None and not watch:
        raise UsageError("--resync goes with --watch")
    seconds = duration(confirm) if confirm is not None else 0
    if confirm is not None:
        check_answerable()
    every = RESYNC_SECONDS if resync is None else resync
    goal = Goal(given)
    if not netns and not host:
        if confirm is not None:
            raise UsageError("--confirm goes with --netns or --host; a lab is there to be tried out")
        if not (dry_run or check):
            _to_lab(given, backend, wait, resync=every if watch else None)
            return
        place = lab_or_nothing()
    else:
        place = choose_place(netns, host=host, command="apply")
    if watch:
        from felixpy.cli.watching import follow

        follow(LiveGoal(given), place, backend, wait=wait, resync=every)
        return
    compiler = goal.read()
    with place.machine() as machine:
        wanted = goal.compiled(compiler, goal.interfaces(machine))
        _carry_out(machine, wanted, backend, place.words, dry_run=dry_run, check=check, seconds=seconds, wait=wait)
        if machine.vanished():
            raise EnvironmentMissing(f"{place.words} went away meanwhile, and with it whatever was written")


def _to_lab(given: Given, backend: IptablesKind, wait: int, *, resync: int | None) -> None:
    """Start or update the lab; with `resync`, again whenever files change and every so many seconds."""
    from felixpy.cli.footprints import check_paths
    from felixpy.cli.lab_inputs import bring, inputs_of
    from felixpy.cli.watching import follow_lab
    from felixpy.lab.layout import DEFAULT_NAME

    def step(*, unasked: bool) -> None:
        anew = replace(given, quiet=given.quiet or unasked)
        bring(DEFAULT_NAME, anew, inputs_of(anew), backend.value, wait, unasked=unasked)

    if resync is None:
        step(unasked=False)
        return
    check_paths(given.files)
    follow_lab(step, given.files, resync)


def _carry_out(
    machine: Machine,
    wanted: Wanted,
    backend: IptablesKind,
    words: str,
    *,
    dry_run: bool,
    check: bool,
    seconds: int,
    wait: int,
) -> None:
    """Apply, check or print the rules as the options say, and report the result on stderr."""
    with nullcontext() if dry_run or check else machine.locked(wait):
        enforcer = enforcer_for(machine, wanted, backend, wait)
        if dry_run:
            inputs = enforcer.inputs(enforcer.plan(wanted))
            invocation.emit("".join(f"# {command}\n{text}" for command, text in inputs))
        elif check:
            with machine.scratch() as elsewhere:
                enforcer.in_another(elsewhere, machine.scratch).rehearse(wanted)
            summary = enforcer.plan(wanted).summary()
            say(f"the kernel takes everything ({enforcer.name}); apply would change {summary} of {words}")
        else:
            told = f"{words} ({enforcer.name})"
            if seconds:
                _try_out(machine, enforcer, wanted, told, seconds)
            else:
                _apply(enforcer, wanted, told)


def _try_out(machine: Machine, enforcer: AnyEnforcer, wanted: Wanted, words: str, seconds: int) -> None:
    """Write the rules and ask for confirmation; without it a separate process restores the old rules."""
    from felixpy.dataplane.watchdog import watched

    with interruptible(), watched(machine, enforcer, enforcer.read(wanted), seconds) as watchdog:
        applied = enforce(enforcer, wanted)
        if applied.program.empty:
            watchdog.keep()
            say(f"{words} is in step already; nothing was written")
            return
        watchdog.start()
        if not confirmed(seconds) or not watchdog.keep():
            watchdog.revert()
            say(f"not confirmed: the old rules of {words} are back")
            raise typer.Exit(1)
    say(f"{words}: changed {applied.program.summary()}")


def _apply(enforcer: AnyEnforcer, wanted: Wanted, words: str) -> None:
    """Write the rules and report what changed."""
    with interruptible():
        applied = enforce(enforcer, wanted)
    if applied.program.empty:
        say(f"{words} is in step already; nothing was written")
        return
    say(f"{words}: changed {applied.program.summary()}")
