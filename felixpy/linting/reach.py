"""Rules that are never reached, and rules and policies without which the same packets are allowed.

Findings are proven for the endpoints of the input and for every address outside. The packets considered are more than
`felixpy matrix` shows (an endpoint is also a peer of itself, failsafe ports are decided by policies), so a finding
never depends on packets that were left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from msgspec.structs import replace

from felixpy.errors import Path
from felixpy.linting.chains import At, TierChain
from felixpy.linting.views import DIRECTIONS, Direction, View, Views
from felixpy.model import Policy, PolicyKey, Rule


@dataclass(slots=True)
class Usage:
    """One direction of a policy: its positions in views, and facts about its rules."""

    policy: Policy
    direction: Direction
    rules: tuple[Rule, ...]
    places: dict[TierChain, set[At]] = field(default_factory=dict)
    example: dict[TierChain, View] = field(default_factory=dict)
    matching: set[int] = field(default_factory=set)
    reached: set[int] = field(default_factory=set)
    needed: set[int] = field(default_factory=set)
    """Rules without which, each alone, other packets are allowed somewhere."""
    policy_needed: bool = False
    elsewhere: bool = False
    """Whether it is also enforced on forwarded, untracked or not yet translated packets of host endpoints."""


@dataclass(frozen=True, slots=True)
class RulePart:
    """The rules of a policy that were made from one place in its manifest."""

    usage: Usage
    path: Path
    rules: tuple[int, ...]

    @property
    def action(self) -> str:
        return self.usage.rules[self.rules[0]].action


@dataclass(frozen=True, slots=True)
class DecidingRule:
    """A policy rule that decides the packets in question."""

    policy: Policy
    rule: Rule


@dataclass(frozen=True, slots=True)
class Unreached(RulePart):
    """Rules that match packets, all of which earlier rules decide. `by_denial` if all of those deny in its tier."""

    by: tuple[DecidingRule, ...] = ()
    by_denial: bool = False


@dataclass(frozen=True, slots=True)
class Redundant(RulePart):
    """Rules without which the same packets are allowed, and the rules that then decide."""

    by: tuple[DecidingRule, ...] = ()


class RuleReach:
    """Unreached and redundant rules of a cluster, computed from its views."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self.usages: dict[tuple[PolicyKey, Direction], Usage] = {}
        self._facts: dict[TierChain, list[list[_Facts]]] = {}
        for view in views.all:
            self._note(view)

    def _note(self, view: View) -> None:
        facts = self._facts.get(view.chain)
        if facts is None:
            facts = self._facts[view.chain] = _facts(view.chain)
        for number, policies in enumerate(view.policies):
            for position, policy in enumerate(policies):
                usage = self._usage(policy, view.direction)
                if view.section != "normal":
                    usage.elsewhere = True
                places = usage.places.setdefault(view.chain, set())
                usage.example.setdefault(view.chain, view)
                at = At(number, position)
                if at in places:
                    continue
                places.add(at)
                matching, reached, needed, policy_needed = facts[number][position]
                usage.matching |= matching
                usage.reached |= reached
                usage.needed |= needed
                usage.policy_needed |= policy_needed

    def _usage(self, policy: Policy, direction: Direction) -> Usage:
        key = policy.key, direction
        if key not in self.usages:
            rules = policy.inbound if direction == "ingress" else policy.outbound
            self.usages[key] = Usage(policy, direction, rules)
        return self.usages[key]

    def _known(self) -> Iterator[Usage]:
        """The usages whose views could all be analysed."""
        return (usage for key, usage in sorted(self.usages.items()) if key[0] not in self.views.unknown)

    # --- never reached

    @cached_property
    def unreached(self) -> list[Unreached]:
        """The largest parts that are never reached, although packets match them."""
        found = []
        for usage in self._known():
            for part in _largest(usage, _is_unreached):
                by, by_denial = self._covering(part)
                found.append(Unreached(usage, part.path, part.rules, by, by_denial))
        return found

    def _covering(self, part: RulePart) -> tuple[tuple[DecidingRule, ...], bool]:
        """The earlier rules that decide a part's packets, and whether all of them deny in the same tier."""
        usage = part.usage
        reasons: dict[tuple[PolicyKey, Path], DecidingRule] = {}
        denied = part.action == "allow"
        for chain, places in usage.places.items():
            view = usage.example[chain]
            for at in places:
                for number in part.rules:
                    place = At(at.tier, at.policy, number)
                    if not chain.packets(place):
                        continue
                    covering = chain.covering(place)
                    denied = denied and bool(covering)
                    for cover in covering:
                        reason = _reason(view, cover)
                        reasons.setdefault((reason.policy.key, reason.rule.path), reason)
                        denied = denied and cover.tier == at.tier and reason.rule.action == "deny"
        return tuple(reasons.values()), denied

    # --- redundant

    @cached_property
    def redundant(self) -> tuple[list[Redundant], list[tuple[Policy, tuple[DecidingRule, ...]]]]:
        """Rules, and whole policies, that can be removed together. Of two equivalent ones the later is reported."""
        joint = _Joint(self)
        # Unreached rules decide nothing: they are removed first, so that none counts as a replacement.
        for dead in self.unreached:
            joint.takes([(dead.usage, dead.rules)])
        policies = [
            (policy, self._instead_of(usages))
            for policy, usages in self._spare_policies()
            if joint.takes((usage, None) for usage in usages)
        ]
        gone = {policy.key for policy, _ in policies}
        rules = []
        for usage in reversed(list(self._known())):
            if usage.policy.key in gone or usage.elsewhere:
                continue
            for part in reversed(list(self._spare_parts(usage))):
                by = self._following(part)
                # A rule that denies what nothing else allows states intentionally what the end of the tier does.
                if (by or part.action != "deny") and joint.takes([(usage, part.rules)]):
                    rules.append(Redundant(usage, part.path, part.rules, by))
        return rules, policies

    def _spare_policies(self) -> Iterator[tuple[Policy, list[Usage]]]:
        """Policies that can be removed without effect, last in order first; those without rules are for isolation."""
        for _, policies in reversed(self.views.shared.tiers):
            for policy in reversed(policies):
                keys = [(policy.key, direction) for direction in DIRECTIONS]
                usages = [self.usages[key] for key in keys if key in self.usages]
                if not usages or policy.key in self.views.unknown:
                    continue
                if _speaks(usages) and not any(usage.policy_needed or usage.elsewhere for usage in usages):
                    yield policy, usages

    def _spare_parts(self, usage: Usage) -> Iterator[RulePart]:
        def spare(part: RulePart) -> bool:
            rules = set(part.rules)
            if rules & usage.needed or not rules & usage.reached or part.action == "log":
                return False
            if any(_catches_all(usage.rules[number]) for number in rules):
                return False
            return all(chain.without_rules(at, part.rules) for chain, places in usage.places.items() for at in places)

        return _largest(usage, spare)

    def _following(self, part: RulePart) -> tuple[DecidingRule, ...]:
        usage = part.usage
        reasons: dict[tuple[PolicyKey, Path], DecidingRule] = {}
        for chain, places in usage.places.items():
            for at in places:
                for place in chain.following(at, part.rules):
                    reason = _reason(usage.example[chain], place)
                    reasons.setdefault((reason.policy.key, reason.rule.path), reason)
        return tuple(reasons.values())

    def _instead_of(self, usages: Iterable[Usage]) -> tuple[DecidingRule, ...]:
        """The rules of other policies that would decide without a policy."""
        reasons: dict[tuple[PolicyKey, Path], DecidingRule] = {}
        for usage in usages:
            if usage.rules:
                whole = RulePart(usage, (), tuple(range(len(usage.rules))))
                found = ((reason.policy.key, reason.rule.path, reason) for reason in self._following(whole))
                reasons |= {(key, path): reason for key, path, reason in found}
        return tuple(reasons.values())


