"""Parse the output of ``ipset save`` and ``ipset list``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from felixpy.iptables.saved import wrong
from felixpy.netfilter.rules import SavedSet
from felixpy.reading import lines_of


def read_sets(text: str, file: str = "ipset save") -> dict[str, SavedSet]:
    """The sets of an ``ipset save`` or ``ipset list`` text, by name. Raises InputError if it is neither."""
    blocks = _blocks(text)
    if blocks is not None:
        return {name: _saved(name, header, members) for name, (header, members) in blocks.items()}
    lines = lines_of(text)
    if _is_listed(text):
        return {found.name: found for found in _listed(lines)}
    heads: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        verb, _, rest = line.partition(" ")
        name, _, rest = rest.partition(" ")
        if verb == "create":
            if not rest.strip():
                raise wrong(file, number, f"{line[:40]!r}: no type of set; is the dump cut off?")
            heads[name], members[name] = rest, []
        elif verb == "add" and name in members:
            members[name].append(rest)
        elif line and not line.startswith("#") and line != "COMMIT":
            raise wrong(file, number, f"{line[:40]!r} is not a line of ipset save")
    return {name: _saved(name, header, members[name]) for name, header in heads.items()}


def _blocks(text: str) -> dict[str, tuple[str, list[str]]] | None:
    """(header, members) by set for a text that has only sets in the form of ``ipset save``; None for any other.

    A node has hundreds of thousands of members: splitting whole blocks takes a tenth of the time of reading lines.
    """
    if not text.startswith("create ") or "\r" in text:
        return None
    found: dict[str, tuple[str, list[str]]] = {}
    for block in f"\n{text.removesuffix(chr(10))}".split("\ncreate ")[1:]:
        head, more, body = block.partition("\n")
        name, _, header = head.partition(" ")
        add = f"add {name} "
        members = body.removeprefix(add).split(f"\n{add}") if more else []
        if name in found or not header.strip() or not body.startswith(add if more else ""):
            return None
        if more and body.count("\n") != len(members) - 1:
            return None
        found[name] = header, members
    return found


def _saved(name: str, header: str, members: Sequence[str]) -> SavedSet:
    kind, *options = header.split()
    return SavedSet(name, kind, _pairs(options), tuple(members))


_FLAGS = frozenset({"counters", "comment", "skbinfo", "forceadd", "wildcard"})
"""Options of a set that have no value."""


def _pairs(options: Sequence[str]) -> dict[str, str]:
    words = iter(options)
    return {word: "" if word in _FLAGS else next(words, "") for word in words}


def _is_listed(text: str) -> bool:
    return text.startswith("Name: ") or "\nName: " in text


def _listed(lines: Iterable[str]) -> Iterator[SavedSet]:
    """Parse the output of ``ipset list``: headings with a colon, then the members up to an empty line."""
    head: dict[str, str] = {}
    members: list[str] | None = None
    for line in (*lines, ""):
        if members is not None and line.strip():
            members.append(line.strip())
        elif members is not None:
            yield SavedSet(head["Name"], head.get("Type", ""), _pairs(head.get("Header", "").split()), tuple(members))
            head, members = {}, None
        elif line.startswith("Members:"):
            members = []
        else:
            key, _, value = line.partition(": ")
            head[key] = value


def as_saved(text: str) -> str:
    """The output of ``ipset list`` converted to that of ``ipset save``; other texts unchanged.

    >>> as_saved("Name: s\\nType: hash:ip\\nHeader: family inet\\nMembers:\\n10.0.0.1\\n")
    'create s hash:ip family inet\\nadd s 10.0.0.1\\n'
    """
    if not _is_listed(text):
        return text
    lines: list[str] = []
    name = kind = ""
    for line in lines_of(text):
        key, colon, value = line.partition(": ")
        if colon and key == "Name":
            name = value
        elif colon and key == "Type":
            kind = value
        elif colon and key == "Header":
            lines.append(f"create {name} {kind} {value}")
        elif line.strip() and not line.endswith(":") and key not in _HEADINGS:
            lines.append(f"add {name} {line.strip()}")
    return "".join(f"{line}\n" for line in lines)


_HEADINGS = frozenset({"Revision", "Size in memory", "References", "Number of entries"})
