"""Objects as one file of manifests, one object on each line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from felixpy.errors import Problem
from felixpy.kubectl.trim import trimmed
from felixpy.manifests.reading.objects import Given, read_given


def objects(given: Sequence[Given]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """All objects of files, folders and clusters, without fields that do not affect packets, and all problems."""
    reading = read_given(given)
    return [trimmed(document.data, document.data["kind"]) for document in reading.documents], reading.problems


def text(items: Iterable[Mapping[str, Any]]) -> str:
    """A List with one object on each line, so that snapshots can be compared line by line.

    >>> print(text([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}]), end="")
    {"apiVersion":"v1","kind":"List","items":[
    {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}
    ]}
    """
    lines = ",\n".join(json.dumps(item, separators=(",", ":"), ensure_ascii=False) for item in items)
    return f'{{"apiVersion":"v1","kind":"List","items":[\n{lines}\n]}}\n'


def packed(content: str, *, compress: bool) -> bytes:
    """The bytes of a file; the same content always gives the same bytes."""
    return gzip.compress(content.encode(), mtime=0) if compress else content.encode()
