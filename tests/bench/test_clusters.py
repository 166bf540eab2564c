"""The inputs of the benchmarks are frozen: figures of different days are about the same objects."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest
import yaml

from tests.bench.clusters import FORMS, SHAPES, objects, write

MANY = 6000
"""Objects that are looked at, of shapes that have more."""


@pytest.mark.parametrize(
    "shape, count, checksum",
    [
        ("S", 305, "b6781cdbcfc8e814"),
        ("M", 2720, "59a4dc2daa5fc0e1"),
        ("L", MANY, "c994a96093fceca2"),
        ("XL", MANY, "da9a901af7676ac3"),
        ("tenants", MANY, "09af97abcfefae01"),
        ("nodes200", MANY, "79922876ff18c114"),
    ],
)
def test_a_shape_never_changes(shape: str, count: int, checksum: str) -> None:
    manifests = list(islice(objects(SHAPES[shape]), MANY))
    digest = sha256("".join(map(json.dumps, manifests)).encode()).hexdigest()
    assert (len(manifests), digest[:16]) == (count, checksum)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str, tmp_path: Path) -> None:
    file = write(SHAPES["S"], tmp_path, form)
    with file.open() as text:
        documents = [json.load(text)] if form == "json" else list(yaml.load_all(text, yaml.CSafeLoader))
    read = [item for document in documents for item in document.get("items", [document])]
    assert read == list(objects(SHAPES["S"]))
    assert len(read) == SHAPES["S"].objects
