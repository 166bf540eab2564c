"""Policy rules, and whether an expectation reached them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from felixpy.errors import Place, spell
from felixpy.model import Cluster
from felixpy.policytests.running import ReachedRule


class RuleCoverage(NamedTuple):
    """A rule of a policy in force: the policy, the path inside it, its place, and whether a test reached it."""

    policy: str
    path: str
    place: Place
    reached: bool


def coverage(cluster: Cluster, reached: set[ReachedRule]) -> Iterator[RuleCoverage]:
    """Every rule of a policy that is enforced, in the order of the policies."""
    for policy in cluster.policies:
        if policy.staged:
            continue
        sides = (("ingress", policy.ingress, policy.inbound), ("egress", policy.egress, policy.outbound))
        for direction, counts, rules in sides:
            for number, rule in enumerate(rules if counts else ()):
                yield RuleCoverage(
                    policy=str(policy.key),
                    path=spell(rule.path),
                    place=cluster.where(policy.source, rule.path),
                    reached=ReachedRule(str(policy.key), direction, number) in reached,
                )