def _is_unreached(part: RulePart) -> bool:
    matching = part.usage.matching.intersection(part.rules)
    return bool(matching) and not matching & part.usage.reached


def _speaks(usages: Sequence[Usage]) -> bool:
    """Whether a policy has rules besides a final one that denies all, and each matches something in the input."""
    speaks = False
    for usage in usages:
        for number, rule in enumerate(usage.rules):
            if rule.action == "deny" and _catches_all(rule):
                continue
            if number not in usage.matching:
                return False
            speaks = True
    return speaks


def _catches_all(rule: Rule) -> bool:
    """Whether a rule matches everything: at the end of a policy, such a rule states the default intentionally."""
    return rule.action in ("deny", "next-tier") and replace(rule, action="", annotations=(), path=(), peer=()) == _BARE


_BARE = Rule(action="")


def _largest(usage: Usage, holds: Callable[[RulePart], bool]) -> Iterator[RulePart]:
    """The rules of a manifest for which a condition holds, or else their peers for which it does."""
    by_path: dict[Path, dict[Path, list[int]]] = {}
    for number, rule in enumerate(usage.rules):
        by_path.setdefault(rule.path or (number,), {}).setdefault(rule.peer, []).append(number)
    for path, by_peer in by_path.items():
        whole = RulePart(usage, path, tuple(sorted(number for numbers in by_peer.values() for number in numbers)))
        if holds(whole):
            yield whole
        elif len(by_peer) > 1:
            parts = (RulePart(usage, peer, tuple(numbers)) for peer, numbers in by_peer.items())
            yield from filter(holds, parts)


