"""Chains of policies, profiles and policy groups. (felix/rules/policy.go, profiles.go)"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from types import SimpleNamespace
from typing import NamedTuple
from weakref import WeakValueDictionary

from msgspec import Struct, field

from felixpy.iptables.fields import MAX_KERNEL_COMMENT
from felixpy.marks import spell
from felixpy.match import Block, first_mark, match
from felixpy.model import SHORT_KINDS, Rule, Source
from felixpy.names import comment, group_uid, nflog_prefix
from felixpy.plan.facts import NFLOG_GROUPS, RuleContext
from felixpy.plan.values import ChainPlan, Facts
from felixpy.resolve import ActivePolicy, ActiveProfile
from felixpy.rules import ActiveRule, activate
from felixpy.ruleset import Origin

GROUP_STEP = 5
"""In a group chain every fifth policy is jumped to without testing the mark, after a rule that returns if decided."""

ACTIONS = {"allow": "allow", "": "allow", "deny": "deny", "log": "log", "next-tier": "pass", "pass": "pass"}
NFLOG_LETTERS = {"allow": "A", "deny": "D", "pass": "P"}

POLICY_PREFIXES = {"ingress": "cali-pi-", "egress": "cali-po-"}
PROFILE_PREFIXES = {"ingress": "cali-pri-", "egress": "cali-pro-"}
GROUP_PREFIXES = {"ingress": "cali-gi-", "egress": "cali-go-"}
GROUP_DIRECTIONS = {"ingress": "inbound", "egress": "outbound"}

_DENY = activate(0, Rule(action="deny"))
"""The one rule of a profile that does not exist."""


class RuleFacts(NamedTuple):
    """One policy rule in its template; texts begin with a space."""

    number: int
    action: str
    comments: str
    match: str
    blocks: Sequence[Block]
    first_mark: str
    nflog: str


class PolicyFacts(Facts, frozen=True, kw_only=True, eq=False):
    """One direction of a policy or profile. `nflog_options` and `log_limit` begin with a space."""

    mark: SimpleNamespace
    deny: str
    rules: Sequence[RuleFacts]
    nflog_group: int
    nflog_options: str
    log_limit: str
    log_prefix: str


class GroupMember(NamedTuple):
    """One policy of a group: its chain, and the condition for jumping to it."""

    chain: str
    leads: bool
    may_be_decided: bool


class GroupFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Policies with one selector, in their order."""

    mark: SimpleNamespace
    policies: Sequence[GroupMember]


class Jumps(NamedTuple):
    """The chains that an endpoint's tier jumps to, and those of groups among them."""

    targets: Sequence[str]
    groups: Sequence[ChainPlan]


class _Subject(Struct, frozen=True):
    """The owner of rules: its chain, names for logs and comments, and source."""

    chain: str
    title: str
    id: str
    letter: str
    log_names: tuple[str, str, str, str]
    """The values of %k, %n, %p and %t in a log prefix."""
    words: str
    source: Source | None
    rules: tuple[Rule, ...]


