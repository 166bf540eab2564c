"""How the chains of a node differ between two states: rule by rule, hashes ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from felixpy.iptables.words import identity, without_hash
from felixpy.netfilter.rules import Chain, Table

Kind = Literal["added", "removed", "changed"]

OURS = "cali-"
"""What the names of Felix's chains begin with."""


class RuleChange(NamedTuple):
    """A rule that was added ("+") or removed ("-"), and its number in the new or the old chain."""

    sign: Literal["+", "-"]
    number: int
    text: str


class ChainChange(NamedTuple):
    """The change of a chain, or of Felix's part of a kernel chain.

    `rehashed` rules have the same text but another hash, as a hash covers all rules above it. `size` is the number of
    rules now, for a removed chain the number before.
    """

    table: str
    chain: str
    kind: Kind
    rules: tuple[RuleChange, ...]
    rehashed: int
    size: int


def compare_tables(
    before: Mapping[str, Table], after: Mapping[str, Table], *, foreign: bool = False
) -> Iterator[ChainChange]:
    """The differences of one family. Foreign rules and chains are compared with `foreign` only."""
    for table in dict.fromkeys((*before, *after)):
        old, new = before.get(table, {}), after.get(table, {})
        for name in dict.fromkeys((*old, *new)):
            change = _compare(table, name, old.get(name), new.get(name), foreign=foreign)
            if change:
                yield change


def _compare(table: str, name: str, old: Chain | None, new: Chain | None, *, foreign: bool) -> ChainChange | None:
    if old and new and [line.text for line in old.lines] == [line.text for line in new.lines]:
        return None
    before, after = (_counted(name, chain, foreign=foreign) for chain in (old, new))
    own = name.startswith(OURS)
    kind: Kind = "changed"
    if own and old is None:
        kind = "added"
    elif own and new is None:
        kind = "removed"
    elif before == after:
        return None
    old_texts, new_texts = (list(map(without_hash, texts)) for texts in (before, after))
    rules, kept = _compare_texts(old_texts, new_texts)
    rehashed = sum(identity(before[i]) != identity(after[j]) for i, j in kept)
    size = len(before if kind == "removed" else after)
    return ChainChange(table, name, kind, rules, rehashed, size)


def _counted(name: str, chain: Chain | None, *, foreign: bool) -> list[str]:
    """The rules to compare, without the ``-A chain`` in front."""
    if chain is None:
        return []
    start = len(f"-A {name} ")
    everything = foreign or name.startswith(OURS)
    return [text[start:] for _, text, _ in chain.lines if everything or identity(text)]


def _compare_texts(old: Sequence[str], new: Sequence[str]) -> tuple[tuple[RuleChange, ...], list[tuple[int, int]]]:
    """The changes in the order of the chain, and the (old, new) positions of unchanged rules."""
    changes: list[RuleChange] = []
    kept: list[tuple[int, int]] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            kept.extend(zip(range(i, i_end), range(j, j_end), strict=True))
            continue
        changes.extend(RuleChange("-", number + 1, old[number]) for number in range(i, i_end))
        changes.extend(RuleChange("+", number + 1, new[number]) for number in range(j, j_end))
    return tuple(changes), kept
