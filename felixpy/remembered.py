"""Answers of pure functions that are remembered, and forgotten by who runs for days."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

Answer = TypeVar("Answer")

_KNOWN: list[_lru_cache_wrapper[object]] = []


def remembered(most: int, *, typed: bool = False) -> Callable[[Callable[..., Answer]], _lru_cache_wrapper[Answer]]:
    """`functools.lru_cache` of at most so many answers, which `forget_remembered` empties.

    A process that reads, compiles and ends profits from them. One that follows a cluster meets names, addresses and
    rules that never come again: with it they would fill up, which takes hundreds of thousands of changes and as many
    kilobytes.
    """

    def decorate(function: Callable[..., Answer]) -> _lru_cache_wrapper[Answer]:
        found = lru_cache(maxsize=most, typed=typed)(function)
        _KNOWN.append(found)
        return found

    return decorate


def forget_remembered() -> None:
    """Forget all remembered answers; they are worked out again when somebody asks."""
    for each in _KNOWN:
        each.cache_clear()
