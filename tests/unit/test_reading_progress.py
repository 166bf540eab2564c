"""How far reading has come, on a terminal only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from felixpy.cli import invocation
from felixpy.cli.invocation import ReadingProgress, load_cluster
from felixpy.manifests.loading import Options
from tests.bench import clusters


class _Clock:
    now = 0.0

    def monotonic(self) -> float:
        self.now += 0.6
        return self.now


@pytest.mark.parametrize("terminal", [True, False])
def test_reading_says_how_far_it_is(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = clusters.write(clusters.SHAPES["S"], tmp_path, "yaml")
    monkeypatch.setattr(invocation, "time", _Clock())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    load_cluster([str(file)], Options(), quiet=True)
    told = capsys.readouterr().err
    assert ("reading " in told) is terminal
    assert told.endswith("\r\x1b[K") is terminal


def test_the_first_second_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with ReadingProgress() as progress:
        progress.step("x", 2**30)
    assert capsys.readouterr().err == ""
