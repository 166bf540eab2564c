"""The table of faults names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
TABLE = (CHECKOUT / "docs/faults.md").read_text()


def test_every_fault_has_a_test_that_exists() -> None:
    rows = [line for line in TABLE.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row) for row in rows]
    assert all(named)
    functions = {
        file: {
            node.name
            for node in ast.walk(ast.parse((CHECKOUT / file).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        for file in {file for row in named for file, _ in row}
    }
    missing = [f"{file}::{name}" for row in named for file, name in row if name not in functions[file]]
    assert missing == []


def test_every_test_of_faults_is_in_the_table() -> None:
    files = sorted((CHECKOUT / "tests/netns").glob("test_faults*.py"))
    names = [name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)]
    assert len(names) > 10
    assert [name for name in names if f"::{name}`" not in TABLE] == []
