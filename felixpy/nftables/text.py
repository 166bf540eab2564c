"""The two texts of a table: the input of ``nft -f -`` that Felix writes, and the output of ``nft -s list ruleset``.

Both are sorted, with one object or element per line: Felix writes chains and elements in random order, and nft lists
them in order of creation, several elements per line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from felixpy.nftables.chains import NftChain, commented
from felixpy.nftables.tables import NftSet, NftTable

if TYPE_CHECKING:
    from felixpy.annotate import Notes


def written(table: NftTable, notes: Notes | None = None) -> str:
    """Return what Felix writes to ``nft -f -`` when it starts without earlier rules; ``nft -f`` accepts it."""
    return "".join(f"{line}\n" for line in _written(table, notes))


def _written(table: NftTable, notes: Notes | None) -> Iterator[str]:
    at = table.title
    yield f"add table {at}"
    for one in table.sets:
        yield from _set_notes(one, notes)
        yield f"add set {at} {one.name} {{ type {one.type} ;{' flags interval ;' if one.interval else ''} }}"
        if one.written:
            yield _once(one.source.members.findings, f"added to {at} {one.name}", partial(_added, at, one))
    yield from (f"add map {at} {one.name} {{ type ifname : verdict ; }}" for one in table.maps)
    for chain in table.chains:
        if not chain.numbers:
            yield from _chain_notes(chain, notes)
        hook = chain.hook
        place = f" {{ type {hook.type} hook {hook.name} priority {hook.priority} ; }}" if hook else ""
        yield f"add chain {at} {chain.name}{place}"
    for chain in table.chains:
        if chain.numbers and not notes:
            yield _once(chain.texts, f"added to {at}", partial(_added_rules, at, chain))
        elif chain.numbers:
            yield from _chain_notes(chain, notes)
            head = f"add rule {at} {chain.name} "
            lines = _noted(chain, chain.written_lines, notes)
            yield from (f"{head}{line}" if line[0] != "#" else line for line in lines)
    for one_map in table.maps:
        head = f"add element {at} {one_map.name}"
        yield from (f"{head} {{ {key} : goto {chain} }}" for key, chain in one_map.chains.items())


def _once(known: dict[Any, str], key: str, text: Callable[[], str]) -> str:
    """Return a text of several lines from the cache `known`, or make it: many nodes share it."""
    if key not in known:
        known[key] = text()
    return known[key]


def _added(at: str, one: NftSet) -> str:
    return "\n".join([f"add element {at} {one.name} {{ {member} }}" for member in one.written])


def _added_rules(at: str, chain: NftChain) -> str:
    head = f"add rule {at} {chain.name} "
    return "\n".join([f"{head}{line}" for line in chain.written_lines])


def listed(table: NftTable, notes: Notes | None = None, *, counters: bool = False) -> str:
    """Return the table as ``nft -s list ruleset`` prints it; ``nft -f`` also accepts it.

    With `counters` as ``nft list ruleset`` prints it: each counter with its packets and bytes, all zero.
    """
    return "".join(f"{line}\n" for line in _listed(table, notes, counters=counters))


def _listed(table: NftTable, notes: Notes | None, *, counters: bool) -> Iterator[str]:
    yield f"table {table.title} {{"
    for one in table.sets:
        if notes:
            yield from _listed_set(one, notes)
        else:
            yield _once(one.source.members.findings, f"listed {one.name}", partial(_listed_alone, one))
    for one_map in table.maps:
        yield f"\tmap {one_map.name} {{"
        yield "\t\ttype ifname : verdict"
        yield from _elements(f'"{key}" : goto {chain}' for key, chain in one_map.chains.items())
        yield "\t}"
    for chain in table.chains:
        if notes:
            yield from _listed_chain(chain, notes, counters=counters)
        else:
            yield _once(chain.texts, f"listed {counters}", partial(_listed_chain_alone, chain, counters=counters))
    yield "}"


def _listed_alone(one: NftSet) -> str:
    return "\n".join(_listed_set(one, None))


def _listed_chain_alone(chain: NftChain, *, counters: bool) -> str:
    return "\n".join(_listed_chain(chain, None, counters=counters))


def _listed_chain(chain: NftChain, notes: Notes | None, *, counters: bool) -> Iterator[str]:
    yield from (f"\t{line}" for line in _chain_notes(chain, notes))
    yield f"\tchain {chain.name} {{"
    if chain.hook:
        hook = chain.hook
        yield f"\t\ttype {hook.type} hook {hook.name} priority {hook.listed}; policy accept;"
    lines = commented([*map(_counting, chain.listed)], chain.comments) if counters else chain.listed_lines
    yield from [f"\t\t{line}" for line in _noted(chain, lines, notes)]
    yield "\t}"


def listed_sets(table: NftTable, notes: Notes | None = None) -> str:
    """Return a table with the sets only, which ``nft -f`` accepts."""
    lines = (line for one in table.sets for line in _listed_set(one, notes))
    return "".join(f"{line}\n" for line in (f"table {table.title} {{", *lines, "}"))


def _listed_set(one: NftSet, notes: Notes | None) -> Iterator[str]:
    yield from (f"\t{line}" for line in _set_notes(one, notes))
    yield f"\tset {one.name} {{"
    yield f"\t\ttype {one.type}"
    if one.interval:
        yield "\t\tflags interval"
    yield from _elements(one.listed)
    yield "\t}"


def _elements(members: Iterable[str]) -> Iterator[str]:
    lines = ",\n\t\t\t".join(members)
    if lines:
        yield f"\t\telements = {{\n\t\t\t{lines},\n\t\t}}"


def _set_notes(one: NftSet, notes: Notes | None) -> Iterator[str]:
    if notes:
        yield from notes.set(one.source)


def _chain_notes(chain: NftChain, notes: Notes | None) -> Iterator[str]:
    if notes and chain.template:
        yield from notes.chain(chain.name, chain.origin, chain.template)


_COUNTER = re.compile(r"(?<!\S)counter(?!\S)")


def _counting(rule: str) -> str:
    return _COUNTER.sub("counter packets 0 bytes 0", rule, count=1)


def _noted(chain: NftChain, lines: Sequence[str], notes: Notes | None) -> Iterable[str]:
    """Return the rules; with notes, a comment precedes each of a policy's rules in its chain."""
    return _announced(chain, lines, notes) if notes else lines


def _announced(chain: NftChain, lines: Sequence[str], notes: Notes) -> Iterator[str]:
    drawn = -1
    for number, line in zip(chain.numbers, lines, strict=True):
        yield from notes.rule(chain.origin, number, drawn)
        drawn = number
        yield line
