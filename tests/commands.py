"""Commands as people type them, run in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from felixpy.cli import run
from felixpy.errors import FelixpyError


class Answer(NamedTuple):
    """What a command said and how it ended."""

    status: int
    out: str
    err: str


def caller(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *head: str) -> Callable[..., Answer]:
    """Runs ``felixpy`` with some words and those of each call, without the FELIX_* variables of the machine."""
    for name in [*os.environ]:
        if name.startswith("FELIX"):
            monkeypatch.delenv(name)

    def call(*arguments: object) -> Answer:
        status = run([*head, *map(str, arguments)])
        said = capsys.readouterr()
        return Answer(status, said.out, said.err)

    return call


def output_of(app: typer.Typer, *arguments: str, stdin: str = "", status: int = 0) -> str:
    """The output of a command that ends with a status; what it raises for people is raised."""
    result = CliRunner().invoke(app, arguments, input=stdin)
    if isinstance(result.exception, FelixpyError):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.stdout
