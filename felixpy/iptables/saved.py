"""Parse the output of ``iptables-save``, whether or not the rules are Felix's."""

from __future__ import annotations

import re
from collections.abc import Sequence

from felixpy.errors import InputError, Place, Problem
from felixpy.iptables.reader import read_chain
from felixpy.netfilter.rules import Chain, Line, Table
from felixpy.reading import lines_of

FILES = {4: "iptables-save", 6: "ip6tables-save"}

_COUNTERS = re.compile(r"\[(\d+):(\d+)\] ?")

_NO_LINE = "\n"
"""What no line begins with."""


def read_tables(text: str, file: str, family: int = 4) -> dict[str, Table]:
    """The tables of an iptables-save text. Raises InputError if it is not one, or is cut off."""
    tables: dict[str, dict[str, Chain]] = {}
    table: dict[str, Chain] | None = None
    head, rules = _NO_LINE, list[Line]()  # how the next rule of the same chain begins, and where it belongs
    for number, written in enumerate(lines_of(text), start=1):
        if written.startswith(head):
            rules.append(Line(number, written))
            continue
        head = _NO_LINE
        line, counters = _counted(written) if written.startswith("[") else (written, None)
        start = line[:1]
        if start == "*":
            table = tables.setdefault(line[1:].strip(), {})
        elif not line or start == "#":
            continue
        elif table is None:
            raise wrong(file, number, f"{line[:40]!r} stands before any *table line", "give what iptables-save prints")
        elif start == ":":
            name, _, rest = line[1:].partition(" ")
            policy, _, numbers = rest.partition(" ")
            table[name] = make_chain(name, "" if policy in ("", "-") else policy, family, file=file)
            table[name].counters = _counted(numbers)[1]
        elif line.startswith("-A "):
            name = line[3:].partition(" ")[0]
            if name not in table:
                raise wrong(file, number, f"a rule for chain {name}, which is not declared above")
            head, rules = f"-A {name} ", table[name].lines
            rules.append(Line(number, line, counters))
        elif line == "COMMIT":
            table = None
        else:
            raise wrong(file, number, f"{line[:40]!r} is not a line of iptables-save")
    if table is not None:
        raise wrong(file, text.count("\n"), "the last table has no COMMIT: the dump is cut off")
    return dict(tables)


def _counted(text: str) -> tuple[str, tuple[int, int] | None]:
    """A line without the counters at its beginning, and the counters (packets, bytes) or None."""
    found = _COUNTERS.match(text)
    return (text[found.end() :], (int(found[1]), int(found[2]))) if found else (text, None)


def make_chain(name: str, policy: str, family: int, lines: Sequence[str] = (), file: str = "") -> Chain:
    """A chain from lines of rules; `file` is "" for rules that are not from a file."""
    return Chain(name, policy, file, family, read_chain, [Line(0, text) for text in lines])


def wrong(file: str, line: int, reason: str, hint: str = "") -> InputError:
    """The exception for a problem with one line."""
    return InputError([Problem(place=Place(file, line), reason=reason, hint=hint)])
