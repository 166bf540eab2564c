"""What nothing protects, and what pods that are not in the input may do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from felixpy.compiler import Compiler
from felixpy.exposure.analysis import Exposure, exposure
from felixpy.exposure.report import exposure_json, exposure_lines
from felixpy.exposure.strangers import ANYBODY, BARE, Stranger, all_labels, strangers
from felixpy.flows import survey
from felixpy.flows.presentation.flow import Peer
from felixpy.selector import matches, parse
from felixpy.tracing import Nodes
from tests.manifests import loaded, manifest, pod

API = pod("api", "10.65.0.2", labels={"app": "api"})
NONE: dict[str, Any] = {}


def policy(name: str = "p", **spec: Any) -> dict[str, Any]:
    return manifest("networking.k8s.io/v1", "NetworkPolicy", name, {"podSelector": {}, **spec}, "shop")


def found(*things: dict[str, Any], dataplane: str | None = None) -> Exposure:
    nodes = Nodes(Compiler(loaded(API, *things), dataplane=dataplane))
    return exposure(nodes, survey(nodes).pairs(hosts=False))


def told(found: Exposure, direction: str = "ingress") -> list[tuple[str, str]]:
    """(other, traffic) of one direction."""
    return [(str(each.other), str(each.traffic)) for each in found.opened if each.direction == direction]


def test_without_policy_everything_is_open() -> None:
    everything = found()
    assert [directions for _, directions in everything.unprotected] == [("ingress", "egress")]
    assert told(everything) == told(everything, "egress") == [("any pod", "All"), ("0.0.0.0/0", "All")]


def test_a_policy_protects_its_directions() -> None:
    isolated = found(policy(policyTypes=["Ingress"]))
    assert [directions for _, directions in isolated.unprotected] == [("egress",)]
    assert not told(isolated)
    assert not found(policy(policyTypes=["Ingress", "Egress"])).unprotected


def test_staged_policies_protect_nothing() -> None:
    staged = manifest("projectcalico.org/v3", "StagedGlobalNetworkPolicy", "s", {"types": ["Ingress", "Egress"]})
    assert len(found(staged).unprotected) == 1


@pytest.mark.parametrize(
    "peer, other",
    [
        ({"namespaceSelector": {}}, "any pod"),
        ({"podSelector": {}}, "any pod in namespace shop"),
        ({"podSelector": {"matchLabels": {"app": "web"}}}, "pods with app=web in namespace shop"),
        ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, "any pod in namespaces with team=a"),
        (
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ops"}}},
            "any pod in namespace ops",
        ),
        (
            {"namespaceSelector": NONE, "podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}},
            "pods with a=x (such as all with has(a))",
        ),
    ],
)
def test_who_may_reach_a_workload(peer: dict[str, Any], other: str) -> None:
    rules = [{"from": [peer], "ports": [{"port": 80}]}]
    assert told(found(policy(ingress=rules))) == [(other, "TCP 80")]
    rules = [{"to": [peer], "ports": [{"port": 80}]}]
    assert told(found(policy(policyTypes=["Egress"], egress=rules)), "egress") == [(other, "TCP 80")]


def test_only_what_is_more_than_anybody_may() -> None:
    rules = [
        {"from": [{"namespaceSelector": {}}], "ports": [{"port": 80}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}], "ports": [{"port": 81}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}], "ports": [{"port": 80}]},
    ]
    assert told(found(policy(ingress=rules))) == [
        ("any pod", "TCP 80"),
        ("any pod in namespaces with team=a", "TCP 80-81"),
    ]


def test_any_pod_is_every_pod() -> None:
    """What some pods are denied, not every pod may do; those without labels may."""
    deny = manifest(
        "projectcalico.org/v3", "GlobalNetworkPolicy", "g",
        {"types": ["Ingress"], "ingress": [
            {"action": "Deny", "source": {"selector": "bad == 'yes'"}},
            {"action": "Allow"},
        ]},
    )  # fmt: skip
    assert told(found(deny)) == [("pods without labels in namespaces without labels", "All"), ("0.0.0.0/0", "All")]


def test_nat_of_the_node_changes_nothing() -> None:
    pool = manifest("projectcalico.org/v3", "IPPool", "pods", {"cidr": "10.65.0.0/16", "natOutgoing": True})
    assert ("any pod", "All") in told(found(pool), "egress")


@pytest.mark.parametrize(
    "selector",
    [
        "a == 'b'",
        "a != 'b' && has(a)",
        "a in {'b', 'c'} || d == 'e'",
        "!(a == 'b' || has(c)) && d not in {'x', 'y'} && has(d)",
        "a starts with 'pre' && b ends with 'post' && c contains 'mid'",
        "pcns.team == 'x' && projectcalico.org/orchestrator == 'k8s' && app == 'y'",
        "projectcalico.org/namespace == 'shop' && has(app)",
        "pcns.projectcalico.org/name == 'ops'",
        "pcsa.role == 'r' && projectcalico.org/serviceaccount == 's'",
    ],
)
def test_a_stranger_satisfies_its_selector(selector: str) -> None:
    cluster = loaded(API)
    *_, stranger = strangers(cluster, [selector])
    assert stranger != ANYBODY
    assert matches(parse(selector), all_labels(cluster, stranger))


@pytest.mark.parametrize(
    "selector", ["a == 'b' && a == 'c'", "!all()", "projectcalico.org/orchestrator == 'openstack'"]
)
def test_nobody_satisfies_some_selectors(selector: str) -> None:
    assert strangers(loaded(API), [selector]) == [BARE]


def test_namespaces_of_the_input_have_the_labels_of_the_input() -> None:
    selector = "projectcalico.org/namespace == 'shop' && pcns.team == 'other'"
    assert strangers(loaded(API), [selector]) == [BARE]


def test_report() -> None:
    rules = [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]}]
    answer = found(policy(ingress=rules))
    lines = list(exposure_lines(answer))
    assert lines[:2] == ["not protected by any policy:", "  shop/api : egress"]
    assert "  shop/api <= pods with app=web in namespace shop : TCP 80" in lines
    document = exposure_json(answer)
    assert json.loads(json.dumps(document)) == document
    first = document["exposed"][0]
    assert (first["direction"], first["peer"]) == (
        "ingress",
        {
            "kind": "AnyPod",
            "words": "pods with app=web in namespace shop",
            "namespace": "shop",
            "podLabels": {"app": "web"},
        },
    )
    assert str(Stranger(namespace="a", account="b")) == "any pod of service account b in namespace a"
    assert isinstance(document["unprotected"], list)
    assert Peer("pod", "shop", "api", pods=("api",)) == answer.workloads[0]


@pytest.mark.parametrize("dataplane", ["iptables", "nftables"])
def test_rules_of_both_data_planes_expose_the_same(dataplane: str) -> None:
    peer = {"podSelector": {"matchLabels": {"app": "web"}}}
    some = policy(policyTypes=["Ingress"], ingress=[{"from": [peer], "ports": [{"port": 80}]}])
    exposed = found(some, dataplane=dataplane)
    assert [traffic for _, traffic in told(exposed)] == ["TCP 80"]
    assert exposed == found(some)
