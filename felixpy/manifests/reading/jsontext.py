"""JSON → values, at the speed of the standard library's scanner and with the offset of every item of a List.

JSON is also YAML, with the same meaning, except for rare texts such as NaN: for these `NotJson` is raised, and the
caller tries YAML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from json.decoder import JSONDecoder, scanstring  # type: ignore[attr-defined]
from typing import Any

from felixpy.manifests.reading.pieces import MAX_DEPTH, Flaw, Unreadable, Value, is_list
from felixpy.manifests.reading.scalars import number

_LONG = 2**16
"""From this length on an object is read member by member, so that a List need not be read twice."""

Scan = Callable[[str, int], tuple[Any, int]]
"""Reads the value at an offset and returns it with its end."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_blanks = re.compile(r"[ \t\r\n]*").match
_next = re.compile(r"[ \t\r\n]*([,}\]]?)[ \t\r\n]*").match


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _scanner(**hooks: Callable[[Any], Any]) -> Scan:
    """The standard library's scanner, restricted to valid JSON."""
    decoder = JSONDecoder(parse_float=number, parse_constant=_constant, **hooks)  # type: ignore[arg-type]
    return decoder.scan_once  # type: ignore[attr-defined,no-any-return]


_scan = _scanner()


_WORDS = {
    "Expecting ',' delimiter": "a comma or a closing bracket is expected",
    "Expecting ':' delimiter": "a colon is expected",
    "Expecting property name enclosed in double quotes": "a key in double quotes is expected",
    "Unterminated string starting at": "the string that starts here is not closed",
    "Invalid control character at": "a line break or control character inside a string",
}
"""The scanner's messages in words of ours."""


class NotJson(Exception):
    """The text is not JSON, from about that offset on."""

    def __init__(self, offset: int, reason: str) -> None:
        self.offset, self.reason = offset, reason
        super().__init__(reason)


def skip(text: str, offset: int) -> int:
    """The offset of the next character that is not white space."""
    return _blanks(text, offset).end()  # type: ignore[union-attr]


def member(text: str, offset: int) -> tuple[str, int]:
    """(key, offset of the value) for the member of an object that begins at a quote."""
    if text[offset] != '"':
        raise NotJson(offset, "a key in double quotes is expected")
    key, offset = scanstring(text, offset + 1, True)
    offset = skip(text, offset)
    if text[offset] != ":":
        raise NotJson(offset, "a colon is expected")
    return key, skip(text, offset + 1)


def following(text: str, offset: int, closing: str) -> tuple[int, bool]:
    """After an element: (offset of the next one, True), or (end of the object or array, False)."""
    found = _next(text, offset)
    assert found
    if found[1] == ",":
        return found.end(), True
    if found[1] != closing:
        raise NotJson(found.start(1), f'"," or "{closing}" is expected')
    return found.end(1), False


def first(text: str, offset: int, closing: str) -> tuple[int, bool]:
    """As `following`, at the beginning: the first element's offset, or the end of an empty object or array."""
    offset = skip(text, offset + 1)
    return (offset + 1, False) if text[offset] == closing else (offset, True)


def inside(text: str, start: int) -> Iterator[tuple[str | int, int, int]]:
    """(key or index, offset of the key, offset of the value) for each element of an object or array."""
    closing = _CLOSING.get(text[start])
    if not closing:
        return
    offset, more = first(text, start, closing)
    index = 0
    while more:
        step, value = member(text, offset) if closing == "}" else (index, offset)
        yield step, offset, value
        offset, more = following(text, _scan(text, value)[1], closing)
        index += 1


_CLOSING = {"{": "}", "[": "]"}


class _Tally:
    """State of the scanners' hooks: the number of members that objects keep, and whether a key was repeated."""

    def __init__(self) -> None:
        self.members = 0
        self.repeated = ""

    def count(self, members: dict[str, Any]) -> dict[str, Any]:
        self.members += len(members)
        return members

    def compare(self, members: list[tuple[str, Any]]) -> dict[str, Any]:
        unique = dict(members)
        if len(unique) != len(members):
            keys = [key for key, _ in members]
            self.repeated = next(key for key in keys if keys.count(key) > 1)
        return unique


