"""Block YAML as kubectl prints it → values, without a parser: each line is a key, or a dash, and maybe a scalar.

Objects of one kind mostly have the same lines except for their scalars. When a structure (lines without scalars) occurs
a second time, a function is compiled that builds the value from scalars, and used for later texts with that structure.
Only texts that libyaml certainly reads in the same way are read here. The rest is left to `yamltext`: comments, block
scalars, multi-line scalars, flow collections except lists of quoted texts, anchors, tags, unusual indentation,
duplicate keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from felixpy.manifests.reading import scalars
from felixpy.manifests.reading.pieces import Unreadable, Value, is_list, items

_KEY = r"[\w.](?:[\w./{},\"-]|:(?=[\w.{\"]))*"
_LINE = re.compile(rf"( *(?:- +)*(?:{_KEY}:(?: |(?=\n)))?)(.*)\n", re.ASCII)
"""Any line: indentation, dashes and key, with the blank behind its colon if something follows; the rest."""

_PREFIX = re.compile(r"( *)((?:- +)*)(?:(.+?):( ?))?", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_./](?:[!\"$-9;-~]|(?<=[^ ])#|:(?=[!-~])| (?=[!\"$-~]))*")
"""A plain scalar without any character that could mean something."""

_QUOTED = re.compile(r"\"[ !#-\[\]-~]*\"|'[ -&(-~]*'")
_TEXTS = re.compile(r"\[(?:\"[ !#-\[\]-~]*\"(?:, ?\"[ !#-\[\]-~]*\")*)?\]")

_DEEPEST = 30
_LONGEST_KEY = 200
"""libyaml takes keys of 1,024 characters."""

_REMEMBERED = 20_000
"""Structures that are remembered at most. One that comes only once is left to the parser."""

_PATIENCE = 200
"""How many more new structures than known ones are looked at: where keys have unique parts, none comes again."""

Build = Callable[[Sequence[Any]], Any]


class _Unsure(Exception):
    """Raised for text that libyaml may read differently."""


class Lines:
    """Parses lines; structures seen in one text make the next ones of a file faster."""

    def __init__(self) -> None:
        self._scalars = _Scalars()
        self._builds: dict[tuple[str, ...], Build | None] = {}
        self._patience = _PATIENCE

    def value(self, text: str, *, at_once: bool = False) -> Any:
        """The value of some lines; None if uncertain. `at_once`: parse even if the structure is new."""
        if self._patience < 0:
            return None
        structure, rests = zip(*_LINE.findall(text + "\n"), strict=True)
        build = self._builds.get(structure) or self._learnt(structure, at_once=at_once)
        if build is _unsure:
            self._patience -= 1
            return None
        self._patience = min(self._patience + 1, _PATIENCE)
        try:
            return build(list(map(self._scalars.__getitem__, rests)))
        except _Unsure:
            return None

    def _learnt(self, structure: tuple[str, ...], *, at_once: bool) -> Build:
        """The function that builds a structure, compiled at its second occurrence or, with `at_once`, the first."""
        if structure not in self._builds and not at_once:
            if len(self._builds) < _REMEMBERED:
                self._builds[structure] = None
            return _unsure
        build: Build = _unsure
        with suppress(_Unsure, scalars.Refused, IndexError):
            build = eval(f"lambda v: {_Structure(structure).source()}")  # noqa: S307 - of indices and quoted keys
        self._builds[structure] = build
        return build


class Reader:
    """Reads documents of one text; see the module. `item` parses an item of a list that is uncertain here."""

    def __init__(self, text: str, item: Callable[[int, int], list[Value]], lines: Lines | None = None) -> None:
        self._text, self._item = text, item
        self._lines = lines or Lines()

    def documents(self, begin: int, end: int) -> list[Value]:
        """The document whose content is between two offsets; [] if it is uncertain."""
        text = self._text
        if text[begin] in "{[" or text[begin - 1 : begin] not in ("", "\n"):
            return []
        if found := items(text, begin, end):
            return self._list(begin, end, *found)
        piece = text[begin:end].rstrip(" \n")
        data = self._lines.value(piece)
        return [Value(data, begin, begin + len(piece))] if _is_object(data) else []

    def _list(self, begin: int, end: int, heading: int, places: list[tuple[int, int]]) -> list[Value]:
        """A List, item by item."""
        frame = self._text[begin:heading] + "items:\n" + self._text[places[-1][1] : end]
        header = self._lines.value(frame.rstrip(" \n"), at_once=True)
        if type(header) is not dict or header.get("items", 0) is not None or not is_list(header.get("kind"), []):
            return []
        parts = self.parts(places)
        return [] if parts is None else [Value(header, begin, end, parts)]

    def parts(self, places: Sequence[tuple[int, int]]) -> list[Value] | None:
        """Items of a list between pairs of offsets; None if one of them is uncertain."""
        parts = []
        for start, stop in places:
            piece = self._text[start:stop].rstrip(" \n")
            data = self._lines.value(piece)
            if type(data) is list and len(data) == 1 and _is_object(data[0]):
                first = start + len(piece) - len(piece.lstrip(" ")[1:].lstrip(" "))
                parts.append(Value(data[0], first, start + len(piece)))
                continue
            try:
                parsed = self._item(start, stop)
            except (Unreadable, ValueError):
                return None
            if any(part.flaws for part in parsed):
                return None
            parts += parsed
        return parts


def _is_object(data: Any) -> bool:
    """Whether a value is a single object, not a list of objects."""
    return type(data) is dict and not is_list(data.get("kind"), data.get("items"))


def _unsure(values: Sequence[Any]) -> Any:
    raise _Unsure


class _Scalars(dict[str, Any]):
    """Scalars by their text, with the blanks before it. Raises _Unsure."""

    def __missing__(self, text: str) -> Any:
        value = self[text] = _scalar(text)
        return value


def _scalar(text: str) -> Any:
    if not text:
        return None
    if _PLAIN.fullmatch(text):
        try:
            return scalars.plain(text)
        except scalars.Refused:
            raise _Unsure from None
    if _QUOTED.fullmatch(text):
        return text[1:-1]
    if text == "{}":
        return {}
    if _TEXTS.fullmatch(text):
        return json.loads(text)
    raise _Unsure


class _Token(NamedTuple):
    """A dash, a key or a scalar alone (with neither name nor dash): its line and column."""

    line: int
    column: int
    dash: bool
    name: str | None
    open: bool
    """Whether nothing follows a key on its line."""


class _Structure:
    """Lines without their scalars, as the source of an expression in which ``v[n]`` is the scalar of line n."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._tokens = [token for number, line in enumerate(lines) for token in _tokens(number, line)]
        self._at = 0

    def source(self) -> str:
        """The source of the expression. Raises _Unsure, IndexError, scalars.Refused."""
        found = self._node(0)
        if self._at != len(self._tokens):
            raise _Unsure
        return found

    def _next(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _node(self, depth: int) -> str:
        if depth > _DEEPEST:
            raise _Unsure
        first = self._tokens[self._at]
        if first.dash:
            return self._list(first.column, depth)
        if first.name is not None:
            return self._mapping(first.column, depth)
        raise _Unsure

    def _list(self, column: int, depth: int) -> str:
        items = []
        while (token := self._next()) and token.dash and token.column == column:
            self._at += 1
            inner = self._tokens[self._at]
            if inner.line != token.line:
                raise _Unsure
            if inner.dash or inner.name is not None:
                items.append(self._node(depth + 1))
            else:
                self._at += 1
                items.append(f"v[{inner.line}]")
        return f"[{', '.join(items)}]"

    def _mapping(self, column: int, depth: int) -> str:
        members: dict[str, str] = {}
        while (token := self._next()) and token.name is not None and token.column == column:
            self._at += 1
            name = scalars.plain_key(token.name)
            if name in members or token.name.startswith("..") or len(token.name) > _LONGEST_KEY:
                raise _Unsure
            members[name] = self._value(token, depth)
        return "{" + ", ".join(f"{name!r}: {value}" for name, value in members.items()) + "}"

    def _value(self, key: _Token, depth: int) -> str:
        """The value of a key: a scalar, a mapping with more indentation, or a list with at least the key's."""
        following = self._next()
        if following and following.line != key.line and key.open:
            further = following.column > key.column or (following.dash and following.column == key.column)
            if further:
                return self._node(depth + 1)
        return f"v[{key.line}]"


def _tokens(number: int, line: str) -> list[_Token]:
    found = _PREFIX.fullmatch(line)
    if not found:
        raise _Unsure
    column, tokens = len(found[1]), []
    for dash in re.findall(r"- +", found[2]):
        tokens.append(_Token(number, column, True, None, False))
        column += len(dash)
    if found[3] is not None:
        tokens.append(_Token(number, column, False, found[3], not found[4]))
    elif tokens:
        tokens.append(_Token(number, column, False, None, False))
    else:
        raise _Unsure
    return tokens
