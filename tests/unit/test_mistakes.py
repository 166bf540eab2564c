"""Mistakes that people make: each manifest has one, and the message that helps stands in its second line."""

from __future__ import annotations

from pathlib import Path

import pytest

from felixpy.errors import InputError, Problem
from felixpy.manifests import load

CASES = sorted((Path(__file__).parents[2] / "fixtures" / "mistakes").glob("*.yaml"))


def said(path: Path, *, strict: bool | None = None) -> tuple[list[Problem], bool]:
    """Everything that loading says, and whether it fails."""
    try:
        return list(load([path], strict=strict).warnings), False
    except InputError as wrong:
        return wrong.problems, True


def test_all_cases_are_here() -> None:
    assert len(CASES) == 39


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_mistake_is_named_and_nothing_else(path: Path) -> None:
    severity, _, words = path.read_text().splitlines()[1].removeprefix("# says: ").partition(": ")
    problems, failed = said(path)
    assert [problem.severity for problem in problems] == [severity]
    assert words in str(problems[0])
    assert failed is (severity == "error")
    assert problems[0].place.line > 2


LENIENT = {
    "domains", "empty-peer", "field-misspelt", "labels-without-matchlabels", "parameter-misspelt", "port-in-quotes",
}  # fmt: skip


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_can_be_read_all_the_same_is_a_warning_when_asked_to_be_lenient(path: Path) -> None:
    if said(path)[1]:
        assert said(path, strict=False)[1] is (path.stem not in LENIENT)
