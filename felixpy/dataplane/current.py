"""The current state of a kernel: chains, rules and sets as ``iptables-save`` and ``ipset save`` print them.

As in Felix, names tell what is Felix's: chains by prefix, rules by the hash in their first comment, sets by prefix.
Nothing else of a rule is parsed. (felix/iptables/table.go, felix/ipsets/ipsets.go)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from felixpy.errors import KernelRefused, UsageError
from felixpy.ipsets import IPSet
from felixpy.iptables.printer import saved
from felixpy.iptables.sets import read_sets as saved_sets
from felixpy.iptables.words import hash_comment, hashes_in, identity
from felixpy.netfilter.rules import SavedSet
from felixpy.ruleset import TABLES

_CHAINS = "cali-|califw-|calitw-|califh-|calith-|calipi-|calipo-|felix-"
OWNED_CHAIN = re.compile(_CHAINS)
"""How chains of Felix begin, those of releases long gone included."""

OWNED_SET = re.compile(r"cali[46]|felix-[46]|felix-(?:masq|all)-ipam-pools$")

HISTORIC = "historic"
"""In place of a hash: a rule without one that only an old Felix can have put there."""

Spelling = Mapping[tuple[int, str], str]
"""(family, how we think a rule is printed) → how the tools at hand print it, where that is not the same."""

_HISTORIC = re.compile(
    rf'(?:^|\ )-[jg]\ (?:{_CHAINS})[^\s"]*$'
    r"|\ felix-(?:masq|all)-ipam-pools\ "
    r"|-o\ tunl0\ -m\ addrtype\ !\ --src-type\ LOCAL\ --limit-iface-out"
    r"\ -m\ addrtype\ --src-type\ LOCAL\ -j\ MASQUERADE",
    re.VERBOSE,
)
_SIGNS = ("cali", "felix-", "tunl0")
"""A text without any of these holds no rule of Felix."""

_UNREADABLE = re.compile(r"# Table `?(\w+)'? is incompatible, use 'nft' tool")


class Rule(NamedTuple):
    """A rule of one chain. `identity` is Felix's hash, "" for a rule that is not Felix's.

    `text` is what follows ``-A <chain> ``. `body` is what follows the hash in Felix's spelling, None for a rule that
    was read from the kernel.
    """

    identity: str
    text: str
    body: str | None = None

    def printed(self, family: int) -> str:
        """`text` in the spelling of iptables-save."""
        if self.body is None:
            return self.text
        core, rest = saved(self.body, family)
        return f"{core}{hash_comment(self.identity)}" + (f" {rest}" if rest else "")

    def is_like(self, current: Rule, family: int, spelling: Spelling) -> bool:
        """Whether a rule of the kernel has the same hash and the same text.

        Felix compares hashes only, and so misses a rule that was changed without changing its hash.
        """
        if self.identity != current.identity:
            return False
        printed = self.printed(family)
        return printed == current.text or spelling.get((family, printed)) == current.text


@dataclass(frozen=True, slots=True)
class CurrentTable:
    """One table of one family: each chain with its lines, line ends included, as they were printed.

    `chains` always holds the kernel chains. Most chains are as wanted, for which comparing their text is enough; rules
    are parsed only for the others.
    """

    name: str
    family: int
    chains: Mapping[str, str]

    @classmethod
    def empty(cls, name: str, family: int) -> CurrentTable:
        return cls(name, family, dict.fromkeys(TABLES[name], ""))

    def rules(self, chain: str) -> tuple[Rule, ...]:
        """The rules of a chain."""
        return read_rules(self.chains[chain])

    def hashes(self) -> Iterator[str]:
        """Felix's hashes of all rules, chain by chain."""
        for name, text in self.chains.items():
            found = hashes_in(text)
            if len(found) == text.count("\n"):  # as in chains of Felix, where every rule has one
                yield from found
            else:
                yield from (rule.identity for rule in self.rules(name) if rule.identity not in ("", HISTORIC))

    def owned(self) -> dict[str, str]:
        """The chains of Felix."""
        return {name: text for name, text in self.chains.items() if OWNED_CHAIN.match(name)}

    def guests(self) -> dict[str, tuple[Rule, ...]]:
        """Foreign chains with rules of Felix in them, with all their rules."""
        signed = [
            name
            for name, text in self.chains.items()
            if any(sign in text for sign in _SIGNS) and not OWNED_CHAIN.match(name)
        ]
        found = {name: self.rules(name) for name in signed}
        return {name: rules for name, rules in found.items() if any(rule.identity for rule in rules)}


