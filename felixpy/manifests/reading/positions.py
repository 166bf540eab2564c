"""Line and column of values in a file, determined on demand, not recorded while reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from felixpy.errors import Path
from felixpy.manifests.reading import jsontext
from felixpy.manifests.reading.pieces import Unreadable
from felixpy.model import Source

if TYPE_CHECKING:
    from yaml.nodes import Node


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, both counted from 1.

    >>> line_and_column("kind: Pod\\nspec: {}", 16)
    (2, 7)
    """
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def locate(text: str, source: Source, path: Path, *, key: bool = False) -> tuple[int, int]:
    """Line and column of the value at a path in an object, or of its key; if it is absent, of its nearest parent."""
    if not source.end:
        return max(source.line, 1), 1
    offset = _in_json(text, source.start, path, key)
    if offset is None:
        offset = _in_yaml(text, source, path, key)
    if offset < source.start:
        return line_and_column(text, offset)
    return source.line + text.count("\n", source.start, offset), offset - text.rfind("\n", 0, offset)


def locate_items(text: str, source: Source, path: Path) -> list[tuple[int, int]]:
    """Line and column of every item of the list at a path inside an object, which is read once for all of them."""
    offset = _in_json(text, source.start, path, key=False)
    offsets = (
        _items_in_yaml(text, source, path) if offset is None else [at for _, at, _ in jsontext.inside(text, offset)]
    )
    found, line, seen = [], source.line, source.start
    for offset in offsets:
        line, seen = line + text.count("\n", seen, offset), offset
        found.append((line, offset - text.rfind("\n", 0, offset)))
    return found


def _in_json(text: str, start: int, path: Path, key: bool) -> int | None:
    """The offset of a path in a JSON object; None if the text up to there is not JSON."""
    if text[start] not in "{[":
        return None
    named = start
    try:
        for step in path:
            inside = jsontext.inside(text, start)
            found = next(((at, value) for name, at, value in inside if name == step), None)
            if found is None:
                return start
            named, start = found
    except (jsontext.NotJson, ValueError, IndexError, RuntimeError):
        return None
    return named if key else start


def _in_yaml(text: str, source: Source, path: Path, key: bool) -> int:
    try:
        offset, nodes = _way_in_yaml(text, source, path)
    except Unreadable:
        return source.start
    named, value = nodes[-1]
    return offset + (named if key else value).start_mark.index


def _items_in_yaml(text: str, source: Source, path: Path) -> list[int]:
    offset, nodes = _way_in_yaml(text, source, path)
    assert len(nodes) == len(path) + 1, f"there is nothing at {path}"
    return [offset + item.start_mark.index for item in nodes[-1][1].value]


def _way_in_yaml(text: str, source: Source, path: Path) -> tuple[int, list[tuple[Node, Node]]]:
    """The offset at which marks begin, and the (key, value) nodes along a path, as far as it exists. Raises Unreadable.

    The first pair is the object itself, twice.
    """
    from felixpy.manifests.reading.yamltext import Reader

    reader = Reader(text)
    value, offset = reader.node(source.start, source.end)
    nodes = [(value, value)]
    for step in path:
        found = reader.child(nodes[-1][1], step)
        if found is None:
            break
        nodes.append(found)
    return offset, nodes
