"""What the kernel shall hold: the rules and sets of a compiled node, of an earlier time, or none at all."""

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
    """A rule of ours in somebody else's chain, below as many of their rules as `below` says."""

    rule: Rule
    below: int


class Content(Protocol):
    """What a chain shall hold."""

    def printed(self, family: int) -> str:
        """Its lines as iptables-save prints them, each with its end."""
        ...

    def rules(self) -> tuple[Rule, ...]:
        """Its rules one by one."""
        ...

    def appended(self, chain: str) -> Iterable[str]:
        """The lines that fill an empty chain with its rules."""
        ...


class Drawn(NamedTuple):
    """A chain as it was compiled."""

    chain: Chain

    def printed(self, family: int) -> str:
        return self.chain.text(family, restore=False)

    def rules(self) -> tuple[Rule, ...]:
        """A rule with a list of addresses stands once for each, as in the kernel.

        Felix hands the list over as it is and then takes the rules that the kernel makes of it for strangers.
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
    """A chain as it was printed at some time."""

    text: str

    def printed(self, family: int) -> str:
        return self.text

    def rules(self) -> tuple[Rule, ...]:
        return read_rules(self.text)

    def appended(self, chain: str) -> Iterable[str]:
        return self.text.split("\n")[:-1]


@dataclass(frozen=True, slots=True)
class WantedTable:
    """Our part of one table: chains of our own, and rules in chains of others."""

    name: str
    family: int
    chains: Mapping[str, Content]
    inserts: Mapping[str, tuple[Insert, ...]]

    @classmethod
    def empty(cls, name: str, family: int) -> WantedTable:
        return cls(name, family, {}, {})

    @classmethod
    def of(cls, table: Table, *, append: bool) -> WantedTable:
        """A compiled table. Inserts stand above all foreign rules or, with `append`, below them.

        What Felix appends stands at the end of its chain in any case. (ChainInsertMode)
        """
        inserts: dict[str, tuple[Insert, ...]] = {}
        for part, below in ((table.inserted, END if append else 0), (table.appended, END)):
            for name, chain in part.items():
                inserts[name] = (*inserts.get(name, ()), *(Insert(rule, below) for rule in _rules(chain)))
        return cls(table.name, table.family, {chain.name: Drawn(chain) for chain in table.chains}, inserts)

    @classmethod
    def as_it_was(cls, table: CurrentTable) -> WantedTable:
        """What was ours in a table at some time, in the same places."""
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
    """Everything that should be there, and nothing else of ours."""

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
        """The sets, which belong to no table."""
        return self.sets

    @property
    def families(self) -> set[int]:
        return {family for family, _ in self.tables}

    def table(self, family: int, name: str) -> WantedTable:
        """A table; of one that is not mentioned we want to have nothing."""
        return self.tables.get((family, name)) or WantedTable.empty(name, family)
