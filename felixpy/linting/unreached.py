"""Checks of rules and policies that decide nothing, proven on sets of packets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, groupby

from felixpy.errors import Path, spell
from felixpy.linting.finding import Finding, NotedPlace, about
from felixpy.linting.reach import DecidingRule
from felixpy.linting.subject import Subject
from felixpy.model import Policy, PolicyKey

MOST = 3
"""Rules that are named as the reason of a finding."""


def not_analysed(subject: Subject) -> Iterator[Finding]:
    """FX120. Reports policies that could not be analysed."""
    for policy in subject.enforced:
        reason = subject.views.unknown.get(policy.key)
        if reason:
            yield about(policy, (), f"not all of its endpoints were analysed for rules that decide nothing: {reason}")


def never_reached(subject: Subject) -> Iterator[Finding]:
    """FX121."""
    for part in subject.reach.unreached:
        if not part.by_denial:
            earlier = "an earlier rule decides" if len(part.by) == 1 else "earlier rules decide"
            message = f"is never reached: {earlier} about every packet that it matches"
            if not part.by:
                message = "is never reached: an earlier tier denies every packet that it matches"
            yield about(part.usage.policy, part.path, message, related=_spots(part.by))


def allowed_behind_denial(subject: Subject) -> Iterator[Finding]:
    """FX122."""
    for part in subject.reach.unreached:
        if part.by_denial:
            message = "allows what is denied before it in the same tier, so it is never reached"
            hint = "policies of a tier are evaluated by order, those with the same order by name"
            yield about(part.usage.policy, part.path, message, hint=hint, related=_spots(part.by))


def redundant_rules(subject: Subject) -> Iterator[Finding]:
    """FX123."""
    for part in sorted(subject.reach.redundant[0], key=lambda part: (part.usage.policy.key, part.path)):
        what = "peer" if part.path == part.usage.rules[part.rules[0]].peer else "rule"
        message = f"no flow of the input changes without this {what}: other rules decide the same"
        if not part.by:
            message = f"no flow of the input changes without this {what}"
        yield about(part.usage.policy, part.path, message, related=_spots(part.by))


def redundant_policies(subject: Subject) -> Iterator[Finding]:
    """FX124."""
    reached = {key for (key, _), usage in subject.reach.usages.items() if usage.reached}
    for policy, by in sorted(subject.reach.redundant[1], key=lambda pair: pair[0].key):
        if policy.key not in reached:
            continue  # reported by FX121 or FX122 for every rule
        others = "" if not by else ": other policies decide the same"
        message = f"no flow of the input changes without this policy{others}"
        yield about(policy, (), message, related=_spots(by))


def _spots(reasons: Iterable[DecidingRule]) -> tuple[NotedPlace, ...]:
    """The rules behind a finding, each once."""
    found: dict[tuple[PolicyKey, Path], NotedPlace] = {}
    for policy, rule in ((reason.policy, reason.rule) for reason in reasons):
        path = rule.peer or rule.path
        words = f"{policy.key}: {spell(path)} {_VERBS[rule.action]}"
        found.setdefault((policy.key, path), NotedPlace(policy.source, path, words))
    return tuple(found.values())[:MOST]


_VERBS = {"allow": "allows", "deny": "denies", "next-tier": "passes on to the next tier", "log": "logs"}


def order_decided_by_name(subject: Subject) -> Iterator[Finding]:
    """FX125. Two policies with the same order that decide differently on packets that both match."""
    told: set[tuple[PolicyKey, PolicyKey]] = set()
    for view in subject.views.all:
        for number, policies in enumerate(view.policies):
            for one, other in _ties(policies):
                first, second = policies[one], policies[other]
                pair = first.key, second.key
                if pair in told or view.chain.exchanged(number, one, other) == view.chain.allowed:
                    continue
                told.add(pair)
                order = "has no order, as" if first.order is None else f"has the same order ({first.order:g}) as"
                message = f"{order} {second.key}, and they decide differently about some packets: the name decides"
                spot = NotedPlace(second.source, (), f"{second.key} comes second")
                yield about(first, ("spec", "order"), message, hint="give them different orders", related=(spot,))


def _ties(policies: Sequence[Policy]) -> Iterator[tuple[int, int]]:
    """Pairs of policies with the same order whose actions differ."""
    start = 0
    for _, tied in groupby(policies, key=lambda policy: policy.order):
        group = list(tied)
        actions = [_actions(policy) for policy in group] if len(group) > 1 else []
        if len(frozenset().union(*actions)) > 1:
            yield from (
                (start + one, start + other)
                for one, other in combinations(range(len(group)), 2)
                if len(actions[one] | actions[other]) > 1
            )
        start += len(group)


def _actions(policy: Policy) -> frozenset[str]:
    return frozenset(rule.action for rule in (*policy.inbound, *policy.outbound)) - {"log"}
