"""Workers for many nodes or parts of flows, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from felixpy.cli import progress

if TYPE_CHECKING:
    from felixpy.compiler import Compiler
    from felixpy.config import Setting
    from felixpy.workers import Workers


def for_nodes(number: int, jobs: int, scheduler: str | None = None) -> Workers:
    """Return workers for a number of nodes."""
    from felixpy.workers import workers

    return workers(number, jobs, scheduler, told=lambda done, total: progress.count(done, total, "nodes"))


def for_parts(jobs: int, scheduler: str | None = None) -> Callable[[int], Workers]:
    """Return a function from a number of parts of flows to workers for them."""
    from felixpy.workers import workers

    def hands(number: int) -> Workers:
        return workers(number, jobs, scheduler, told=lambda done, total: progress.count(done, total, "parts"))

    return hands


def spread(jobs: int, *compilers: Compiler, settings: Sequence[Setting]) -> Workers:
    """Return workers for the nodes of some compilers, which index their policies first if there are other processes."""
    hands = for_nodes(max(len(compiler.cluster.node_names()) for compiler in compilers), jobs)
    if not hands.is_here:
        for compiler in compilers:
            compiler.prepare(settings)
    return hands
