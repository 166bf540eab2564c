"""How the chains of a node differ between two states: rule by rule, hashes ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from felixpy.netfilter.rules import Chain, Table
from felixpy.nftables.wording import identity, said, with_words

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
    if old and new and [line.text for line in old.lines] == [line.text for line in new.lines] and not _has_maps(old):
        return None
    before, after = (_rules(name, chain, foreign=foreign) for chain in (old, new))
    own = name.startswith(OURS)
    kind: Kind = "changed"
    if own and old is None:
        kind = "added"
    elif own and new is None:
        kind = "removed"
    elif before == after:
        return None
    rules, kept = _compare_texts([rule.text for rule in before], [rule.text for rule in after])
    rehashed = sum(before[i].identity != after[j].identity for i, j in kept)
    size = len(before if kind == "removed" else after)
    return ChainChange(table, name, kind, rules, rehashed, size)


class _Rule(NamedTuple):
    """What a rule says, and Felix's hash of it, "" for rules of others."""

    text: str
    identity: str


def _rules(name: str, chain: Chain | None, *, foreign: bool) -> list[_Rule]:
    """The rules to compare."""
    if chain is None:
        return []
    everything = foreign or name.startswith(OURS)
    found = (
        _with_elements(chain) if _has_maps(chain) else [_Rule(said(text), identity(text)) for _, text, _ in chain.lines]
    )
    return [rule for rule in found if everything or rule.identity]


def _has_maps(chain: Chain) -> bool:
    """Whether a rule looks its verdict up in a map, whose elements are in no rule."""
    return any("vmap @" in text for _, text, _ in chain.lines)


def _with_elements(chain: Chain) -> list[_Rule]:
    """The rules, one for each element where a map is looked up."""
    found = (
        (rule.number, _Rule(with_words(rule.body.text, " ".join(rule.comments)), rule.identity)) for rule in chain.rules
    )
    return [rule for _, rule in dict.fromkeys(found)]


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
