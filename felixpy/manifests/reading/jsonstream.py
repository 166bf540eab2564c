"""JSON dumps → objects, with a decoder in C: Lists as ``kubectl get -o json`` prints them, and JSON lines.

Only a window of the file is in memory. The decoder is fast, not exact: of duplicate keys it keeps the last one, and it
does not limit nesting. So an object is accepted only if none of its text was dropped. In doubt `GivenUp` is raised:
then `jsontext` and `yamltext` read the whole file and report its problems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from felixpy.manifests.reading.jsontext import is_deep
from felixpy.manifests.reading.pieces import MAX_DEPTH, MAX_OBJECT, is_list
from felixpy.manifests.reading.scalars import number
from felixpy.manifests.reading.sieves import NoSieve, Sieve
from felixpy.manifests.reading.streams import GivenUp, Object
from felixpy.model import Source

_CANDIDATES = 8
"""Places at which the items of a window are cut on trial."""

_SMALL = 2**11
"""Characters of an object that may say nothing but what counts."""

_REMEMBERED = 2**14
"""Texts whose values are remembered."""

_REPEATED = frozenset({"apiVersion", "kind", "spec"})
"""Members that many objects have in common."""

_HEADING = 2**16
"""Bytes in which a List must have come to its items."""


_REFUSED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What says that a text may not be right."""

_decode = msgspec.json.Decoder(float_hook=number).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_B = r"[ \t\r\n]*"
_NAME = rf'"(?:apiVersion|kind)"{_B}:{_B}"[\w./-]*"'
_METADATA = rf'"metadata"{_B}:{_B}\{{{_B}(?:"\w+"{_B}:{_B}"\w*"{_B},?{_B})*\}}'
_HEAD = re.compile(rf'\{{{_B}(?:(?:{_NAME}|{_METADATA}){_B},{_B})*"items"{_B}:{_B}\['.encode())
"""A List up to its items."""

_TAIL = re.compile(rf"\]{_B}(?:,{_B}(?:{_NAME}|{_METADATA}){_B})*\}}{_B}\Z".encode())
"""A List from the end of its items to that of the file."""

_SEPARATOR = re.compile(rb"---(?=[ \t\r\n])(?:[ \t\r\n]++|#[^\n]*+\n)*+")
"""What may be between documents: such a line, and comments after it."""

_FIRST_KEY = re.compile(rb'(\{"[^"\\]*":)( ?)')
_COLON = re.compile(rb"\\u003[aA]")
_blanks = re.compile(_B.encode()).match
_comma = re.compile(f"{_B},{_B}".encode()).match


def vouched(text: bytes) -> Any:
    """Parse a text, if the exact reader would give the same value. Raises GivenUp, MsgspecError, ValueError.

    Every member has a colon. A text with more colons than its value, printed again, has a duplicate key, whose first
    value the decoder dropped. (A colon written as an escape could hide that; `Stream` looks for them.)
    """
    data = _decode(text)
    printed = _encode(data)
    if text.count(b":") != printed.count(b":"):
        raise GivenUp
    if len(printed) > 2 * MAX_DEPTH and _may_be_deep(printed) and is_deep(data):
        raise GivenUp
    return data


def _may_be_deep(printed: bytes) -> bool:
    """Whether a text may exceed the nesting limit: an estimate that ignores brackets closed immediately."""
    count = printed.count
    return count(b"{") - count(b"{}") + count(b"[") - count(b"[]") >= MAX_DEPTH


