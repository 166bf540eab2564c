"""What tutorials say happens to a connection, against what their policies say."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from felixpy.manifests import load
from felixpy.model import Cluster, PolicyKey
from felixpy.testing.verdict import FirstPacket, Oracle, Peer
from tests.verdicts.statements import FLOWS, STATES, State, Stated, each_flow

INTERNET = "198.51.100.7"
KINDS = {"CalicoNetworkPolicy": "NetworkPolicy"}
"""Flow logs spell the kinds of policies in their own way."""


@cache
def cluster_of(manifests: Path) -> Cluster:
    return load([manifests], strict=False)


def peer(text: str, cluster: Cluster) -> Peer:
    if text == "internet":
        return INTERNET
    if text.startswith("host:"):
        (host,) = (host for host in cluster.host_endpoints if host.node == text.removeprefix("host:"))
        return host
    if "/" not in text:
        return text
    (pod,) = (pod for pod in cluster.workloads if f"{pod.namespace}/{pod.name}" == text)
    return pod


def packet(flow: Stated, cluster: Cluster) -> FirstPacket:
    source, destination = (peer(end, cluster) for end in (flow.source, flow.destination))
    return FirstPacket(source=source, destination=destination, protocol=flow.protocol, port=flow.port)


@each_flow
def test_flow(state: State, flow: Stated) -> None:
    cluster = cluster_of(state.manifests)
    verdict = Oracle(cluster).verdict(packet(flow, cluster))
    assert verdict.allowed is flow.allowed, verdict.steps
    if enforced := flow.enforced:
        last = verdict.steps[-1]
        name = f"{enforced['tier']}.{enforced['name']}"  # flow logs leave out the tier that Calico's names begin with
        assert last.policy == PolicyKey(KINDS[enforced["kind"]], enforced["namespace"], name)
        assert (last.tier, last.rule) == (enforced["tier"], enforced["rule_index"])
        assert last.outcome == enforced["action"].lower()


def test_the_statements_are_complete() -> None:
    assert sum(len(state.flows) for state in STATES) == FLOWS
    assert sum(bool(flow.enforced) for state in STATES for flow in state.flows) == 1
