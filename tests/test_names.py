"""One word for a thing: public classes have names of their own, and the glossary's words are used."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "felixpy"

SHARED = frozenset({"Chain", "Finding", "Machine", "Node", "Rule", "Step"})
"""Names that several packages give to public classes of theirs. The list only becomes shorter."""

RETIRED = (
    "second road",
    "had no words",
    "has no words",
    "hang on pods",
    "fare alike",
    "half made or half gone",
    "nobody's but somebody's own",
    "run what?",
    "who calls whom?",
)
"""What help, messages and documents said once."""


def public_classes() -> dict[str, set[str]]:
    """Where each public class is defined: its name → top-level packages or modules."""
    homes: dict[str, set[str]] = defaultdict(set)
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(parts[0])
    return homes


def test_public_classes_have_names_of_their_own() -> None:
    shared = {name for name, homes in public_classes().items() if len(homes) > 1}
    assert shared - SHARED == set(), "find another name, or make one class of them"
    assert SHARED - shared == set(), "no longer shared: take it off the list"


@pytest.mark.parametrize("words", RETIRED)
def test_retired_words_do_not_come_back(words: str) -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    assert [file for file in files if words in file.read_text()] == []
