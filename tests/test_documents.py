"""The pages with examples show what the commands print today."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_examples_are_up_to_date() -> None:
    command = [sys.executable, "tools/document_examples.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), f"run make docs\n{done.stdout}{done.stderr}"


def test_the_examples_in_python_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the folder of the examples that the commands are shown with."""
    page = ROOT / "docs" / "python.md"
    monkeypatch.chdir(ROOT / "fixtures" / "demo")
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert failed == 0
    assert tried == page.read_text().count(">>> ")
