"""Telling where two rule texts part: by chain, then by the first rule, then by the members of sets."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha224
from itertools import groupby, zip_longest

Chains = dict[tuple[str, str], list[str]]
"""(table, chain) → its rules in order; a chain without rules is there with an empty list."""

HASH = re.compile(r'-m comment --comment "cali:([\w-]{16})"')
NEIGHBOURS = 2


def chains(text: str) -> Chains:
    """Sort the lines of a save or restore text by the chain they belong to."""
    found: Chains = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            found[table, line[1:].split(" ", 1)[0]] = []
        elif line.startswith("-A "):
            found.setdefault((table, line.split(" ", 2)[1]), []).append(line)
    return found


def difference(expected: str, actual: str) -> str:
    """Why two texts are not equal, for people; "" if they are.

    Named are the chains that only one side has and, for the first chain that differs, the first differing rule with
    its neighbours. Where every chain agrees the order or the headers differ, and the first such line is shown.
    """
    if expected == actual:
        return ""
    wanted, made = chains(expected), chains(actual)
    report = [_spare("missing chains", set(wanted) - set(made)), _spare("needless chains", set(made) - set(wanted))]
    differing = [key for key in wanted if key in made and wanted[key] != made[key]]
    if differing:
        table, chain = differing[0]
        report.append(f"{len(differing)} chains differ, the first is {chain} of table {table}:")
        report += first_difference(wanted[differing[0]], made[differing[0]])
    if not any(report):
        report = ["every chain is right, but not the order or a header:"]
        report += first_difference(expected.splitlines(), actual.splitlines())
    return "\n".join(line for line in report if line)


def _spare(title: str, keys: set[tuple[str, str]]) -> str:
    return f"{title}: " + ", ".join(f"{table}/{chain}" for table, chain in sorted(keys)) if keys else ""


def first_difference(wanted: list[str], made: list[str]) -> Iterator[str]:
    """The first differing line of both sides, with the lines before and after it that put it into place."""
    pairs = list(zip_longest(wanted, made))
    at = next(index for index, (left, right) in enumerate(pairs) if left != right)
    yield from (f"      {line}" for line in wanted[max(0, at - NEIGHBOURS) : at])
    yield f"  -   {pairs[at][0] or '(no more lines)'}"
    yield f"  +   {pairs[at][1] or '(no more lines)'}"
    yield from (f"      {line}" for line in wanted[at + 1 : at + 1 + NEIGHBOURS])


def set_difference(expected: str, actual: str) -> str:
    """The sets and members that only one side has; "" if both texts are equal."""
    if expected == actual:
        return ""
    wanted, made = expected.splitlines(), actual.splitlines()
    lines = [f"  -   {line}" for line in sorted(set(wanted) - set(made))]
    lines += [f"  +   {line}" for line in sorted(set(made) - set(wanted))]
    return "\n".join(["sets differ:", *(lines or first_difference(wanted, made))])


def broken_seals(restore: str, save: str) -> str:
    """Where the restore text is not what Felix hashed; "" if nowhere.

    Each hash in a recorded rule seals Felix's own wording of that rule and of all above it in its chain. Computed
    anew from our wording, it has to come out the same. A line that the kernel turns into several rules, one for each
    address of a list, was handed over and hashed once.
    """
    ours = chains(restore)
    for (table, chain), rules in chains(save).items():
        lines = ours.get((table, chain), [])
        wanted = _without_repeats([found[1] if (found := HASH.search(rule)) else "" for rule in rules])
        if wanted in (readings := [*_readings(chain, lines)]):
            continue
        at = next(index for index, (left, right) in enumerate(zip_longest(wanted, readings[-1])) if left != right)
        seal = f"a rule sealed {wanted[at]}" if at < len(wanted) else "(no more rules)"
        line = lines[at] if at < len(lines) else "(no more lines)"
        return f"chain {chain} of table {table}: Felix hashed other words\n  -   {seal}\n  +   {line}"
    return ""


def _without_repeats(lines: list[str]) -> list[str]:
    return [line for line, _ in groupby(lines)]


def _readings(chain: str, lines: list[str]) -> Iterator[list[str]]:
    """The hashes of a chain's lines, one list for each way of reading them.

    Felix hashes the rules that it puts at the end of a kernel chain as a chain of their own, and the text does not
    tell where those begin. A chain of Felix has one reading.
    """
    for border in range(len(lines)) if not chain.startswith("cali-") else ():
        yield [*_seals(chain, lines[:border]), *_seals(f"{chain}*appends*", lines[border:])]
    yield [*_seals(chain, lines)]


def _seals(name: str, lines: list[str]) -> Iterator[str]:
    digest = sha224(name.encode()).digest()
    for line in lines:
        rest = line.removeprefix("-A ").partition(" ")[2]
        digest = sha224(digest + f"-A {name} {HASH.sub('HASH', rest, count=1)}".encode()).digest()
        yield urlsafe_b64encode(digest)[:16].decode()
