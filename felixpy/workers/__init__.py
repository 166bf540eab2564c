"""Work on many items at once, by processes of this machine or the workers of a Dask cluster, behind one interface.

`Alone`, `Forked` and `Dask` hand out results one by one as they become ready, or in the order of the items. Forked
processes find the work, and everything that it knows, in their memory: nothing is read, sent or copied again, and they
are told numbers only. Dask workers, which may run elsewhere, get the work once, pickled.

work        what is done, by whom, and the results
processes   forked from this one
dask        on other machines
"""

from __future__ import annotations

import os
from collections.abc import Callable

from felixpy.workers.dask import Dask
from felixpy.workers.processes import Forked, WorkFault
from felixpy.workers.work import Alone, Computed, Lost, Numbered, Work, Workers, silent

__all__ = ["Alone", "Computed", "Dask", "Forked", "Lost", "Numbered", "Work", "WorkFault", "Workers", "workers"]

FEW = 8
"""So few items are done sooner without other processes, unless somebody says how many there shall be."""


def workers(
    items: int, jobs: int = 0, scheduler: str | None = None, told: Callable[[int, int], None] = silent
) -> Workers:
    """Those for so many items: the Dask cluster of a `scheduler`, or `jobs` processes, 0 for one a core if it helps."""
    if scheduler:
        return Dask(scheduler, told=told)
    if not jobs:
        jobs = len(os.sched_getaffinity(0)) if items > FEW else 1
    jobs = min(jobs, items)
    return Forked(jobs, told=told) if jobs > 1 else Alone(told=told)
