"""Dumps with one thing wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from felixpy.netfilter.rules import Chain, Dump, Line
from felixpy.ruleset import TABLES

FOREIGN = ("-j ACCEPT", "-j DROP", "-s 10.0.0.0/8 -j ACCEPT", "-p tcp -m tcp --dport 80 -j DROP",
           "-j MARK --set-xmark 0x10000/0x10000", "-j RETURN")  # fmt: skip


class Damage(NamedTuple):
    """A dump with something wrong, and in words what that is. `chain` is the one whose rules differ, "" for sets.

    `text` is what nft would list, `foreign` for a table of others.
    """

    words: str
    dump: Dump
    table: str = ""
    chain: str = ""
    text: str = ""
    foreign: bool = False


def with_lines(dump: Dump, family: int, table: str, name: str, lines: Sequence[Line]) -> Dump:
    chains = dump.tables[family][table]
    changed = {**chains, name: replace(chains[name], lines=list(lines))}
    return Dump({**dump.tables, family: {**dump.tables[family], table: changed}}, dump.sets)


def deletions(dump: Dump, family: int, table: str = "filter") -> Iterator[Damage]:
    """Every rule of a table taken out."""
    for name, chain in dump.tables[family][table].items():
        for at, line in enumerate(chain.lines):
            rest = [*chain.lines[:at], *chain.lines[at + 1 :]]
            yield Damage(f"without {line.text}", with_lines(dump, family, table, name, rest), table, name)


def others(dump: Dump, family: int, draw: random.Random) -> Iterator[Damage]:
    """One of each other kind of damage."""
    tables = {name: table for name, table in dump.tables[family].items() if name != "nat"}
    full = [(name, chain) for name, table in tables.items() for chain in table.values() if chain.lines]
    if not full:
        return
    table, chain = draw.choice(full)
    yield Damage(f"{chain.name} emptied", with_lines(dump, family, table, chain.name, ()), table, chain.name)
    several = [(name, chain) for name, chain in full if len(chain.lines) > 1]
    if several:
        table, chain = draw.choice(several)
        yield Damage(f"{chain.name} turned round", _swapped(dump, family, table, chain, draw), table, chain.name)
    marking = [*_with(full, " --mark "), *_with(full, " --set-xmark ")]
    if marking:
        table, chain, at = draw.choice(marking)
        text = chain.lines[at].text
        bits = draw.choice(("0x10000/0x10000", "0x0/0x10000", "0x20000/0x20000"))
        words = text.split(" ")
        where = next(n for n, word in enumerate(words) if word in ("--mark", "--set-xmark"))
        words[where + 1] = bits
        lines = [*chain.lines[:at], Line(0, " ".join(words)), *chain.lines[at + 1 :]]
        yield Damage(f"{' '.join(words)}", with_lines(dump, family, table, chain.name, lines), table, chain.name)
    jumps = [
        (name, chain, at) for name, chain in full for at, line in enumerate(chain.lines) if " -j cali-p" in line.text
    ]
    if jumps:
        table, chain, at = draw.choice(jumps)
        targets = sorted(name for name in tables[table] if name.startswith(("cali-p", "cali-f")) and name != chain.name)
        target = draw.choice([name for name in targets if name.startswith("cali-p")])
        text = f"{chain.lines[at].text.rpartition(' ')[0]} {target}"
        lines = [*chain.lines[:at], Line(0, text), *chain.lines[at + 1 :]]
        yield Damage(text, with_lines(dump, family, table, chain.name, lines), table, chain.name)
    for hook in TABLES["filter"]:
        text = f"-A {hook} {draw.choice(FOREIGN)}".replace("10.0.0.0/8", "10.0.0.0/8" if family == 4 else "fd00::/8")
        chain = dump.tables[family]["filter"][hook]
        lines = [Line(0, text), *chain.lines]
        yield Damage(f"{text} ahead", with_lines(dump, family, "filter", hook, lines), "filter", hook)
    yield from _sets(dump, family, draw)


def _with(chains: Sequence[tuple[str, Chain]], words: str) -> list[tuple[str, Chain, int]]:
    """Rules with some words: table, chain and position."""
    return [(table, chain, at) for table, chain in chains for at, line in enumerate(chain.lines) if words in line.text]


def _swapped(dump: Dump, family: int, table: str, chain: Chain, draw: random.Random) -> Dump:
    at = draw.randrange(len(chain.lines) - 1)
    lines = list(chain.lines)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    return with_lines(dump, family, table, chain.name, lines)


def _sets(dump: Dump, family: int, draw: random.Random) -> Iterator[Damage]:
    """A member more and a member less."""
    prefix = f"cali{family}0s:"
    sets = dump.sets or {}
    plain = [found for name, found in sets.items() if name.startswith(prefix)]
    if not plain:
        return
    found = draw.choice(plain)
    more = found._replace(members=(*found.members, "203.0.113.99" if family == 4 else "2001:db8:99::1"))
    yield Damage(f"{found.name} with a stranger", Dump(dump.tables, {**sets, found.name: more}))
    if found.members:
        less = found._replace(members=tuple(found.members[1:]))
        yield Damage(f"{found.name} without {found.members[0]}", Dump(dump.tables, {**sets, found.name: less}))
