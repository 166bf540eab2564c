"""Read one data plane from a live kernel, with rules that Felix left in the other one."""

from __future__ import annotations

from dataclasses import replace

from felixpy.dataplane.tools import choose, look
from felixpy.errors import KernelRefused
from felixpy.nftables.dumps import lists_calico, read_listing
from felixpy.verification.nftables.observed import observe_listing
from felixpy.verification.observed import NFTABLES, Namespace, Observed, beside, observe_live

RULESET = ("nft", "-s", "list", "ruleset")


def observe_namespace(machine: Namespace, plane: str, words: str, backend: str = "") -> Observed:
    """The rules of a data plane; for iptables of a `backend`, by default the one in use.

    Raises EnvironmentMissing for missing tools or permissions, KernelRefused for tables that the tools cannot read.
    """
    if plane == NFTABLES:
        answers = look(machine)
        others = beside(machine, answers, choose(answers).ours)
        listed = machine.run(*RULESET)
        if listed.status:
            raise KernelRefused(f"nft list ruleset: {listed.errors.strip()}")
        return observe_listing(listed.output, f"{words} (nftables)", others=others, live=True)
    observed = observe_live(machine, backend, words)
    listed = machine.run(*RULESET)
    if listed.status or not lists_calico(listed.output):
        return observed
    return replace(observed, others={**observed.others, NFTABLES: read_listing(listed.output)})
