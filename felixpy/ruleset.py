"""The compiled rules of one node as text: chains with their hashes, sets, and the formats in which they are printed.

A rendered rule is a text, the input of Felix's hash; later stages use only the text and the hash.
"""

from __future__ import annotations

import itertools
import re
from binascii import b2a_base64
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha224
from typing import Any, ClassVar

from msgspec import Struct, field

from felixpy.described import Described
from felixpy.errors import Path, Problem
from felixpy.ipsets import IPSet
from felixpy.iptables.printer import kernel_rules, saved
from felixpy.iptables.words import hash_comment
from felixpy.model import Rule, Source
from felixpy.netfilter.rules import Dump

TABLES: Mapping[str, tuple[str, ...]] = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
"""The tables in the order in which they are printed, each with the kernel's chains in the order of hooks."""

ARP = "arp"
"""The table of ARP rules, which exists in the nftables data plane only, for IPv4."""


class Origin(Struct, frozen=True, kw_only=True):
    """The source of a chain: a description, and the object that it belongs to (None for Felix's static chains).

    `rules` are the model's rules that the chain implements, for chains of policies and profiles.
    """

    words: str
    source: Source | None = None
    rules: tuple[Rule, ...] = ()

    def path(self, number: int) -> Path:
        """Return the path of a rule in the object, () if there is none."""
        return self.rules[number].path if 0 <= number < len(self.rules) else ()


SETS_FILE = "ipset.save"

FELIX_OWN = Origin(words="Felix's own chain")
"""The origin of chains that belong to no object; their template describes them."""

_TARGET = re.compile(r'--(?:jump|goto) (cali-[^\s"]+)$')
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


HASHED_BYTES, HASH_LETTERS = 12, 16
"""The bytes of a digest that make a rule's hash, and their length in base64."""


def hashes(seed: str, bodies: Iterable[str]) -> list[str]:
    """Return the hash of each rule, over its text and the texts of all rules above it in the chain.

    `seed` is the chain's name; for rules at the end of a kernel chain Felix appends ``*appends*``.

    >>> hashes("FORWARD", ["--jump cali-FORWARD"])
    ['wUHhoiAYhphO9Mso']
    """
    digest = sha224(seed.encode()).digest()
    head = f"-A {seed} HASH"
    digests = []
    for body in bodies:
        digest = sha224(digest + (f"{head} {body}" if body else head).encode()).digest()
        digests.append(digest)
    return identities(digests)


def identities(digests: Iterable[bytes]) -> list[str]:
    """Return the hashes of rules from digests, in base64. They have whole letters, so one call encodes all of them."""
    text = b2a_base64(b"".join([digest[:HASHED_BYTES] for digest in digests]), newline=False)
    letters = text.translate(_URL_SAFE).decode()
    return [letters[start : start + HASH_LETTERS] for start in range(0, len(letters), HASH_LETTERS)]


class Chain(Struct, frozen=True, eq=False, dict=True, weakref=True):
    """A chain, or Felix's part of a kernel chain. `bodies` are rules without ``-A chain`` and hash comment.

    `numbers` has for each rule the number of its rule in `origin`, -1 for none. `seed` replaces the name in hashes.
    Tables, families and nodes share chains, so each caches its texts.
    """

    name: str
    bodies: tuple[str, ...]
    numbers: tuple[int, ...]
    origin: Origin
    template: str
    seed: str = ""

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """Felix's hash of each rule on the iptables data plane."""
        return tuple(hashes(self.seed or self.name, self.bodies))

    def rules(self) -> Iterator[tuple[str, str, int]]:
        """Yield (body, hash, number of the policy rule or -1) of each rule."""
        yield from zip(self.bodies, self.hashes, self.numbers, strict=True)

    def each_rule(self, family: int, *, restore: bool) -> Iterator[list[str]]:
        """Yield the lines of each rule, in Felix's syntax (`restore`) or the kernel's.

        In the kernel's syntax a rule with several addresses is several lines, one for each address.
        """
        head = f"-A {self.name} "
        for body, identity in zip(self.bodies, self.hashes, strict=True):
            comment = hash_comment(identity)
            if restore:
                yield [f"{head}{comment} {body}" if body else f"{head}{comment}"]
                continue
            lines = []
            for piece in kernel_rules(body):
                core, rest = saved(piece, family)
                lines.append(f"{head}{core}{comment} {rest}" if rest else f"{head}{core}{comment}")
            yield lines

    def text(self, family: int, *, restore: bool) -> str:
        """Return all rules; each line ends with a line feed."""
        key = 0 if restore else family
        known = self._texts.get(key)
        if known is None:
            other = None if restore or self.rejects else self._texts.get(10 - family)
            known = self._texts[key] = self._spelt(family, restore=restore) if other is None else other
        return known

    def _spelt(self, family: int, *, restore: bool) -> str:
        return "\n".join([*itertools.chain.from_iterable(self.each_rule(family, restore=restore)), ""])

    @cached_property
    def rejects(self) -> bool:
        """Whether a rule rejects: of all that Felix writes, only REJECT is printed differently in the two families."""
        return any(body.endswith("REJECT") for body in self.bodies)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Felix's chains that rules of this one jump or go to."""
        return tuple(found[1] for body in self.bodies if (found := _TARGET.search(body)))

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {}

    @cached_property
    def findings(self) -> dict[Hashable, Any]:
        """A cache for results about the chain's rules, since other nodes share the chain."""
        return {}


