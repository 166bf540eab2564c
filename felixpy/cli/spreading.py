"""Work on many nodes, spread over processes, with progress that counts nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from felixpy.cli import progress

if TYPE_CHECKING:
    from felixpy.compiler import Compiler
    from felixpy.config import Setting
    from felixpy.workers import Workers


def for_nodes(number: int, jobs: int, scheduler: str | None = None) -> Workers:
    """Workers for so many nodes."""
    from felixpy.workers import workers

    return workers(number, jobs, scheduler, told=lambda done, total: progress.count(done, total, "nodes"))


def for_parts(jobs: int, scheduler: str | None = None) -> Callable[[int], Workers]:
    """Workers for any number of parts of the flows of a cluster."""
    from felixpy.workers import workers

    def hands(number: int) -> Workers:
        return workers(number, jobs, scheduler, told=lambda done, total: progress.count(done, total, "parts"))

    return hands


def spread(jobs: int, *compilers: Compiler, settings: Sequence[Setting]) -> Workers:
    """Workers for the nodes of these compilers, which are made ready for many."""
    hands = for_nodes(max(len(compiler.cluster.node_names()) for compiler in compilers), jobs)
    if not hands.is_here:
        for compiler in compilers:
            compiler.prepare(settings)
    return hands
