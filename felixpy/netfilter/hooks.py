"""Netfilter's hooks: the chains that packets pass at each of them, in the kernel's order.

The tables of iptables have a fixed order. The base chains of nftables have priorities, independent of their tables; an
``accept`` ends one base chain, not the hook. Connection tracking and NAT have places of their own in that order. All
chains of type ``nat`` run at NAT's place, in the order of their priorities, until one rewrites the packet.
(net/netfilter/nf_nat_core.c: nf_nat_register_fn, nf_nat_inet_fn)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

HOOK_NAMES = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

TRACKING_PRIORITY = -200
"""Where connection tracking looks at packets. (NF_IP_PRI_CONNTRACK)"""

NAT_PRIORITIES: Mapping[str, int] = {"PREROUTING": -100, "OUTPUT": -100, "INPUT": 100, "POSTROUTING": 100}
"""Where chains of type ``nat`` are asked. (NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC)"""

REWRITING = ("PREROUTING", "OUTPUT")
"""The hooks at which NAT gives packets new destinations; at the others it gives them new sources."""


class Stage(NamedTuple):
    """A chain at a hook, or connection tracking or NAT itself. `nat` chains see only the first packet of a connection.

    The stages of a hook are in the order of `place`; the order of two with the same place is not defined by it.
    """

    table: str
    chain: str
    nat: bool = False
    place: tuple[int, int, int] = (0, 0, 0)


TRACKING = Stage("connection tracking", "", place=(TRACKING_PRIORITY, 0, 0))
REWRITTEN = Stage("network address translation", "", place=(NAT_PRIORITIES["PREROUTING"], 2, 0))
"""The place of destination NAT: later stages see the new destination."""

Stages: TypeAlias = Mapping[str, tuple[Stage, ...]]
"""The stages of each hook, by its name."""


class BaseChain(NamedTuple):
    """A chain of nftables at a hook; `nat` for one of that type."""

    table: str
    chain: str
    hook: str
    priority: int
    nat: bool = False


def stages_of(chains: Iterable[BaseChain]) -> Stages:
    """The order in which packets pass base chains. Of equal priorities the one that was registered first comes first.

    >>> chains = [BaseChain("b", "x", "INPUT", 5), BaseChain("n", "x", "INPUT", -5, nat=True), BaseChain("a", "x", "INPUT", 0)]
    >>> [stage.table for stage in stages_of(chains)["INPUT"]]
    ['a', 'b', 'n']
    """  # noqa: E501
    found: dict[str, list[Stage]] = {hook: [] for hook in HOOK_NAMES}
    for hook in REWRITING:
        found[hook] += [TRACKING, REWRITTEN]
    for base in chains:
        if base.nat and base.hook in NAT_PRIORITIES:
            place = NAT_PRIORITIES[base.hook], 1, base.priority
        else:
            place = base.priority, 0, 0
        if base.hook in found:
            found[base.hook].append(Stage(base.table, base.chain, base.nat, place))
    return {hook: tuple(sorted(stages, key=_place)) for hook, stages in found.items()}


def _place(stage: Stage) -> tuple[int, int, int]:
    return stage.place


_TABLES: Mapping[str, tuple[tuple[str, int], ...]] = {
    "PREROUTING": (("raw", -300), ("mangle", -150), ("nat", -100)),
    "INPUT": (("mangle", -150), ("filter", 0), ("security", 50), ("nat", 100)),
    "FORWARD": (("mangle", -150), ("filter", 0), ("security", 50)),
    "OUTPUT": (("raw", -300), ("mangle", -150), ("nat", -100), ("filter", 0), ("security", 50)),
    "POSTROUTING": (("mangle", -150), ("nat", 100)),
}

IPTABLES: Stages = MappingProxyType(
    stages_of(
        BaseChain(table, hook, hook, priority, table == "nat")
        for hook, tables in _TABLES.items()
        for table, priority in tables
    )
)
"""The chains of iptables, and those of Calico in nftables, which have the same order."""


def before_rewriting(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages before destinations are rewritten."""
    return stages[: stages.index(REWRITTEN) + 1]


def after_rewriting(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages after destinations are rewritten."""
    return stages[stages.index(REWRITTEN) + 1 :]


def come_back(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages for packets that return through the loopback interface: they are tracked, and NAT is done."""
    return tuple(stage for stage in stages if not stage.nat and stage not in (TRACKING, REWRITTEN))


def merged(first: Stages, second: Stages) -> Stages:
    """The stages of two kinds of tables together; connection tracking and NAT happen once.

    Of chains with the same place those of the first kind come first.
    """
    own = {TRACKING, REWRITTEN}
    return {
        hook: tuple(sorted((*first[hook], *(stage for stage in second[hook] if stage not in own)), key=_place))
        for hook in HOOK_NAMES
    }
