"""Lines about flows in pieces, which several processes make where there are many.

A piece is about the flows of some senders, those that come from outside, or further ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from felixpy.flows.presentation.flow import Flow
from felixpy.flows.reachability.halves import Hands
from felixpy.flows.reachability.pairs import Focus, Pairs
from felixpy.workers import Computed, Lost

SENDERS_OF_A_PIECE = 100


@dataclass(frozen=True)
class Pieces:
    """All flows of some pairs in a focus, and `further` ones, in pieces."""

    pairs: Pairs
    focus: Focus | None = None
    further: Sequence[Flow] = ()

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return len(range(0, len(self.pairs.units), SENDERS_OF_A_PIECE)) + 2

    def flows(self, number: int) -> Iterable[Flow]:
        """The flows of a piece; those of all pieces one after the other are `Pairs.flows` and the further ones."""
        if number == self.count - 1:
            return self.further
        if number == self.count - 2:
            return self.pairs.entering(self.focus)
        first = number * SENDERS_OF_A_PIECE
        return self.pairs.sent(self.pairs.units[first : first + SENDERS_OF_A_PIECE], self.focus)

    def lines(self, tell: Callable[[Iterable[Flow]], Iterator[str]], hands: Hands) -> Iterator[str]:
        """The lines that `tell` makes of all flows, in order. A piece whose process ended is made in this one."""

        def lines(number: int) -> list[str]:
            return list(tell(self.flows(number)))

        workers = hands(self.count)
        if workers.is_here:
            yield from tell(flow for number in range(self.count) for flow in self.flows(number))
            return
        for number, found in workers.run(Computed(lines), range(self.count), in_order=True):
            yield from lines(number) if isinstance(found, Lost) else found
