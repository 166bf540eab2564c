"""What ``nft list ruleset`` or ``nft list table`` prints, as values: chains, rules, sets and verdict maps of Calico.

Calico's tables are read into the tables and chains that they stand for in iptables, so that everything that understands
a dump understands them: base chain ``filter-FORWARD`` of ``ip calico`` is chain FORWARD of table filter. A rule keeps
its nft text. A rule that looks into a verdict map counts as one rule for each of its elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import NamedTuple

from felixpy.errors import InputError, Place, Problem
from felixpy.iptables.reader import read_body
from felixpy.iptables.words import quoted
from felixpy.names import LAYERS, plain_set_name, split_layer
from felixpy.netfilter.actions import Unclear
from felixpy.netfilter.criteria import NotUnderstood, Test
from felixpy.netfilter.rules import Body, Chain, Dump, Line, Meaning, Rule, SavedSet
from felixpy.nftables.fromjson import as_text, looks_like_json
from felixpy.nftables.tables import FAMILIES, HOOKS
from felixpy.nftables.translation import translated
from felixpy.reading import lines_of

FILE = "nft list ruleset"
OWN = "calico"

NUMBERS = {name: number for number, name in FAMILIES.items()}


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
    """A set or map of a listing, with its elements as text."""

    name: str
    type: str = ""
    flags: str = ""
    elements: list[str] = field(default_factory=list)


@dataclass(eq=False)
class ListedTable:
    """One table of a listing."""

    family: str
    name: str
    chains: dict[str, ListedChain] = field(default_factory=dict)
    sets: dict[str, ListedSet] = field(default_factory=dict)
    maps: dict[str, ListedSet] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.family} {self.name}"


_TABLE = re.compile(r"table (?P<family>\S+) (?P<name>\S+) \{")
_OBJECT = re.compile(r"(?P<kind>chain|set|map) (?P<name>\S+) \{")
_HOOK = re.compile(
    r"type (?P<type>\w+) hook (?P<hook>\w+)(?: devices? .*?)? priority (?P<priority>[^;]+);"
    r"(?: policy (?P<policy>\w+);)?"
)
_HANDLE = re.compile(r" # handle \d+$")
_ELEMENTS = "elements = {"


_LISTED = re.compile(r"^table (?:ip6?|inet|arp|bridge|netdev) \S+ \{", re.MULTILINE)


def looks_listed(text: str) -> bool:
    r"""Whether a text is what nft lists, as text or as JSON.

    >>> looks_listed("# a comment\ntable ip calico {\n}\n"), looks_listed("*filter\n")
    (True, False)
    """
    return looks_like_json(text) or bool(_LISTED.search(text))


def read_tables(text: str, file: str = FILE) -> list[ListedTable]:
    """The tables of a listing, in its order. Raises InputError where it is none, or is cut off."""
    return _Listing(as_text(text, file) if looks_like_json(text) else text, file).read()


class _Listing:
    """Goes over the lines of a listing once. Objects of other kinds than chains, sets and maps are passed over."""

    def __init__(self, text: str, file: str) -> None:
        self.lines = lines_of(text)
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
            problem = Problem(place=Place(self.file, self.number), reason="a table has no end: the listing is cut off")
            raise InputError([problem])
        self.number += 1
        return _HANDLE.sub("", self.lines[self.number - 1].strip())

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

    def _skip(self) -> None:
        depth = 1
        while depth:
            line = self._next()
            depth += line.count("{") - line.count("}")

    def _chain(self, name: str) -> ListedChain:
        chain = ListedChain(name)
        while (line := self._next()) != "}":
            found = _HOOK.match(line)
            if found:
                policy = (found["policy"] or "accept").upper()
                chain.base = Declared(found["type"], found["hook"], found["priority"], policy)
            elif line and not line.startswith(("#", "comment ")):
                chain.lines.append((self.number, line))
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
        return one

    def _elements(self, one: ListedSet, line: str) -> None:
        parts = [line]
        while not parts[-1].endswith("}"):
            parts.append(self._next())
        text = " ".join(parts).rstrip("} ")
        one.elements.extend(element for part in text.split(",") if (element := part.strip()))


# --- tables of Calico as a dump


def read_listing(text: str, file: str = FILE) -> Dump:
    """The dump behind a listing. Raises InputError where no table of Calico is in it."""
    tables = read_tables(text, file)
    own = {NUMBERS[table.family]: table for table in tables if table.name == OWN and table.family in NUMBERS}
    if not own:
        named = ", ".join(table.title for table in tables) or "none"
        reason = f"there is no table ip calico or ip6 calico in it (tables: {named})"
        raise InputError([Problem(place=Place(file), reason=reason, hint="give what nft list ruleset prints")])
    found = {family: _tables(table, family, file) for family, table in sorted(own.items())}
    sets = {each.name: each for family, table in sorted(own.items()) for each in _sets(table, family)}
    return Dump(found, sets, tuple(_left_open(tables)), "nftables")


def _left_open(tables: Iterable[ListedTable]) -> Iterator[str]:
    """What a listing holds that no answer takes into account."""
    for table in tables:
        hooked = [chain.name for chain in table.chains.values() if chain.base]
        if table.name != OWN and table.family in (*NUMBERS, "inet") and hooked:
            yield f"table {table.title} has chains of its own at the hooks ({', '.join(hooked)}); they are not walked"
        if table.name == OWN and not table.chains:
            yield f"table {table.title} is empty: every packet passes, as after a crash of Felix"
        for chain in table.chains.values() if table.name == OWN else ():
            wanted = HOOKS.get(chain.name)
            if chain.base and wanted and chain.base.priority != wanted.listed:
                yield f"chain {chain.name} has priority {chain.base.priority}, not {wanted.listed}"


def _tables(table: ListedTable, family: int, file: str) -> dict[str, dict[str, Chain]]:
    found: dict[str, dict[str, Chain]] = {layer: {} for layer in LAYERS}
    for chain in table.chains.values():
        layer = chain.name.partition("-")[0]
        if layer in found:
            name = split_layer(chain.name)[1]
            policy = chain.base.policy if chain.base else ""
            read = partial(_rules, maps=table.maps)
            lines = [Line(number, text, _counters(text)) for number, text in chain.lines]
            found[layer][name] = Chain(name, policy, file, family, read, lines)
    return found


_COUNTERS = re.compile(r"(?<!\S)counter packets (\d+) bytes (\d+)")


def _counters(text: str) -> tuple[int, int] | None:
    found = _COUNTERS.search(text)
    return (int(found[1]), int(found[2])) if found else None


_COMMENT = re.compile(r' comment "(?P<text>[^"]*)"$')
_FELIX_COMMENT = re.compile(r"cali:([\w-]{16});(?: |$)", re.ASCII)
"""How a comment of Felix begins: its hash, and a semicolon before other words. (felix/nftables)"""
_LOOKUP = re.compile(r"(?P<key>[io]ifname) vmap @(?P<map>\S+)(?P<rest>.*)")


def _rules(chain: Chain, maps: Mapping[str, ListedSet]) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for number, (line, text, counters) in enumerate(chain.lines, start=1):
        found = _COMMENT.search(text)
        bare, note = (text[: found.start()], found["text"]) if found else (text, "")
        own = _FELIX_COMMENT.match(note)
        hashed, words = (own[1], note[own.end() :]) if own else ("", note)
        bodies = (_body(each, words, chain.family) for each in _looked_up(bare, maps))
        rules.extend(Rule(number, line, text, hashed, body, counters) for body in bodies)
    return tuple(rules)


def _looked_up(text: str, maps: Mapping[str, ListedSet]) -> Sequence[str]:
    """A rule that looks into a map as rules for its elements; others as they are."""
    found = _LOOKUP.fullmatch(text)
    if not found or found["map"] not in maps:
        return (text,)
    pairs = (element.partition(" : ") for element in maps[found["map"]].elements)
    return [f"{found['key']} {name} {verdict}" for name, _, verdict in pairs]


@lru_cache(maxsize=1 << 17)
def _body(text: str, note: str, family: int) -> Body:
    """What a rule says, under its own text."""
    read = translated(_COUNTERS.sub("counter", text), family)
    words = f"-m comment --comment {quoted(note)} {read.text}".strip() if note else read.text
    body = read_body(words, family)
    shown = _COUNTERS.sub("counter", text)
    if not read.strange and read.certain:
        return replace(body, text=shown)
    return replace(body, text=shown, read=partial(_strange_meaning, body=body, strange=read.strange))


def _strange_meaning(own: Body, body: Body, strange: tuple[str, ...]) -> Meaning:
    tests, _, _ = body.meaning
    unclear = tuple(Test(NotUnderstood(text, f"not understood: {text}")) for text in strange)
    return Meaning((*tests, *unclear), Unclear(" ".join(strange)), own.text)


# --- sets


def _sets(table: ListedTable, family: int) -> Iterator[SavedSet]:
    """The sets as ipset would print them; of types that Felix does not use none."""
    options = {"family": "inet6" if family == 6 else "inet"}
    for one in table.sets.values():
        kind = _TYPES.get((one.type.removeprefix("ipv4_addr").removeprefix("ipv6_addr"), "interval" in one.flags))
        if kind:
            yield SavedSet(plain_set_name(one.name), kind, options, tuple(map(_member, one.elements)))


_TYPES = {
    ("", True): "hash:net",
    ("", False): "hash:ip",
    (" . inet_proto . inet_service", False): "hash:ip,port",
}


def _member(element: str) -> str:
    """An element as ipset prints it.

    >>> _member("10.0.0.5 . tcp . 80"), _member("10.0.0.0/8")
    ('10.0.0.5,tcp:80', '10.0.0.0/8')
    """
    parts = element.split(" . ")
    return f"{parts[0]},{parts[1]}:{parts[2]}" if len(parts) == 3 else element
