"""Work on many nodes, spread over processes, with progress that counts nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from felixpy.cli import progress

if TYPE_CHECKING:
    from felixpy.compiler import Compiler
    from felixpy.config import Setting
    from felixpy.workers import Numbered, Work, Workers

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Counted:
    """Workers whose progress is shown."""

    hands: Workers

    @property
    def is_here(self) -> bool:
        """As of those that are counted."""
        return self.hands.is_here

    @property
    def reaches_files(self) -> bool:
        """As of those that are counted."""
        return self.hands.reaches_files

    def run(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool = False
    ) -> Iterator[Numbered[Result]]:
        """The results, counted."""
        progress.count(0, len(items), "nodes")
        for ready, found in enumerate(self.hands.run(work, items, in_order=in_order), start=1):
            progress.count(ready, len(items), "nodes")
            yield found


def spread(jobs: int, *compilers: Compiler, settings: Sequence[Setting]) -> Counted:
    """Workers for the nodes of these compilers, which are made ready for many."""
    from felixpy.workers import workers

    hands = workers(max(len(compiler.cluster.node_names()) for compiler in compilers), jobs)
    if not hands.is_here:
        for compiler in compilers:
            compiler.prepare(settings)
    return Counted(hands)
