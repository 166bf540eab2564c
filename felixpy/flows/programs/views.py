"""Rules and chains as one end of a connection sees them, with what depends on the end left open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from felixpy.flows.packets.packet_sets import PacketSet, meet
from felixpy.flows.programs.code import ChainCode, RuleCode, SetCode
from felixpy.netfilter.actions import Action
from felixpy.netfilter.criteria import Interface, Test

Direction = Literal["egress", "ingress"]

MOST_FACTORS = 16
"""Chains that ask for more about an end are gone through for each of them; others are remembered."""


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A criterion whose answer depends on who looks; `code` is the set that it asks.

    `own` ones ask for the end's own address, others for interfaces. In a perspective there is one for each criterion.
    """

    test: Test
    code: SetCode | None
    own: bool


@dataclass(frozen=True, slots=True, eq=False)
class RuleView:
    """A rule from one end's point of view.

    It applies to what is in `packets` (None is everything) and in the value of every factor, if the packet's tag fits;
    `unknown` says what is not understood. `target` is the chain it calls. `by_tag` are criteria about what the tag
    says besides marks.
    """

    rule: RuleCode
    tags: tuple[tuple[int, int, bool], ...]
    """(mask, mark, whether it must differ) of the tag."""
    by_tag: tuple[Test, ...]
    fixed: PacketSet | None
    reading: Callable[[], PacketSet] | None
    """Reads the nets of the rule anew each time: where peers are very many, keeping them for every rule takes more
    memory than a machine has."""
    factors: tuple[Factor, ...]
    own: tuple[Factor, ...]
    """Those about the end's own address."""
    unknown: str
    action: Action
    target: ChainCode | None
    interface: str
    """The end's own interface that it is about, "" for any."""

    @property
    def packets(self) -> PacketSet | None:
        """What the rule is about, whatever the end; None is everything."""
        if self.reading is None:
            return self.fixed
        read = self.reading()
        return read if self.fixed is None else meet(self.fixed, read)


class ChainView:
    """A chain from one end's point of view. `view` gives the views of the chains that it calls, when they are needed.

    `every` are its rules, `asks_in` and `asks_out` tell whether any criterion on the way is about interfaces that
    packets come in or leave by, `bound_in` and `bound_out` whether anything depends on these.
    """

    def __init__(self, chain: ChainCode, lines: Sequence[RuleView], view: Callable[[ChainCode], ChainView]) -> None:
        self.chain = chain
        self.every = self._lines = tuple(lines)
        self._view = view
        asks = chain.asks
        self.asks_in, self.asks_out = asks.incoming, asks.outgoing
        self.bound_in, self.bound_out = asks.incoming or asks.local_in, asks.outgoing or asks.local_out
        self._by_interface: dict[str, tuple[RuleView, ...]] = {}
        names = {line.interface for line in lines} - {""}
        if len(names) > 1:
            self._by_interface = _by_interface(lines)
            self._lines = tuple(line for line in lines if not line.interface)

    @cached_property
    def factors(self) -> tuple[Factor, ...] | None:
        """The factors of all that it leads to, None if they are too many."""
        found = dict.fromkeys(factor for line in self.every for factor in line.factors)
        if len(found) > MOST_FACTORS:
            return None
        for target in dict.fromkeys(line.target for line in self.every if line.target):
            inner = self._view(target).factors
            if inner is None:
                return None
            found.update(dict.fromkeys(inner))
        return tuple(found) if len(found) <= MOST_FACTORS else None

    @cached_property
    def own(self) -> tuple[Factor, ...]:
        """The factors that are about the end's own address."""
        return tuple(factor for factor in self.factors or () if factor.own)

    def lines(self, interface: str) -> tuple[RuleView, ...]:
        """The rules that may apply to an end with that interface."""
        return self._by_interface.get(interface, self._lines)


def _by_interface(lines: Sequence[RuleView]) -> dict[str, tuple[RuleView, ...]]:
    """For each interface the rules about it or about none, in order."""
    found: dict[str, list[RuleView]] = {}
    general: list[RuleView] = []
    for line in lines:
        if line.interface:
            found.setdefault(line.interface, [*general]).append(line)
        else:
            general.append(line)
            for some in found.values():
                some.append(line)
    return {interface: tuple(some) for interface, some in found.items()}


def own_interface(factors: Sequence[Factor], direction: Direction) -> str:
    """The end's own interface that some criteria ask for, "" for any."""
    for factor in factors:
        criterion, negated = factor.test
        if isinstance(criterion, Interface) and criterion.incoming == (direction == "egress") and not negated:
            return "" if criterion.pattern.endswith("+") else criterion.pattern
    return ""
