"""The workers of a Dask cluster, which may run on other machines. They get the work once, pickled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from felixpy.errors import EnvironmentMissing
from felixpy.workers.work import Item, Numbered, Result, Work, Workers

ITEMS_OF_A_PARCEL = 8
PARCELS = 16
"""The largest number of items in a parcel, which a Dask worker gets at once, and the number of parcels to aim for.

Many parcels keep all workers busy to the end; parcels of several items keep the number of messages low.
"""

_one_at_a_time = Lock()
"""Threads of one Dask worker share the work, whose caches are not thread-safe."""


def _on_dask(work: Work[Any, Any], items: Sequence[Any]) -> list[Any]:
    results = []
    for item in items:
        with _one_at_a_time:
            begun = work.begin(item)
        results.append(work.end(begun))
    return results


@dataclass(frozen=True)
class Dask(Workers):
    """The workers of a Dask cluster, by the address of its scheduler."""

    address: str
    is_here = reaches_files = False

    def _results(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool
    ) -> Iterator[Numbered[Result]]:
        """Yield results in the order of items. Raises EnvironmentMissing without Dask, or if no cluster answers."""
        try:
            from distributed import Client
        except ImportError as missing:
            raise EnvironmentMissing("--scheduler needs Dask: pip install 'felixpy[dask]'") from missing
        try:
            client = Client(self.address, timeout="10s")
        except (OSError, ValueError) as wrong:
            raise EnvironmentMissing(f"no Dask cluster answers at {self.address}: {wrong}") from wrong
        with client:
            sent = client.scatter(work, broadcast=True)
            size = max(1, min(ITEMS_OF_A_PARCEL, len(items) // PARCELS))
            starts = range(0, len(items), size)
            futures = [client.submit(_on_dask, sent, items[start : start + size]) for start in starts]
            for start, future in zip(starts, futures, strict=True):
                yield from (Numbered(start + at, result) for at, result in enumerate(future.result()))
