"""Rules that are kept up to date are those of a fresh compile, after any changes, one by one or several at once."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import felixpy
from felixpy.errors import UsageError
from felixpy.live import Change, Live
from felixpy.live.engine import PARTS
from felixpy.model import Cluster, Host, HostEndpoint, Policy, Profile, Workload
from felixpy.ruleset import Ruleset
from tests.clusters import cluster
from tests.property import strategies

pytestmark = pytest.mark.property

STEPS = 6
NODE = "node1"


def texts(ruleset: Ruleset) -> dict[str, str]:
    return {**ruleset.files(), "findings": "\n".join(map(str, ruleset.findings))}


def same(live: Live, host: Host, options: tuple) -> None:
    fresh = felixpy.compile(live.cluster, NODE, host=host, settings=options)
    assert texts(live.ruleset) == texts(fresh)


def objects(found: Cluster) -> list[object]:
    return [
        each
        for part in PARTS.values()
        for each in (getattr(found, part.field).values() if part.named else getattr(found, part.field))
    ]


def mutated(draw: random.Random, each: object, other: object) -> object:
    """The object with something of another one of its kind, which need not exist."""
    if type(each) is not type(other):
        return each
    fields = {
        Workload: ("labels", "addresses", "profiles", "ports", "node", "spoofable", "qos", "dscp", "floating"),
        HostEndpoint: ("labels", "addresses", "profiles", "interface", "node", "dscp"),
        Policy: ("selector", "order", "tier", "inbound", "outbound", "ingress", "egress", "everywhere"),
        Profile: ("labels", "inbound", "outbound"),
    }.get(type(each), ("labels",) if hasattr(each, "labels") else ())
    if not fields:
        return each
    name = draw.choice(fields)
    return replace(each, **{name: getattr(other, name)})  # type: ignore[type-var]


def steps(draw: random.Random, now: Cluster, then: Cluster) -> list[Change]:
    """A few changes from one cluster towards another one: objects come, go and become others."""
    part = draw.choice([part for part in PARTS.values() if part.field != "nodes"])
    kept = {part.key(each): each for each in objects(now) if PARTS[type(each)] is part}
    wanted = {part.key(each): each for each in objects(then) if PARTS[type(each)] is part}
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
    st.randoms(use_true_random=False, note_method_calls=False),
)
def test_any_changes_one_after_the_other(
    first: Cluster, second: Cluster, host: Host, options: tuple, draw: random.Random
) -> None:
    live = Live(first, NODE, host=host, settings=options)
    same(live, host, options)
    for _ in range(STEPS):
        before = live.ruleset
        changes = steps(draw, live.cluster, second)
        told = live.apply(changes)
        same(live, host, options)
        assert bool(told) == ({**texts(before), "findings": ""} != {**texts(live.ruleset), "findings": ""})


@given(strategies.clusters, strategies.clusters, strategies.hosts, strategies.settings)
def test_a_whole_other_cluster(first: Cluster, second: Cluster, host: Host, options: tuple) -> None:
    live = Live(first, NODE, host=host, settings=options)
    for found in (second, first, second):
        live.update(found)
        same(live, host, options)


def test_a_step_that_cannot_be_compiled_is_made_up_for() -> None:
    """The last pod of a node that nothing else names goes: such a node has no rules, until a pod comes again."""
    from tests.clusters import pod

    live = Live(cluster(pod("web", "10.65.0.1")), NODE)
    (web,) = live.cluster.workloads
    with pytest.raises(UsageError):
        live.apply([Change(web, None), Change(None, pod("db", "10.65.0.2", node="node2"))])
    live.apply([Change(None, web)])
    same(live, Host(), ())
