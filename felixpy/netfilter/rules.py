"""Rules, chains and sets as values, and the dump of a node.

A rule keeps its text and, parsed once, its meaning. Rules with equal texts share one `Body`, so the meaning of a rule
in a thousand chains is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from felixpy.netfilter.actions import Action
from felixpy.netfilter.criteria import Assumed, InSet, NotUnderstood, Test
from felixpy.netfilter.hooks import IPTABLES, Stages


class Option(NamedTuple):
    """An option such as ``! --ctstate NEW,RELATED``: name, values, and whether it is negated."""

    name: str
    values: tuple[str, ...]
    negated: bool = False


class Match(NamedTuple):
    """One match: the module's name and its options. Core options have their own name as that of the module."""

    module: str
    options: tuple[Option, ...]


class Meaning(NamedTuple):
    """The tests and the action of a rule.

    `action` is that of a target that is not a chain of the table; `content` is equal for two rules exactly if they have
    the same meaning, however they are written.
    """

    tests: tuple[Test, ...]
    action: Action
    content: object


@dataclass(frozen=True, eq=False)
class Body:
    """A rule without its chain, position and Felix's hash. `text` is its original text."""

    text: str
    family: int
    matches: tuple[Match, ...]
    target: str
    goto: bool
    arguments: tuple[Option, ...]
    read: Callable[[Body], Meaning] = field(repr=False)
    """Computes the meaning on first access."""

    @cached_property
    def meaning(self) -> Meaning:
        return self.read(self)

    @property
    def tests(self) -> tuple[Test, ...]:
        return self.meaning.tests

    @property
    def action(self) -> Action:
        return self.meaning.action

    @property
    def content(self) -> object:
        return self.meaning.content

    @cached_property
    def comments(self) -> tuple[str, ...]:
        """The comments of users and of Felix, without the hash."""
        return tuple(o.values[0] for m in self.matches if m.module == "comment" for o in m.options if o.values)

    @cached_property
    def sets(self) -> tuple[str, ...]:
        """The names of the sets that it matches, each once."""
        found = (test.criterion.name for test in self.tests if isinstance(test.criterion, InSet))
        return tuple(dict.fromkeys(found))

    @cached_property
    def unclear(self) -> tuple[str, ...]:
        """The reasons why criteria are not understood."""
        return tuple(test.criterion.reason for test in self.tests if isinstance(test.criterion, NotUnderstood))

    @cached_property
    def assumed(self) -> tuple[str, ...]:
        """The assumptions in its criteria."""
        return tuple(test.criterion.words for test in self.tests if isinstance(test.criterion, Assumed))


class Rule(NamedTuple):
    """One rule. `number` counts from 1 in its chain, `line` in the file; `text` is the line as written there.

    `identity` is Felix's hash, "" for foreign rules; `counters` are packets and bytes, None if not saved.
    """

    number: int
    line: int
    text: str
    identity: str
    body: Body
    counters: tuple[int, int] | None = None

    @property
    def matches(self) -> tuple[Match, ...]:
        return self.body.matches

    @property
    def target(self) -> str:
        return self.body.target

    @property
    def goto(self) -> bool:
        return self.body.goto

    @property
    def arguments(self) -> tuple[Option, ...]:
        return self.body.arguments

    @property
    def comments(self) -> tuple[str, ...]:
        """The comments, without the hash."""
        return self.body.comments


class Line(NamedTuple):
    """A rule's line: its number in the file, its text without counters, and the counters."""

    number: int
    text: str
    counters: tuple[int, int] | None = None


ReadRules = Callable[["Chain"], tuple[Rule, ...]]


@dataclass(eq=False)
class Chain:
    """A chain: the policy of a kernel chain ("" for others) and its rules, parsed on first access."""

    name: str
    policy: str
    file: str
    family: int
    read: ReadRules = field(repr=False)
    lines: list[Line] = field(default_factory=list)
    counters: tuple[int, int] | None = None
    """Packets and bytes that met the policy."""
    declared: str = ""
    """How nft declares a base chain: type, hook, priority as a number, policy."""

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules. Raises InputError for a line that is not a rule."""
        return self.read(self)


Table = Mapping[str, Chain]
"""Chains by name, in the order of the dump."""


class SavedSet(NamedTuple):
    """An IP set: its type, options such as ``family`` and members as printed, extensions like ``nomatch`` included."""

    name: str
    type: str
    options: Mapping[str, str]
    members: tuple[str, ...]

    @property
    def family(self) -> int:
        return 6 if self.options.get("family") == "inet6" else 4


@dataclass(frozen=True, slots=True)
class Dump:
    """The saved rules of one node: tables by family and name; `sets` is None if the sets were not saved.

    `open` says what the input leaves out or what is not evaluated, `remarks` what is unusual about it. `dataplane` is
    ``nftables`` for an nft listing; `hooks` are then the base chains at each hook, by family. `swapped` is an
    alternative order of these that is equally possible, as tables of two kinds have chains with the same priority
    (`felixpy.netfilter.together`).
    """

    tables: Mapping[int, Mapping[str, Table]]
    sets: Mapping[str, SavedSet] | None = None
    open: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    dataplane: str = "iptables"
    hooks: Mapping[int, Stages] = field(default_factory=dict)
    swapped: Mapping[int, Stages] = field(default_factory=dict)

    def stages(self, family: int) -> Stages:
        """The chains that packets pass at each hook."""
        return self.hooks.get(family, IPTABLES)

    def chains(self, family: int | None = None) -> Iterable[tuple[int, str, Chain]]:
        """(family, table, chain) of every chain."""
        for found, tables in self.tables.items():
            if family in (None, found):
                for table, chains in tables.items():
                    yield from ((found, table, chain) for chain in chains.values())
