"""Results as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from felixpy.errors import Place, spell
from felixpy.reports.result import LEVELS, Result, Run


def json_report(run: Run) -> Iterator[str]:
    """``apiVersion``, ``kind``, a summary by level, and the failed results with their places."""
    counts = run.counts()
    document = {
        "apiVersion": "felixpy/v1",
        "kind": run.kind,
        "summary": {level: counts.get(level, 0) for level in LEVELS},
        "results": [_result(result) for result in run.failures],
    }
    yield json.dumps(document, indent=2, ensure_ascii=False)


def _result(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {"name": result.name, "level": result.level, "message": result.message}
    optional = {
        "rule": result.rule,
        "place": _place(result.place) if result.place else None,
        "object": result.subject,
        "path": spell(result.path),
        "hint": result.hint,
        "details": list(result.details),
        "related": [{"place": _place(place), "message": message} for place, message in result.related],
    }
    return found | {key: value for key, value in optional.items() if value}


def _place(place: Place) -> dict[str, Any]:
    numbers = {"line": place.line, "column": place.column}
    return {"file": place.file} | {key: number for key, number in numbers.items() if number}
