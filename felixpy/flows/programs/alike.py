"""A cache of results that ends with equivalent addresses share.

The treatment of packets depends on an end's address only through criteria about that address. So a result is stored
with the criteria that were evaluated to find it, and is valid for every end for which these have the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from felixpy.flows.packets.packet_sets import PacketSet
from felixpy.flows.programs.perspective import Perspective
from felixpy.flows.programs.views import Factor
from felixpy.netfilter.criteria import Local

Answer = TypeVar("Answer")


class Own:
    """The address of an end (None if unknown), and the values of criteria about it.

    `local` are the node's interfaces that have the address. `asked` are the criteria that were evaluated since
    recording began, None if they are not recorded.
    """

    __slots__ = ("_perspective", "_said", "_values", "address", "asked", "local")

    def __init__(
        self, perspective: Perspective, address: int | None, local: frozenset[str], *, noted: bool = False
    ) -> None:
        self._perspective = perspective
        self.address, self.local = address, local
        self.asked: dict[Factor, None] | None = {} if noted else None
        self._values: dict[Factor, PacketSet] = {}
        self._said: dict[Factor, Hashable] = _Said(self._say)

    def value(self, factor: Factor) -> PacketSet | None:
        """Return what a criterion about the end's own address lets through; None if the address is unknown."""
        if self.address is None:
            return None
        found = self._values.get(factor)
        if found is None:
            found = self._values[factor] = self._perspective.own_value(factor, self.address)
        return found

    def note(self, factors: Iterable[Factor]) -> None:
        """Record that criteria were evaluated."""
        if self.asked is not None:
            for factor in factors:
                self.asked[factor] = None

    def said(self, factors: Iterable[Factor]) -> tuple[Hashable, ...]:
        """Return the values of criteria for the address, as hashable values to compare."""
        return tuple(map(self._said.__getitem__, factors))

    def _say(self, factor: Factor) -> Hashable:
        if isinstance(factor.test.criterion, Local):
            return self.local
        value = self.value(factor)
        return None if value is None else tuple(value.items())


class _Said(dict[Factor, Hashable]):
    """Values by criterion, each found at its first use."""

    def __init__(self, find: Callable[[Factor], Hashable]) -> None:
        self._find = find

    def __missing__(self, factor: Factor) -> Hashable:
        found = self[factor] = self._find(factor)
        return found


class SharedAnswers:
    """Answers by question, and by the criteria about the end that were evaluated to find them."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, Any] = {}

    def recall(self, question: Hashable, own: Own, find: Callable[[], Answer]) -> Answer:
        """Return the answer to a question about an end, from the cache if it is there for an equivalent end."""
        found = self._answers.get(question)
        before = own.asked
        if before is None:
            if found is None:
                found = self._answers[question] = find()
            return found
        asked: dict[Factor, None] = {}
        while isinstance(found, _Fork):
            asked.update(dict.fromkeys(found.asked))
            found = found.ways.get(own.said(found.asked))
        if found is None:
            own.asked = asked = {}
            found = find()
            own.asked = before
            self._keep(question, own, tuple(asked), found)
        before.update(asked)
        return found

    def _keep(self, question: Hashable, own: Own, asked: tuple[Factor, ...], answer: object) -> None:
        """Store an answer by the values of `asked`. Ends with equal values so far have the same next criteria."""
        place, at = self._answers, question
        while asked:
            fork = place.get(at)
            if fork is None:
                place[at] = _Fork(asked, {own.said(asked): answer})
                return
            shared = _shared(fork.asked, asked)
            fork.split(shared)
            place, at, asked = fork.ways, own.said(asked[:shared]), asked[shared:]
        place[at] = answer


class _Fork:
    """Criteria that are evaluated in order, and by their values (`ways`) the answers or the next fork."""

    __slots__ = ("asked", "ways")

    def __init__(self, asked: Sequence[Factor], ways: dict[Any, Any]) -> None:
        self.asked = asked
        self.ways = ways

    def split(self, at: int) -> None:
        """Move all criteria but the first `at` into forks below this one."""
        if at == len(self.asked):
            return
        before, after = self.asked[:at], self.asked[at:]
        ways: dict[Any, Any] = {}
        for said, answer in self.ways.items():
            ways.setdefault(said[:at], _Fork(after, {})).ways[said[at:]] = answer
        self.asked, self.ways = before, ways


def _shared(one: Sequence[Factor], other: Sequence[Factor]) -> int:
    """Return the number of criteria that two sequences have in common at their beginning."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a is not b), min(len(one), len(other))
    )
