"""Which rule of a chain is which: the rules that should be there beside those that are.

Felix's hash says that exactly as long as nobody changed the rules above, for it covers these, too. So rules are paired
by hash first, what is left between two such pairs by what the rules say, and the rest in order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from felixpy.dataplane.current import Rule

Way = Literal["same", "tampered", "replaced", "missing", "extra", "renamed"]
"""What became of a rule: changed under its hash, replaced by another one, missing, added, or with another hash only."""


class Pair(NamedTuple):
    """A rule that should be there and one that is; -1 where there is none. Positions count from 0."""

    way: Way
    wanted: int
    there: int


Content = Callable[[Rule], Hashable]
"""What a rule says, whatever its hash."""


def align(wanted: Sequence[Rule], there: Sequence[Rule], content: Content) -> list[Pair]:
    """Pair the rules of a chain, in order. Rules that are as they should be are among the pairs."""
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
    """A pair with one hash."""
    same = wanted[w].text == there[t].text or content(wanted[w]) == content(there[t])
    return Pair("same" if same else "tampered", w, t)


class _Block(NamedTuple):
    """Ranges of both lists, with equal elements or with different ones."""

    equal: bool
    wanted: range
    there: range

    def positions(self) -> Iterator[tuple[int, int]]:
        yield from zip(self.wanted, self.there, strict=True)


def _blocks(wanted: Sequence[Hashable], there: Sequence[Hashable]) -> Iterator[_Block]:
    for tag, i, j, k, m in SequenceMatcher(None, wanted, there, autojunk=False).get_opcodes():
        yield _Block(tag == "equal", range(i, j), range(k, m))


def _by_content(block: _Block, wanted: Sequence[Rule], there: Sequence[Rule], content: Content) -> Iterator[Pair]:
    """Pairs where no hash helps: rules that say the same, and the others as they stand."""
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
