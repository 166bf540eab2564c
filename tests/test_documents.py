"""The pages with examples show what the commands print today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_examples_are_up_to_date() -> None:
    command = [sys.executable, "tools/document_examples.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), f"run make docs\n{done.stdout}{done.stderr}"
