"""Whether a node has the rules and sets that the manifests give, and what every difference means for traffic.

    observed      what is there, live or saved
    era           which Felix made it
    alignment     which rule of a chain is which
    wording       what a rule says, apart from its spelling
    chains        chains of Felix and their rules
    hooks         Felix's rules in the kernel's chains, and rules of others above them
    sets          IP sets and their members
    comparison    all differences of a node
    baseline      the node with everything right, and with one thing wrong
    probes        packets worth trying
    consequences  what a difference means for them
    naming        whom chains, rules and sets belong to
    report        all of it as text and JSON

What counts as different is what ``felixpy apply`` would write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.dialects import DIALECTS
from felixpy.errors import Problem
from felixpy.model import Host
from felixpy.ruleset import Ruleset
from felixpy.trace.addresses import AddressBook
from felixpy.trace.nodes import NodeRules, machine_of
from felixpy.trace.parties import Directory
from felixpy.verify.baseline import Damage
from felixpy.verify.comparison import Comparison
from felixpy.verify.consequences import Judge
from felixpy.verify.era import Era, likeliest, strange
from felixpy.verify.finding import KINDS, Effect, Finding, Severity
from felixpy.verify.naming import Naming
from felixpy.verify.observed import Observed, observe_live, observe_saved

__all__ = ["Finding", "Node", "Observed", "Severity", "Verification", "observe_live", "observe_saved", "verify"]

MOST_JUDGED = 40
"""For so many findings packets are tried; a node with more is in another state altogether."""

UNTRIED = Effect(Severity.LETS_THROUGH, f"not tried: packets are sent for {MOST_JUDGED} findings only", certain=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The node as the manifests have it: how to compile it, for which machine, with which settings."""

    name: str
    compiler: Compiler
    host: Host
    settings: Sequence[Setting] = ()

    def as_of(self, dialect: str) -> Node:
        """The same node under another Felix. Raises InputError for policies that it has no words for."""
        return replace(self, compiler=Compiler(self.compiler.cluster, DIALECTS[dialect]))

    def ruleset(self) -> Ruleset:
        return self.compiler.compile(self.name, self.host, self.settings)

    @property
    def appends(self) -> bool:
        """Whether hooks stand below the rules of others (chainInsertMode Append)."""
        return self.compiler.config(self.name, self.settings).chain_insert_mode == "append"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The answer. `rules`, `chains` and `sets` count what was compared, `notes` say what was not."""

    node: str
    words: str
    dialect: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    rules: int
    chains: int
    sets: int
    warnings: tuple[Problem, ...] = ()
    """What compiling had to remark."""

    @property
    def equal(self) -> bool:
        return not self.findings


def verify(observed: Observed, node: Node) -> Verification:
    """Compare what is there with what should be. Raises InputError and UsageError as compiling does."""
    ruleset = node.ruleset()
    era = likeliest(observed.state, ruleset, lambda dialect: node.as_of(dialect).ruleset(), observed.text)
    found: list[Finding] = []
    if era.dialect != ruleset.dialect:
        found.append(_other_dialect(era, ruleset.dialect, observed))
        node = node.as_of(era.dialect)
        ruleset = node.ruleset()
    comparison = Comparison(observed, ruleset, append=node.appends, host=node.host)
    found.extend(_judged(comparison, node))
    tables = [table for (family, _), table in ruleset.tables.items() if family in observed.families]
    return Verification(
        node=node.name,
        words=observed.words,
        dialect=ruleset.dialect,
        findings=tuple(sorted(found, key=_urgency)),
        notes=tuple(filter(None, (strange(era, observed.text), *comparison.notes()))),
        warnings=ruleset.findings,
        rules=sum(len(chain.bodies) for table in tables for chain in table.all_chains()),
        chains=sum(len(table.chains) for table in tables),
        sets=len(ruleset.sets) if observed.has_sets else 0,
    )


def _urgency(finding: Finding) -> tuple[object, ...]:
    """Worst first; then the sure before the unsure, then by class and place."""
    effect, kind = finding.effect, finding.kind
    place = finding.families, finding.table, finding.chain, finding.number, finding.set
    return effect.severity, not effect.certain, kind.rank, place


def _other_dialect(era: Era, asked: str, observed: Observed) -> Finding:
    return Finding(
        kind=KINDS["other-dialect"],
        families=observed.families,
        wanted=f"Felix {asked}",
        there=f"Felix {era.dialect}",
        details=(f"{era}; --dialect {era.dialect} says that this is meant",),
    )


def _judged(comparison: Comparison, node: Node) -> Iterator[Finding]:
    """Findings with whom they are about and what they mean."""
    drafts = sorted(comparison.drafts(), key=lambda draft: draft.finding.kind.rank)
    if not drafts:
        return
    cluster = node.compiler.cluster
    naming = Naming(cluster, comparison.ruleset, node.compiler.dialect)
    book = AddressBook(cluster, {node.name: node.host}, [node.name])
    machine = machine_of(cluster, node.name, node.host, book)
    right = NodeRules(node.name, comparison.baseline.dump, machine, naming.index)
    judge = Judge(comparison.baseline, right, Directory(cluster, book, node.name), naming.legend)
    judged: dict[tuple[object, ...], list[Finding]] = {}
    several: dict[tuple[object, ...], tuple[Damage, ...]] = {}
    for number, draft in enumerate(drafts):
        finding = naming.named(draft.finding)
        effect = UNTRIED
        if number < MOST_JUDGED or not any(damage.does_something for damage in draft.damages):
            concern = naming.concern(finding)
            effect = _worst(judge.effect(damage, concern) for damage in draft.damages)
        judged.setdefault(finding.spot, []).append(replace(finding, effect=effect))
        several[finding.spot] = draft.together
    for spot, findings in judged.items():
        if several[spot] and all(finding.effect.severity is Severity.NO_EFFECT for finding in findings):
            effect = _worst(judge.effect(damage, naming.concern(findings[0])) for damage in several[spot])
            effect = effect._replace(words=f"{effect.words}, all of them together")
            yield from (replace(finding, effect=effect) for finding in findings)
        else:
            yield from findings


def _worst(effects: Iterable[Effect]) -> Effect:
    """The first effect that is any; else the last."""
    found = list(effects)
    return next((effect for effect in found if effect.severity is not Severity.NO_EFFECT), found[-1])
