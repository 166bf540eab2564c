"""Truth tables of cyclonus as real traffic: every pod of two nodes sends to every pod, on every service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from felixpy.lab import Lab, LabOptions
from felixpy.manifests import load
from felixpy.model import Cluster
from felixpy.topology.question import Target
from tests.netns.labs import new_name, places
from tests.netns.namespace import BACKENDS
from tests.verdicts.cyclonus import CASES, manifests, service, title

pytestmark = pytest.mark.netns

EVERY = 20
FEWEST = 40
FEATURES = {
    *("ingress", "egress", "tcp", "udp", "sctp", "numbered-port", "named-port", "end-port", "any-port"),
    *("ip-block-no-except", "ip-block-with-except", "multi-peer", "multi-port/protocol", "conflict"),
    *("pods-by-label", "namespaces-by-label", "namespaces-by-default-label", "all-namespaces"),
    *("create-pod", "create-namespace", "set-pod-labels", "set-namespace-labels", "update-policy", "delete-policy"),
}
"""Tags of cases, some of which have to be among those that are tried."""


def chosen() -> list[dict[str, Any]]:
    """Each case that has a tag which none before it had, and of the rest every so many."""
    seen: set[str] = set()
    found = []
    for case in CASES:
        if not seen.issuperset(case["tags"]) or case["index"] % EVERY == 0:
            found.append(case)
        seen.update(case["tags"])
    return found


CHOSEN = chosen()


def node_of(pod: dict[str, Any]) -> str:
    """As their addresses suggest: some pods on one node, some on the other."""
    return "node1" if pod["IP"].startswith("192.168.242.") else "node2"


def cluster_of(step: dict[str, Any]) -> Cluster:
    return load(["-"], stdin=StringIO(json.dumps(manifests(step, node_of))))


@pytest.fixture(scope="module")
def lab(kernel: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all cases, whose pods and policies are brought in step."""
    with (
        pytest.MonkeyPatch.context() as patch,
        places(tmp_path_factory.mktemp("labs"), patch),
        Lab.up(cluster_of(CHOSEN[0]["steps"][0]), new_name(), LabOptions(backend=request.param)) as found,
    ):
        yield found


def cells(lab: Lab, step: dict[str, Any]) -> Iterator[tuple[str, bool, bool]]:
    """Each cell of a step, whether the table lets it connect, and whether it does.

    A pod reaches itself whatever its policies say, because such a packet never leaves it.
    """
    pods = [f"{pod['NS']}/{pod['Name']}" for pod in step["pods"]]
    pairs = [(source, destination) for source in pods for destination in pods]
    tables = {name: set(found) for name, found in step["expected_allowed"].items()}
    keys = [(name, source, destination) for name in tables for source, destination in pairs]
    flows = []
    for name, source, destination in keys:
        protocol, port = service(name)
        flows.append(lab.flow(source, Target(destination, port, protocol)))
    for (name, source, destination), outcome in zip(keys, lab.probe_many(flows), strict=True):
        pair = f"{source}>{destination}"
        yield f"{pair} {name}", pair in tables[name] or source == destination, outcome.allowed


@pytest.mark.parametrize(
    "lab, case",
    [pytest.param(BACKENDS[number % 2], case, id=title(case)) for number, case in enumerate(CHOSEN)],
    indirect=["lab"],
)
def test_cells(lab: Lab, case: dict[str, Any]) -> None:
    wrong, tried = [], 0
    for number, step in enumerate(case["steps"]):
        lab.update(cluster_of(step))
        assert len(lab.layout.built_pods) == len(step["pods"])
        for cell, expected, connects in cells(lab, step):
            tried += 1
            if connects != expected:
                wrong.append(f"step {number}, {cell}: {'connects' if connects else 'does not connect'}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
    assert tried == sum(len(step["pods"]) ** 2 * len(step["expected_allowed"]) for step in case["steps"])


def test_every_feature_of_the_table_is_tried() -> None:
    assert len(CHOSEN) >= FEWEST
    tags = {tag for case in CHOSEN for tag in case["tags"]}
    assert tags == {tag for case in CASES for tag in case["tags"]}
    assert tags >= FEATURES
