"""The wanted state of a kernel: the rules and sets of a compiled node, of an earlier state, or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from felixpy.dataplane.current import CurrentTable, Rule, SetState, State, read_rules
from felixpy.iptables.printer import kernel_rules
from felixpy.iptables.words import HASH_PREFIX, hash_comment
from felixpy.ruleset import Chain, Ruleset, Table

END = 1 << 30
"""More rules than any chain has."""


class Insert(NamedTuple):
    """A rule of Felix in a foreign chain, after the first `below` foreign rules."""

    rule: Rule
    below: int


class Content(Protocol):
    """The wanted rules of a chain."""

    def printed(self, family: int) -> str:
        """Its lines as iptables-save prints them, with line ends."""
        ...

    def rules(self) -> tuple[Rule, ...]:
        """Its rules one by one."""
        ...

    def appended(self, chain: str) -> Iterable[str]:
        """The lines that fill an empty chain with its rules."""
        ...


class Drawn(NamedTuple):
    """A compiled chain."""

    chain: Chain

    def printed(self, family: int) -> str:
        return self.chain.text(family, restore=False)

    def rules(self) -> tuple[Rule, ...]:
        """The rules, one for each address of a rule with a list of addresses, as in the kernel.

        Felix passes the list to iptables and then treats the resulting rules as foreign.
        """
        return tuple(_rules(self.chain))

    def appended(self, chain: str) -> Iterable[str]:
        head = f'-A {chain} -m comment --comment "{HASH_PREFIX}'
        return [
            f'{head}{identity}" {piece}' if piece else f'{head}{identity}"'
            for body, identity in zip(self.chain.bodies, self.chain.hashes, strict=True)
            for piece in kernel_rules(body)
        ]


class Remembered(NamedTuple):
    """A chain as it was listed in an earlier state."""

    text: str

    def printed(self, family: int) -> str:
        return self.text

    def rules(self) -> tuple[Rule, ...]:
        return read_rules(self.text)

    def appended(self, chain: str) -> Iterable[str]:
        return self.text.split("\n")[:-1]


@dataclass(frozen=True, slots=True)
class WantedTable:
    """Felix's part of one table: its own chains, and inserts in foreign chains."""

    name: str
    family: int
    chains: Mapping[str, Content]
    inserts: Mapping[str, tuple[Insert, ...]]

    @classmethod
    def empty(cls, name: str, family: int) -> WantedTable:
        return cls(name, family, {}, {})

    @classmethod
    def of(cls, table: Table, *, append: bool) -> WantedTable:
        """A compiled table. Inserts come before all foreign rules or, with `append`, after them (ChainInsertMode).

        Rules that Felix always appends come at the end of their chain in either mode.
        """
        inserts: dict[str, tuple[Insert, ...]] = {}
        for part, below in ((table.inserted, END if append else 0), (table.appended, END)):
            for name, chain in part.items():
                inserts[name] = (*inserts.get(name, ()), *(Insert(rule, below) for rule in _rules(chain)))
        return cls(table.name, table.family, {chain.name: Drawn(chain) for chain in table.chains}, inserts)

    @classmethod
    def as_it_was(cls, table: CurrentTable) -> WantedTable:
        """Felix's part of a table in an earlier state, with inserts in the same places."""
        chains = {name: Remembered(text) for name, text in table.owned().items()}
        return cls(table.name, table.family, chains, {name: tuple(_placed(r)) for name, r in table.guests().items()})


def _rules(chain: Chain) -> Iterator[Rule]:
    for body, identity in zip(chain.bodies, chain.hashes, strict=True):
        comment = hash_comment(identity)
        for piece in kernel_rules(body):
            yield Rule(identity, f"{comment} {piece}" if piece else comment, piece)


def _placed(rules: tuple[Rule, ...]) -> Iterator[Insert]:
    below = 0
    for rule in rules:
        if rule.identity:
            yield Insert(rule, below)
        else:
            below += 1


class Wanted(NamedTuple):
    """All wanted tables and sets; everything else of Felix is removed."""

    tables: Mapping[tuple[int, str], WantedTable]
    sets: Mapping[str, SetState]

    @classmethod
    def of(cls, ruleset: Ruleset, *, append: bool = False) -> Wanted:
        tables = {key: WantedTable.of(table, append=append) for key, table in ruleset.tables.items()}
        return cls(tables, {ipset.name: SetState.of(ipset) for ipset in ruleset.sets})

    @classmethod
    def as_it_was(cls, state: State) -> Wanted:
        tables = {key: WantedTable.as_it_was(table) for key, table in state.tables.items()}
        return cls(tables, state.sets)

    @classmethod
    def nothing(cls) -> Wanted:
        return cls({}, {})

    @property
    def dataplane(self) -> str:
        return "iptables"

    @property
    def ipsets(self) -> Mapping[str, SetState]:
        """The wanted IP sets by name."""
        return self.sets

    @property
    def families(self) -> set[int]:
        return {family for family, _ in self.tables}

    def table(self, family: int, name: str) -> WantedTable:
        """A wanted table; an empty one if nothing of Felix is wanted in it."""
        return self.tables.get((family, name)) or WantedTable.empty(name, family)
