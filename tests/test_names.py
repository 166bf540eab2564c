"""One word for a thing: public classes have names of their own, and the glossary's words are used."""

from __future__ import annotations

import ast
import re
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "felixpy"

PROSE = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
"""Kinds of tokens with words; before Python 3.12 an f-string is one STRING."""

SHARED = frozenset({"Chain", "Finding", "Machine", "Node", "Rule", "Step"})
"""Names that several packages give to public classes of theirs. The list only becomes shorter."""

RETIRED = (
    r"second road",
    r"ha[ds] no words",
    r"hang on pods",
    r"fare alike",
    r"half made or half gone",
    r"nobody's but somebody's own",
    r"run what\?",
    r"who calls whom\?",
    r"nobody (?:\w+s|can|could|would|will|saved|named)\b",
    r"somebody",
    r"whoever",
    r"(?:is|are|to be) told(?! apart)",
    r"(?:that|which|who|status|it|-\w+) tells",
    r"go(?:es)? by (?:the|its|their|a)\b",
    r"stands for an?\b",
    r"worth (?:knowing|telling)",
    r"(?<![`.])\banew\b(?!`)",
)
"""Patterns of words that help, messages, documents and docstrings do not use: `docs/glossary.md` has better ones."""


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


def prose(file: Path) -> str:
    """Return the text of a document, or the comments and strings of a module."""
    if file.suffix != ".py":
        return file.read_text()
    with file.open("rb") as source:
        return "\n".join(token.string for token in tokenize.tokenize(source.readline) if token.type in PROSE)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The prose of the documents and of the package by path, with single spaces."""
    documents = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return {str(file.relative_to(ROOT)): " ".join(prose(file).split()) for file in (*PACKAGE.rglob("*.py"), *documents)}


@pytest.mark.parametrize("words", RETIRED)
def test_retired_words_do_not_come_back(words: str, texts: dict[str, str]) -> None:
    found = re.compile(words)
    assert {file: hit[0] for file, text in texts.items() if (hit := found.search(text))} == {}
