"""What tutorials say happens to a connection, against what their policies say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from felixpy.manifests import load
from felixpy.model import Cluster, PolicyKey
from felixpy.verdict import Oracle, Packet, Party

FIXTURES = Path(__file__).parents[2] / "fixtures"
STATEMENTS: list[dict[str, Any]] = yaml.safe_load((FIXTURES / "seeds" / "statements.yaml").read_text())
FLOWS = [
    pytest.param(statement["case"], flow, id=f"{statement['case']}-{number}")
    for statement in STATEMENTS
    for number, flow in enumerate(statement["flows"])
]

INTERNET = "198.51.100.7"
KINDS = {"CalicoNetworkPolicy": "NetworkPolicy"}
"""Flow logs spell the kinds of policies in their own way."""


@cache
def cluster_of(case: str) -> Cluster:
    return load([FIXTURES / "conformance" / "seeds" / case / "manifests.yaml"])


def party(text: str, cluster: Cluster) -> Party:
    if text == "internet":
        return INTERNET
    if text.startswith("host:"):
        (host,) = (host for host in cluster.host_endpoints if host.node == text.removeprefix("host:"))
        return host
    if "/" not in text:
        return text
    (pod,) = (pod for pod in cluster.workloads if f"{pod.namespace}/{pod.name}" == text)
    return pod


def packet(flow: dict[str, Any], cluster: Cluster) -> Packet:
    source, destination = (party(str(flow[end]), cluster) for end in ("from", "to"))
    if flow.get("icmp") == "echo-request":
        return Packet(source=source, destination=destination, protocol="icmp")
    port, protocol = flow["port"].split("/")
    return Packet(source=source, destination=destination, protocol=protocol, port=int(port))


@pytest.mark.parametrize("case, flow", FLOWS)
def test_flow(case: str, flow: dict[str, Any]) -> None:
    cluster = cluster_of(case)
    verdict = Oracle(cluster).verdict(packet(flow, cluster))
    assert ("allow" if verdict.allowed else "deny") == flow["expect"], verdict.steps
    if enforced := flow.get("enforced"):
        last = verdict.steps[-1]
        name = f"{enforced['tier']}.{enforced['name']}"  # flow logs leave out the tier that Calico's names begin with
        assert last.policy == PolicyKey(KINDS[enforced["kind"]], enforced["namespace"], name)
        assert (last.tier, last.rule) == (enforced["tier"], enforced["rule_index"])
        assert last.outcome == enforced["action"].lower()


def test_the_statements_are_complete() -> None:
    assert len(FLOWS) == 58
    assert sum("enforced" in flow for statement in STATEMENTS for flow in statement["flows"]) == 1
