"""Random clusters with much that decides nothing, and the proof that it does: without it the matrix is the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from msgspec import structs

from felixpy.calico_versions import V3_32
from felixpy.compiler import Compiler
from felixpy.flows.reachability.changes import compare
from felixpy.linting.reach import RulePart, RuleReach
from felixpy.linting.views import Views
from felixpy.model import (
    Cluster,
    Icmp,
    NamedPort,
    PolicyKey,
    PortRange,
    Rule,
    ServiceName,
    Side,
    Slice,
)
from felixpy.resolve import Shared
from felixpy.tracing import Nodes
from tests import clusters
from tests.clusters import HERE

SELECTORS = (
    "all()", "app == 'web'", "app in {'web', 'db'}", "app != 'web'", "has(tier)", "tier == 'x'", "!has(app)",
    "projectcalico.org/namespace == 'shop'", "pcns.team == 'red'", "app == 'nobody'",
)  # fmt: skip
NETS = ("10.65.0.0/24", "10.65.0.1/32", "10.0.0.0/8", "198.51.100.0/24", "198.51.100.128/25", "0.0.0.0/0", "fd00::/48")
PORTS: tuple[PortRange | str, ...] = (PortRange(80, 80), PortRange(80, 90), PortRange(1, 65535), "http", "dns")
SERVICE = ServiceName("shop", "web")
TIERS = ("early", "default", "soft")


def make(seed: int) -> Cluster:
    """A cluster of a few pods, perhaps a host endpoint, and policies that often say the same."""
    draw = random.Random(seed)
    pods = [_pod(draw, number) for number in range(draw.randint(1, 4))]
    hosts = [_host(draw)] if draw.random() < 0.3 else []
    things: list[object] = [
        *pods, *hosts,
        clusters.tier("early", 10.0), clusters.tier("soft", 2e6, passes=True),
        clusters.profile("custom", *(tuple(_rule(draw) for _ in range(draw.randint(0, 2))) for _ in range(2))),
        clusters.network_set("outside", "198.51.100.0/25", app="net"),
        Slice(service=SERVICE, addresses=("10.65.0.1", "10.65.7.7"), ports=(("tcp", 80),), source=HERE),
        *(clusters.node(name, bgp_v4=f"192.0.2.{at}/24") for at, name in enumerate(("node1", "node2"), 1)),
        *(_policy(draw, number, hosts=bool(hosts)) for number in range(draw.randint(1, 5))),
    ]  # fmt: skip
    labels = {"pcns.team": draw.choice(("red", "blue")), "projectcalico.org/name": "shop"}
    things.append(clusters.profile("kns.shop", [clusters.ALLOW], [clusters.ALLOW], labels=labels))
    return clusters.cluster(*things)


def _pod(draw: random.Random, number: int) -> object:
    own = (f"10.65.0.{number + 1}", f"fd00::{number + 1:x}")
    labels = {
        key: value
        for key, values in (("app", ("web", "db")), ("tier", ("x", "y")))
        if (value := draw.choice((*values, "")))
    }
    return clusters.pod(
        f"p{number}",
        *draw.choice((own, own[:1])),
        namespace=draw.choice(("shop", "default")),
        node=draw.choice(("node1", "node2")),
        labels=labels,
        profiles=draw.choice((None, None, ("custom",), ("gone",), ())),
        ports=tuple(
            draw.sample((NamedPort("http", "tcp", 80), NamedPort("http", "udp", 85), NamedPort("dns", "udp", 53)), 2)
        ),
    )


def _host(draw: random.Random) -> object:
    profiles = draw.choice(((), ("custom",)))
    interface = draw.choice(("eth0", "*"))
    return clusters.host_endpoint("h", interface, "192.0.2.1", labels={"app": "db"}, profiles=profiles)


def _side(draw: random.Random, *, ports: bool) -> Side:
    kind = draw.choice(("any", "any", "selector", "selector", "nets", "not", "both"))
    if kind == "any":
        found = Side()
    elif kind == "selector":
        found = Side(selector=draw.choice(SELECTORS))
    elif kind == "nets":
        found = Side(
            nets=tuple(draw.sample(NETS, draw.choice((1, 2)))),
            not_nets=tuple(draw.sample(NETS[1:4], draw.choice((0, 0, 1)))),
        )
    elif kind == "not":
        found = Side(not_selector=draw.choice(SELECTORS))
    else:
        found = Side(selector=draw.choice(SELECTORS), nets=(draw.choice(NETS),))
    if ports and draw.random() < 0.6:
        name = draw.choice(("ports", "ports", "ports", "not_ports"))
        return structs.replace(found, **{name: tuple(draw.sample(PORTS, draw.choice((1, 1, 2))))})
    return found


def _rule(draw: random.Random) -> Rule:
    protocol = draw.choice((None, None, "tcp", "tcp", "udp", "icmp", 6, 47))
    with_ports = protocol in ("tcp", "udp", 6)
    source, destination = _side(draw, ports=False), _side(draw, ports=with_ports)
    if draw.random() < 0.05:
        source = Side(service=SERVICE)
    return Rule(
        action=draw.choice(("allow", "allow", "allow", "deny", "deny", "next-tier", "log")),
        ip_version=draw.choice((None, None, None, 4)),
        protocol=protocol,
        not_protocol="udp" if protocol is None and draw.random() < 0.1 else None,
        icmp=Icmp(8) if protocol == "icmp" and draw.random() < 0.5 else None,
        source=source,
        destination=destination,
    )


def _rules(draw: random.Random) -> tuple[Rule, ...]:
    """Some rules; peers of one manifest's rule differ in their source only."""
    found: list[Rule] = []
    for number in range(draw.randint(0, 3)):
        rule = structs.replace(_rule(draw), path=("spec", "rules", number))
        if rule.action == "allow" and draw.random() < 0.4:
            sides = [_side(draw, ports=False) for _ in range(2)]
            found += [
                structs.replace(rule, source=side, peer=(*rule.path, "from", at)) for at, side in enumerate(sides)
            ]
        else:
            found.append(rule)
    return tuple(found)


