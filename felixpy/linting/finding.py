"""Findings, and the rows that describe checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from felixpy.errors import Path
from felixpy.model import Policy, Source
from felixpy.reports import Level

if TYPE_CHECKING:
    from felixpy.linting.subject import Subject


class NotedPlace(NamedTuple):
    """A place inside an object of the input, with a note."""

    source: Source
    path: Path
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result of a check. `level` is set if it differs from that of the check."""

    subject: str
    source: Source
    path: Path = ()
    message: str
    hint: str = ""
    related: tuple[NotedPlace, ...] = ()
    level: Level | None = None


def about(policy: Policy, path: Path, message: str, **more: object) -> Finding:
    """A finding about a policy."""
    return Finding(subject=str(policy.key), source=policy.source, path=path, message=message, **more)  # type: ignore[arg-type]


class Check(NamedTuple):
    """A row of the table of checks. `optional` checks run only when they are selected by code."""

    code: str
    name: str
    level: Level
    summary: str
    find: Callable[[Subject], Iterable[Finding]]
    optional: bool = False
