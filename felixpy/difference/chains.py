"""How the chains of a node differ between two states: rule by rule, whatever their hashes."""

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
    """A rule that came ("+") or went ("-"), and its number in the chain that it is or was in."""

    sign: Literal["+", "-"]
    number: int
    text: str


class ChainChange(NamedTuple):
    """What happened to a chain, or to Felix's part of a kernel chain.

    `rehashed` rules kept their text but got another hash, which seals all the text above them. `size` is the number of
    rules now, of a chain that is gone the number that it had.
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
    """The differences of one family. Rules and chains of others count with `foreign` only."""
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
    """The rules that count, without the ``-A chain`` in front."""
    if chain is None:
        return []
    start = len(f"-A {name} ")
    everything = foreign or name.startswith(OURS)
    return [text[start:] for _, text, _ in chain.lines if everything or identity(text)]


def _compare_texts(old: Sequence[str], new: Sequence[str]) -> tuple[tuple[RuleChange, ...], list[tuple[int, int]]]:
    """The changes in the order of the chain, and the pairs of positions that stayed."""
    changes: list[RuleChange] = []
    kept: list[tuple[int, int]] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            kept.extend(zip(range(i, i_end), range(j, j_end), strict=True))
            continue
        changes.extend(RuleChange("-", number + 1, old[number]) for number in range(i, i_end))
        changes.extend(RuleChange("+", number + 1, new[number]) for number in range(j, j_end))
    return tuple(changes), kept
