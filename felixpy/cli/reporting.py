"""What commands with reports share: the formats, and input that could not be read as a report."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from felixpy.errors import Problem
    from felixpy.reports import Result, RuleInfo


class ReportFormat(StrEnum):
    """How results are written; `felixpy.reports` has the same formats."""

    text = "text"
    json = "json"
    sarif = "sarif"
    github = "github"
    junit = "junit"
    tap = "tap"


Output = Annotated[ReportFormat, typer.Option("--output", "-o", help="The format of the report.")]

REFUSED, DOUBTFUL = "FX001", "FX002"
"""Codes of what reading the input found."""


def input_rules() -> dict[str, RuleInfo]:
    """The descriptions of the codes in `input_results`."""
    from felixpy.reports import RuleInfo

    refused = "The input cannot be read, or the API server, Felix or the kernel would refuse it."
    return {
        REFUSED: RuleInfo(REFUSED, "refused-input", "error", refused),
        DOUBTFUL: RuleInfo(DOUBTFUL, "doubtful-input", "warning", "The input is read, but something in it is odd."),
    }


def input_results(problems: Iterable[Problem]) -> list[Result]:
    """Problems of the input as results of a report."""
    from felixpy.reports import Result

    codes = {"error": REFUSED, "warning": DOUBTFUL}
    return [
        Result(
            name=codes[problem.severity],
            rule=codes[problem.severity],
            level=problem.severity,
            place=problem.place,
            subject=problem.subject,
            path=problem.path,
            message=problem.reason,
            hint=problem.hint,
            details=tuple(problem.excerpt.splitlines()),
        )
        for problem in problems
    ]
