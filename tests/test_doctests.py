"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted((ROOT / "felixpy").rglob("*.py"))
    if file.stem != "__main__"
]
WITH_EXAMPLES = {"felixpy.errors", "felixpy.names", "felixpy.ruleset"}
"""Some that are known to have examples, lest a change in how they are found leave all of them out."""


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert tried or name not in WITH_EXAMPLES
