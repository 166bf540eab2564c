"""Pair the wanted rules of a chain with the current ones.

Felix's hash covers a rule and all rules above it, so it identifies a rule only if those are unchanged. So rules are
paired by hash first, the rest between two such pairs by content, and then in order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from felixpy.dataplane.current import Rule

Way = Literal["same", "tampered", "replaced", "missing", "extra", "renamed"]
"""What became of a rule: changed under its hash, replaced by another one, missing, added, or with another hash only."""


class Pair(NamedTuple):
    """The positions, from 0, of a wanted rule and of the current one; -1 for none."""

    way: Way
    wanted: int
    there: int


Content = Callable[[Rule], Hashable]
"""What a rule says, whatever its hash."""


def align(wanted: Sequence[Rule], there: Sequence[Rule], content: Content) -> list[Pair]:
    """Pair the rules of a chain, in order, including equal ones."""
    if len(wanted) == len(there) and all(a.identity == b.identity for a, b in zip(wanted, there, strict=True)):
        return [_known(n, n, wanted, there, content) for n in range(len(wanted))]
    pairs: list[Pair] = []
    hashes = [[rule.identity or id(rule) for rule in rules] for rules in (wanted, there)]
    for block in _blocks(*hashes):
        if block.equal:
            pairs.extend(_known(w, t, wanted, there, content) for w, t in block.positions())
        else:
            pairs.extend(_by_content(block, wanted, there, content))
    return pairs


def _known(w: int, t: int, wanted: Sequence[Rule], there: Sequence[Rule], content: Content) -> Pair:
    """A pair of rules with the same hash."""
    same = wanted[w].text == there[t].text or content(wanted[w]) == content(there[t])
    return Pair("same" if same else "tampered", w, t)


class _Block(NamedTuple):
    """A range of each list; the elements in them are equal, or different."""

    equal: bool
    wanted: range
    there: range

    def positions(self) -> Iterator[tuple[int, int]]:
        yield from zip(self.wanted, self.there, strict=True)


def _blocks(wanted: Sequence[Hashable], there: Sequence[Hashable]) -> Iterator[_Block]:
    for tag, i, j, k, m in SequenceMatcher(None, wanted, there, autojunk=False).get_opcodes():
        yield _Block(tag == "equal", range(i, j), range(k, m))


def _by_content(block: _Block, wanted: Sequence[Rule], there: Sequence[Rule], content: Content) -> Iterator[Pair]:
    """Pairs of rules without a common hash: those with the same content, then the others in order."""
    contents = [[content(wanted[n]) for n in block.wanted], [content(there[n]) for n in block.there]]
    for part in _blocks(*contents):
        left = [block.wanted[n] for n in part.wanted]
        right = [block.there[n] for n in part.there]
        if part.equal:
            yield from (Pair("renamed", w, t) for w, t in zip(left, right, strict=True))
            continue
        shared = min(len(left), len(right))
        yield from (Pair("replaced", w, t) for w, t in zip(left, right, strict=False))
        yield from (Pair("missing", w, -1) for w in left[shared:])
        yield from (Pair("extra", -1, t) for t in right[shared:])
