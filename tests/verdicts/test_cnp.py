"""What the conformance suite of ClusterNetworkPolicy expects, against what the policies say: 301 probes."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from felixpy.manifests import load
from felixpy.testing.verdict import FirstPacket, Oracle

TABLE = Path(__file__).parents[2] / "fixtures" / "verdicts" / "cnp-conformance.json.gz"
TESTS: list[dict[str, Any]] = json.loads(gzip.decompress(TABLE.read_bytes()))
STEPS = [(test, step) for test in TESTS for step in test["steps"]]
PROBES = 301

PREFIX = "network-policy-conformance-"
PODS = {
    "gryffindor/harry-potter-0": "10.244.0.10",
    "gryffindor/harry-potter-1": "10.244.0.11",
    "slytherin/draco-malfoy-0": "10.244.1.10",
    "slytherin/draco-malfoy-1": "10.244.1.11",
    "hufflepuff/cedric-diggory-0": "10.244.2.10",
    "hufflepuff/cedric-diggory-1": "10.244.2.11",
    "ravenclaw/luna-lovegood-0": "10.244.3.10",
    "ravenclaw/luna-lovegood-1": "10.244.3.11",
    "forbidden-forrest/centaur-1": "172.18.0.3",
}
"""The suite's base manifests; the last pod lives on the network of its node."""

PORTS = [{"name": "web", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]

NODE_PEERS = "ClusterNetworkPolicyEgressNodePeers"
"""A feature that Calico v3.32 lacks. It fails closed: rules that accept nodes go, all others deny everything."""

probed: Counter[bool] = Counter()


@pytest.fixture(scope="module", autouse=True)
def summary() -> Iterator[None]:
    yield
    print(f"\nClusterNetworkPolicy: {probed[True]} of {PROBES} probes agree, {probed[False]} fail closed on node peers")


def manifests(step: dict[str, Any]) -> dict[str, Any]:
    """One List with the state of the cluster in a step."""
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in step["namespace_labels"].items()
    ]
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": PREFIX + house, "labels": {"conformance-house": house}},
            "spec": {
                "nodeName": f"node-of-{house}",
                "hostNetwork": address.startswith("172."),
                "containers": [{"name": "serve", "ports": PORTS}],
            },
            "status": {"podIPs": [{"ip": address}]},
        }
        for (house, name), address in ((pod.split("/"), address) for pod, address in PODS.items())
    ]
    return {"apiVersion": "v1", "kind": "List", "items": [*namespaces, *pods, *step["cnps"], *step["networkpolicies"]]}


@pytest.mark.parametrize("test, step", STEPS, ids=lambda value: value.get("subtest", ""))
def test_probes(test: dict[str, Any], step: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "step.json"
    file.write_text(json.dumps(manifests(step)))
    cluster = load([file])
    oracle = Oracle(cluster)
    pods = {f"{pod.namespace}/{pod.name}": pod for pod in cluster.workloads}
    for poke in step["pokes"]:
        assert PODS[poke["To"].removeprefix(PREFIX)] == poke["ToIP"]
        packet = FirstPacket(
            source=pods[poke["From"]],
            destination=pods.get(poke["To"], poke["ToIP"]),
            protocol=poke["Protocol"],
            port=poke["Port"],
        )
        expected = poke["Expect"] and NODE_PEERS not in test["features"]
        assert oracle.verdict(packet).allowed is expected, poke
        probed[expected == poke["Expect"]] += 1


def test_the_table_is_complete() -> None:
    pokes = [(test, poke) for test, step in STEPS for poke in step["pokes"]]
    assert len(pokes) == PROBES
    assert sum(poke["Expect"] and NODE_PEERS in test["features"] for test, poke in pokes) == 4
