"""Large files of block YAML → objects, with only a window of the file in memory.

Documents are split at their separators, a long List at its items; `blocks` reads them, and `yamltext` those that
`blocks` does not. In doubt `GivenUp` is raised: then the whole file is read, and its problems are reported.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from felixpy.manifests.reading import blocks, yamltext
from felixpy.manifests.reading.pieces import (
    MAX_NODES,
    MAX_OBJECT,
    TOP_LEVEL,
    Unreadable,
    Value,
    content,
    is_list,
    item_starts,
    items,
)
from felixpy.manifests.reading.streams import GivenUp, Object
from felixpy.model import Source

WINDOW = 2**20
"""Characters that are looked at together; an object may be longer."""

_SEPARATOR = re.compile(r"\n---(?=[ \t\r\n])")


class Stream:
    """The objects of a file, read in chunks of bytes. Iterating yields batches and raises GivenUp.

    `starts` are the character offsets at which documents begin.
    """

    def __init__(self, name: str, chunks: Iterator[bytes]) -> None:
        self.starts: list[int] = []
        self._name, self._chunks = name, chunks
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._window, self._passed, self._ended = "", 0, False
        self._at, self._line, self._last = 0, 1, -1
        self._lines = blocks.Lines()
        self._nodes_left = MAX_NODES

    def __iter__(self) -> Iterator[list[Object]]:
        try:
            self._load(WINDOW)
            if self._window.startswith(("%", "\ufeff")):
                raise GivenUp
            while self._at < len(self._window):
                yield from self._document()
                self._load(WINDOW)
        except (Unreadable, ValueError):
            raise GivenUp from None

    # --- the window

    def _load(self, size: int) -> None:
        """Fill the window with up to `size` characters ahead; drop what was processed, except for one character."""
        if self._ended or len(self._window) - self._at >= size:
            return
        passed = max(self._at - 1, 0)
        texts, self._passed, self._at = [self._window[passed:]], self._passed + passed, self._at - passed
        seen = ahead = len(texts[0])
        while ahead < size + 1 and not self._ended:
            chunk = next(self._chunks, b"")
            self._ended = not chunk
            texts.append(self._decode(chunk, final=self._ended))
            ahead += len(texts[-1])
        self._window = "".join(texts)
        # A directive belongs to the document after it; NUL makes it no text.
        if self._window.find("\n%", max(seen - 1, 0)) >= 0 or self._window.find("\0", seen) >= 0:
            raise GivenUp

    def _more(self) -> None:
        """Double the window. Raises GivenUp at the end of the file, or if it exceeds the size limit of objects."""
        ahead = len(self._window) - self._at
        if self._ended or ahead > 2 * MAX_OBJECT:
            raise GivenUp
        self._load(2 * ahead + 1)

    def _advance(self, end: int) -> None:
        self._line += self._window.count("\n", self._at, end)
        self._at = end

    def _end(self) -> int | None:
        """Where the document ends, None if that is not in the window."""
        found = _SEPARATOR.search(self._window, self._at)
        if found:
            return found.start() + 1
        if not self._ended:
            return None
        last = len(self._window) - 3
        return last if last > self._at and self._window.endswith("\n---") else len(self._window)

    # --- what is in it

    def _readers(self) -> tuple[blocks.Reader, yamltext.Reader]:
        exact = yamltext.Reader(self._window, self._nodes_left)
        return blocks.Reader(self._window, exact.item, self._lines), exact

    def _document(self) -> Iterator[list[Object]]:
        while (end := self._end()) is None:
            begin = content(self._window, self._at, len(self._window))
            if found := items(self._window, begin, len(self._window)):
                heading, places = found
                yield from self._list(begin, heading, places[0][0])
                return
            self._more()
        begin = content(self._window, self._at, end)
        if begin < end:
            if self._window[begin] in "{[":
                raise GivenUp
            quick, exact = self._readers()
            values = quick.documents(begin, end) or exact.documents(self._at, end)
            self._nodes_left = exact.nodes_left
            if any(value.flaws for value in values):
                raise GivenUp
            self.starts += [self._passed + value.start for value in values]
            yield self._objects([part for each in values for part in ([each] if each.parts is None else each.parts)])
        self._advance(end)

    def _list(self, begin: int, heading: int, first: int) -> Iterator[list[Object]]:
        """A List that is longer than the window; its first item starts at `first`."""
        self.starts.append(self._passed + begin)
        head, dash = self._window[begin:heading], self._window[first : self._window.index("-", first) + 1]
        self._advance(first)
        ended = False
        while not ended:
            places, ended = self._places(dash)
            quick, exact = self._readers()
            parts = quick.parts(places)
            self._nodes_left = exact.nodes_left
            if parts is None:
                raise GivenUp
            yield self._objects(parts)
            self._advance(places[-1][1])
            self._load(WINDOW)
        while (end := self._end()) is None:
            self._more()
        frame = f"{head}items:\n{self._window[self._at : end]}"
        header = self._lines.value(frame.rstrip(" \n"), at_once=True) or _single(frame)
        if type(header) is not dict or header.get("items", 0) is not None or not is_list(header.get("kind"), []):
            raise GivenUp
        self._advance(end)

    def _stop(self) -> int | None:
        """Where the list ends, None if that is not in the window."""
        end, after = self._end(), TOP_LEVEL.search(self._window, self._at)
        ends = [each for each in (end, after and after.end()) if each is not None]
        return min(ends, default=None)

    def _places(self, dash: str) -> tuple[list[tuple[int, int]], bool]:
        """Start and end of the complete items in the window, and whether the list ends with them."""
        while True:
            stop = self._stop()
            limit = len(self._window) if stop is None else stop
            cuts = item_starts(self._window, self._at, limit, dash)
            cuts += [] if stop is None else [stop]
            if len(cuts) > 1:
                return list(pairwise(cuts)), stop is not None
            self._more()

    def _objects(self, parts: Sequence[Value]) -> list[Object]:
        found, line, counted = [], self._line, self._at
        for data, start, end, inner, flaws in parts:
            at = self._passed + start
            # An aliased value has the place of its anchor.
            if flaws or inner is not None or not _is_object(data) or end - start > MAX_OBJECT or at <= self._last:
                raise GivenUp
            line, counted, self._last = line + self._window.count("\n", counted, start), start, at
            found.append((data, Source(self._name, line, at, at + end - start)))
        return found


def _is_object(data: Any) -> bool:
    """Whether a value is an object with its own apiVersion and kind."""
    if type(data) is not dict:
        return False
    version, kind = data.get("apiVersion"), data.get("kind")
    return bool(version and kind) and type(version) is str and type(kind) is str


def _single(text: str) -> Any:
    """The value of the only document of a text, None if it has flaws."""
    [value] = yamltext.Reader(text).documents(0, len(text))
    return None if value.flaws or value.parts is not None else value.data
