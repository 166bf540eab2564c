"""All differences between a node and what it should be, each with the damage that it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from felixpy.dataplane.current import OWNED_CHAIN, CurrentTable, Spelling
from felixpy.dataplane.transaction import NO_SPELLING, Transaction
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import many
from felixpy.iptables.forms import read_dump
from felixpy.model import Host
from felixpy.names import of_any_family
from felixpy.netfilter.rules import Dump
from felixpy.ruleset import TABLES, Ruleset
from felixpy.verification.baseline import Baseline, Damage
from felixpy.verification.chains import Draft, TableView, compare_chains
from felixpy.verification.finding import KINDS, Finding
from felixpy.verification.hooks import compare_hooks
from felixpy.verification.observed import Observed, has_felix
from felixpy.verification.sets import compare_sets


@dataclass(frozen=True, slots=True)
class Merged:
    """A difference with its damage in each family that has it."""

    finding: Finding
    damages: tuple[Damage, ...]
    together: tuple[Damage, ...]


@dataclass(eq=False)
class Comparison:
    """One node compared; `ruleset` is what should be there, with `append` below the rules of others."""

    observed: Observed
    ruleset: Ruleset
    append: bool
    host: Host

    @cached_property
    def wanted(self) -> Wanted:
        return Wanted.of(self.ruleset, append=self.append)

    @cached_property
    def baseline(self) -> Baseline:
        return Baseline(self.wanted, self.ruleset.sets, self.observed)

    @cached_property
    def absent(self) -> list[int]:
        """Families in which there is nothing of Felix at all, though there should be."""
        families = self.wanted.families.intersection(self.observed.families)
        return sorted(family for family in families if not has_felix(self.observed, family))

    def drafts(self) -> list[Merged]:
        """All differences; what is the same in both families is one."""
        merged: dict[tuple[object, ...], Merged] = {}
        for draft in self._drafts():
            key = _key(draft.finding)
            together = (draft.together,) if draft.together else ()
            one = Merged(draft.finding, (draft.damage,), together)
            merged[key] = _both(merged[key], one) if key in merged else one
        return list(merged.values())

    def notes(self) -> Iterator[str]:
        """What could not be compared, and what differs in spelling only."""
        yield from (f"{words}: perhaps more differs" for words in self.observed.leaves_open)
        for family in self.ruleset.families:
            if family not in self.observed.families:
                why = "cannot be read here" if self.observed.live else "were not given"
                yield f"rules of IPv{family} {why}, so they are not compared"
        if not self.observed.has_sets:
            yield "sets were not given, so they are not compared; --ipsets FILE adds them"
        elif self._unsure:
            yield "the node's addresses are not known, so sets this-host are not compared; --interface tells them"
        respelt = sum(view.respelt() for view in self._views)
        if respelt:
            yield f"{respelt} rules say the same in another spelling, as other releases of iptables print them"

    # --- tables

    @cached_property
    def _views(self) -> list[TableView]:
        """The tables of families in which there is anything of Felix."""
        families = [family for family in self.observed.families if family not in self.absent]
        tables = [self.observed.state.table(family, name) for family in families for name in TABLES]
        spelling = self._spelling(tables)
        return [self._view(table, spelling) for table in tables]

    def _view(self, table: CurrentTable, spelling: Spelling) -> TableView:
        def line_of(chain: str, position: int) -> int:
            return self.observed.line(table.family, table.name, chain, position)

        return TableView(table, self.wanted.table(table.family, table.name), spelling, line_of)

    def _spelling(self, tables: Iterable[CurrentTable]) -> Spelling:
        """How the tools print rules that bear their hash and read otherwise."""
        changes = []
        for table in tables:
            suspects = tuple(self._view(table, NO_SPELLING).suspects())
            if suspects:
                changes.append(Transaction(table.family, table.name, (), (), suspects))
        return self.observed.respell(changes, self.wanted) if changes else NO_SPELLING

    def _drafts(self) -> Iterator[Draft]:
        for family in self.absent:
            chains = sum(len(table.chains) for (other, _), table in self.wanted.tables.items() if other == family)
            finding = Finding(kind=KINDS["not-programmed"], families=(family,), wanted=many(chains, "chain"))
            yield Draft(finding, Damage(family, whole=True))
        for view in self._views:
            yield from compare_hooks(view, self.baseline)
            yield from compare_chains(view)
        if self.observed.has_sets:
            yield from self._sets()
        for backend, texts in self.observed.others.items():
            yield from self._other_backend(backend, texts)

    # --- sets

    def _sets(self) -> Iterator[Draft]:
        """Where nothing of Felix is there, its sets are not missed one by one."""
        there = self.observed.state.sets
        wanted = {
            name: ipset for name, ipset in self.wanted.sets.items() if ipset.family not in self.absent or name in there
        }
        yield from compare_sets(wanted, there, self.observed.dump.sets or {}, self._unsure)

    @property
    def _unsure(self) -> list[str]:
        """Sets that depend on the machine, if nobody said what it is."""
        unknown = self.host.interfaces is None
        return [ipset.name for ipset in self.ruleset.sets if unknown and ipset.name.endswith("0this-host")]

    # --- the other kind of iptables

    def _other_backend(self, backend: str, texts: Mapping[int, str]) -> Iterator[Draft]:
        """Of the other kind nothing may be known but that it holds rules."""
        right = f"rules in {self.observed.backend or 'one kind of'} tables only"
        if not texts:
            there = f"rules in {backend} tables, too"
            yield Draft(_two_backends(self.observed.families, right, there), Damage(4, unknown=True))
            return
        dump = read_dump(texts)
        for family, tables in sorted(dump.tables.items()):
            chains = sum(bool(OWNED_CHAIN.match(name)) for table in tables.values() for name in table)
            if chains:
                finding = _two_backends((family,), right, f"{many(chains, 'chain')} of Felix in {backend} tables, too")
                yield Draft(finding, Damage(family, beside=Dump({family: tables}, self.observed.dump.sets)))


def _two_backends(families: tuple[int, ...], wanted: str, there: str) -> Finding:
    return Finding(kind=KINDS["two-backends"], families=families, wanted=wanted, there=there)


def _key(finding: Finding) -> tuple[object, ...]:
    """What is the same in both families: sets have the family's number in their names."""
    texts = (of_any_family(text) for text in (finding.wanted, finding.there, *finding.details))
    return finding.kind.name, finding.table, finding.chain, finding.number, finding.set, *texts


def _both(first: Merged, second: Merged) -> Merged:
    families = (*first.finding.families, *second.finding.families)
    return Merged(
        replace(first.finding, families=families),
        (*first.damages, *second.damages),
        (*first.together, *second.together),
    )
