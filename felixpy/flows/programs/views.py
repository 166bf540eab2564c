"""Views: rules and chains from the point of view of one end of a connection, independent of which end it is."""

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
"""Most factors of a chain whose outcome is cached by their values; others are evaluated for each end."""


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A criterion whose value depends on the end; `code` is the set that it looks up.

    With `own` it is about the end's own address, else about interfaces. A perspective has one factor per criterion.
    """

    test: Test
    code: SetCode | None
    own: bool


@dataclass(frozen=True, slots=True, eq=False)
class RuleView:
    """A rule from one end's point of view.

    It applies to what is in `packets` (None is everything) and in the value of every factor, if the packet's tag fits.
    `unknown` is the text of what is not understood, `target` the chain that the rule calls, `by_tag` are criteria about
    bits of the tag other than marks.
    """

    rule: RuleCode
    tags: tuple[tuple[int, int, bool], ...]
    """(mask, mark, whether it must differ) of the tag."""
    by_tag: tuple[Test, ...]
    fixed: PacketSet | None
    reading: Callable[[], PacketSet] | None
    """Returns the packets of the rule's nets, computed for each call: with very many peers, caching them for every rule
    would take too much memory (`MANY_PEERS`)."""
    factors: tuple[Factor, ...]
    own: tuple[Factor, ...]
    """The factors about the end's own address."""
    unknown: str
    action: Action
    target: ChainCode | None
    interface: str
    """The end's own interface that it is about, "" for any."""

    @property
    def packets(self) -> PacketSet | None:
        """The packets that the rule applies to for any end, as far as they do not depend on it; None is everything."""
        if self.reading is None:
            return self.fixed
        read = self.reading()
        return read if self.fixed is None else meet(self.fixed, read)


class ChainView:
    """A chain from one end's point of view. `view` returns the views of the chains that it calls, when they are needed.

    `every` are its rules. `asks_in` and `asks_out` say whether a rule of it, or of a chain that it leads to, has a
    criterion about the interface by which packets arrive or leave; `bound_in` and `bound_out` whether the outcome
    depends on that interface in any way.
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
        """The factors of all chains that it leads to, None if there are too many."""
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
        """Return the rules that may apply to an end with this interface."""
        return self._by_interface.get(interface, self._lines)


def _by_interface(lines: Sequence[RuleView]) -> dict[str, tuple[RuleView, ...]]:
    """Return for each interface the rules about it or about none, in order."""
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
    """Return the name of the end's own interface that criteria require, "" for any."""
    for factor in factors:
        criterion, negated = factor.test
        if isinstance(criterion, Interface) and criterion.incoming == (direction == "egress") and not negated:
            return "" if criterion.pattern.endswith("+") else criterion.pattern
    return ""
