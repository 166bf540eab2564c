"""The published JSON Schemas, and whether a document is as they say."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
NO_OUTPUT = {"common.json", "felixtest.json"}
"""What several schemas have in common, and the schema of an input."""


@cache
def schemas() -> dict[str, Any]:
    """All schemas, by file."""
    return {file.name: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}


@cache
def file_of(kind: str) -> str:
    """The file whose schema is that of a kind of document."""
    found = [name for name, schema in schemas().items() if name not in NO_OUTPUT and kind in kinds(schema)]
    assert len(found) == 1, f"{kind} has {len(found)} schemas"
    return found[0]


def kinds(schema: dict[str, Any]) -> set[str]:
    """The kinds of documents that a schema describes."""
    bodies = [schema, *(schema["$defs"][one["$ref"].removeprefix("#/$defs/")] for one in schema.get("oneOf", ()))]
    words = [body["properties"]["kind"] for body in bodies if "kind" in body.get("properties", {})]
    return {kind for word in words for kind in ([word["const"]] if "const" in word else word["enum"])}


@cache
def _validator(name: str) -> Draft202012Validator:
    resources = [(file, Resource.from_contents(one, DRAFT202012)) for file, one in schemas().items()]
    return Draft202012Validator({"$ref": name}, registry=Registry().with_resources(resources))


def checked(text: str) -> Any:
    """The document. Raises ValidationError where it is not as the schema of its kind says."""
    document = json.loads(text)
    _validator(file_of(document["kind"])).validate(document)
    return document
