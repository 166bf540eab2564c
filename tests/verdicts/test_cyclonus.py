"""What cyclonus expects of Kubernetes NetworkPolicy, against what the policies say: 230 cases, cell by cell."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from felixpy.manifests import load
from felixpy.verdict import Oracle, Packet

TABLE = Path(__file__).parents[2] / "fixtures" / "verdicts" / "cyclonus-230.json.gz"
CASES: list[dict[str, Any]] = json.loads(gzip.decompress(TABLE.read_bytes()))
CELLS = 123_669

CONTAINER = {
    "name": "serve",
    "ports": [
        {"name": f"serve-{port}-{protocol.lower()}", "containerPort": port, "protocol": protocol}
        for protocol in ("TCP", "UDP", "SCTP")
        for port in (80, 81)
    ],
}

agreed: list[int] = []


@pytest.fixture(scope="module", autouse=True)
def summary() -> Iterator[None]:
    yield
    print(f"\ncyclonus: {sum(agreed)} of {CELLS} cells agree, {len(agreed)} of {len(CASES)} cases were asked")


def manifests(step: dict[str, Any]) -> dict[str, Any]:
    """One List with the state of the cluster in a step."""
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in step["namespaces"].items()
    ]
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod["Name"], "namespace": pod["NS"], "labels": pod["Labels"]},
            "spec": {"nodeName": "node1", "containers": [CONTAINER]},
            "status": {"podIPs": [{"ip": pod["IP"]}]},
        }
        for pod in step["pods"]
    ]
    policies = [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"} | policy for policy in step["policies"]]
    return {"apiVersion": "v1", "kind": "List", "items": [*namespaces, *pods, *policies]}


def allowed(oracle: Oracle, packet: Packet) -> bool:
    """Both ends are asked, also where a pod talks to itself: the table tells what the policies say about that."""
    return oracle.ask(packet, "egress").allowed and oracle.ask(packet, "ingress").allowed


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['index']}: {case['description']}")
def test_cells(case: dict[str, Any], tmp_path: Path) -> None:
    cells = 0
    for number, step in enumerate(case["steps"]):
        file = tmp_path / f"step-{number}.json"
        file.write_text(json.dumps(manifests(step)))
        cluster = load([file])
        oracle = Oracle(cluster)
        pods = {f"{pod.namespace}/{pod.name}": pod for pod in cluster.workloads}
        assert len(pods) == len(step["pods"])
        for service, expected in step["expected_allowed"].items():
            protocol, _, port = service.lower().partition("/")
            reached = {
                f"{source}>{destination}"
                for source, sender in pods.items()
                for destination, receiver in pods.items()
                if allowed(oracle, Packet(source=sender, destination=receiver, protocol=protocol, port=int(port)))
            }
            assert reached == set(expected), f"step {number}, {service}"
            cells += len(pods) ** 2
    agreed.append(cells)


def test_the_table_is_complete() -> None:
    steps = [step for case in CASES for step in case["steps"]]
    assert (len(CASES), len(steps)) == (230, 256)
    assert sum(len(step["pods"]) ** 2 * len(step["expected_allowed"]) for step in steps) == CELLS
