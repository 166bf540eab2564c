"""The policies that matched in a walk, in the form of Calico's flow logs.

A flow log has one record for each end: egress at the source, ingress at the destination. Its hits are, for each tier
that the packet reached, the deciding rule, else the end of the tier, and the profile.
(felix/collector, goldmane/proto)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from felixpy.decode.legend import CHAIN_KINDS, Direction, Legend, chain_prefix
from felixpy.decode.phrases import rule_words
from felixpy.errors import Path, Place
from felixpy.model import DEFAULT_TIER
from felixpy.netfilter.actions import SetMark
from felixpy.netfilter.criteria import Marked
from felixpy.netfilter.rules import Rule, Table
from felixpy.plan.policies import GROUP_PREFIXES, PROFILE_PREFIXES
from felixpy.topology.nodes import NodeRules
from felixpy.walk import Step

Action = Literal["Allow", "Deny", "Pass"]

PROFILES = tuple(PROFILE_PREFIXES.values())
GROUPS = tuple(GROUP_PREFIXES.values())
END_OF_TIER, PROFILE = "EndOfTier", "Profile"

KINDS: Mapping[str, str] = {"NetworkPolicy": "CalicoNetworkPolicy", "KubernetesNetworkPolicy": "NetworkPolicy"}
"""Kinds that flow logs spell otherwise than Felix."""

CLUSTER_POLICY = "KubernetesClusterNetworkPolicy"
CLUSTER_KINDS: Mapping[str, str] = {
    "kube-admin": "ClusterNetworkPolicyAdminTier",
    "kube-baseline": "ClusterNetworkPolicyBaselineTier",
}
"""Cluster policies by their tier."""

PENDING = "Pending"
"""The replacement of "Staged" in the kind of a policy that is tried as if it were enforced."""

_TITLE = re.compile(r"(\w+) (?:([^/ ]+)/)?(\S+) (?:ingress|egress)")
_START = re.compile(r"Start of (?:tier (\S+)|policies)")
_END = re.compile(r"(?:End of tier (\S+)\. )?\w+ if no policies passed packet")
_NO_PROFILE = re.compile(r"\w+ if no profiles matched")
_ACCEPTED = re.compile(r"Return if (?:policy|profile) accepted")
_FLOW_LOG = re.compile(r"[ADP][PR][IE](\d+)\|")


class PolicyOwner(NamedTuple):
    """Kind, namespace and name of a policy as Felix spells them; a profile has only a name."""

    kind: str
    namespace: str
    name: str
    tier: str = ""

    def __str__(self) -> str:
        kind = self.kind.replace(PENDING, "Staged")
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """The verdict of one policy, profile or tier. `rule` counts from 0, None if unknown in a dump; -1: end of tier.

    `matched` is the step whose criteria matched, `step` the one that acted on it: a denial takes two rules.
    """

    owner: PolicyOwner
    tier: str
    action: Action
    rule: int | None
    step: Step
    matched: Step
    trigger: PolicyOwner | None = None
    path: Path = ()
    place: Place | None = None
    says: str = ""
    """The rule in words, "" if it is unknown in a dump."""

    def record(self, index: int) -> dict[str, object]:
        """The hit as in flow logs; `index` is its position among those of its end."""
        trigger = None if self.trigger is None else _record(self.trigger, self.tier, 0, 0)
        record = _record(self.owner, "" if self.owner.kind == PROFILE else self.tier, index, self.rule)
        return {**record, "action": self.action, "trigger": trigger}


def _record(owner: PolicyOwner, tier: str, index: int, rule: int | None) -> dict[str, object]:
    """The record of a hit; flow logs leave out the tier at the beginning of Calico policies' names."""
    kind = CLUSTER_KINDS.get(tier, owner.kind) if owner.kind == CLUSTER_POLICY else owner.kind
    return {
        "kind": KINDS.get(kind, kind.replace(PENDING, "Staged")),
        "name": owner.name.removeprefix(f"{tier}."),
        "namespace": owner.namespace,
        "tier": tier,
        "action": "ActionUnspecified",
        "policy_index": index,
        "rule_index": rule,
        "trigger": None,
    }


