"""Results of a run, written as text, JSON, SARIF, JUnit, TAP or GitHub annotations.

`felixpy lint` and `felixpy validate` report findings, `felixpy test` outcomes of tests. A new format is a row of
`FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from felixpy.reports.annotations import github
from felixpy.reports.jsonreport import json_report
from felixpy.reports.junit import junit
from felixpy.reports.result import LEVELS, Level, Related, Result, RuleInfo, Run, text
from felixpy.reports.sarif import sarif
from felixpy.reports.tap import tap

__all__ = ["FORMATS", "LEVELS", "Level", "Related", "Result", "RuleInfo", "Run", "write"]

FORMATS: Mapping[str, Callable[[Run], Iterator[str]]] = {
    "text": text,
    "json": json_report,
    "sarif": sarif,
    "github": github,
    "junit": junit,
    "tap": tap,
}
"""Each format by the name that ``-o`` takes; a format yields lines without their line breaks."""


def write(run: Run, name: str) -> str:
    """The whole report in one format. Raises KeyError for an unknown format."""
    return "".join(f"{line}\n" for line in FORMATS[name](run))
