"""The current state of a node: the rules and sets of a live kernel, or of saved files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

from felixpy.dataplane.current import Spelling, State, read_tables, sets_of
from felixpy.dataplane.spelling import ask_for_spelling
from felixpy.dataplane.tools import PROGRAMS, Answers, Tools, choose, look
from felixpy.dataplane.transaction import NO_SPELLING, Transaction
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import FelixpyError, InputError, KernelRefused, Place, Problem
from felixpy.iptables.forms import read_dump
from felixpy.iptables.sets import as_saved
from felixpy.kernel import Kernel
from felixpy.netfilter.rules import Dump
from felixpy.ruleset import Ruleset

_COUNTERS = re.compile(r"^\[\d+:\d+\] ", re.MULTILINE)

NO_DUMPS: Mapping[str, Dump | None] = MappingProxyType({})

NFTABLES = "nftables"
"""What tables of the nftables data plane are called beside those of iptables."""

LEGACY_BESIDE = re.compile(r"^# Warning: ip6?tables-legacy tables present", re.MULTILINE)
"""What iptables-nft-save says on stderr, which may have gone to the same file."""

Respell = Callable[[Iterable[Transaction], Wanted], Spelling]
"""Asks the tools how they print rules whose words surprise us."""


def _no_respelling(changes: Iterable[Transaction], wanted: Wanted) -> Spelling:
    return NO_SPELLING


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Rules by family, and sets if they are known.

    `state` is the form that apply compares, `dump` the parsed form; chains have their rules in the same order in both.
    `others` are the tables of the other kind of iptables or of the other data plane (`NFTABLES`), if these hold rules
    of Felix; None if they exist but are unknown.
    """

    words: str
    backend: str
    state: State
    dump: Dump
    others: Mapping[str, Dump | None] = field(default_factory=dict)
    respell: Respell = _no_respelling
    live: bool = False
    leaves_open: tuple[str, ...] = ()
    """What the form that it was saved in does not say."""
    not_given: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Tables by family of which nothing is known."""

    def completed(self, ruleset: Ruleset) -> Observed:
        """The state with tables that were not given taken from a ruleset, so that they do not differ."""
        texts = {
            (family, name): ruleset.tables[family, name].text(restore=False)
            for family, names in self.not_given.items()
            for name in names
            if (family, name) in ruleset.tables
        }
        if not texts:
            return self
        tables, read = dict(self.state.tables), {family: dict(found) for family, found in self.dump.tables.items()}
        for (family, name), text in texts.items():
            tables[family, name] = read_tables(text, family)[name]
            read[family].update(read_dump({family: text}).tables[family])
        return replace(self, state=self.state._replace(tables=tables), dump=replace(self.dump, tables=read))

    @property
    def families(self) -> tuple[int, ...]:
        return tuple(sorted(self.dump.tables))

    @property
    def text(self) -> str:
        """The text of all chains in the tables that Felix uses, as printed."""
        return "".join(text for table in self.state.tables.values() for text in table.chains.values())

    @property
    def has_sets(self) -> bool:
        return self.dump.sets is not None

    def line(self, family: int, table: str, chain: str, position: int) -> int:
        """The line of a rule in a saved file, 0 for a live kernel; positions count from 0."""
        found = None if self.live else self.dump.tables[family].get(table, {}).get(chain)
        return found.lines[position][0] if found and 0 <= position < len(found.lines) else 0


def _observed(words: str, backend: str, rules: Mapping[int, str], sets: str | None, **more: object) -> Observed:
    sets = as_saved(sets) if sets is not None else None
    texts = {family: _uncounted(text.replace("\r\n", "\n")) for family, text in rules.items()}
    tables = {
        (family, name): table for family, text in texts.items() for name, table in read_tables(text, family).items()
    }
    dump = read_dump(texts, sets)
    state = State(tables, sets_of(dump.sets or {}))
    return Observed(words=words, backend=backend, state=state, dump=dump, **more)  # type: ignore[arg-type]


def _uncounted(text: str) -> str:
    """The text of tables without the counters of their rules."""
    return _COUNTERS.sub("", text) if "\n[" in text else text


def observe_saved(
    rules: Mapping[int, str],
    sets: str | None,
    words: str,
    *,
    comments: str = "",
    others: Mapping[str, Dump | None] = NO_DUMPS,
    leaves_open: tuple[str, ...] = (),
    not_given: Mapping[int, Sequence[str]] = MappingProxyType({}),
) -> Observed:
    """Parse texts of iptables-save by family, and of ipset save. Raises InputError for other texts.

    `others` are the tables of the other kind of iptables and of nftables; `comments` may say that these exist.
    `not_given` are tables, by family, that were not printed: they are assumed to be as wanted.

    >>> observe_saved({4: "*filter\\n:FORWARD ACCEPT [0:0]\\nCOMMIT\\n"}, None, "a file").families
    (4,)
    """
    beside: dict[str, Dump | None] = {"legacy": None} if LEGACY_BESIDE.search(comments) else {}
    try:
        return _observed(
            words, "", rules, sets, others={**beside, **others}, leaves_open=leaves_open, not_given=not_given
        )
    except KernelRefused as refusal:
        raise InputError([Problem(place=Place(words), reason=str(refusal).partition(";")[0])]) from refusal


class Namespace(Kernel, Protocol):
    """A kernel that can also make scratch namespaces."""

    def scratch(self) -> AbstractContextManager[Kernel]:
        """A temporary namespace."""
        ...


def observe_live(machine: Namespace, backend: str, words: str) -> Observed:
    """Read a namespace; `backend` is legacy, nft or "" for the one in use.

    Raises EnvironmentMissing for missing tools or permissions, KernelRefused for tables that the tools cannot read.
    """
    answers = look(machine)
    choice = choose(answers)
    chosen = backend or choice.backend
    tools = Tools(machine, chosen, known=answers)
    others = beside(machine, answers, [other for other in choice.ours if other != chosen])

    def respell(changes: Iterable[Transaction], wanted: Wanted) -> Spelling:
        with machine.scratch() as elsewhere:
            return ask_for_spelling(tools.in_another(elsewhere), changes, wanted)

    words = f"{words} ({chosen})"
    return _observed(words, chosen, read_all(tools), tools.sets(), others=others, respell=respell, live=True)


def beside(machine: Kernel, answers: Answers, backends: Iterable[str]) -> dict[str, Dump | None]:
    """The tables of other kinds of iptables, with the sets that they use."""
    tools = {backend: Tools(machine, backend, known=answers) for backend in backends}
    return {backend: read_dump(read_all(each), as_saved(each.sets())) for backend, each in tools.items()}


def read_all(tools: Tools, *, counters: bool = False) -> dict[int, str]:
    """The tables of all families that can be read. Raises FelixpyError if IPv4 cannot be read."""
    texts = {4: tools.tables(4, counters=counters)}
    for family in PROGRAMS.keys() - texts.keys():
        try:
            texts[family] = tools.tables(family, counters=counters)
        except FelixpyError:  # a kernel may have no IPv6
            continue
    return texts


def has_felix(observed: Observed, family: int) -> bool:
    """Whether the tables of a family have anything of Felix."""
    tables = [table for (number, _), table in observed.state.tables.items() if number == family]
    return any(table.owned() or table.guests() for table in tables)
