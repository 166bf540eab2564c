"""Lines about flows in pieces, so that several processes can make them.

A piece has the flows of some senders, the flows from outside, or further flows.
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
    """The flows of some pairs in a focus, and `further` flows, in pieces."""

    pairs: Pairs
    focus: Focus | None = None
    further: Sequence[Flow] = ()

    @property
    def count(self) -> int:
        """The number of pieces."""
        return len(range(0, len(self.pairs.units), SENDERS_OF_A_PIECE)) + 2

    def flows(self, number: int) -> Iterable[Flow]:
        """Return the flows of a piece; all pieces in order have those of `Pairs.flows` and the further ones."""
        if number == self.count - 1:
            return self.further
        if number == self.count - 2:
            return self.pairs.entering(self.focus)
        first = number * SENDERS_OF_A_PIECE
        return self.pairs.sent(self.pairs.units[first : first + SENDERS_OF_A_PIECE], self.focus)

    def lines(self, tell: Callable[[Iterable[Flow]], Iterator[str]], hands: Hands) -> Iterator[str]:
        """Yield the lines that `tell` makes of all flows, in order. This process makes a piece whose process ended."""

        def lines(number: int) -> list[str]:
            return list(tell(self.flows(number)))

        workers = hands(self.count)
        if workers.is_here:
            yield from tell(flow for number in range(self.count) for flow in self.flows(number))
            return
        for number, found in workers.run(Computed(lines), range(self.count), in_order=True):
            yield from lines(number) if isinstance(found, Lost) else found
