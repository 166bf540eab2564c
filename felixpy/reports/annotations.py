"""Results as workflow commands of GitHub Actions, which show them beside the lines of a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from felixpy.errors import spell
from felixpy.escape import command_data, command_property
from felixpy.reports.result import Level, Result, Run

COMMANDS: Mapping[Level, str] = {"error": "error", "warning": "warning", "info": "notice"}


def github(run: Run) -> Iterator[str]:
    """``::error file=…,line=…,col=…,title=…::message`` for each failed result."""
    for result in run.failures:
        properties = ",".join(f"{name}={command_property(value)}" for name, value in _properties(result))
        text = ": ".join(part for part in (result.subject, spell(result.path), result.message) if part)
        lines = [text + (f" ({result.hint})" if result.hint else ""), *result.details]
        lines += [f"{place}: {message}" for place, message in result.related]
        yield f"::{COMMANDS[result.level]} {properties}::{command_data(chr(10).join(lines))}"


def _properties(result: Result) -> Iterator[tuple[str, str]]:
    if result.place:
        yield "file", result.place.file
        if result.place.line:
            yield "line", str(result.place.line)
        if result.place.column:
            yield "col", str(result.place.column)
    yield "title", f"felixpy {result.name}"