def read_tables(text: str, family: int) -> dict[str, CurrentTable]:
    """The tables in the output of iptables-save, without those that Felix does not use.

    Raises KernelRefused for a table that iptables-nft could not read (it then prints neither rules nor an error), and
    for one that is cut off.
    """
    tables: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    open_table, head, lines = "", "\n", [""]
    # Not splitlines: a comment may hold characters that only Python treats as line ends.
    for line in text.split("\n"):
        if line.startswith(head):
            lines.append(line)
        elif line.startswith("-A "):
            chain = f"{line} ".split(" ", 2)[1]
            head, lines = f"-A {chain} ", chains.setdefault(chain, [])
            lines.append(line)
        elif line.startswith(":"):
            chains[line[1:].split(" ", 1)[0]] = []
        elif line.startswith("*"):
            _must_be_closed(open_table, family)
            open_table, head = line[1:], "\n"
            chains = tables[open_table] = {name: [] for name in TABLES.get(open_table, ())}
        elif line == "COMMIT":
            open_table = ""
        elif line.startswith("#") and (found := _UNREADABLE.match(line)) and found[1] in TABLES:
            raise KernelRefused(
                f"table {found[1]} (IPv{family}) holds rules of nft that iptables cannot read; nothing was written"
            )
    _must_be_closed(open_table, family)
    return {
        name: CurrentTable(name, family, {chain: _block(lines) for chain, lines in found.items()})
        for name, found in tables.items()
        if name in TABLES
    }


def _must_be_closed(table: str, family: int) -> None:
    if table:
        raise KernelRefused(f"table {table} (IPv{family}) was printed only in part: its COMMIT is missing")


def _block(lines: Sequence[str]) -> str:
    return "\n".join((*lines, "")) if lines else ""


def read_rules(text: str) -> tuple[Rule, ...]:
    """The rules of one chain, from its lines."""
    return tuple(_read_rule(f"{line} ".split(" ", 2)[2][:-1]) for line in text.split("\n")[:-1])


def _read_rule(text: str) -> Rule:
    found = identity(text)
    if found:
        return Rule(found, text)
    return Rule(HISTORIC if _HISTORIC.search(text) else "", text)


@dataclass(frozen=True, slots=True)
class SetState:
    """A set of Felix, wanted or present. `plain` is false for one with options that Felix never uses.

    `listed` are the members in the order in which to write them, () for any order.
    """

    name: str
    type: str
    family: int
    max_size: int
    members: frozenset[str]
    plain: bool = True
    listed: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, ipset: IPSet) -> SetState:
        members = frozenset(ipset.members)
        return cls(ipset.name, ipset.type, ipset.family, ipset.max_size, members, listed=ipset.members)

    def header(self, name: str) -> str:
        """The line of ipset restore that creates this set under a name."""
        return f"create {name} {self.type} family {'inet6' if self.family == 6 else 'inet'} maxelem {self.max_size}"


CHOSEN_BY_KERNEL = {"hashsize", "bucketsize", "initval"}


def read_sets(text: str) -> dict[str, SetState]:
    """The sets of Felix in the output of ipset save. Raises InputError, UsageError."""
    return sets_of(saved_sets(text))


def sets_of(there: Mapping[str, SavedSet]) -> dict[str, SetState]:
    """The sets of Felix among saved sets. Raises UsageError for one whose header is missing."""
    return {name: _state(found) for name, found in there.items() if OWNED_SET.match(name)}


def _state(found: SavedSet) -> SetState:
    options = {name: value for name, value in found.options.items() if name not in ("family", "maxelem")}
    try:
        max_size = int(found.options.get("maxelem", "0"))
    except ValueError:
        raise UsageError(f"set {found.name}: no number after maxelem; is the dump cut off?") from None
    members = frozenset(found.members)
    return SetState(found.name, found.type, found.family, max_size, members, plain=options.keys() <= CHOSEN_BY_KERNEL)


class State(NamedTuple):
    """The tables and sets of a network namespace at one time."""

    tables: Mapping[tuple[int, str], CurrentTable]
    sets: Mapping[str, SetState]

    def table(self, family: int, name: str) -> CurrentTable:
        """A table; an empty one if the kernel does not have it."""
        return self.tables.get((family, name)) or CurrentTable.empty(name, family)


EMPTY = State({}, {})
