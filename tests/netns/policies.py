"""Policies drawn by lot for the two workloads of `packets`, and which of their flows each lets pass."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import felixpy
from felixpy.dataplane.backends import goal_of
from felixpy.dataplane.enforcer import WantedRules
from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.model import Policy, PortRange, Rule, Side
from felixpy.testing.verdict import FirstPacket, Oracle
from tests.clusters import cluster, pod, policy
from tests.netns.packets import CLIENT, FLOWS, PORTS, SERVER, Flow

SELECTORS = ("app == 'client'", "app in {'client', 'job'}", "has(app)", "app == 'server'", "app == 'job'", "all()", "")
HOST = felixpy.Host(interfaces={})
DATA_PLANES = ("iptables", NFTABLES)


class Drawn(NamedTuple):
    """A policy for the node, compiled for each data plane, and the flows that it lets pass."""

    rulesets: Mapping[str, felixpy.Ruleset]
    passing: frozenset[Flow]

    def ruleset(self, backend: str) -> felixpy.Ruleset:
        """What the kernel shall hold."""
        return self.rulesets[NFTABLES if backend == NFTABLES else "iptables"]

    def wanted(self, backend: str) -> WantedRules:
        """The same as a goal."""
        return goal_of(self.ruleset(backend))


@lru_cache(maxsize=64)
def draw(seed: int) -> Drawn:
    """The policy of a seed.

    The two workloads keep their labels. A set that both of two policies use may therefore change, but never about them:
    while a set has changed already and the rules have not, old rules meet new members, in Felix as here.
    """
    lot = random.Random(seed)
    jobs = [
        pod(f"job{n}", f"10.65.9.{n}", f"fd00:65::9:{n}", node="node2", labels={"app": lot.choice(["job", "cron"])})
        for n in sorted(lot.sample(range(1, 9), 4))
    ]
    policies = [_policy(lot, f"p{n}") for n in sorted(lot.sample(range(5), lot.randint(1, 4)))]
    found = cluster(CLIENT, SERVER, *jobs, *policies)
    rulesets = {plane: felixpy.compile(found, "node1", host=HOST, dataplane=plane) for plane in DATA_PLANES}
    oracle = Oracle(found)
    passing = frozenset(
        flow
        for flow in FLOWS
        if oracle.verdict(
            FirstPacket(source=CLIENT, destination=SERVER, protocol="udp", port=flow.port, family=flow.family)
        ).allowed
    )
    return Drawn(rulesets, passing)


def _policy(lot: random.Random, name: str) -> Policy:
    rules = [_rule(lot) for _ in range(lot.randint(1, 4))]
    if lot.random() < 0.7:
        return policy(name, selector="app == 'server'", ingress=rules)
    outward = [Rule(action=rule.action, protocol="udp", destination=rule.destination) for rule in rules]
    return policy(name, selector="app == 'client'", egress=[*outward, Rule(action="allow", protocol="udp")])


def _rule(lot: random.Random) -> Rule:
    ports = tuple(PortRange(port, port) for port in lot.sample(PORTS, lot.randint(1, 4)))
    return Rule(
        action=lot.choices(["allow", "deny"], [3, 1])[0],
        protocol="udp",
        source=Side(selector=lot.choice(SELECTORS)),
        destination=Side(ports=ports),
    )


@lru_cache(maxsize=1)
def pairs(number: int) -> tuple[tuple[int, int], ...]:
    """Seeds of policies that differ, of which both let some flows pass and deny others, one of them some more."""
    found: list[tuple[int, int]] = []
    seed = 0
    while len(found) < number:
        old, new = draw(seed).passing, draw(seed + 1).passing
        if old & new and set(FLOWS) - old - new and old != new:
            found.append((seed, seed + 1))
        seed += 1
    return tuple(found)
