"""``felixpy remove``: take everything of Felix out of a kernel, and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.confirmation import interruptible
from felixpy.cli.target import BackendName, IptablesKind, LockWait, Netns, OnHost, choose_place, say


def remove(
    netns: Netns = None,
    host: OnHost = False,
    backend: BackendName = IptablesKind.auto,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the input of iptables-restore and ipset; change nothing.")
    ] = False,
    wait: LockWait = 10,
) -> None:
    """Remove all rules and sets of Felix from a kernel.

    Rules of others stay. No policy is in force afterwards. Without --backend both kinds of iptables are cleared.

    \b
    Examples:
      sudo felixpy remove --netns test
      sudo felixpy remove --host --dry-run
    """
    from felixpy.dataplane.enforcer import Enforcer
    from felixpy.dataplane.tools import Tools, choose, look
    from felixpy.dataplane.wanted import Wanted

    place = choose_place(netns, host=host, command="remove")
    with place.machine() as machine:
        choice = choose(look(machine))
        backends = (choice.ours or (choice.backend,)) if backend is IptablesKind.auto else (backend.value,)
        enforcers = [Enforcer(Tools(machine, name, wait), machine.scratch) for name in backends]
        if dry_run:
            for enforcer in enforcers:
                inputs = enforcer.plan(Wanted.nothing()).inputs(enforcer.tools)
                invocation.emit("".join(f"# {command}\n{text}" for command, text in inputs))
            return
        with interruptible(), machine.locked(wait):
            done = [(enforcer.tools.backend, enforcer.apply(Wanted.nothing())) for enforcer in enforcers]
    # Sets that rules of the other backend still used are in the way until that one has been cleared as well.
    for remark in done[-1][1].remarks:
        say(remark)
    for name, applied in done:
        changed = "nothing of Felix was there" if applied.program.empty else f"took out {applied.program.summary()}"
        say(f"{place.words} ({name}): {changed}")
