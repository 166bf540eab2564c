"""ClusterNetworkPolicy: what it becomes, with all its oddities, and what the API refuses."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.model import ANYONE, PortRange, Side
from tests.manifests import CLUSTER_POLICIES, loaded, manifest, only_policy, told

K8S = "projectcalico.org/orchestrator == 'k8s'"
ANY = "has(projectcalico.org/namespace)"
EVERYONE: list[dict[str, Any]] = [{"namespaces": {}}]


def policy(**spec: Any) -> dict[str, Any]:
    whole = {"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, **spec}
    return manifest(CLUSTER_POLICIES, "ClusterNetworkPolicy", "p", whole)


def test_the_frame() -> None:
    found = only_policy(policy(tier="Baseline", priority=7))
    assert (str(found.key), found.tier, found.order) == ("KubernetesClusterNetworkPolicy p", "kube-baseline", 7.0)
    assert only_policy(policy()).tier == "kube-admin"


SUBJECTS = [
    ({"namespaces": {}}, f"({K8S}) && {ANY}"),
    ({"namespaces": {"matchLabels": {"t": "a"}}}, f'({K8S}) && pcns.t == "a"'),
    ({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}}, f"({K8S} && a == 'b') && {ANY}"),
    ({"pods": {"namespaceSelector": {"matchLabels": {"t": "a"}}, "podSelector": {}}}, f'({K8S}) && pcns.t == "a"'),
]


@pytest.mark.parametrize("subject, selector", SUBJECTS)
def test_subjects(subject: dict[str, Any], selector: str) -> None:
    assert only_policy(policy(subject=subject)).selector == selector


RULE = {"action": "Deny", "from": EVERYONE}
DIRECTIONS = [
    ({}, (True, True)),
    ({"ingress": [], "egress": []}, (True, True)),
    ({"ingress": [RULE]}, (True, False)),
    ({"egress": [{"action": "Accept", "to": [{"nodes": {}}]}]}, (True, True)),
    ({"egress": [{"action": "Deny", "to": [{"nodes": {}}]}]}, (False, True)),
]


@pytest.mark.parametrize("spec, expected", DIRECTIONS)
def test_directions_follow_the_rules_that_remain(spec: dict[str, Any], expected: tuple[bool, bool]) -> None:
    found = only_policy(policy(**spec))
    assert (found.ingress, found.egress) == expected


PEERS = [
    ({"namespaces": {}}, Side(selector=ANY)),
    ({"namespaces": {"matchLabels": {"t": "a"}}}, Side(selector='pcns.t == "a"')),
    ({"pods": {"namespaceSelector": {}, "podSelector": {}}}, Side(selector=f"({ANY}) && ({K8S})")),
    ({"networks": ["10.1.2.3/8", "FD00::/8"]}, Side(nets=("10.0.0.0/8", "fd00::/8"))),
]


@pytest.mark.parametrize("peer, side", PEERS)
def test_peers(peer: dict[str, Any], side: Side) -> None:
    (rule,) = only_policy(policy(egress=[{"action": "Pass", "to": [peer]}])).outbound
    assert (rule.action, rule.source, rule.destination) == ("next-tier", ANYONE, side)


def tcp(number: int) -> dict[str, Any]:
    return {"tcp": {"destinationPort": {"number": number}}}


PROTOCOLS = [
    ([], [(None, ())]),
    ([{"tcp": {}}], [("tcp", ())]),
    ([tcp(81), tcp(80), {"udp": {"destinationPort": {"range": {"start": 1, "end": 3}}}}],
     [("tcp", (PortRange(80, 81),)), ("udp", (PortRange(1, 3),))]),
    ([tcp(80), {"tcp": {}}], [("tcp", ())]),
    ([{"tcp": {}}, tcp(80)], [("tcp", ())]),
    ([{"sctp": {}}, {"destinationNamedPort": "http"}, tcp(1)],
     [(None, ("http",)), ("sctp", ()), ("tcp", (PortRange(1, 1),))]),
]  # fmt: skip


@pytest.mark.parametrize("protocols, expected", PROTOCOLS)
def test_protocols(protocols: list[Any], expected: Any) -> None:
    rule = {"action": "Accept", "from": EVERYONE, "protocols": protocols}
    inbound = only_policy(policy(ingress=[rule])).inbound
    assert [(found.protocol, found.destination.ports) for found in inbound] == expected


def test_names_of_rules_become_annotations_of_all_their_parts() -> None:
    rule = {"name": "web", "action": "Accept", "from": EVERYONE * 2, "protocols": [tcp(1), {"udp": {}}]}
    inbound = only_policy(policy(ingress=[rule, RULE])).inbound
    assert [found.annotations for found in inbound] == [(("name", "web"),)] * 4 + [()]
    assert [found.path[-1] for found in inbound] == [0, 0, 0, 0, 1]


UNKNOWN = [("Accept", []), ("Deny", ["deny"]), ("Pass", ["deny"])]


@pytest.mark.parametrize("action, left", UNKNOWN)
def test_peers_that_calico_does_not_know(action: str, left: list[str]) -> None:
    rule = {"name": "n", "action": action, "to": [{"namespaces": {}}, {"nodes": {}}], "protocols": [tcp(1)]}
    given = policy(egress=[rule])
    outbound = only_policy(given).outbound
    assert [(found.action, found.protocol, found.destination, found.annotations) for found in outbound] == [
        (action, None, ANYONE, ()) for action in left
    ]
    ((severity, path, reason),) = told(given)
    assert (severity, path) == ("warning", "spec.egress[0].to[1]")
    assert reason.startswith("Calico does not know nodes and ")


def test_an_unsound_port_name_costs_the_policy() -> None:
    rule = {"action": "Deny", "from": EVERYONE, "protocols": [{"destinationNamedPort": "8080"}]}
    assert loaded(policy(ingress=[rule])).policies == ()
    ((severity, path, reason),) = told(policy(ingress=[rule]))
    assert (severity, path) == ("warning", "spec.ingress[0].protocols[0].destinationNamedPort")
    assert reason == '"8080" is not a port name; Felix ignores the whole policy'


REFUSED = [
    (policy(tier="admin"), "spec.tier"),
    (policy(priority=1001), "spec.priority"),
    (policy(priority=None), "spec.priority"),
    (policy(subject={}), "spec.subject"),
    (policy(subject={"namespaces": {}, "pods": {}}), "spec.subject"),
    (policy(ingress=[{"action": "Allow", "from": EVERYONE}]), "spec.ingress[0].action"),
    (policy(ingress=[{"action": "Deny"}]), "spec.ingress[0].from"),
    (policy(ingress=[{"action": "Deny", "from": []}]), "spec.ingress[0].from"),
    (policy(ingress=[{"action": "Deny", "from": [{}]}]), "spec.ingress[0].from[0]"),
    (policy(egress=[{"action": "Deny", "to": [{"networks": ["10.0.0.1"]}]}]), "spec.egress[0].to[0].networks[0]"),
    (policy(ingress=[RULE | {"protocols": [{}]}]), "spec.ingress[0].protocols[0]"),
    (policy(ingress=[RULE | {"protocols": [{"tcp": {}, "udp": {}}]}]), "spec.ingress[0].protocols[0]"),
    (
        policy(ingress=[RULE | {"protocols": [{"tcp": {"destinationPort": {"range": {"start": 9, "end": 1}}}}]}]),
        "spec.ingress[0].protocols[0].tcp.destinationPort.range.end",
    ),
    (policy(ingress=[RULE | {"name": "n" * 101}]), "spec.ingress[0].name"),
    (manifest(CLUSTER_POLICIES, "ClusterNetworkPolicy", "p"), "spec"),
]


@pytest.mark.parametrize("given, path", REFUSED)
def test_what_the_api_refuses(given: dict[str, Any], path: str) -> None:
    ((severity, where, _),) = told(given)
    assert (severity, where) == ("error", path)


def test_networks_are_no_ingress_peers() -> None:
    findings = told(policy(ingress=[{"action": "Deny", "from": [{"networks": ["10.0.0.0/8"]}]}]))
    assert ("error", "spec.ingress[0].from[0].networks", "unknown field") in findings
    assert any(severity == "error" for severity, _, _ in findings)