class PolicyChains(Struct, eq=False):
    """Plans chains of policies and profiles, each only once for all nodes with the same context."""

    context: RuleContext
    _known: dict[tuple[ActivePolicy | ActiveProfile, str, int], ChainPlan] = field(default_factory=dict)
    _names: dict[tuple[ActivePolicy, str], str] = field(default_factory=dict)
    _profile_names: dict[tuple[str, str], str] = field(default_factory=dict)
    _facts: WeakValueDictionary[Hashable, PolicyFacts] = field(default_factory=WeakValueDictionary)
    _jumps: dict[tuple[tuple[ActivePolicy, ...], str], Jumps] = field(default_factory=dict)

    def profile_name(self, profile: str, direction: str) -> str:
        """The name of the chain of one direction of a profile."""
        key = (profile, direction)
        if key not in self._profile_names:
            self._profile_names[key] = self.context.chain(PROFILE_PREFIXES[direction], profile)
        return self._profile_names[key]

    def name(self, policy: ActivePolicy, direction: str) -> str:
        """The name of the chain of one direction of a policy."""
        key = (policy, direction)
        if key not in self._names:
            suffix = self.context.calico_version.policy_id(policy.policy)
            self._names[key] = self.context.chain(POLICY_PREFIXES[direction], suffix)
        return self._names[key]

    def policy(self, policy: ActivePolicy, direction: str, family: int) -> ChainPlan:
        """The chain of one direction of a policy."""
        known = self._known.get((policy, direction, family))
        if known is None:
            known = self._known[policy, direction, family] = self._draw(
                self._policy_subject(policy, direction),
                policy.inbound if direction == "ingress" else policy.outbound,
                direction,
                family,
                self._known.get((policy, direction, 10 - family)),
                logs_flows=not policy.policy.do_not_track,
            )
        return known

    def profile(self, profile: ActiveProfile, direction: str, family: int) -> ChainPlan:
        """The chain of one direction of a profile; a profile that does not exist denies."""
        known = self._known.get((profile, direction, family))
        if known is None:
            if profile.profile is None:
                rules: tuple[ActiveRule, ...] = (_DENY,)
            else:
                rules = profile.inbound if direction == "ingress" else profile.outbound
            known = self._known[profile, direction, family] = self._draw(
                self._profile_subject(profile, direction),
                rules,
                direction,
                family,
                self._known.get((profile, direction, 10 - family)),
            )
        return known

    def forget(self, gone: ActivePolicy | ActiveProfile) -> None:
        """Drop the chains of a policy or profile that was removed."""
        for key in [key for key in self._known if key[0] is gone]:
            del self._known[key]
        if isinstance(gone, ActiveProfile):
            for direction in PROFILE_PREFIXES:
                self._profile_names.pop((gone.name, direction), None)
        else:
            for direction in POLICY_PREFIXES:
                self._names.pop((gone, direction), None)
        self._jumps = {key: jumps for key, jumps in self._jumps.items() if gone not in key[0]}

    def _policy_subject(self, active: ActivePolicy, direction: str) -> _Subject:
        policy, calico_version = active.policy, self.context.calico_version
        key = policy.key
        full = f"{key.namespace}/{key.name}" if key.namespace else key.name
        return _Subject(
            chain=self.name(active, direction),
            title=f"{calico_version.policy_title(policy)} {direction}" if calico_version.policy_title else "",
            id=calico_version.nflog_id(policy),
            letter="P",
            log_names=(SHORT_KINDS.get(key.kind, key.kind), key.name, full, policy.tier),
            words=f"{key}, tier {policy.tier}, {direction}",
            source=policy.source,
            rules=policy.inbound if direction == "ingress" else policy.outbound,
        )

    def _profile_subject(self, active: ActiveProfile, direction: str) -> _Subject:
        name, profile = active.name, active.profile
        rules = () if profile is None else profile.inbound if direction == "ingress" else profile.outbound
        return _Subject(
            chain=self.profile_name(name, direction),
            title=f"Profile {name} {direction}" if self.context.calico_version.policy_title else "",
            id=name,
            letter="R",
            log_names=("pro", name, name, ""),
            words=f"Profile {name}, {direction}" + ("" if profile else " (does not exist: denies)"),
            source=profile.source if profile else None,
            rules=rules,
        )

    def _draw(
        self,
        subject: _Subject,
        rules: Iterable[ActiveRule],
        direction: str,
        family: int,
        other: ChainPlan | None,
        *,
        logs_flows: bool = True,
    ) -> ChainPlan:
        """The chain of one family; the chain of the `other` family if they are equal."""
        flow_logs = self.context.config.flow_logs and logs_flows
        drawn = (self._rule(subject, rule, direction, family, flow_logs=flow_logs) for rule in rules)
        log_prefix = _log_prefix(self.context.config.log_prefix or "calico-packet", subject.log_names)
        content = direction, log_prefix, tuple(rule for rule in drawn if rule)
        facts = known = self._facts.get(content)
        if facts is None:
            facts = self._facts[content] = self._policy_facts(*content)
        elif other and other.facts is facts:
            return other
        title = comment(subject.title)
        return ChainPlan(
            name=subject.chain,
            template="cali-pi",
            facts=facts,
            origin=Origin(words=subject.words, source=subject.source, rules=subject.rules),
            title=title,
            shared=known is not None and len(title.encode()) <= MAX_KERNEL_COMMENT,
        )

    def _policy_facts(self, direction: str, log_prefix: str, rules: Sequence[RuleFacts]) -> PolicyFacts:
        context = self.context
        return PolicyFacts(
            mark=context.mark,
            deny=context.deny,
            rules=rules,
            nflog_group=NFLOG_GROUPS[direction],
            nflog_options=context.nflog_options,
            log_limit=context.log_limit,
            log_prefix=log_prefix,
        )

    def _rule(
        self, subject: _Subject, active: ActiveRule, direction: str, family: int, *, flow_logs: bool
    ) -> RuleFacts | None:
        all_blocks = self.context.mark.scratch0
        matched = match(active, family, all_blocks)
        if matched is None:
            return None
        action = ACTIONS[active.rule.action]
        nflog = ""
        if flow_logs and action in NFLOG_LETTERS:
            head = f"{NFLOG_LETTERS[action]}{subject.letter}{direction[0].upper()}{active.number}"
            nflog = nflog_prefix(f"{head}|{subject.id}")
        return RuleFacts(
            number=active.number,
            action=action,
            comments="".join(
                f' -m comment --comment "{comment(f"{key}={value}")}"' for key, value in active.rule.annotations
            ),
            match=matched.text,
            blocks=matched.blocks,
            first_mark=first_mark(matched.blocks, all_blocks) if matched.blocks else spell(0),
            nflog=nflog,
        )

    def jumps(self, policies: tuple[ActivePolicy, ...], direction: str) -> Jumps:
        """The chains that an endpoint's tier jumps to for these policies, and the group chains among them.

        Consecutive policies with the same selector form a group; staged ones are part of its name but have no jumps.
        """
        key = (policies, direction)
        if key not in self._jumps:
            self._jumps[key] = self._find_jumps(policies, direction)
        return self._jumps[key]

    def _find_jumps(self, policies: Iterable[ActivePolicy], direction: str) -> Jumps:
        if not self.context.calico_version.groups_policies:
            return Jumps([self.name(p, direction) for p in policies if not p.policy.staged], [])
        targets: list[str] = []
        groups: list[ChainPlan] = []
        for selector, members in groupby(policies, key=lambda policy: policy.selector):
            group = list(members)
            enforced = [self.name(policy, direction) for policy in group if not policy.policy.staged]
            if len(enforced) > 1:
                plan = self._group(selector, group, enforced, direction)
                groups.append(plan)
                enforced = [plan.name]
            targets.extend(enforced)
        return Jumps(targets, groups)

    def _group(
        self, selector: str, members: Sequence[ActivePolicy], chains: Sequence[str], direction: str
    ) -> ChainPlan:
        calico_version = self.context.calico_version
        head = calico_version.group_head(members[0].policy.tier, selector)
        lines = [calico_version.group_line(member.policy) for member in members]
        policies = [
            GroupMember(chain, n % GROUP_STEP == 0, n > 0 and n % GROUP_STEP == 0) for n, chain in enumerate(chains)
        ]
        names = ", ".join(str(member.policy.key) for member in members if not member.policy.staged)
        return ChainPlan(
            name=GROUP_PREFIXES[direction] + group_uid(head, GROUP_DIRECTIONS[direction], lines),
            template="cali-gi",
            facts=GroupFacts(mark=self.context.mark, policies=policies),
            origin=Origin(words=f"policies with selector {selector}, {direction}: {names}"),
        )


def _log_prefix(template: str, names: tuple[str, str, str, str]) -> str:
    """Replace %k (kind), %n (name), %p (namespace/name) and %t (tier); other text after % is unchanged."""
    meanings = dict(zip("knpt", names, strict=True))
    return re.sub("%([knpt])", lambda found: meanings[found[1]], template)