def _policy(draw: random.Random, number: int, *, hosts: bool) -> object:
    ingress = draw.choice((True, True, False))
    egress = not ingress or draw.random() < 0.3
    return clusters.policy(
        f"g{number}",
        key=PolicyKey("GlobalNetworkPolicy", "", f"g{number}"),
        tier=draw.choice(TIERS),
        order=draw.choice((None, 1.0, 2.0)),
        selector=draw.choice(SELECTORS),
        ingress=() if ingress else None,
        egress=() if egress else None,
        inbound=_rules(draw) if ingress else (),
        outbound=_rules(draw) if egress else (),
        apply_on_forward=hosts and draw.random() < 0.2,
    )


class Removal(NamedTuple):
    """What a finding says may go, and what the cluster is without it."""

    words: str
    without: Cluster


def reach_of(cluster: Cluster) -> RuleReach:
    return RuleReach(Views(Shared(cluster, V3_32, spoofing=False, suppress_overlaps=True), (4, 6)))


def removals(cluster: Cluster) -> Iterator[Removal]:
    """Each finding by itself, then all of them together."""
    reach = reach_of(cluster)
    rules, policies = reach.redundant
    parts: list[RulePart] = [*reach.unreached, *rules]
    for part in parts:
        yield Removal(f"{part.usage.policy.key} {part.usage.direction} {part.path}", _without(cluster, [part], ()))
    for policy, _ in policies:
        yield Removal(str(policy.key), _without(cluster, [], {policy.key}))
    if len(parts) + len(policies) > 1:
        yield Removal("everything", _without(cluster, parts, {policy.key for policy, _ in policies}))


def _without(cluster: Cluster, parts: Iterable[RulePart], policies: Iterable[PolicyKey]) -> Cluster:
    gone = {(part.usage.policy.key, part.usage.direction, number) for part in parts for number in part.rules}
    kept = [
        structs.replace(
            policy,
            inbound=tuple(rule for at, rule in enumerate(policy.inbound) if (policy.key, "ingress", at) not in gone),
            outbound=tuple(rule for at, rule in enumerate(policy.outbound) if (policy.key, "egress", at) not in gone),
        )
        for policy in cluster.policies
        if policy.key not in set(policies)
    ]
    return replace(cluster, policies=tuple(kept))


def changed_flows(before: Cluster, after: Cluster) -> list[str]:
    """The flows that open or close, according to the rules that felixpy renders for all nodes."""
    changes = compare(Nodes(Compiler(before)), Nodes(Compiler(after)))
    return [f"+ {flow}" for flow in changes.opened] + [f"- {flow}" for flow in changes.closed]
