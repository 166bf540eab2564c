"""Parses the output of ``nft list ruleset`` or ``nft list table``: tables, chains, sets and maps, with rules as text.

`felixpy.nftables.dumps` interprets them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from felixpy.errors import InputError, Place, Problem
from felixpy.nftables.fromjson import as_text, looks_like_json
from felixpy.reading import lines_of

FILE = "nft list ruleset"


class Declared(NamedTuple):
    """A base chain as declared: type, hook and priority as printed, and policy."""

    type: str
    hook: str
    priority: str
    policy: str


@dataclass(eq=False)
class ListedChain:
    """A chain of a listing; `lines` are (number of the line, text) of its rules."""

    name: str
    base: Declared | None = None
    lines: list[tuple[int, str]] = field(default_factory=list)


@dataclass(eq=False)
class ListedSet:
    """A set or map of a listing, with its elements as text. `options` are declarations such as ``size 100``."""

    name: str
    type: str = ""
    flags: str = ""
    elements: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)


@dataclass(eq=False)
class ListedTable:
    """One table of a listing. `options` are declarations such as ``flags dormant``."""

    family: str
    name: str
    chains: dict[str, ListedChain] = field(default_factory=dict)
    sets: dict[str, ListedSet] = field(default_factory=dict)
    maps: dict[str, ListedSet] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.family} {self.name}"


_TABLE = re.compile(r"table (?P<family>\S+) (?P<name>\S+) \{")
_OBJECT = re.compile(r"(?P<kind>chain|set|map) (?P<name>\S+) \{")
_HOOK = re.compile(
    r"type (?P<type>\w+) hook (?P<hook>\w+)(?: devices? .*?)? priority (?P<priority>[^;]+);"
    r"(?: policy (?P<policy>\w+);)?"
)
_HANDLE = re.compile(r" # handle \d+$", re.MULTILINE)
_ELEMENTS = "elements = {"
_ELEMENT_COMMENT = re.compile(r' comment "[^"]*"')


_PRIORITIES: Mapping[str, int] = {
    "raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100,
}  # fmt: skip


def priority_of(listed: str) -> int:
    """Return a base chain's priority as a number. Raises ValueError for a name that nft does not have.

    >>> priority_of("srcnat + 10"), priority_of("-100"), priority_of("filter")
    (110, -100, 0)
    """
    name, _, offset = listed.partition(" ")
    if name not in _PRIORITIES:
        return int(listed)
    return _PRIORITIES[name] + int(offset.replace(" ", "") or 0)


_LISTED = re.compile(r"^table (?:ip6?|inet|arp|bridge|netdev) \S+ \{", re.MULTILINE)


def looks_listed(text: str) -> bool:
    r"""Return whether a text is a listing of nft, as text or as JSON.

    >>> looks_listed("# a comment\ntable ip calico {\n}\n"), looks_listed("*filter\n")
    (True, False)
    """
    return looks_like_json(text) or ("table " in text and bool(_LISTED.search(text)))


def read_tables(text: str, file: str = FILE) -> list[ListedTable]:
    """Return the tables of a listing, in its order. Raises InputError if it is not a listing, or is truncated."""
    return _Listing(as_text(text, file) if looks_like_json(text) else text, file).read()


class _Listing:
    """Parses the lines of a listing in one pass. Objects other than chains, sets and maps are skipped."""

    def __init__(self, text: str, file: str) -> None:
        if " # handle " in text:
            text = _HANDLE.sub("", text)
        self.lines = [line.strip() for line in lines_of(text)]
        self.file = file
        self.tables: list[ListedTable] = []
        self.number = 0

    def read(self) -> list[ListedTable]:
        while self.number < len(self.lines):
            found = _TABLE.match(self._next())
            if found:
                self._table(ListedTable(found["family"], found["name"]))
        return self.tables

    def _next(self) -> str:
        if self.number >= len(self.lines):
            raise self._cut_off()
        self.number += 1
        return self.lines[self.number - 1]

    def _cut_off(self) -> InputError:
        place = Place(self.file, len(self.lines))
        return InputError([Problem(place=place, reason="a table has no end: the listing is cut off")])

    def _table(self, table: ListedTable) -> None:
        self.tables.append(table)
        while (line := self._next()) != "}":
            found = _OBJECT.match(line)
            if found and found["kind"] == "chain":
                table.chains[found["name"]] = self._chain(found["name"])
            elif found:
                kept = table.sets if found["kind"] == "set" else table.maps
                kept[found["name"]] = self._set(found["name"])
            elif line.endswith("{"):
                self._skip()
            elif line.startswith(("flags ", "comment ")):
                table.options.append(line)

    def _skip(self) -> None:
        depth = 1
        while depth:
            line = self._next()
            depth += line.count("{") - line.count("}")

    def _chain(self, name: str) -> ListedChain:
        """Read a chain up to its closing brace. Most lines of a long listing are rules, so this loop is kept short."""
        chain = ListedChain(name)
        start = self.number
        try:
            end = self.lines.index("}", start)
        except ValueError:
            raise self._cut_off() from None
        self.number = end + 1
        for number, line in enumerate(self.lines[start:end], start + 1):
            if line.startswith("type ") and (found := _HOOK.match(line)):
                policy = (found["policy"] or "accept").upper()
                chain.base = Declared(found["type"], found["hook"], found["priority"], policy)
            elif line and not line.startswith(("#", "comment ")):
                chain.lines.append((number, line))
        return chain

    def _set(self, name: str) -> ListedSet:
        one = ListedSet(name)
        while (line := self._next()) != "}":
            if line.startswith("type "):
                one.type = line.removeprefix("type ").strip()
            elif line.startswith("typeof "):
                one.type = line
            elif line.startswith("flags "):
                one.flags = line.removeprefix("flags ")
            elif line.startswith(_ELEMENTS):
                self._elements(one, line.removeprefix(_ELEMENTS))
            elif line and not line.startswith("#"):
                one.options.append(line)
        return one

    def _elements(self, one: ListedSet, line: str) -> None:
        parts = [line]
        while not parts[-1].endswith("}"):
            parts.append(self._next())
        text = _ELEMENT_COMMENT.sub("", " ".join(parts).rstrip("} "))
        one.elements.extend(element for part in text.split(",") if (element := part.strip()))
