"""Compare a node's rules and sets with the manifests, and compute the effect of every difference on traffic.

    observed      the node's current state, live or saved
    live          reading a live kernel
    versions      the Calico version of the current rules
    alignment     pairing the wanted and the current rules of a chain
    chains        differences in Felix's chains
    inserts       differences in Felix's rules in kernel chains, and foreign rules above them
    sets          differences in IP sets and their members
    comparison    all differences of a node
    baseline      the node without differences, and with one of them
    judge         the effect of a difference on traffic
    changed       the packets affected, by sender and receiver
    finding       the values that findings consist of
    naming        the objects that chains, rules and sets belong to
    fleet         all nodes of a cluster
    report        text and JSON
    nftables      the same for nodes with the nftables data plane

A difference is anything that ``felixpy apply`` would change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

from felixpy.calico_versions import CALICO_VERSIONS
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.described import Answer
from felixpy.errors import Problem
from felixpy.model import Host
from felixpy.netfilter.rules import Dump
from felixpy.netfilter.together import together
from felixpy.ruleset import ARP, Ruleset
from felixpy.verification.baseline import BESIDE, Damage
from felixpy.verification.comparison import Comparison
from felixpy.verification.finding import HARMLESS, KINDS, Effect, Finding, Severity
from felixpy.verification.nftables.comparison import ListedComparison
from felixpy.verification.nftables.observed import ListedNode, observe_listing
from felixpy.verification.observed import Observed, observe_live, observe_saved
from felixpy.verification.versions import VersionMatch, likeliest, strange

if TYPE_CHECKING:
    from felixpy.verification.judge import Judge
    from felixpy.verification.naming import Naming

__all__ = [
    "Finding", "Node", "Observed", "Severity", "Verification",
    "observe_listing", "observe_live", "observe_saved", "verify",
]  # fmt: skip

MOST_JUDGED = 100
"""The most findings that are evaluated one by one; a node with more is in another state altogether."""

MOST_QUESTIONS = 20_000
"""Once so much was asked about findings one by one, no further one is judged: some seconds, whatever the machine."""

UNTRIED = Effect(
    Severity.UNKNOWN,
    "not judged by itself, as there is too much to judge; what all findings do together is",
    certain=False,
    kind="unknown",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node to compare: its name, compiler, interfaces and settings."""

    name: str
    compiler: Compiler
    host: Host
    settings: Sequence[Setting] = ()

    def as_of(self, calico_version: str) -> Node:
        """The same node for another Calico version. Raises InputError for policies that it cannot express."""
        return replace(self, compiler=Compiler(self.compiler.cluster, CALICO_VERSIONS[calico_version]))

    def ruleset(self) -> Ruleset:
        return self.compiler.compile(self.name, self.host, self.settings)

    @property
    def appends(self) -> bool:
        """Whether inserts come after foreign rules (chainInsertMode Append)."""
        return self.compiler.config(self.name, self.settings).chain_insert_mode == "append"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Verification(Answer):
    """The result. `rules`, `chains` and `sets` are the numbers compared, `notes` say what was not compared.

    `together` is the effect of all findings together: some have none alone.
    """

    node: str
    words: str
    dataplane: str
    calico_version: str
    findings: tuple[Finding, ...]
    together: Effect
    notes: tuple[str, ...]
    rules: int
    chains: int
    sets: int
    warnings: tuple[Problem, ...] = ()
    """What compiling had to remark."""

    def _lines(self) -> Iterable[str]:
        from felixpy.verification.report import text

        return text(self)

    @property
    def equal(self) -> bool:
        return not self.findings


def verify(observed: Observed, node: Node) -> Verification:
    """Compare the current state with the compiled node. Raises InputError and UsageError as compiling does."""
    ruleset = node.ruleset()
    matched = likeliest(
        observed.state, ruleset, lambda calico_version: node.as_of(calico_version).ruleset(), observed.text
    )
    found: list[Finding] = []
    if matched.calico_version != ruleset.calico_version:
        found.append(_other_version(matched, ruleset.calico_version, observed))
        node = node.as_of(matched.calico_version)
        ruleset = node.ruleset()
    observed = observed.completed(ruleset)
    kind = ListedComparison if isinstance(observed, ListedNode) else Comparison
    comparison = kind(observed, ruleset, append=node.appends, host=node.host)  # type: ignore[arg-type]
    judged, together = _judged(comparison, node)
    beyond = list(comparison.beyond())
    found.extend((*judged, *beyond))
    together = reduce(_joined, (finding.effect for finding in beyond), together)
    tables = [
        table
        for (family, name), table in ruleset.tables.items()
        if family in observed.families and name not in (ARP, *observed.not_given.get(family, ()))
    ]
    return Verification(
        node=node.name,
        words=observed.words,
        dataplane=ruleset.dataplane,
        calico_version=ruleset.calico_version,
        findings=tuple(comparison.spelt(finding) for finding in sorted(found, key=_urgency)),
        together=together,
        notes=tuple(filter(None, (strange(matched, observed.text), *comparison.notes()))),
        warnings=ruleset.findings,
        rules=sum(len(chain.bodies) for table in tables for chain in table.all_chains()),
        chains=sum(len(table.chains) for table in tables),
        sets=len(ruleset.sets) if observed.has_sets else 0,
    )


