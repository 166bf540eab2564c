"""What is done to many items, and those who do it."""

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
    """What is done to an item: `begin` computes, and `end` waits for disks and networks with what came of it."""

    def begin(self, item: Item_contra, /) -> Any:
        """The part that keeps a core busy."""

    def end(self, begun: Any, /) -> Result_co:
        """The rest, while the next item is begun."""


@dataclass(frozen=True)
class Computed(Generic[Item, Result]):
    """Work that has nothing to wait for."""

    compute: Callable[[Item], Result]

    def begin(self, item: Item) -> Result:
        """All of it."""
        return self.compute(item)

    def end(self, begun: Result) -> Result:
        """Nothing is left."""
        return begun


@dataclass(frozen=True, slots=True)
class Lost:
    """Stands for the result of an item whose process ended: `words` say how."""

    words: str


class Numbered(NamedTuple, Generic[Result]):
    """The result of the item with a number."""

    number: int
    result: Result | Lost


def silent(done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Workers(ABC):
    """Those who do the work; `told` hears how many of all items are done."""

    told: Callable[[int, int], None] = field(default=silent, kw_only=True)

    is_here: ClassVar[bool]
    """Whether it is done in this process, which then knows what was found out."""
    reaches_files: ClassVar[bool]
    """Whether it is done on this machine."""

    def run(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool = False
    ) -> Iterator[Numbered[Result]]:
        """The result of each item, in order or as it becomes ready.

        Raises what the work raises; whoever stops asking ends the work.
        """
        self.told(0, len(items))
        for done, found in enumerate(self._results(work, items, in_order=in_order), start=1):
            self.told(done, len(items))
            yield found

    @abstractmethod
    def _results(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool
    ) -> Iterator[Numbered[Result]]:
        """The same, told to nobody."""


@dataclass(frozen=True)
class Alone(Workers):
    """This process."""

    is_here = reaches_files = True

    def _results(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool
    ) -> Iterator[Numbered[Result]]:
        """One after the other, in order."""
        for number, item in enumerate(items):
            yield Numbered(number, work.end(work.begin(item)))
