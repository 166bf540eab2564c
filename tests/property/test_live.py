"""Rules that are kept up to date are those of a fresh compile, after any changes, one by one or several at once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

import felixpy
from felixpy.errors import FelixpyError, UsageError
from felixpy.live import Change, Live, LiveCluster, RulesetChange
from felixpy.live.objects import CLUSTER_FIELDS
from felixpy.model import Cluster, Host, HostEndpoint, Node, Policy, Pool, Profile, Slice, Workload
from felixpy.ruleset import Ruleset
from tests.clusters import cluster, pod
from tests.property import strategies

pytestmark = pytest.mark.property

STEPS = 6
NODES = ("node1", "node2")
PLANES = st.sampled_from((None, "iptables", "nftables"))


def texts(ruleset: Ruleset) -> dict[str, str]:
    return {**ruleset.files(), "findings": "\n".join(map(str, ruleset.findings))}


def outcome(found: Cluster, name: str, **options: Any) -> dict[str, str]:
    """The texts of a fresh compile, or why there are none."""
    try:
        return texts(felixpy.compile(found, name, **options))
    except FelixpyError as wrong:
        return {"wrong": str(wrong)}


class Kept:
    """A cluster whose rules are kept, beside fresh compiles of it."""

    def __init__(self, first: Cluster, plane: str | None, host: Host, settings: tuple) -> None:
        self.live = LiveCluster(first, dataplane=plane, settings=settings)
        self.options: dict[str, Any] = {"dataplane": plane, "host": host, "settings": settings}
        for name in NODES:
            self.live.add(name, host)
        self.before = {name: texts(self.live.ruleset(name)) for name in NODES}

    def same(self, told: Mapping[str, RulesetChange]) -> None:
        for name in NODES:
            fresh = outcome(self.live.cluster, name, **self.options)
            now = texts(self.live.ruleset(name))
            if name in self.live.failed:
                assert {"wrong": str(self.live.failed[name])} == fresh
                assert now == self.before[name]
                continue
            assert now == fresh
            assert (name in told) == ({**self.before[name], "findings": ""} != {**now, "findings": ""})
            self.before[name] = now


def objects(found: Cluster) -> list[object]:
    return [
        each
        for field in CLUSTER_FIELDS.values()
        for each in (getattr(found, field.name).values() if field.mapping else getattr(found, field.name))
    ]


def mutated(draw: random.Random, each: object, other: object) -> object:
    """The object with something of another one of its kind, which need not exist."""
    if type(each) is not type(other):
        return each
    varied: dict[type, tuple[str, ...]] = {
        Workload: ("labels", "addresses", "profiles", "ports", "node", "spoofable", "qos", "dscp", "floating"),
        HostEndpoint: ("labels", "addresses", "profiles", "interface", "node", "dscp"),
        Policy: ("selector", "order", "tier", "inbound", "outbound", "ingress", "egress", "everywhere"),
        Profile: ("labels", "inbound", "outbound"),
        Node: ("labels", "bgp_v4", "vxlan_tunnel_v4"),
        Pool: ("nat_outgoing", "ipip", "vxlan"),
        Slice: ("addresses", "ports"),
    }
    fields = varied.get(type(each), ("labels",) if hasattr(each, "labels") else ())
    if not fields:
        return each
    name = draw.choice(fields)
    return structs.replace(each, **{name: getattr(other, name)})  # type: ignore[type-var]


def steps(draw: random.Random, now: Cluster, then: Cluster) -> list[Change]:
    """A few changes from one cluster towards another one: objects come, go and become others."""
    field = draw.choice(
        [field for field in CLUSTER_FIELDS.values() if getattr(now, field.name) or getattr(then, field.name)]
    )
    kept = {field.key(each): each for each in objects(now) if CLUSTER_FIELDS[type(each)] is field}
    wanted = {field.key(each): each for each in objects(then) if CLUSTER_FIELDS[type(each)] is field}
    changes = []
    for key in draw.sample(sorted(kept.keys() | wanted.keys(), key=str), k=min(2, len(kept.keys() | wanted.keys()))):
        old, new = kept.get(key), wanted.get(key)
        if old is not None and new is not None and draw.random() < 0.5:
            new = mutated(draw, old, draw.choice(list(wanted.values())))
        if old is not new and not (old is None and new is None):
            changes.append(Change(old, new))  # type: ignore[arg-type]
    return changes


@settings(deadline=None)
@given(
    strategies.clusters,
    strategies.clusters,
    strategies.hosts,
    strategies.settings,
    PLANES,
    st.randoms(use_true_random=False, note_method_calls=False),
)
def test_any_changes_one_after_the_other(
    first: Cluster, second: Cluster, host: Host, options: tuple, plane: str | None, draw: random.Random
) -> None:
    kept = Kept(first, plane, host, options)
    for _ in range(STEPS):
        kept.same(kept.live.apply(steps(draw, kept.live.cluster, second)))


@given(strategies.clusters, strategies.clusters, strategies.hosts, strategies.settings, PLANES)
def test_a_whole_other_cluster(first: Cluster, second: Cluster, host: Host, options: tuple, plane: str | None) -> None:
    kept = Kept(first, plane, host, options)
    for found in (second, first, replace(second, service_cidrs=("10.96.0.0/12",)), second):
        kept.same(kept.live.update(found))


def test_nodes_come_and_go() -> None:
    live = LiveCluster(cluster(pod("web", "10.65.0.1"), pod("db", "10.65.0.2", node="node2")))
    live.add("node1")
    live.add("node2")
    live.drop("node1")
    assert list(live.nodes) == ["node2"]
    web = next(each for each in live.cluster.workloads if each.name == "web")
    assert live.apply([Change(web, structs.replace(web, labels={"app": "x"}))]) == {}
    assert texts(live.add("node1")) == texts(felixpy.compile(live.cluster, "node1"))


def test_a_step_that_cannot_be_compiled_is_made_up_for() -> None:
    """The last pod of a node that nothing else names goes: such a node has no rules, until a pod comes again."""
    live = Live(cluster(pod("web", "10.65.0.1")), "node1")
    (web,) = live.cluster.workloads
    with pytest.raises(UsageError):
        live.apply([Change(web, None), Change(None, pod("db", "10.65.0.2", node="node2"))])
    live.apply([Change(None, web)])
    assert texts(live.ruleset) == texts(felixpy.compile(live.cluster, "node1"))
