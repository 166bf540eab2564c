"""What the conformance suite of ClusterNetworkPolicy expects, against traces through the rules of two nodes each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from felixpy.compiler import Compiler
from felixpy.manifests import load
from felixpy.tracing import Nodes, Question, Tracer
from tests.verdicts.test_cnp import NODE_PEERS, PROBES, STEPS, manifests

probed: Counter[bool] = Counter()


@pytest.fixture(scope="module", autouse=True)
def summary() -> Iterator[None]:
    yield
    print(f"\nClusterNetworkPolicy: {probed.total()} of {PROBES} probes agree through the rules")


@pytest.mark.parametrize("test, step", STEPS, ids=lambda value: value.get("subtest", ""))
def test_probes(test: dict[str, Any], step: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "step.json"
    file.write_text(json.dumps(manifests(step)))
    cluster = load([file])
    tracer = Tracer(Nodes(Compiler(cluster)))
    names = {f"{pod.namespace}/{pod.name}" for pod in cluster.workloads}
    for poke in step["pokes"]:
        question = Question(
            source=poke["From"],
            destination=poke["To"] if poke["To"] in names else poke["ToIP"],
            protocol=poke["Protocol"],
            port=poke["Port"],
        )
        expected = poke["Expect"] and NODE_PEERS not in test["features"]
        found = tracer.trace(question)
        assert (found.allowed, found.certain) == (expected, True), poke
        probed[expected] += 1
