"""The tables of fixtures/: lines of cells, and chains with their hashes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"

Golden = dict[tuple[str, str], list[tuple[str, str]]]
"""(table, chain) → (hash, rule) of each of its rules."""


def lines(name: str) -> Iterator[str]:
    """The lines of a fixture that are neither empty nor comments."""
    for line in (FIXTURES / name).read_text().splitlines():
        if line and not line.startswith("#"):
            yield line


def rows(name: str) -> list[tuple[str, ...]]:
    """A table whose cells are separated by " ; "."""
    return [tuple(cell.strip() for cell in line.split(" ; ")) for line in lines(name)]


def goldens() -> dict[str, Golden]:
    """The cases of hashes.txt by name."""
    cases: dict[str, Golden] = {}
    rules: list[tuple[str, str]] = []
    for line in lines("hashes.txt"):
        if line.startswith("["):
            chains = cases.setdefault(line.strip("[]"), {})
        elif line.startswith(" "):
            identity, _, rule = line.strip().partition(" ")
            rules.append((identity, rule))
        else:
            table, _, chain = line.partition(" ")
            rules = chains.setdefault((table, chain), [])
    return cases