def _joined(together: Effect, other: Effect) -> Effect:
    """The combined effect of findings on IP packets and of one on other packets."""
    worse, better = sorted((together, other), key=lambda effect: effect.severity)
    if {worse.kind, better.kind} == {"opens", "closes"}:
        return worse._replace(kind="both", words=f"{worse.words}; {better.words}")
    return worse


def _urgency(finding: Finding) -> tuple[object, ...]:
    """A sort key for findings: most severe first, certain before uncertain, then by class and place."""
    effect, kind = finding.effect, finding.kind
    place = finding.families, finding.table, finding.chain, finding.number, finding.set, finding.map
    return effect.severity, not effect.certain, kind.rank, place


def _other_version(matched: VersionMatch, asked: str, observed: Observed) -> Finding:
    return Finding(
        kind=KINDS["other-version"],
        families=observed.families,
        wanted=f"Felix {asked}",
        there=f"Felix {matched.calico_version}",
        details=(f"{matched}; --calico-version {matched.calico_version} says that this is meant",),
    )


def _judged(comparison: Comparison, node: Node) -> tuple[list[Finding], Effect]:
    """The findings with their subjects and effects, and the effect of all of them together."""
    drafts = sorted(comparison.drafts(), key=lambda draft: draft.finding.kind.rank)
    if not drafts:
        return [], HARMLESS
    from felixpy.verification.naming import Naming

    naming = Naming(node.compiler.cluster, comparison.ruleset, node.compiler.calico_version)
    judge = _judge(comparison, node, naming, [damage for draft in drafts for damage in draft.damages])
    judged: dict[tuple[object, ...], list[Finding]] = {}
    several: dict[tuple[object, ...], tuple[Damage, ...]] = {}
    for number, draft in enumerate(drafts):
        finding = naming.named(draft.finding)
        effect = UNTRIED
        tried = number < MOST_JUDGED and judge.questions < MOST_QUESTIONS
        if tried or not any(damage.does_something for damage in draft.damages):
            effect = judge.effect(draft.damages)
        judged.setdefault(finding.spot, []).append(replace(finding, effect=effect))
        several[finding.spot] = draft.together
    found: list[Finding] = []
    for spot, findings in judged.items():
        if several[spot] and all(finding.effect.severity is Severity.NO_EFFECT for finding in findings):
            effect = judge.effect(several[spot])
            effect = effect._replace(words=f"{effect.words}, all of them together")
            findings = [replace(finding, effect=effect) for finding in findings]
        found.extend(findings)
    return found, _together(comparison, judge, found)


def _judge(comparison: Comparison, node: Node, naming: Naming, damages: Sequence[Damage]) -> Judge:
    # Most nodes have no differences, and then the engine for effects is not needed.
    from felixpy.topology.addresses import AddressBook
    from felixpy.topology.endpoints import Directory
    from felixpy.topology.nodes import NodeRules, machine_of
    from felixpy.verification.judge import Judge

    cluster = node.compiler.cluster
    book = AddressBook(cluster, {node.name: node.host}, [node.name])
    machine = machine_of(cluster, node.name, node.host, book)
    right = NodeRules(node.name, comparison.baseline.dump, machine, naming.index)
    known = frozenset(
        family for family in (4, 6)
        if node.host.interfaces is not None or book.address(node.name, family) not in book.assumed
    )  # fmt: skip
    return Judge(comparison.baseline, right, Directory(cluster, book, node.name), naming.legend, known, tuple(damages))


def _together(comparison: Comparison, judge: Judge, findings: Sequence[Finding]) -> Effect:
    """The effect of all differences together: the whole current state, compared with the whole wanted one."""
    if len(findings) == 1:
        return findings[0].effect
    beside = [finding.effect for finding in findings if finding.kind.name in ("two-backends", "other-data-plane")]
    unknown = next((effect for effect in beside if effect.severity is Severity.UNKNOWN), None)
    if unknown:
        return unknown
    return judge.effect([_whole(comparison.observed, family) for family in comparison.observed.families])


def _both(one: Dump, other: Dump) -> Dump:
    return together(one, other, BESIDE)


def _whole(observed: Observed, family: int) -> Damage:
    """The whole current state of a family as one damage, including Felix's tables in another backend."""
    others = [dump for dump in observed.others.values() if dump and family in dump.tables]
    return Damage(family, whole=True, beside=reduce(_both, others) if others else None)
