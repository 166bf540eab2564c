"""Results in the Test Anything Protocol, version 13. (testanything.org)"""

from __future__ import annotations

import json
from collections.abc import Iterator

from felixpy.errors import spell
from felixpy.escape import terminal
from felixpy.reports.result import Result, Run


def tap(run: Run) -> Iterator[str]:
    """A line for each result, and below failed ones a YAML block (written as JSON, which YAML includes)."""
    yield "TAP version 13"
    yield f"1..{len(run.results)}"
    for number, result in enumerate(run.results, 1):
        outcome = "not ok" if result.status == "failed" and result.level != "info" else "ok"
        name = ": ".join(part for part in (result.name, result.subject, spell(result.path)) if part)
        skipped = f" # SKIP {_plain(result.message)}" if result.status == "skipped" else ""
        yield f"{outcome} {number} - {_plain(name)}{skipped}"
        if result.status == "failed":
            yield "  ---"
            yield from (f"  {key}: {json.dumps(value)}" for key, value in _details(result))
            yield "  ..."


def _plain(text: str) -> str:
    """Text without line breaks and without the sign that begins a directive."""
    return terminal(text).replace("#", "\\#")


def _details(result: Result) -> Iterator[tuple[str, object]]:
    yield "message", result.message
    yield "severity", result.level
    if result.hint:
        yield "hint", result.hint
    if result.place:
        yield "at", str(result.place)
    if result.details:
        yield "details", list(result.details)
    if result.related:
        yield "related", [f"{place}: {message}" for place, message in result.related]
