"""The enforcer for nftables: all of Felix's tables change in one atomic transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

from felixpy.dataplane.current import SetState
from felixpy.dataplane.enforcer import Enforcer, Scratch, WantedRules
from felixpy.dataplane.nftables import memory, netlink
from felixpy.dataplane.nftables.content import TableContent
from felixpy.dataplane.nftables.spelling import ask_for_spelling
from felixpy.dataplane.nftables.tool import TABLES, WRITE, Nft, refusal, text_of
from felixpy.dataplane.nftables.transaction import NftProgram, table_change
from felixpy.errors import EnvironmentMissing, FelixpyError
from felixpy.kernel import Kernel
from felixpy.nftables import NftRuleset

NFTABLES = "nftables"

ATTEMPTS = 5
"""How often the tables are read again because others change them at the same time."""

PAUSE_SECONDS = 0.02

State = Mapping[str, TableContent]
"""Felix's tables that are there, by family."""


class NftWanted(NamedTuple):
    """The wanted tables by family; Felix's other tables are removed."""

    tables: Mapping[str, TableContent]

    @classmethod
    def of(cls, ruleset: NftRuleset) -> NftWanted:
        return cls({family: TableContent.compiled(table) for family, table in ruleset.nft_tables.items()})

    @property
    def dataplane(self) -> str:
        return NFTABLES

    @property
    def ipsets(self) -> Mapping[str, SetState]:
        """Empty: nftables sets are part of tables."""
        return {}


class _Known(NamedTuple):
    """The contents of the tables at a generation of the kernel's rules."""

    generation: int
    state: State


class NftEnforcer(Enforcer[State, NftWanted, NftProgram]):
    """Works with nft.

    What was read or written stays valid until anything changes the nftables rules of the namespace, which the kernel's
    generation number shows. So large tables are not listed again for every change or run; see
    `felixpy.dataplane.nftables.memory`.
    """

    name = NFTABLES
    title = NFTABLES

    def __init__(self, kernel: Kernel, scratch: Scratch | None = None) -> None:
        self.nft, self.scratch = Nft(kernel), scratch
        self.spelling: dict[tuple[str, str], str] = {}
        self._known: _Known | None = None
        self._in_file: int | None = None
        """The generation that the file of an earlier run is about."""
        self._handed_on = False
        """Whether the tables were cached for the next run: done once, as later changes of a watch are known to it."""

    def nothing(self, beside: WantedRules | None = None) -> NftWanted:
        return NftWanted({})

    def as_it_was(self, state: State) -> NftWanted:
        return NftWanted(state)

    def in_another(self, kernel: Kernel, scratch: Scratch | None = None) -> Self:
        return type(self)(kernel, scratch)

    def read(self, wanted: NftWanted) -> State:
        before = netlink.generation(self.nft.kernel)
        if self._known is None and before is not None:
            self._recall(before)
        if self._known and before == self._known.generation:
            return self._known.state
        state = self.nft.tables()
        unchanged = before is not None and netlink.generation(self.nft.kernel) == before
        self._known = _Known(before, state) if unchanged and before is not None else None
        return state

    def _recall(self, generation: int) -> None:
        state = memory.recall(self.nft.kernel, generation)
        if state is not None:
            self._known, self._in_file = _Known(generation, state), generation

    def plan(self, wanted: NftWanted, state: State | None = None) -> NftProgram:
        """The program that leads from the current state, or from `state`, to the wanted one.

        Rules that seem to have been changed are compared again in the spelling of the installed nft.
        """
        state = self.read(wanted) if state is None else state
        program = self._plan(wanted, state)
        if self.scratch is None or not any(change.suspects for change in program.tables):
            return program
        try:
            with self.scratch() as kernel:
                self.spelling |= ask_for_spelling(Nft(kernel), program.tables, wanted.tables)
        except EnvironmentMissing:
            # No scratch namespace, as in a container: what looks changed is written again, which is always correct.
            return program
        return self._plan(wanted, state)

    def _plan(self, wanted: NftWanted, state: State) -> NftProgram:
        changes = (table_change(state.get(family), wanted.tables.get(family), self.spelling) for family in TABLES)
        return NftProgram(tuple(change for change in changes if change))

    def inputs(self, program: NftProgram) -> Iterator[tuple[str, str]]:
        for lines in program.inputs:
            yield " ".join(WRITE), text_of(lines)

    def run(self, program: NftProgram, wanted: NftWanted) -> list[str]:
        """Run the transactions. If others changed tables in between, plan again from the current state."""
        for attempt in range(ATTEMPTS):
            known, self._known = self._known, None
            refused = self._load(program)
            if refused is None:
                self._remember(known, len(program.inputs), wanted)
                break
            again = self.plan(wanted)
            if again.inputs[-1:] == program.inputs[-1:] or attempt == ATTEMPTS - 1:
                raise refused
            time.sleep(PAUSE_SECONDS)
            program = again
        return []

    def _load(self, program: NftProgram) -> FelixpyError | None:
        """Run the transactions; return the exception for one that nft refused. Earlier ones added only unused sets."""
        for lines in program.inputs:
            done = self.nft.load(text_of(lines))
            if done.status:
                return refusal(done, lines)
        return None

    def _remember(self, before: _Known | None, transactions: int, wanted: NftWanted) -> None:
        """Record the tables as wanted, if the generation shows that no other transactions came in between."""
        now = netlink.generation(self.nft.kernel)
        if not before or now != before.generation + transactions:
            return
        self._known = _Known(now, wanted.tables)
        if not self._handed_on and now != self._in_file:
            memory.keep(self.nft.kernel, now, wanted.tables)
        self._handed_on = True

    def rehearse(self, wanted: NftWanted) -> None:
        refused = self._load(self._plan(wanted, {}))
        if refused is not None:
            raise refused
