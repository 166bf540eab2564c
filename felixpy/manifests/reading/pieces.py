"""Where the documents of a text begin and end, and the results of the parsers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from felixpy.errors import Path

MAX_DEPTH = 200
"""Deepest nesting of lists and mappings. Real schemas stay under 100; PyYAML's C parser crashes at some 50,000."""

MAX_NODES = 2_000_000
"""Most values in one document, aliases counted each time they are used: against "billion laughs"."""


MAX_OBJECT = 32 * 2**20
"""Most characters of one object. The API server takes 3 MiB of a request, etcd stores 1.5 MiB."""


class Flaw(NamedTuple):
    """A problem at an offset of a text; `path` is the path in the object."""

    offset: int
    reason: str
    hint: str = ""
    path: Path = ()


class Value(NamedTuple):
    """The value of a document or of a list's item; `parts` are the items of a list, which `data` then lacks.

    `start` and `end` are the offsets of its text, without the indentation of the first line.
    """

    data: Any
    start: int
    end: int
    parts: list[Value] | None = None
    flaws: tuple[Flaw, ...] = ()


class Unreadable(Exception):
    """A text cannot be parsed. `reached` is where the parser stopped, if not at the flaw."""

    def __init__(self, offset: int, reason: str, hint: str = "", reached: int = 0) -> None:
        self.flaw = Flaw(offset, reason, hint)
        self.reached = max(reached, offset)
        super().__init__(reason)


class TooLarge(Unreadable):
    """A document has too many values."""


def is_list(kind: object, items: object) -> bool:
    """Whether an object is a list of objects: kind List, or PodList and the like, with a list of items."""
    return isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)


def cut(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each document of a YAML stream, its ``---`` line included.

    In YAML such a line always ends a document. Only after directives (``%YAML``) it belongs to what precedes it; such a
    stream is not split.
    """
    start = search = 0
    whole = text.startswith("%") or "\n%" in text
    while not whole and (at := text.find("\n---", search)) >= 0:
        search = at + 4
        if search == len(text) or text[search] in " \t\r\n":
            yield start, at + 1
            start = at + 1
    yield start, len(text)


_LEAD = re.compile(r"(?:---(?=[ \t\r\n]|\Z))?(?:[ \t\r\n]++|#[^\n]*+)*+")


def content(text: str, start: int, end: int) -> int:
    """Where the content of a document begins, after its ``---``, blanks and comments; `end` if there is none."""
    found = _LEAD.match(text, start, end)
    return found.end() if found else start


_ITEMS = re.compile(r"^items:[ \t]*(?:#.*)?\r?\n", re.MULTILINE)
_DASH = re.compile(r"( *)-[ \n]")
TOP_LEVEL = re.compile(r"\n(?=[^\s#-])")


def items(text: str, start: int, end: int) -> tuple[int, list[tuple[int, int]]] | None:
    """The offset of the key ``items:`` of a block list, and each item's start and end, found by indentation.

    Inside a multi-line quoted text the result is wrong; the pieces then do not parse, and the caller reads the whole
    document.
    """
    heading = _ITEMS.search(text, start, end)
    first = heading and _DASH.match(text, heading.end(), end)
    if not heading or not first:
        return None
    after = TOP_LEVEL.search(text, heading.end(), end)
    stop = after.end() if after else end
    cuts = item_starts(text, heading.end(), stop, f"{first[1]}-")
    return heading.start(), list(zip(cuts, [*cuts[1:], stop], strict=True))


def item_starts(text: str, start: int, stop: int, dash: str) -> list[int]:
    """Where the items of a block list start, the first one at `start`. `dash` begins the lines of all of them."""
    cuts, search = [start], start
    while (at := text.find(f"\n{dash}", search, stop)) >= 0:
        search = at + len(dash) + 1
        if text[search : search + 1] in (" ", "\n", "\r"):
            cuts.append(at + 1)
    return cuts
