"""All differences between a node and the manifests, each with its damage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

from felixpy.dataplane.current import OWNED_CHAIN, CurrentTable, Spelling
from felixpy.dataplane.transaction import NO_SPELLING, Transaction
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import many
from felixpy.model import Host
from felixpy.names import of_any_family
from felixpy.netfilter.rules import Dump
from felixpy.ruleset import TABLES, Ruleset
from felixpy.verification.baseline import Baseline, Damage
from felixpy.verification.chains import Draft, TableView, compare_chains
from felixpy.verification.finding import KINDS, Finding, FindingKind
from felixpy.verification.inserts import compare_inserts
from felixpy.verification.observed import NFTABLES, Observed, has_felix
from felixpy.verification.sets import compare_sets


@dataclass(frozen=True, slots=True)
class Merged:
    """A difference with its damage in each family that has it."""

    finding: Finding
    damages: tuple[Damage, ...]
    together: tuple[Damage, ...]


@dataclass(eq=False)
class Comparison:
    """The comparison of one node; `ruleset` is the wanted one; with `append` inserts come after foreign rules."""

    observed: Observed
    ruleset: Ruleset
    append: bool
    host: Host

    respelling = "iptables"
    """Whose releases print rules in their own ways."""

    @cached_property
    def wanted(self) -> Wanted:
        return Wanted.of(self.ruleset, append=self.append)

    @cached_property
    def baseline(self) -> Baseline:
        return Baseline(self.wanted, self.ruleset.sets, self.observed)

    @cached_property
    def absent(self) -> list[int]:
        """Families without anything of Felix, although the ruleset has them."""
        families = self.wanted.families.intersection(self.observed.families)
        return sorted(family for family in families if not has_felix(self.observed, family))

    def drafts(self) -> list[Merged]:
        """All differences; one that is the same in both families is given once."""
        merged: dict[tuple[object, ...], Merged] = {}
        for draft in self._drafts():
            key = _key(draft.finding)
            together = (draft.together,) if draft.together else ()
            one = Merged(draft.finding, (draft.damage,), together)
            merged[key] = _both(merged[key], one) if key in merged else one
        return list(merged.values())

    def notes(self) -> Iterator[str]:
        """Remarks on what could not be compared, and on rules that differ in spelling only."""
        yield from (f"{words}: perhaps more differs" for words in self.observed.leaves_open)
        for family in self.ruleset.families:
            if family not in self.observed.families:
                why = "cannot be read here" if self.observed.live else "were not given"
                yield f"rules of IPv{family} {why}, so they are not compared"
        if not self.observed.has_sets:
            yield "sets were not given, so they are not compared; --ipsets FILE adds them"
        elif self._unsure:
            yield "the node's addresses are not known, so sets this-host are not compared; give them with --interface"
        respelt = sum(view.respelt() for view in self._views)
        if respelt:
            yield f"{respelt} rules say the same in another spelling, as other releases of {self.respelling} print them"

    def beyond(self) -> Iterator[Finding]:
        """Differences for packets other than IP, with their effects, as `Judge` supports IP only."""
        return iter(())

    # --- tables

    @cached_property
    def _views(self) -> list[TableView]:
        """The tables of families with anything of Felix."""
        families = [family for family in self.observed.families if family not in self.absent]
        tables = [self.observed.state.table(family, name) for family in families for name in TABLES]
        spelling = self._spelling(tables)
        return [self._view(table, spelling) for table in tables]

    def _view(self, table: CurrentTable, spelling: Spelling) -> TableView:
        # Not a bound method of this comparison, which refers to its views: such a cycle would keep everything that was
        # read of the node in memory until a garbage collection.
        line_of = partial(self.observed.line, table.family, table.name)
        return TableView(table, self.wanted.table(table.family, table.name), spelling, line_of)

    def _spelling(self, tables: Iterable[CurrentTable]) -> Spelling:
        """The tools' spelling of rules with the right hash and another text."""
        changes = []
        for table in tables:
            suspects = tuple(self._view(table, NO_SPELLING).suspects())
            if suspects:
                changes.append(Transaction(table.family, table.name, (), (), suspects))
        return self.observed.respell(changes, self.wanted) if changes else NO_SPELLING

    def _drafts(self) -> Iterator[Draft]:
        for family in self.absent:
            chains = sum(len(table.chains) for (other, _), table in self.wanted.tables.items() if other == family)
            yield Draft(self._absent(family, chains), Damage(family, whole=True))
        for view in self._views:
            yield from self._inserts(view)
            yield from compare_chains(view)
        yield from self._more()
        if self.observed.has_sets:
            yield from self._sets()
        for backend, dump in self.observed.others.items():
            yield from self._beside(backend, dump)

    def _inserts(self, view: TableView) -> Iterator[Draft]:
        """The differences in Felix's rules in kernel chains."""
        return compare_inserts(view, self.baseline)

    def _absent(self, family: int, chains: int) -> Finding:
        return Finding(kind=KINDS["not-programmed"], families=(family,), wanted=many(chains, "chain"))

    def _more(self) -> Iterator[Draft]:
        """The differences that are specific to a data plane."""
        return iter(())

    # --- sets

    def _sets(self) -> Iterator[Draft]:
        """The differences in sets; none for families without anything of Felix."""
        there = self.observed.state.sets
        wanted = {
            name: ipset
            for name, ipset in self.wanted.sets.items()
            if self._has_sets_of(ipset.family) and (ipset.family not in self.absent or name in there)
        }
        yield from compare_sets(
            wanted, there, self.observed.dump.sets or {}, lambda: self.baseline.dump.sets or {}, self._unsure
        )

    def _has_sets_of(self, family: int) -> bool:
        """Whether sets of a family were given; ipset always lists both."""
        return True

    @property
    def _unsure(self) -> list[str]:
        """Names of sets that depend on the machine's interfaces, if these are unknown."""
        unknown = self.host.interfaces is None
        return [ipset.name for ipset in self.ruleset.sets if unknown and ipset.name.endswith("0this-host")]

    # --- other tables that packets pass as well

    def _beside(self, backend: str, dump: Dump | None) -> Iterator[Draft]:
        """A finding for rules of Felix in the other kind of iptables or data plane; `dump` is None if unknown."""
        if dump is None:
            kind, right = self._kind_beside(backend)
            finding = Finding(
                kind=kind, families=self.observed.families, wanted=right, there=f"rules in {backend} tables, too"
            )
            yield Draft(finding, Damage(4, unknown=True))
            return
        for family, tables in sorted(dump.tables.items()):
            chains = sum(bool(OWNED_CHAIN.match(name)) for table in tables.values() for name in table)
            if chains:
                kind, right = self._kind_beside(backend)
                there = f"{many(chains, 'chain')} of Felix in {backend} tables, too"
                finding = Finding(kind=kind, families=(family,), wanted=right, there=there)
                yield Draft(finding, Damage(family, beside=replace(dump, tables={family: tables})))

    def _kind_beside(self, backend: str) -> tuple[FindingKind, str]:
        planes = self.ruleset.dataplane, NFTABLES if backend == NFTABLES else "iptables"
        if planes[0] != planes[1]:
            return KINDS["other-data-plane"], f"rules of the {planes[0]} data plane only"
        return KINDS["two-backends"], f"rules in {self.observed.backend or 'one kind of'} tables only"

    def spelt(self, finding: Finding) -> Finding:
        """The finding with the names that the data plane's tools print."""
        return finding


def _key(finding: Finding) -> tuple[object, ...]:
    """A key that is equal for the same finding in both families: names of sets without the family's number."""
    texts = (of_any_family(text) for text in (finding.wanted, finding.there, *finding.details))
    return finding.kind.name, finding.table, finding.chain, finding.number, finding.set, finding.map, *texts


def _both(first: Merged, second: Merged) -> Merged:
    families = (*first.finding.families, *second.finding.families)
    return Merged(
        replace(first.finding, families=families),
        (*first.damages, *second.damages),
        (*first.together, *second.together),
    )
