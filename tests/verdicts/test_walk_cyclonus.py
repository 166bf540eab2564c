"""What cyclonus expects of Kubernetes NetworkPolicy, against what the rules do: packets walked through the chains.

The other road to the same table is `test_cyclonus`, which asks the policies themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from felixpy.compiler import Compiler
from felixpy.manifests import load
from felixpy.model import Workload
from felixpy.walk import Packet, Walker
from tests.verdicts.cyclonus import CASES, CELLS, NODE, manifests, service, title

PLANES = ("iptables", "nftables")
agreed: dict[str, list[int]] = {plane: [] for plane in PLANES}


@pytest.fixture(scope="module", autouse=True)
def summary() -> Iterator[None]:
    yield
    for plane, cells in agreed.items():
        print(f"\ncyclonus: {sum(cells)} of {CELLS} cells agree through {plane}, {len(cells)} of {len(CASES)} cases")


def packet(sender: Workload, receiver: Workload, protocol: str, port: int) -> Packet:
    """From one interface to the other, even where they are the same: what the rules of both ends say is asked."""
    return Packet(
        source=sender.addresses[0],
        destination=receiver.addresses[0],
        protocol=protocol,
        port=port,
        in_interface=sender.interface,
        out_interface=receiver.interface,
    )


def walk_cells(step: dict[str, Any], file: Path, dataplane: str) -> int:
    """Compare all cells of a step; returns how many."""
    file.write_text(json.dumps(manifests(step)))
    cluster = load([file])
    walker = Walker(Compiler(cluster, dataplane=dataplane).compile(NODE).dump)
    pods = {f"{pod.namespace}/{pod.name}": pod for pod in cluster.workloads}
    assert len(pods) == len(step["pods"])
    for name, expected in step["expected_allowed"].items():
        protocol, port = service(name)
        reached = {
            f"{source}>{destination}"
            for source, sender in pods.items()
            for destination, receiver in pods.items()
            if walker.allows(packet(sender, receiver, protocol, port))
        }
        assert reached == set(expected), name
    return len(pods) ** 2 * len(step["expected_allowed"])


@pytest.mark.parametrize("dataplane", PLANES)
@pytest.mark.parametrize("case", CASES, ids=title)
def test_cells(case: dict[str, Any], dataplane: str, tmp_path: Path) -> None:
    steps = enumerate(case["steps"])
    agreed[dataplane].append(sum(walk_cells(step, tmp_path / f"{n}.json", dataplane) for n, step in steps))


def test_the_table_is_complete() -> None:
    steps = [step for case in CASES for step in case["steps"]]
    assert sum(len(step["pods"]) ** 2 * len(step["expected_allowed"]) for step in steps) == CELLS
