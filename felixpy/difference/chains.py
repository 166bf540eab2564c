"""Compares the chains of a node in two states rule by rule; hashes are ignored."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from felixpy.names import LAYERS
from felixpy.netfilter.rules import Chain, Table
from felixpy.nftables.wording import identity, said, said_by

Kind = Literal["added", "removed", "changed", "renamed"]

OURS = "cali-"
"""The prefix of the names of Felix's chains."""


class RuleChange(NamedTuple):
    """A rule that was added ("+") or removed ("-"), and its number in the new or the old chain."""

    sign: Literal["+", "-"]
    number: int
    text: str


class ChainChange(NamedTuple):
    """The change of a chain, or of Felix's part of a kernel chain.

    `rehashed` rules have the same text but another hash, as a hash covers all rules above it. `size` is the number of
    rules now, for a removed chain the number before. `was` is the chain's name before where it is another one.
    """

    table: str
    chain: str
    kind: Kind
    rules: tuple[RuleChange, ...]
    rehashed: int
    size: int
    was: str = ""


def compare_tables(
    before: Mapping[str, Table], after: Mapping[str, Table], *, foreign: bool = False
) -> Iterator[ChainChange]:
    """Yield the differences of one family. Foreign rules and chains are compared only with `foreign`."""
    for table in dict.fromkeys((*before, *after)):
        old, new = before.get(table, {}), after.get(table, {})
        for name in dict.fromkeys((*old, *new)):
            change = _compare(table, name, old.get(name), new.get(name), foreign=foreign)
            if change:
                yield change


def _compare(table: str, name: str, old: Chain | None, new: Chain | None, *, foreign: bool) -> ChainChange | None:
    everything = foreign or name.startswith(OURS)
    heads = _heads(table, old, new, foreign=foreign) if old and new else ()
    if old and new and not heads and not _has_maps(old) and _texts(old) == _texts(new):
        return None
    before, after = (_rules(chain, everything=everything) if chain else None for chain in (old, new))
    change = compare_rules(table, name, before, after)
    if heads:
        change = change or ChainChange(table, name, "changed", (), 0, len(after or ()))
        change = change._replace(rules=(*heads, *change.rules))
    return change


def _texts(chain: Chain) -> list[str]:
    return [line.text for line in chain.lines]


def _heads(table: str, old: Chain, new: Chain, *, foreign: bool) -> tuple[RuleChange, ...]:
    """Return the changed declaration of a kernel chain as rule 0. Policies of iptables' chains are not Felix's."""
    if not foreign and not (old.declared and table in LAYERS):
        return ()
    before, after = (chain.declared or f"policy {chain.policy or 'none'}" for chain in (old, new))
    return () if before == after else (RuleChange("-", 0, before), RuleChange("+", 0, after))


class ComparedRule(NamedTuple):
    """A rule as a value to compare, its text, and Felix's hash of it, "" for foreign rules."""

    content: Hashable
    text: str
    identity: str = ""


def compare_rules(
    table: str, chain: str, before: Sequence[ComparedRule] | None, after: Sequence[ComparedRule] | None
) -> ChainChange | None:
    """Return the change of a chain, None for no change; its rules are None in a state without the chain."""
    old, new = before or (), after or ()
    rules, kept = _compare_contents(old, new)
    rehashed = sum(old[i].identity != new[j].identity for i, j in kept)
    if chain.startswith(OURS) and before is None:
        return ChainChange(table, chain, "added", rules, rehashed, len(new))
    if chain.startswith(OURS) and after is None:
        return ChainChange(table, chain, "removed", rules, rehashed, len(old))
    return ChainChange(table, chain, "changed", rules, rehashed, len(new)) if rules or rehashed else None


def _rules(chain: Chain, *, everything: bool) -> list[ComparedRule]:
    """Return the rules to compare: with `everything` all, else Felix's own."""
    found = _with_elements(chain) if _has_maps(chain) else _lines(chain)
    return [rule for rule in found if everything or rule.identity]


def _lines(chain: Chain) -> list[ComparedRule]:
    """Return the rules, one for each line, by their parsed values: releases of iptables print a rule differently."""
    if chain.lines and chain.lines[0].text.startswith("-A "):
        return [ComparedRule(rule.body.content, rule.body.text, rule.identity) for rule in chain.rules]
    texts = ((said(text), identity(text)) for _, text, _ in chain.lines)
    return [ComparedRule(text, text, hashed) for text, hashed in texts]


def _has_maps(chain: Chain) -> bool:
    """Return whether a rule looks up its verdict in a map, whose elements are not part of the rule."""
    return any("vmap @" in text for _, text, _ in chain.lines)


def _with_elements(chain: Chain) -> list[ComparedRule]:
    """Return the rules; one that looks up a map becomes one for each element."""
    texts = ((rule.number, said_by(rule), rule.identity) for rule in chain.rules)
    return [ComparedRule(text, text, hashed) for _, text, hashed in dict.fromkeys(texts)]


def _compare_contents(
    old: Sequence[ComparedRule], new: Sequence[ComparedRule]
) -> tuple[tuple[RuleChange, ...], list[tuple[int, int]]]:
    """Return the changes in the order of the chain, and the (old, new) positions of unchanged rules."""
    changes: list[RuleChange] = []
    kept: list[tuple[int, int]] = []
    earlier, later = [rule.content for rule in old], [rule.content for rule in new]
    for tag, i, i_end, j, j_end in SequenceMatcher(None, earlier, later, autojunk=False).get_opcodes():
        if tag == "equal":
            kept.extend(zip(range(i, i_end), range(j, j_end), strict=True))
            continue
        changes.extend(RuleChange("-", number + 1, old[number].text) for number in range(i, i_end))
        changes.extend(RuleChange("+", number + 1, new[number].text) for number in range(j, j_end))
    return tuple(changes), kept
