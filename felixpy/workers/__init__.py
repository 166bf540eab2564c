"""Work on many items at once, by processes of this machine or the workers of a Dask cluster, behind one interface.

`Alone`, `Forked` and `Dask` hand out results one by one as they become ready, or in the order of the items. Forked
processes inherit the work and its data in memory: nothing is read, sent or copied again, and they receive only the
numbers of items. Dask workers, which may run on other machines, get the work once, pickled.

work        the protocol of work, the base class of workers, and results
processes   processes forked from this one
dask        workers on other machines
"""

from __future__ import annotations

import os
from collections.abc import Callable

from felixpy.workers.dask import Dask
from felixpy.workers.processes import Forked, WorkFault
from felixpy.workers.work import Alone, Computed, Lost, Numbered, Work, Workers, silent

__all__ = ["Alone", "Computed", "Dask", "Forked", "Lost", "Numbered", "Work", "WorkFault", "Workers", "workers"]

FEW = 8
"""Up to this number of items, work is faster without other processes; `jobs` overrides it."""


def workers(
    items: int, jobs: int = 0, scheduler: str | None = None, told: Callable[[int, int], None] = silent
) -> Workers:
    """Return workers for a number of items: the Dask cluster of a `scheduler`, or `jobs` processes.

    With 0 `jobs` it is one process for each core, or this process alone for few items (`FEW`).
    """
    if scheduler:
        return Dask(scheduler, told=told)
    if not jobs:
        jobs = len(os.sched_getaffinity(0)) if items > FEW else 1
    jobs = min(jobs, items)
    return Forked(jobs, told=told) if jobs > 1 else Alone(told=told)