class Reader:
    """Reads values of one text and finds duplicate keys, which the standard library ignores.

    The fast scanner only counts the members of all objects. As every member has a colon, no key was dropped if the text
    has the same number of colons; otherwise, and from then on, the strict scanner checks each object.
    """

    def __init__(self, text: str, again: Callable[[int, int], Value]) -> None:
        """`again` reads a value with a duplicate key as YAML, whose reader reports the place."""
        self._text, self._again = text, again
        self._surrogates = _SURROGATE.search(text) is not None
        self._tally = _Tally()
        self._quick: Scan | None = _scanner(object_hook=self._tally.count)
        self._thorough = _scanner(object_pairs_hook=self._tally.compare)

    def documents(self, start: int, end: int) -> list[Value]:
        """All values between two offsets, one after the other."""
        text, found = self._text, []
        try:
            while start < end:
                if text[start] not in "{[":
                    raise NotJson(start, "unexpected text after the JSON value")
                value = self._value(start, end)
                start = skip(text, value.end)
                found.append(value)
        except IndexError:
            raise NotJson(end, "the text ends in the middle of a JSON value") from None
        except StopIteration as stopped:
            raise NotJson(stopped.value, "a JSON value is expected") from None
        except RecursionError:
            raise NotJson(start, "nested too deeply") from None
        except ValueError as wrong:
            message = getattr(wrong, "msg", str(wrong))
            raise NotJson(getattr(wrong, "pos", start), _WORDS.get(message, message)) from None
        return [_paired(value) for value in found] if self._surrogates else found

    def _value(self, start: int, end: int) -> Value:
        """The value at `start`; lists of objects are split, also those in arrays."""
        if self._text[start] == "[":
            parts, stop = self._array(start)
            return Value(None, start, stop, parts)
        if end - start > _LONG and self._text.find('"items"', start, end) > 0:
            return self._object(start)
        value = self._whole(start)
        data = value.data
        if type(data) is dict and "items" in data and is_list(data.get("kind"), data["items"]):
            return self._object(start)
        return value

    def _array(self, start: int) -> tuple[list[Value], int]:
        text, parts = self._text, []
        offset, more = first(text, start, "]")
        while more:
            value = self._value(offset, offset)
            parts.append(value)
            offset, more = following(text, value.end, "]")
        return parts, offset

    def _object(self, start: int) -> Value:
        """A List, member by member."""
        text, parts = self._text, None
        header: dict[str, Any] = {}
        flaws: list[Flaw] = []
        offset, more = first(text, start, "}")
        while more:
            key, offset = member(text, offset)
            if key in header:
                raise NotJson(offset, f'the key "{key}" is given twice')
            if key == "items" and text[offset] == "[":
                header[key] = None
                parts, offset = self._array(offset)
            else:
                value = self._whole(offset)
                header[key], offset = value.data, value.end
                flaws += (flaw._replace(path=(key, *flaw.path)) for flaw in value.flaws)
            offset, more = following(text, offset, "}")
        if parts is None or not is_list(header.get("kind"), []):
            return self._whole(start)
        return Value(header, start, offset, parts, tuple(flaws))

    def _whole(self, start: int) -> Value:
        """A value in one piece, not split even if it is a list."""
        text, tally = self._text, self._tally
        if self._quick:
            tally.members = 0
            data, end = self._quick(text, start)
            if tally.members != text.count(":", start, end):
                self._quick = None
        if not self._quick:
            tally.repeated = ""
            data, end = self._thorough(text, start)
        if end - start > 2 * MAX_DEPTH and _may_be_deep(text, start, end) and is_deep(data):
            raise RecursionError
        return self._twice(data, start, end) if tally.repeated else Value(data, start, end, None, ())

    def _twice(self, data: Any, start: int, end: int) -> Value:
        try:
            return self._again(start, end)
        except Unreadable:
            return Value(data, start, end, flaws=(Flaw(start, f'the key "{self._tally.repeated}" is given twice'),))


def _may_be_deep(text: str, start: int, end: int) -> bool:
    return text.count("{", start, end) + text.count("[", start, end) > MAX_DEPTH


def is_deep(data: Any) -> bool:
    """Whether a value is nested more deeply than allowed."""
    level, depth = [data], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner = (value.values() if type(value) is dict else value for value in level)
        level = [value for values in inner for value in values if type(value) is dict or type(value) is list]
    return depth > MAX_DEPTH


def _paired(value: Value) -> Value:
    """The value with lone surrogates replaced by U+FFFD, as in Go; they could not be printed."""
    parts = value.parts and [_paired(part) for part in value.parts]
    return value._replace(data=_replaced(value.data), parts=parts)


def _replaced(data: Any) -> Any:
    if isinstance(data, str):
        return data.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(data, dict):
        return {_replaced(key): _replaced(value) for key, value in data.items()}
    return [_replaced(item) for item in data] if isinstance(data, list) else data
