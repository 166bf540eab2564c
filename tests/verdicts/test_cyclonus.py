"""What cyclonus expects of Kubernetes NetworkPolicy, against what the policies say: 230 cases, cell by cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from felixpy.manifests import load
from felixpy.testing.verdict import FirstPacket, Oracle
from tests.verdicts.cyclonus import CASES, CELLS, manifests, service, title

agreed: list[int] = []


@pytest.fixture(scope="module", autouse=True)
def summary() -> Iterator[None]:
    yield
    print(f"\ncyclonus: {sum(agreed)} of {CELLS} cells agree, {len(agreed)} of {len(CASES)} cases were asked")


def allowed(oracle: Oracle, packet: FirstPacket) -> bool:
    """Both ends are asked, also where a pod talks to itself: the table tells what the policies say about that."""
    return oracle.ask(packet, "egress").allowed and oracle.ask(packet, "ingress").allowed


@pytest.mark.parametrize("case", CASES, ids=title)
def test_cells(case: dict[str, Any], tmp_path: Path) -> None:
    cells = 0
    for number, step in enumerate(case["steps"]):
        file = tmp_path / f"step-{number}.json"
        file.write_text(json.dumps(manifests(step)))
        cluster = load([file])
        oracle = Oracle(cluster)
        pods = {f"{pod.namespace}/{pod.name}": pod for pod in cluster.workloads}
        assert len(pods) == len(step["pods"])
        for name, expected in step["expected_allowed"].items():
            protocol, port = service(name)
            reached = {
                f"{source}>{destination}"
                for source, sender in pods.items()
                for destination, receiver in pods.items()
                if allowed(oracle, FirstPacket(source=sender, destination=receiver, protocol=protocol, port=port))
            }
            assert reached == set(expected), f"step {number}, {name}"
            cells += len(pods) ** 2
    agreed.append(cells)


def test_the_table_is_complete() -> None:
    steps = [step for case in CASES for step in case["steps"]]
    assert (len(CASES), len(steps)) == (230, 256)
    assert sum(len(step["pods"]) ** 2 * len(step["expected_allowed"]) for step in steps) == CELLS
