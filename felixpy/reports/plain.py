"""Results for people: a line each, and what else there is to say below it."""

from __future__ import annotations

from collections.abc import Iterator

from felixpy.errors import many, spell
from felixpy.escape import terminal
from felixpy.reports.result import Result, Run


def text(run: Run) -> Iterator[str]:
    """``file:line:column: level: FX101: object: path: message (hint)``, then a summary line."""
    for result in run.failures:
        yield from _lines(result)
    yield summary(run)


def _lines(result: Result) -> Iterator[str]:
    yield terminal(heading(result))
    for detail in result.details:
        yield f"    {terminal(detail)}"
    for related in result.related:
        yield f"    {terminal(f'{related.place}: {related.message}')}"


def heading(result: Result) -> str:
    """A failed result on one line."""
    place = str(result.place) if result.place else ""
    parts = [place, result.level, result.name, result.subject, spell(result.path), result.message]
    return ": ".join(part for part in parts if part) + (f" ({result.hint})" if result.hint else "")


def summary(run: Run) -> str:
    """How many results failed, by level."""
    counts = [many(number, level) if level != "info" else f"{number} info" for level, number in run.counts().items()]
    return f"{run.suite}: {', '.join(counts) if counts else 'no findings'}"
