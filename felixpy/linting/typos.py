"""Suggestions for unknown names."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 3
"""Names shorter than this are near too many others."""


def distance(one: str, other: str) -> int:
    """The edit distance: letters changed, added, left out or swapped with their neighbour.

    >>> distance("wbe", "web"), distance("monitorng", "monitoring"), distance("a", "abc")
    (1, 1, 2)
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]


def near(name: str, known: Iterable[str]) -> list[str]:
    """The nearest known names, if any is near enough to be a suggestion.

    >>> near("shpo", ["shop", "prod", "ship"])
    ['shop']
    >>> near("db", ["dns", "web"])
    []
    """
    most = 1 if len(name) < 5 else 2
    if len(name) < SHORTEST:
        return []
    found: dict[int, list[str]] = {}
    for candidate in set(known):
        if len(candidate) >= SHORTEST and abs(len(candidate) - len(name)) <= most and candidate != name:
            apart = distance(name, candidate)
            if apart <= most and apart < len(name) / 2 and not _differ_by_number(name, candidate):
                found.setdefault(apart, []).append(candidate)
    return sorted(found[min(found)]) if found else []


def _differ_by_number(one: str, other: str) -> bool:
    """Whether two names differ only in a number: web-1 and web-2 are a series, not a typo."""
    return one.rstrip("0123456789") == other.rstrip("0123456789") and one[-1:].isdigit() and other[-1:].isdigit()
