"""Chains in nft's syntax: rules as Felix writes them and as nft lists them, with Felix's hashes and comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha224
from typing import NamedTuple

from msgspec import Struct

from felixpy.iptables.words import HASH_PREFIX
from felixpy.nftables.spelling import spelt
from felixpy.patterns import DrawnChain, Splice
from felixpy.ruleset import Chain, Origin, identities

MAX_COMMENT = 128
"""Bytes of a rule's comment. (NFTNL_UDATA_COMMENT_MAXLEN)"""

HASH_COMMENT_LENGTH = 22
"""Bytes of ``cali:``, the hash and ``;``."""


class Hook(NamedTuple):
    """Where a base chain is attached. `listed` is how nft prints the priority."""

    type: str
    name: str
    priority: int
    listed: str


def hashes(seed: str, rules: Iterable[str]) -> list[str]:
    """Return the hash of each rule, over its text without comment and the texts of all rules above it in the chain.

    `seed` is the chain's name with its layer; for rules at the end of a base chain Felix appends ``*appends*``.

    >>> hashes("filter-FORWARD", ["counter jump filter-cali-FORWARD"])
    ['dpfqBgJrpRwlrqw1']
    """
    digest = sha224(seed.encode()).digest()
    digests = []
    for rule in rules:
        digest = sha224(digest + rule.encode()).digest()
        digests.append(digest)
    return identities(digests)


def comment(identity: str, comments: Sequence[str]) -> str:
    """Return the comment of a rule: its hash, then Felix's own comments, each truncated so that all of them fit.

    >>> comment("dpfqBgJrpRwlrqw1", ("why",))
    'cali:dpfqBgJrpRwlrqw1; why'
    """
    head = f"{HASH_PREFIX}{identity};"
    if not comments:
        return head
    room = (MAX_COMMENT - HASH_COMMENT_LENGTH) // len(comments)
    text = " ".join([head, *(text[:room] for text in comments)])
    return text[:MAX_COMMENT]


class NftRule(NamedTuple):
    """A rule as Felix writes it and as nft lists it; `number` is the index of its policy rule, -1 for none."""

    written: str
    listed: str
    hash: str
    comment: str
    number: int


class NftChain(Struct, frozen=True, eq=False, dict=True):
    """A chain of a table, `hook` for a base chain only. The columns have a value for each rule, as in `NftRule`."""

    name: str
    written: Sequence[str]
    listed: Sequence[str]
    hashes: Sequence[str]
    comments: Sequence[str]
    numbers: Sequence[int]
    origin: Origin
    template: str
    hook: Hook | None = None

    def rules(self) -> Iterator[NftRule]:
        """Yield the rules in order."""
        columns = zip(self.written, self.listed, self.hashes, self.comments, self.numbers, strict=True)
        return map(NftRule._make, columns)

    @property
    def written_lines(self) -> list[str]:
        """Each rule with its comment, as Felix writes it."""
        return commented(self.written, self.comments)

    @property
    def listed_lines(self) -> list[str]:
        """Each rule with its comment, as nft lists it without counters."""
        return commented(self.listed, self.comments)

    @cached_property
    def texts(self) -> dict[str, str]:
        """A cache of the chain's text in each form, since nodes share chains."""
        return {}


def commented(rules: Sequence[str], comments: Sequence[str]) -> list[str]:
    """Return rules with their comments, in either syntax."""
    return [f'{rule} comment "{words}"' for rule, words in zip(rules, comments, strict=True)]


class _Spelt(NamedTuple):
    """The rules of a chain without hashes. `comments` are Felix's own, a tuple for each rule."""

    written: Sequence[str]
    listed: Sequence[str]
    comments: Sequence[Sequence[str]]


class _Pattern(NamedTuple):
    """The rules that all chains of a pattern share, one per line, with holes for names."""

    written: Splice
    listed: Splice
    comments: Sequence[Sequence[Splice]]

    def fill(self, names: Sequence[str]) -> _Spelt:
        return _Spelt(
            self.written.fill(names).split("\n"),
            self.listed.fill(names).split("\n"),
            [[text.fill(names) for text in texts] for texts in self.comments],
        )


def _spelt(chain: Chain, layer: str, family: str) -> _Spelt:
    if isinstance(chain, DrawnChain) and chain.bodies:
        return _pattern(chain.pattern.chain, layer, family).fill(chain.names)
    texts = [spelt(body, layer, family) for body in chain.bodies]
    return _Spelt([text.written for text in texts], [text.listed for text in texts], [text.comments for text in texts])


def _pattern(chain: Chain, layer: str, family: str) -> _Pattern:
    key = ("pattern", layer, family)
    known: _Pattern | None = chain.findings.get(key)
    if known is None:
        written, listed, comments = _spelt(chain, layer, family)
        known = chain.findings[key] = _Pattern(
            Splice("\n".join(written)), Splice("\n".join(listed)), [[*map(Splice, texts)] for texts in comments]
        )
    return known


def nft_chain(chain: Chain, layer: str, family: str, ending: str = "") -> NftChain:
    """Return a chain in a layer (``filter`` …) of a table of `family` (``ip``, ``ip6``, ``arp``), cached for all nodes.

    `ending` follows the name in the seed of the hashes.
    """
    in_all = ("nftables", layer, ending)
    in_family = (*in_all, family)
    known: NftChain | None = chain.findings.get(in_all) or chain.findings.get(in_family)
    if known is None:
        name = f"{layer}-{chain.name}"
        written, listed, comments = _spelt(chain, layer, family)
        found = hashes(f"{name}{ending}", written)
        whole = [*map(comment, found, comments)]
        known = NftChain(name, written, listed, found, whole, chain.numbers, chain.origin, chain.template)
        # A rule names its family only in front of an address or another field of the header.
        chain.findings[in_family if any(f"{family} " in rule for rule in written) else in_all] = known
    return known


def base_chain(name: str, hook: Hook, parts: Sequence[NftChain]) -> NftChain:
    """Return a base chain made of Felix's parts, in order."""
    return NftChain(
        name,
        [rule for part in parts for rule in part.written],
        [rule for part in parts for rule in part.listed],
        [identity for part in parts for identity in part.hashes],
        [words for part in parts for words in part.comments],
        [number for part in parts for number in part.numbers],
        parts[-1].origin if parts else Origin(words=""),
        parts[0].template if parts else "",
        hook,
    )
