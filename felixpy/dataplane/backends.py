"""The backends by name, and finding those that hold rules of Felix in a namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from felixpy.dataplane.enforcer import AnyEnforcer, Scratch, WantedRules
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.migration import Migration
from felixpy.dataplane.nftables.enforcer import NFTABLES, NftEnforcer, NftWanted
from felixpy.dataplane.tools import LIST_TABLES, LOCK_SECONDS, NOTHING, Answers, BackendChoice, Tools, choose, look
from felixpy.dataplane.wanted import Wanted
from felixpy.kernel import Kernel
from felixpy.names import has_arp_table, has_felix_tables
from felixpy.nftables import NftRuleset
from felixpy.ruleset import Ruleset


def goal_of(ruleset: Ruleset, *, append: bool = False) -> WantedRules:
    """The wanted state for a compiled node; with `append` inserts come after rules of others (ChainInsertMode).

    Felix's nftables tables hold no rules of others.
    """
    return NftWanted.of(ruleset) if isinstance(ruleset, NftRuleset) else Wanted.of(ruleset, append=append)


class EnforcerOptions(NamedTuple):
    """How an enforcer is made: seconds to wait for a lock, and answers of the tools that are still current."""

    lock_seconds: int = LOCK_SECONDS
    known: Answers = NOTHING


def _iptables(kernel: Kernel, name: str, scratch: Scratch | None, options: EnforcerOptions) -> AnyEnforcer:
    return IptablesEnforcer(Tools(kernel, name, options.lock_seconds, options.known), scratch)


def _nftables(kernel: Kernel, name: str, scratch: Scratch | None, options: EnforcerOptions) -> AnyEnforcer:
    return NftEnforcer(kernel, scratch)


MAKERS: Mapping[str, Callable[[Kernel, str, Scratch | None, EnforcerOptions], AnyEnforcer]] = {
    "legacy": _iptables,
    "nft": _iptables,
    NFTABLES: _nftables,
}
"""Every backend that there is: both kinds of iptables, and nftables."""

DEFAULT = EnforcerOptions()


def enforcer_of(
    kernel: Kernel, name: str, scratch: Scratch | None = None, *, instead_of: Iterable[str] = (),
    options: EnforcerOptions = DEFAULT,
) -> AnyEnforcer:  # fmt: skip
    """The enforcer for a backend, which also removes Felix's rules from the backends that it comes `instead_of`."""
    new, *old = (MAKERS[each](kernel, each, scratch, options) for each in (name, *instead_of))
    return Migration(new, old) if old else new


class BackendsInUse(NamedTuple):
    """The kind of iptables that a namespace uses, and whether it has nftables tables of Felix, found from `answers`.

    `arp`: whether the ARP table is there, which Felix writes in both data planes.
    """

    iptables: BackendChoice
    nftables: bool
    arp: bool
    answers: Answers

    @property
    def ours(self) -> tuple[str, ...]:
        """The backends that hold rules of Felix."""
        return (*self.iptables.ours, *([NFTABLES] if self.nftables else []))


def find(kernel: Kernel) -> BackendsInUse:
    """Find the backends in use in a namespace."""
    answers = look(kernel)
    tables = answers[LIST_TABLES].output
    return BackendsInUse(choose(answers), has_felix_tables(tables), has_arp_table(tables), answers)