class _Repeating:
    """Parses objects with repeated parts, such as the specs of policies in many namespaces, once for each part."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Any, int]] = {}

    def object(self, text: bytes) -> Any:
        """Parse a text as `vouched` does; objects may share one spec value."""
        members = _decode_members(text)
        data, colons = {}, len(members)
        for name, raw in members.items():
            part = bytes(raw)
            known = self._known.get(part)
            if known is None:
                if part.count(b"{") + part.count(b"[") >= MAX_DEPTH - 1:
                    return vouched(text)
                known = vouched(part), part.count(b":")
                if name in _REPEATED:
                    self._remember(part, known)
            data[name] = known[0]
            colons += known[1]
        return data if text.count(b":") == colons else vouched(text)

    def _remember(self, part: bytes, known: tuple[Any, int]) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[part] = known


class Stream:
    """The objects of a file, read in chunks of bytes, without those that `sieve` takes by their texts.

    Iterating yields batches and raises GivenUp. `starts` are the character offsets at which documents begin.
    """

    def __init__(self, name: str, chunks: Iterator[bytes], sieve: Sieve | None = None) -> None:
        self.starts: list[int] = []
        self._name, self._chunks = name, chunks
        self._take = (sieve or NoSieve()).take_text
        self._repeating = _Repeating()
        self._window, self._at, self._before = b"", 0, b"\n"
        self._character, self._line = 0, 1

    def __iter__(self) -> Iterator[Iterable[Object]]:
        try:
            while self._next_document():
                self.starts.append(self._character)
                head = _HEAD.match(self._window, self._at)
                if head:
                    yield from self._list(head.end())
                else:
                    text = self._one()
                    yield self._objects([text], {}, goes_on=False)
        except _REFUSED:
            raise GivenUp from None

    # --- the window

    def _more(self) -> bool:
        """Append a chunk to the rest of the window; False at the end of the file."""
        chunk = next(self._chunks, b"")
        if b"u003" in chunk and _COLON.search(self._window[-5:] + chunk):
            raise GivenUp
        self._before = self._previous()
        self._window = self._window[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _previous(self) -> bytes:
        """The byte before the window's place."""
        return self._window[self._at - 1 : self._at] if self._at else self._before

    def _advance(self, end: int) -> None:
        """Move on within the window, counting lines and characters."""
        passed = self._window[self._at : end]
        self._line += passed.count(b"\n")
        self._character += len(passed) if passed.isascii() else len(passed.decode())
        self._at = end

    def _skip_blanks(self) -> None:
        self._advance(_blanks(self._window, self._at).end())  # type: ignore[union-attr]

    # --- documents

    def _next_document(self) -> bool:
        """Move to the next document; False at the end of the file."""
        while True:
            self._skip_blanks()
            if len(self._window) - self._at < _HEADING and self._more():
                continue
            rest = self._window[self._at : self._at + 1]
            if rest in (b"{", b""):
                return rest != b""
            separator = _SEPARATOR.match(self._window, self._at)
            if not separator or self._previous() != b"\n":
                raise GivenUp
            self._advance(separator.end())

    def _one(self) -> bytes:
        """The text of an object that is not a List: the rest of its line, or up to a bracket that begins a line."""
        end = b"\n}" if self._window.startswith((b"{\n", b"{\r\n"), self._at) else b"\n"
        while (found := self._window.find(end, self._at)) < 0 and len(self._window) - self._at <= MAX_OBJECT:
            if not self._more():
                return self._window[self._at :].rstrip(b" \t\r\n")
        stop = found + len(end)
        return self._window[self._at : stop].rstrip(b" \t\r\n")

    # --- lists

    def _list(self, first: int) -> Iterator[Iterable[Object]]:
        """The items of a List that is the rest of the file."""
        head = self._window[self._at : first - 1]
        inherited = _inherited(_decode(head + b"null}"))
        self._advance(first)
        blank = _blanks(self._window, first).group()  # type: ignore[union-attr]
        goes_on = True
        while goes_on:
            self._skip_blanks()
            texts, goes_on = self._array(blank)
            yield self._objects(texts, inherited, goes_on=goes_on)
        self._skip_blanks()
        frame = vouched(head + b"null" + self._window[self._at + 1 :])
        if "items" not in frame or not is_list(frame.get("kind"), []):
            raise GivenUp
        self._advance(len(self._window))

    def _array(self, blank: bytes) -> tuple[list[bytes], bool]:
        """The texts of all items in the window, and whether more of them follow.

        Where the window is cut is a guess from how the first item is laid out. A wrong cut does not parse.
        """
        while True:
            last = not self._more()
            for stop in self._ends() if last else self._cuts(blank):
                array = b"[" + self._window[self._at : stop] + b"]"
                try:
                    return list(map(bytes, _decode_array(array))), not last
                except msgspec.MsgspecError:
                    continue
            if last or len(self._window) > 2 * MAX_OBJECT:
                raise GivenUp

    def _ends(self) -> Iterator[int]:
        """Brackets that may close the list, from the end of the file."""
        at = len(self._window)
        for _ in range(_CANDIDATES):
            at = self._window.rfind(b"]", self._at, at)
            if at >= 0 and _TAIL.match(self._window, at):
                yield at

    def _cuts(self, blank: bytes) -> Iterator[int]:
        """Ends of items, from the end of the window. Items start on separate lines, or with the same key."""
        between = b"}," + blank + b"{"
        if b"\n" not in blank:
            key = _FIRST_KEY.match(self._window, self._at)
            between = b"}," + key[2] + key[1] if key else between
        at = len(self._window)
        for _ in range(_CANDIDATES):
            at = self._window.rfind(between, self._at, at)
            if at < 0:
                return
            yield at + 1

    def _objects(self, texts: Sequence[bytes], inherited: dict[str, Any], *, goes_on: bool) -> Iterator[Object]:
        """Parse the texts of items; check that commas separate them and, if the list `goes_on`, follow them."""
        window, name, at, line, start = self._window, self._name, self._at, self._line, self._character
        plain, one_line = window.isascii(), b"\n" not in window
        take = None if inherited else self._take
        last = None if goes_on else texts[-1] if texts else None
        try:
            for text in texts:
                size = len(text) if plain else len(text.decode())
                source = Source(name, line, start, start + size)
                if take is None or size > _SMALL or not take(text, source):
                    yield self._object(text, size, inherited), source
                start += size
                at += len(text)
                if not one_line:
                    line += text.count(b"\n")
                if text is not last:
                    end = _comma(window, at).end()  # type: ignore[union-attr]
                    start += end - at
                    if not one_line:
                        line += window.count(b"\n", at, end)
                    at = end
        except _REFUSED:
            raise GivenUp from None
        self._at, self._line, self._character = at, line, start

    def _object(self, text: bytes, size: int, inherited: dict[str, Any]) -> Any:
        """Parse an object whose text has `size` characters."""
        data = self._repeating.object(text) if b'Policy"' in text and size <= _SMALL else vouched(text)
        if type(data) is not dict or size > MAX_OBJECT or not _is_complete(data, inherited):
            raise GivenUp
        return data


def _inherited(heading: dict[str, Any]) -> dict[str, Any]:
    """apiVersion and kind for items of a PodList or the like, if these precede the items."""
    kind, version = heading.get("kind"), heading.get("apiVersion")
    if not kind or kind == "List" or not version or not kind.endswith("List"):
        return {}
    return {"apiVersion": version, "kind": kind.removesuffix("List")}


def _is_complete(data: dict[str, Any], inherited: dict[str, Any]) -> bool:
    """Whether a value is an object with apiVersion and kind, and not a list of objects."""
    if inherited:
        for key, given in inherited.items():
            data[key] = data.get(key) or given
    version, kind = data.get("apiVersion"), data.get("kind")
    if type(version) is not str or type(kind) is not str or not version or not kind:
        return False
    return "items" not in data or not is_list(kind, data["items"])
