"""What policies of one endpoint and direction do to packets, with sets of packets as integers.

A `TierChain` contains small integers only, so that endpoints with equivalent policies share one, analysed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class PolicyStep(NamedTuple):
    """One rule: its action and the packets it matches. Actions are those of the model: allow, deny, log, next-tier."""

    action: str
    packets: int


class TierPolicies(NamedTuple):
    """The policies of a tier in order, each with its rules; `passes`: whether packets pass at its end."""

    passes: bool
    policies: tuple[tuple[PolicyStep, ...], ...]


class At(NamedTuple):
    """The place of a rule in a chain, or of a policy where `rule` is -1."""

    tier: int
    policy: int
    rule: int = -1


@dataclass(frozen=True)
class TierChain:
    """Tiers in order. `start` are the packets that reach the first one, `rest` those that are allowed after the last.

    Packets that pass the last tier meet the profiles, whose rules are in `rest`.
    """

    tiers: tuple[TierPolicies, ...]
    start: int
    rest: int

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.tiers, self.start, self.rest))

    @cached_property
    def allowed(self) -> int:
        """The packets that are allowed in the end."""
        return self.start & (self._fates[0][0] if self._fates else self.rest)

    # --- going backwards: what is allowed of the packets that reach a rule undecided

    @cached_property
    def _fates(self) -> list[list[int]]:
        """For each tier: what is allowed of packets before each of its rules, in one list, and at its end."""
        found: list[list[int]] = []
        after = self.rest
        for tier in reversed(self.tiers):
            fate = after if tier.passes else 0
            fates = [fate]
            for action, packets in (step for policy in reversed(tier.policies) for step in reversed(policy)):
                fate = _before(action, packets, fate, after)
                fates.append(fate)
            fates.reverse()
            found.append(fates)
            after = fates[0]
        found.reverse()
        return found

    def _after(self, tier: int) -> int:
        """The packets that are allowed if they pass to the next tier."""
        return self._fates[tier + 1][0] if tier + 1 < len(self.tiers) else self.rest

    # --- going forward: the packets that reach a rule undecided

    @cached_property
    def _reaching(self) -> list[list[int]]:
        """For each tier: what reaches each of its rules, in one list, and its end."""
        found: list[list[int]] = []
        left = self.start
        for tier in self.tiers:
            passed = 0
            reaching = []
            for action, packets in (step for policy in tier.policies for step in policy):
                reaching.append(left)
                if action != "log":
                    if action == "next-tier":
                        passed |= left & packets
                    left &= ~packets
            reaching.append(left)
            found.append(reaching)
            left = passed | (left if tier.passes else 0)
        return found

    @cached_property
    def _offsets(self) -> list[list[int]]:
        """For each tier: the number of rules before each policy, and of all."""
        return [_sums(len(policy) for policy in tier.policies) for tier in self.tiers]

    def packets(self, at: At) -> int:
        """The packets that a rule matches."""
        return self.tiers[at.tier].policies[at.policy][at.rule].packets

    def reaching(self, at: At) -> int:
        """The packets that reach a rule, or the first rule of a policy, undecided."""
        return self._reaching[at.tier][self._offsets[at.tier][at.policy] + max(at.rule, 0)]

    def decided(self, at: At) -> int:
        """The packets that a rule matches and no earlier one decided."""
        return self.packets(at) & self.reaching(at)

    def without_rules(self, at: At, rules: Sequence[int]) -> bool:
        """Whether the same packets are allowed without some rules of the policy at `at`."""
        offset, policy = self._offsets[at.tier][at.policy], self.tiers[at.tier].policies[at.policy]
        fates, after = self._fates[at.tier], self._after(at.tier)
        first, last = min(rules), max(rules)
        fate = fates[offset + last + 1]
        for number in range(last, first - 1, -1):
            if number not in rules:
                fate = _before(*policy[number], fate, after)
        return not self._reaching[at.tier][offset + first] & (fate ^ fates[offset + first])

    def without_policy(self, at: At) -> bool:
        """Whether the same packets are allowed without the policy; a tier without policies is skipped."""
        offsets, fates = self._offsets[at.tier], self._fates[at.tier]
        first, following = offsets[at.policy], offsets[at.policy + 1]
        fate = fates[following] if len(self.tiers[at.tier].policies) > 1 else self._after(at.tier)
        return not self._reaching[at.tier][first] & (fate ^ fates[first])

    def covering(self, at: At) -> list[At]:
        """The earlier rules that decide about packets of a rule, in order."""
        return [place for place in self._deciding(self.start & self.packets(at), At(0, 0)) if place < at]

    def following(self, at: At, rules: Sequence[int]) -> list[At]:
        """The later rules that would decide, without some rules of a policy, the packets that those decide now."""
        places = [At(at.tier, at.policy, number) for number in rules]
        packets = 0
        for place in places:
            packets |= self.decided(place)
        return list(self._deciding(packets, places[0], without=places))

    def _deciding(self, packets: int, start: At, *, without: Sequence[At] = ()) -> Iterator[At]:
        """The rules from `start` on that decide packets; packets that are passed skip the rest of the tier."""
        left = packets
        for number, tier in enumerate(self.tiers[start.tier :], start.tier):
            passed = 0
            for position, policy in enumerate(tier.policies):
                for rule, (action, matched) in enumerate(policy):
                    place = At(number, position, rule)
                    if place < start or place in without or action == "log" or not left & matched:
                        continue
                    yield place
                    passed |= left & matched if action == "next-tier" else 0
                    left &= ~matched
            left = passed | (left if tier.passes else 0)

    def allowed_without(self, gone: frozenset[At]) -> int:
        """The packets that are allowed without some policies and rules."""
        tiers = []
        for number, tier in enumerate(self.tiers):
            policies = tuple(
                tuple(step for rule, step in enumerate(policy) if At(number, position, rule) not in gone)
                for position, policy in enumerate(tier.policies)
                if At(number, position) not in gone
            )
            if policies:
                tiers.append(TierPolicies(tier.passes, policies))
        return TierChain(tuple(tiers), self.start, self.rest).allowed

    def exchanged(self, tier: int, one: int, other: int) -> int:
        """The packets that are allowed if two policies of a tier are exchanged."""
        changed = list(self.tiers[tier].policies)
        changed[one], changed[other] = changed[other], changed[one]
        tiers = list(self.tiers)
        tiers[tier] = TierPolicies(tiers[tier].passes, tuple(changed))
        return TierChain(tuple(tiers), self.start, self.rest).allowed


def _before(action: str, packets: int, fate: int, after: int) -> int:
    """The packets that are allowed before a rule, given those allowed after it and in the next tier."""
    if action == "allow":
        return fate | packets
    if action == "deny":
        return fate & ~packets
    if action == "next-tier":
        return (fate & ~packets) | (after & packets)
    return fate


def profile_rest(profiles: Sequence[Sequence[PolicyStep]], everything: int) -> int:
    """The packets that profiles allow, in order; passing leads to the next profile, and the end denies."""
    allowed = 0
    for steps in reversed(profiles):
        after = allowed
        for action, packets in reversed(steps):
            allowed = _before(action, packets, allowed, after)
    return allowed & everything


def _sums(lengths: Iterator[int] | Sequence[int]) -> list[int]:
    found = [0]
    for length in lengths:
        found.append(found[-1] + length)
    return found
