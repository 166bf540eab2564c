"""Tutorials as real traffic: their policies come and go in a running lab, and what the text says happens to a packet.

Where a tutorial says that something is blocked, it shows a request that times out; so does the lab.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from felixpy.lab import Lab, LabFlow
from felixpy.lab.probing import ANSWERED, TIMED_OUT
from felixpy.manifests import load
from felixpy.model import Cluster
from felixpy.topology.question import Target
from tests.netns.enforcing import EVERY_BACKEND
from tests.netns.labs import new_name, options, places
from tests.verdicts.statements import FLOWS, STATES, State, Stated

pytestmark = pytest.mark.netns

TUTORIALS = {
    "000": (
        "policy-design-final-allow-everything",
        "policy-design-deny-app-policy",
        "policy-design-private-registry",
        "policy-design-all-locked-down",
    ),
    "001": (
        "deny-all-namespaces-unlabelled",
        "deny-all-namespaces-labelled",
        "deny-all-lorem-ipsum-allowed",
        "deny-all-whole-tutorial",
    ),
    "002": ("zero-trust-default-deny-all", "zero-trust-complete", "zero-trust-enable-dns"),
    "003": (
        "catfacts-db-and-worker",
        "catfacts-facts-denied",
        "catfacts-facts-allowed",
        "catfacts-platform-allow-kube-dns",
    ),
    "004": ("gke-dump-no-policy", "gke-dump-alpha-deny", "gke-dump-access-nginx"),
}
"""The states of each tutorial in the order of its text."""

BY_CASE = {state.case: state for state in STATES}

SAFETY_NET = "final-allow-everything"
LOCKED_DOWN = BY_CASE["policy-design-all-locked-down"]
WITH_SAFETY_NET = LOCKED_DOWN.folder.with_name("policy-design-all-with-safety-net") / "manifests.yaml"
STEPS = (
    "deny-app-policy",
    "allow-containers-access-to-localhost",
    "calico-apiserver-to-kapi",
    "calico-kube-controllers-to-apiserver",
    "calico-components-to-apiserver",
    "worker-nodes-to-kapi",
    "srcnated-to-kapi",
    "worker-nodes-to-typha",
    "private-registry-policy",
)
"""The policies that tutorial 000 adds below its safety net, in the order of its text."""


@pytest.fixture(autouse=True)
def folder(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with places(tmp_path, monkeypatch) as found:
        yield found


def connection(lab: Lab, stated: Stated) -> LabFlow:
    return lab.flow(stated.source, Target(stated.destination, stated.port or None, stated.protocol))


def otherwise(lab: Lab, state: State, *, all_open: bool = False) -> list[str]:
    """What happens otherwise than the tutorial says; with `all_open` it says that everything gets through."""
    outcomes = lab.probe_many(connection(lab, stated) for stated in state.flows)
    return [
        f"{state.case}: {stated}: {outcome.how}"
        for stated, outcome in zip(state.flows, outcomes, strict=True)
        if outcome != (ANSWERED if stated.allowed or all_open else TIMED_OUT)
    ]


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("seed", TUTORIALS)
def test_what_a_tutorial_says_happens(seed: str, backend: str) -> None:
    first, *others = [BY_CASE[case] for case in TUTORIALS[seed]]
    with Lab.up(load([first.manifests], strict=False), new_name(), options(backend)) as lab:
        wrong = otherwise(lab, first)
        for state in others:
            lab.update(load([state.manifests], strict=False))
            wrong += otherwise(lab, state)
        assert not wrong


def below_the_safety_net() -> Iterator[Cluster]:
    """The cluster of tutorial 000 with the safety net only, then with one policy more at a time."""
    whole = load([WITH_SAFETY_NET])
    by_name = {policy.key.name: policy for policy in whole.policies}
    assert by_name.keys() == {SAFETY_NET, *STEPS}
    for number in range(len(STEPS) + 1):
        chosen = {SAFETY_NET, *STEPS[:number]}
        yield replace(whole, policies=tuple(policy for policy in whole.policies if policy.key.name in chosen))


def test_a_safety_net_holds_everything_open_until_it_is_deleted() -> None:
    """Tutorial 000 opens everything before its first policy; what it then closes shows when that is taken away."""
    first, *others = below_the_safety_net()
    with Lab.up(first, new_name()) as lab:
        wrong = otherwise(lab, LOCKED_DOWN, all_open=True)
        for cluster in others:
            assert lab.update(cluster).changed
            wrong += otherwise(lab, LOCKED_DOWN, all_open=True)
        lab.update(load([LOCKED_DOWN.manifests]))
        wrong += otherwise(lab, LOCKED_DOWN)
        assert not wrong


def test_every_state_of_every_tutorial_is_tried() -> None:
    assert sorted(case for cases in TUTORIALS.values() for case in cases) == sorted(BY_CASE)
    assert all(BY_CASE[case].seed == seed for seed, cases in TUTORIALS.items() for case in cases)
    assert sum(len(state.flows) for state in STATES) == FLOWS
