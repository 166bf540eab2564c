"""Caches of pure functions, which long-running processes clear."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

Answer = TypeVar("Answer")

_KNOWN: list[_lru_cache_wrapper[object]] = []


def remembered(most: int, *, typed: bool = False) -> Callable[[Callable[..., Answer]], _lru_cache_wrapper[Answer]]:
    """`functools.lru_cache` with at most so many entries, which `forget_remembered` clears.

    A process that reads, compiles and ends benefits from full caches. One that follows a cluster would fill them with
    names, addresses and rules that do not occur again: hundreds of thousands of changes, and as many kilobytes.
    """

    def decorate(function: Callable[..., Answer]) -> _lru_cache_wrapper[Answer]:
        found = lru_cache(maxsize=most, typed=typed)(function)
        _KNOWN.append(found)
        return found

    return decorate


def forget_remembered() -> None:
    """Clear all caches; results are computed again on demand."""
    for each in _KNOWN:
        each.cache_clear()