def _reason(view: View, at: At) -> DecidingRule:
    policy = view.policies[at.tier][at.policy]
    rules = policy.inbound if view.direction == "ingress" else policy.outbound
    return DecidingRule(policy, rules[at.rule])


_Facts = tuple[set[int], set[int], set[int], bool]


def _facts(chain: TierChain) -> list[list[_Facts]]:
    """For each policy of each tier: the rules that match, are reached, are needed; whether the policy is needed."""
    found = []
    for number, tier in enumerate(chain.tiers):
        row = []
        for position, policy in enumerate(tier.policies):
            places = [At(number, position, rule) for rule in range(len(policy))]
            matching = {at.rule for at in places if chain.packets(at)}
            reached = {at.rule for at in places if chain.decided(at)}
            needed = {at.rule for at in places if at.rule in reached and not chain.without_rules(at, [at.rule])}
            row.append((matching, reached, needed, not chain.without_policy(At(number, position))))
        found.append(row)
    return found


class _Joint:
    """The rules and policies removed so far in each view, so that findings also hold together."""

    def __init__(self, reach: RuleReach) -> None:
        self._views: dict[tuple[PolicyKey, Direction], list[tuple[View, At]]] = {}
        for view in reach.views.all:
            for number, policies in enumerate(view.policies):
                for position, policy in enumerate(policies):
                    self._views.setdefault((policy.key, view.direction), []).append((view, At(number, position)))
        self._gone: dict[int, frozenset[At]] = {}
        self._known: dict[tuple[int, frozenset[At]], bool] = {}

    def takes(self, parts: Iterable[tuple[Usage, Sequence[int] | None]]) -> bool:
        """Remove rules, or (None) a whole policy, if after all removals the same packets are allowed."""
        changes: dict[int, frozenset[At]] = {}
        for usage, rules in parts:
            for view, at in self._views[usage.policy.key, usage.direction]:
                more = {at} if rules is None else {At(at.tier, at.policy, rule) for rule in rules}
                gone = self._gone.get(id(view), frozenset()) | more
                if not self._same(view.chain, gone):
                    return False
                changes[id(view)] = gone
        self._gone |= changes
        return True

    def _same(self, chain: TierChain, gone: frozenset[At]) -> bool:
        key = id(chain), gone
        if key not in self._known:
            self._known[key] = chain.allowed_without(gone) == chain.allowed
        return self._known[key]
