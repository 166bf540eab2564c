"""Work on many items, the base class of workers, and results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Work(Protocol[Item_contra, Result_co]):
    """Work on an item in two steps: `begin` computes, and `end` waits for disks and networks."""

    def begin(self, item: Item_contra, /) -> Any:
        """Do the part that keeps a core busy, and return what `end` needs."""

    def end(self, begun: Any, /) -> Result_co:
        """Do the rest, such as writing files, while the next item is begun. Returns the result."""


@dataclass(frozen=True)
class Computed(Generic[Item, Result]):
    """Work that only computes: `end` has nothing to do."""

    compute: Callable[[Item], Result]

    def begin(self, item: Item) -> Result:
        """Compute the result."""
        return self.compute(item)

    def end(self, begun: Result) -> Result:
        """Return the computed result."""
        return begun


@dataclass(frozen=True, slots=True)
class Lost:
    """The result of an item whose process ended by itself; `words` say how."""

    words: str


class Numbered(NamedTuple, Generic[Result]):
    """A result, and the position of its item."""

    number: int
    result: Result | Lost


def silent(done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Workers(ABC):
    """Runs work on items; `told` is called with the number of items that are done and of all items."""

    told: Callable[[int, int], None] = field(default=silent, kw_only=True)

    is_here: ClassVar[bool]
    """Whether the work is done in this process, which then shares its caches."""
    reaches_files: ClassVar[bool]
    """Whether the work is done on this machine, and so can write its files."""

    def run(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool = False
    ) -> Iterator[Numbered[Result]]:
        """Yield the result of each item, in order or as it becomes ready.

        Raises what the work raises. Closing the iterator ends the work.
        """
        self.told(0, len(items))
        for done, found in enumerate(self._results(work, items, in_order=in_order), start=1):
            self.told(done, len(items))
            yield found

    @abstractmethod
    def _results(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool
    ) -> Iterator[Numbered[Result]]:
        """Yield the results without reporting progress."""


@dataclass(frozen=True)
class Alone(Workers):
    """Does the work in this process."""

    is_here = reaches_files = True

    def _results(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool
    ) -> Iterator[Numbered[Result]]:
        """Yield results in the order of items."""
        for number, item in enumerate(items):
            yield Numbered(number, work.end(work.begin(item)))