class Table(Struct, frozen=True):
    """One table of one family: Felix's rules in the kernel's chains, and its own chains sorted by name."""

    name: str
    family: int
    inserted: Mapping[str, Chain]
    appended: Mapping[str, Chain]
    chains: tuple[Chain, ...]
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Verdict maps by name, each interface → chain."""

    def kernel_chains(self) -> Iterator[Chain]:
        """Yield Felix's parts of the kernel chains, in their order there."""
        for name in TABLES.get(self.name, self.inserted):
            for part in (self.inserted, self.appended):
                if name in part:
                    yield part[name]

    def all_chains(self) -> Iterator[Chain]:
        yield from self.kernel_chains()
        yield from self.chains

    def text(self, *, restore: bool, counters: bool = False) -> str:
        """Return the table as one transaction of iptables-restore, from its name to COMMIT."""
        kernel_chains = "".join(f":{name} ACCEPT [0:0]\n" for name in TABLES[self.name])
        own_chains = "".join(f":{chain.name} - [0:0]\n" for chain in self.chains)
        rules = "".join(chain.text(self.family, restore=restore) for chain in self.all_chains())
        if counters:
            rules = re.sub("^-A", "[0:0] -A", rules, flags=re.MULTILINE)
        return f"*{self.name}\n{kernel_chains}{own_chains}{rules}COMMIT\n"


@dataclass(frozen=True, kw_only=True, repr=False)
class Ruleset(Described):
    """Everything that Felix would program on one node.

    `tables` are by (family, table name). `refused` are warnings about rules and sets that the kernel refuses, `assumed`
    about assumptions that were made.
    """

    dataplane: ClassVar[str] = "iptables"

    node: str
    calico_version: str
    tables: Mapping[tuple[int, str], Table]
    sets: tuple[IPSet, ...]
    refused: tuple[Problem, ...] = ()
    assumed: tuple[Problem, ...] = ()

    @property
    def findings(self) -> tuple[Problem, ...]:
        """All warnings of compiling."""
        return (*self.assumed, *self.refused)

    @property
    def errors(self) -> list[Problem]:
        """Return the warnings about refused rules and sets as errors."""
        return [replace(problem, severity="error") for problem in self.refused]

    @cached_property
    def families(self) -> tuple[int, ...]:
        """The enabled IP families, in ascending order."""
        return tuple(sorted({family for family, _ in self.tables}))

    def save(self, family: int, *, counters: bool = False) -> str:
        """Return what ``iptables-save`` (family 4) or ``ip6tables-save`` (6) prints, without its comment lines.

        All counters are zero; `counters` adds them to every rule as ``-c`` does.
        """
        return self._text(family, restore=False, counters=counters)

    def restore(self, family: int) -> str:
        """Return the rules as Felix writes them to iptables-restore, the syntax that its hashes cover."""
        return self._text(family, restore=True)

    def ipset_save(self, families: Sequence[int] | None = None) -> str:
        """Return the sets of the families (by default all) as create and add lines, sorted by name."""
        return b"".join(self._set_pieces(self.families if families is None else families)).decode()

    def _set_pieces(self, families: Sequence[int]) -> Iterator[bytes]:
        for ipset in sorted(self.sets, key=lambda s: s.name):
            if ipset.family in families:
                yield from ipset.pieces()

    def identities(self, table: Table, chain: Chain) -> Sequence[str]:
        """Return Felix's hashes of the rules of a chain."""
        return chain.hashes

    def written_rules(self, table: Table, chain: Chain) -> Sequence[str]:
        """Return the rules of a chain as Felix writes them, the input of their hashes."""
        return chain.bodies

    def rule_lines(self, table: Table, chain: Chain) -> Iterator[list[str]]:
        """Yield the lines of each rule of a chain, as the kernel's tools print them."""
        return chain.each_rule(table.family, restore=False)

    @cached_property
    def dump(self) -> Dump:
        """Return the rules and sets as a dump, as if saved on the node."""
        from felixpy.iptables.forms import read_dump

        return read_dump({family: self.save(family) for family in self.families}, self.ipset_save())

    def files(self) -> dict[str, str]:
        """Return every text by file name; a disabled family has no files."""
        return {SETS_FILE: self.ipset_save(), **self._rule_files()}

    def contents(self) -> Mapping[str, Iterable[bytes]]:
        """Return the same texts as pieces of bytes, to be written; nodes share the pieces of large sets."""
        rules = {name: (text.encode("utf-8", "surrogateescape"),) for name, text in self._rule_files().items()}
        return {SETS_FILE: self._set_pieces(self.families), **rules}

    def _rule_files(self) -> dict[str, str]:
        files = {}
        for family in self.families:
            name = "ip6tables" if family == 6 else "iptables"
            files[f"{name}.save"] = self.save(family)
            files[f"{name}.restore"] = self.restore(family)
        return files

    def _text(self, family: int, *, restore: bool, counters: bool = False) -> str:
        tables = (self.tables[family, name] for name in TABLES if (family, name) in self.tables)
        return "".join(table.text(restore=restore, counters=counters) for table in tables)