@dataclass(slots=True, kw_only=True)
class Asked:
    """One endpoint whose chain a walk passed, with the hits there. `first` is the first step in the chain."""

    first: Step
    chain: str
    name: str
    kind: Literal["pod", "host"]
    direction: Direction
    forward: bool
    table: str
    hits: list[Hit] = field(default_factory=list)
    decided: bool = False
    """Whether the packet was allowed or denied here; otherwise it went on, or was of a known connection."""


def asked(steps: Iterable[Step], node: NodeRules, family: int, legend: Legend) -> list[Asked]:
    """The endpoints whose chains a walk passed, in order."""
    reader = _Reader(node, node.dump.tables[family], legend)
    for step in steps:
        if step.applied:
            reader.read(step)
    reader.close()
    return reader.ends


class _Reader:
    """Reads the steps that applied. `end` is the endpoint whose chain the packet is in, `depth` the depth of that."""

    def __init__(self, node: NodeRules, tables: Mapping[str, Table], legend: Legend) -> None:
        self.node, self.tables, self.legend = node, tables, legend
        self.ends: list[Asked] = []
        self.end: Asked | None = None
        self.depth = 0
        self.tier = ""
        self.accept = self.passed = 0
        self.before: Step | None = None
        """The step before in the same chain, among those that applied."""

    def read(self, step: Step) -> None:
        kind = CHAIN_KINDS.get(chain_prefix(step.chain))
        if kind is None:
            if self.end and step.depth > self.depth:  # the failsafe chains are called from the endpoint's
                self.end.decided |= bool(step.outcome)
            else:
                self.close()
        elif kind.owner in ("pod", "host"):
            if self.end is None or (self.end.chain, self.end.table) != (step.chain, step.table):
                self._open(step)
            self._endpoint(step)
        elif kind.owner in ("policy", "profile") and self.end:
            self._policy(step)

    def close(self) -> None:
        self._end_of_tier()
        self.end, self.tier = None, ""

    def _open(self, step: Step) -> None:
        self.close()
        kind = CHAIN_KINDS[chain_prefix(step.chain)]
        subject = self.legend.chain(step.chain, self.node.name if self.node.index else "")
        interface = step.chain[len(chain_prefix(step.chain)) :]
        name = subject.name if subject else f"{'pod behind' if kind.owner == 'pod' else 'host interface'} {interface}"
        self.end = Asked(
            first=step,
            chain=step.chain,
            name=name,
            kind="pod" if kind.owner == "pod" else "host",
            direction=kind.direction,
            forward=kind.forward,
            table=step.table,
        )
        self.ends.append(self.end)
        self.depth = step.depth
        self.accept, self.passed = _bits(self.tables[step.table][step.chain].rules)

    # --- the endpoint's own chain

    def _endpoint(self, step: Step) -> None:
        assert self.end
        words = _words(step.rule)
        start, end = _START.fullmatch(words), _END.fullmatch(words)
        if start:
            self._end_of_tier()
            self.tier, self.tries = start[1] or DEFAULT_TIER, step
        elif step.rule.target.startswith(PROFILES):
            self._end_of_tier()
            self.tier = ""
        elif end and step.outcome:
            owner = PolicyOwner(END_OF_TIER, "", "")
            self._add(owner, step, "Deny", rule=-1, tier=end[1] or DEFAULT_TIER, trigger=self._trigger(step))
            self.tier = ""
        elif _NO_PROFILE.fullmatch(words) and step.outcome:
            self._add(PolicyOwner(PROFILE, "", ""), step, "Deny", rule=-1)
        elif step.outcome:
            self.end.decided = True

    def _end_of_tier(self) -> None:
        """Add a pass for a tier that the packet left without a verdict of its policies and without a denial."""
        if self.end and self.tier and not any(hit.tier == self.tier for hit in self.end.hits):
            trigger = self._trigger(self.tries)
            if trigger and not self.end.decided:
                self._add(
                    PolicyOwner(END_OF_TIER, "", ""), self.tries, "Pass", rule=-1, tier=self.tier, trigger=trigger
                )
        self.tier = ""

    def _trigger(self, step: Step) -> PolicyOwner | None:
        """The last policy of the tier, which flow logs name for the end of the tier."""
        table = self.tables[step.table]
        last, inside = "", False
        for rule in table[step.chain].rules:
            words = _words(rule)
            start = _START.fullmatch(words)
            if rule.target.startswith(PROFILES):
                break
            if start:
                inside = (start[1] or DEFAULT_TIER) == self.tier
            elif inside and chain_prefix(rule.target):
                last = rule.target
        if last.startswith(GROUPS):
            last = next((rule.target for rule in reversed(table[last].rules) if chain_prefix(rule.target)), last)
        return self._owner(last, table) if last else None

    # --- chains of policies and profiles

    def _policy(self, step: Step) -> None:
        """Add a hit for a rule that sets the mark of a verdict, or drops the packet."""
        action: Action | None = "Deny" if step.outcome else None
        if isinstance(change := step.rule.body.action, SetMark):
            verdicts: dict[int, Action] = {self.accept: "Allow", self.passed: "Pass"}
            action = verdicts.get(change.value) if change.value and change.value & ~change.mask == 0 else None
        if action:
            owner = self._owner(step.chain, self.tables[step.table])
            self._add(owner, step, action, tier=owner.tier or self.tier)
        self.before = step

    def _owner(self, chain: str, table: Table) -> PolicyOwner:
        """The owner of a chain: from the manifests, else from the comment on its first rule, else from its name."""
        subject = self.legend.chain(chain)
        if subject and subject.policy:
            return PolicyOwner(*subject.policy.key, subject.policy.tier)
        if subject and subject.profile:
            return PolicyOwner(PROFILE, "", subject.profile)
        for rule in table[chain].rules[:1]:
            found = _TITLE.fullmatch(rule.comments[-1]) if rule.comments else None
            if found:
                return PolicyOwner(found[1], found[2] or "", found[3])
        kind = PROFILE if chain.startswith(PROFILES) else "policy"
        return PolicyOwner(kind, "", chain[len(chain_prefix(chain)) :])

    def _add(
        self,
        owner: PolicyOwner,
        step: Step,
        action: Action,
        *,
        rule: int | None = None,
        tier: str = "",
        trigger: PolicyOwner | None = None,
    ) -> None:
        assert self.end
        path: Path = ()
        place, says = None, ""
        found = self.node.index.rules.get(step.rule.identity) if self.node.index else None
        if found and found.chain.name == step.chain and found.number >= 0 and rule is None:
            rule, path, place = found.number, found.path, found.place(self.legend.cluster)
            rules = found.chain.origin.rules
            # A profile that does not exist denies without a policy rule.
            says = rule_words(rules[rule], self.end.direction) if rule < len(rules) else ""
        elif rule is None:
            rule = self._logged(step)
        self.end.hits.append(
            Hit(
                owner=owner,
                tier=tier,
                action=action,
                rule=rule,
                step=step,
                matched=self._matched(step),
                trigger=trigger,
                path=path,
                place=place,
                says=says,
            )
        )
        self.end.decided = action != "Pass"

    def _matched(self, step: Step) -> Step:
        """The step that matched: for a rule that only tests the mark of the rule above it, that rule's step."""
        before = self.before
        marked = before and before.chain == step.chain and before.rule.target in ("MARK", "NFLOG")
        return before if before and marked and step.outcome and step.rule.number > 1 else step

    def _logged(self, step: Step) -> int | None:
        """The number that flow logs give the rule, from the NFLOG rule right above or below."""
        near = slice(max(step.rule.number - 2, 0), step.rule.number + 1)
        for rule in self.tables[step.table][step.chain].rules[near]:
            for option in rule.arguments:
                found = _FLOW_LOG.match(" ".join(option.values)) if option.name == "--nflog-prefix" else None
                if found:
                    return int(found[1])
        return None


def _words(rule: Rule) -> str:
    """The comments of an endpoint's rule, without its hash."""
    return next((text for text in rule.comments if not text.startswith("cali:")), "")


def _bits(rules: Iterable[Rule]) -> tuple[int, int]:
    """The mark bits for accepted and passed, from the rules of an endpoint that test or clear them."""
    accept = passed = 0
    for rule in rules:
        words = _words(rule)
        if not accept and _ACCEPTED.fullmatch(words):
            tested = (test.criterion for test in rule.body.tests)
            accept = next((mark.mark for mark in tested if isinstance(mark, Marked)), 0)
        elif not passed and _START.fullmatch(words) and isinstance(change := rule.body.action, SetMark):
            passed = change.mask
    return accept, passed
