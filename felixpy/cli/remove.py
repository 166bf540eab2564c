"""``felixpy remove``: take everything of Felix out of a kernel, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import invocation, progress
from felixpy.cli.confirmation import interruptible
from felixpy.cli.options import DataPlaneName
from felixpy.cli.target import BackendName, IptablesKind, LockWait, Netns, OnHost, choose_place, say
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.dataplane.backends import BackendsInUse


def remove(
    netns: Netns = None,
    host: OnHost = False,
    dataplane: DataPlaneName = None,
    backend: BackendName = IptablesKind.auto,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the input of nft, iptables-restore and ipset; change nothing.")
    ] = False,
    wait: LockWait = 10,
) -> None:
    """Remove all rules and sets of Felix from a kernel.

    Rules of others stay. No policy is in force afterwards. Without --dataplane and --backend all is cleared: nftables
    and both kinds of iptables.

    \b
    Examples:
      sudo felixpy remove --netns test
      sudo felixpy remove --host --dry-run
      sudo felixpy remove --host --dataplane nftables
    """
    from felixpy.dataplane.backends import EnforcerOptions, enforcer_of, find

    invocation.check_data_plane(dataplane)
    if dataplane == "nftables" and backend is not IptablesKind.auto:
        raise UsageError("--backend is a kind of iptables, and --dataplane nftables means none of them")
    place = choose_place(netns, host=host, command="remove")
    with place.machine() as machine:
        names = _backends(find(machine), dataplane, backend)
        enforcers = [enforcer_of(machine, name, machine.scratch, options=EnforcerOptions(wait)) for name in names]
        if dry_run:
            for each in enforcers:
                inputs = each.inputs(each.plan(each.nothing()))
                invocation.emit("".join(f"# {command}\n{text}" for command, text in inputs))
            return
        with progress.shown("working"), interruptible(), machine.locked(wait):
            done = [(each.name, each.apply(each.nothing())) for each in enforcers]
    # Sets cannot be destroyed while the other kind of iptables uses them; the last remarks are those still true.
    for remark in done[-1][1].remarks:
        say(remark)
    for name, applied in done:
        changed = "nothing of Felix was there" if applied.program.empty else f"took out {applied.program.summary()}"
        say(f"{place.words} ({name}): {changed}")


def _backends(found: BackendsInUse, dataplane: str | None, backend: IptablesKind) -> Sequence[str]:
    """The backends to clear: those that the options name, else all that hold rules, else the iptables kind in use.

    nftables comes first, as nothing of it depends on iptables.
    """
    from felixpy.dataplane.nftables.enforcer import NFTABLES

    if backend is not IptablesKind.auto:
        return [backend.value]
    nftables = [NFTABLES] if dataplane == NFTABLES or (dataplane is None and (found.nftables or found.arp)) else []
    if dataplane == NFTABLES or (nftables and not found.iptables.ours):
        return nftables
    return [*nftables, *(found.iptables.ours or [found.iptables.backend])]
