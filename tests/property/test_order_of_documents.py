"""In which order documents stand in a file, and over how many files they are spread, does not matter to the text."""

from __future__ import annotations

import random
import re
from io import StringIO
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import felixpy
from tests.property.strategies import fewer
from tests.property.test_repeatable import texts
from tests.tables import FIXTURES

pytestmark = pytest.mark.property

SEPARATOR = re.compile(r"^---.*\n", re.MULTILINE)
CASES = sorted(folder for folder in (FIXTURES / "conformance" / "random").iterdir() if "small" in folder.name)
"""Recorded clusters of a few dozen documents, with everything that Felix knows."""


def documents(folder: Path) -> list[str]:
    return [text for text in SEPARATOR.split((folder / "manifests.yaml").read_text()) if text.strip()]


def compiled(given_documents: list[str], node: str) -> tuple[str, ...]:
    cluster = felixpy.load(["-"], stdin=StringIO("---\n".join(given_documents)))
    return texts(felixpy.compile(cluster, node))


@fewer
@given(st.sampled_from(CASES), st.randoms(use_true_random=False))
def test_shuffled_documents_give_the_same_text(folder: Path, draw: random.Random) -> None:
    node = str(yaml.safe_load((folder / "case.yaml").read_text())["node"])
    given_documents = documents(folder)
    shuffled = draw.sample(given_documents, len(given_documents))
    assert compiled(shuffled, node) == compiled(given_documents, node)
