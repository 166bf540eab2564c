"""The compiled rules of one node as text: chains with their hashes, sets, and the forms they are printed in.

After rendering a rule is its text, as in Felix's hash; everything downstream reads nothing but text and hashes.
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
"""The tables in the order they are printed, each with the kernel's own chains in hook order."""

ARP = "arp"
"""The table of ARP rules, which the nftables data plane has for IPv4."""


class Origin(Struct, frozen=True, kw_only=True):
    """Where a chain comes from: in words, and the object it was read from (None for Felix's own chains).

    `rules` are the model's rules that the chain draws, for chains of policies and profiles.
    """

    words: str
    source: Source | None = None
    rules: tuple[Rule, ...] = ()

    def path(self, number: int) -> Path:
        """Path of a rule inside the object, () where there is none."""
        return self.rules[number].path if 0 <= number < len(self.rules) else ()


SETS_FILE = "ipset.save"

FELIX_OWN = Origin(words="Felix's own chain")
"""Chains that stand for no object; their template says what they are for."""

_TARGET = re.compile(r'--(?:jump|goto) (cali-[^\s"]+)$')
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


HASHED_BYTES, HASH_LETTERS = 12, 16
"""How much of a digest is in a rule's identity, and how long that is in base64."""


def hashes(seed: str, bodies: Iterable[str]) -> list[str]:
    """A rule's identity: a hash over its text and that of every rule above it in the chain.

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
    """What of digests is in rules, in base64. A whole number of letters each, so that all are spelt at once."""
    text = b2a_base64(b"".join([digest[:HASHED_BYTES] for digest in digests]), newline=False)
    letters = text.translate(_URL_SAFE).decode()
    return [letters[start : start + HASH_LETTERS] for start in range(0, len(letters), HASH_LETTERS)]


class Chain(Struct, frozen=True, eq=False, dict=True, weakref=True):
    """A chain, or Felix's part of a kernel chain. `bodies` are rules without ``-A chain`` and hash comment.

    `numbers` tell for each rule which rule of `origin` it draws, -1 for none. `seed` replaces the name in hashes.
    Chains are shared by tables, families and nodes, so each keeps the texts that it was asked for.
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
        """(body, hash, number of the policy rule or -1) of each rule."""
        yield from zip(self.bodies, self.hashes, self.numbers, strict=True)

    def each_rule(self, family: int, *, restore: bool) -> Iterator[list[str]]:
        """The lines of each rule, in Felix's or the kernel's spelling.

        A rule that the kernel splits, one for each address, is several lines of the kernel's spelling.
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
        """All rules, each line with its end."""
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
        """Of everything that Felix writes, only REJECT is printed differently in the two families."""
        return any(body.endswith("REJECT") for body in self.bodies)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Felix's chains that rules of this one lead to."""
        return tuple(found[1] for body in self.bodies if (found := _TARGET.search(body)))

    @cached_property
    def _texts(self) -> dict[int, str]:
        return {}

    @cached_property
    def findings(self) -> dict[Hashable, Any]:
        """What those who look at rules found in it, so that they need not look again on the next node."""
        return {}


class Table(Struct, frozen=True):
    """One table of one family: Felix's rules in the kernel's chains, and its own chains sorted by name."""

    name: str
    family: int
    inserted: Mapping[str, Chain]
    appended: Mapping[str, Chain]
    chains: tuple[Chain, ...]
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Verdict maps by name: from an interface to the chain for it."""

    def kernel_chains(self) -> Iterator[Chain]:
        """Felix's parts of the kernel chains, in the order in which they stand there."""
        for name in TABLES.get(self.name, self.inserted):
            for part in (self.inserted, self.appended):
                if name in part:
                    yield part[name]

    def all_chains(self) -> Iterator[Chain]:
        yield from self.kernel_chains()
        yield from self.chains

    def text(self, *, restore: bool, counters: bool = False) -> str:
        """The table as one transaction of iptables-restore, from its name to COMMIT."""
        kernel_chains = "".join(f":{name} ACCEPT [0:0]\n" for name in TABLES[self.name])
        own_chains = "".join(f":{chain.name} - [0:0]\n" for chain in self.chains)
        rules = "".join(chain.text(self.family, restore=restore) for chain in self.all_chains())
        if counters:
            rules = re.sub("^-A", "[0:0] -A", rules, flags=re.MULTILINE)
        return f"*{self.name}\n{kernel_chains}{own_chains}{rules}COMMIT\n"


@dataclass(frozen=True, kw_only=True, repr=False)
class Ruleset(Described):
    """Everything that Felix would program on one node.

    `tables` are by (family, table name). `refused` are warnings about rules and sets that no kernel takes, `assumed`
    about what had to be taken for granted.
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
        """Everything that compiling has to remark."""
        return (*self.assumed, *self.refused)

    @property
    def errors(self) -> list[Problem]:
        """What is refused, for those who cannot go on with that."""
        return [replace(problem, severity="error") for problem in self.refused]

    @cached_property
    def families(self) -> tuple[int, ...]:
        """The IP families that are on, ascending."""
        return tuple(sorted({family for family, _ in self.tables}))

    def save(self, family: int, *, counters: bool = False) -> str:
        """What ``iptables-save`` (family 4) or ``ip6tables-save`` (6) prints, without its comment lines.

        All counters are zero; `counters` adds them to every rule as ``-c`` does.
        """
        return self._text(family, restore=False, counters=counters)

    def restore(self, family: int) -> str:
        """The same rules in the spelling that Felix hands to iptables-restore and that its hashes are made of."""
        return self._text(family, restore=True)

    def ipset_save(self, families: Sequence[int] | None = None) -> str:
        """The sets of the families (all of them by default) as create and add lines, sorted by name."""
        return b"".join(self._set_pieces(self.families if families is None else families)).decode()

    def _set_pieces(self, families: Sequence[int]) -> Iterator[bytes]:
        for ipset in sorted(self.sets, key=lambda s: s.name):
            if ipset.family in families:
                yield from ipset.pieces()

    def identities(self, table: Table, chain: Chain) -> Sequence[str]:
        """Felix's hashes of the rules of a chain."""
        return chain.hashes

    def written_rules(self, table: Table, chain: Chain) -> Sequence[str]:
        """The rules of a chain as Felix writes them, which their hashes are made of."""
        return chain.bodies

    def rule_lines(self, table: Table, chain: Chain) -> Iterator[list[str]]:
        """The lines of each rule of a chain, as the kernel's tools print them."""
        return chain.each_rule(table.family, restore=False)

    @cached_property
    def dump(self) -> Dump:
        """The rules and sets as if they had been saved on the node."""
        from felixpy.iptables.forms import read_dump

        return read_dump({family: self.save(family) for family in self.families}, self.ipset_save())

    def files(self) -> dict[str, str]:
        """Every text by file name; a family that is off has no files."""
        return {SETS_FILE: self.ipset_save(), **self._rule_files()}

    def contents(self) -> Mapping[str, Iterable[bytes]]:
        """The same for writing: sets, which may be large, are in pieces that nodes share."""
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
