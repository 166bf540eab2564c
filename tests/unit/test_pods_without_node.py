"""Pods that run although nobody wrote down where: as much is known of them as of those that are assumed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.manifests import loaded, manifest, problems


def running(name: str, node: str = "", **status: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": []} | ({"nodeName": node} if node else {})
    return manifest("v1", "Pod", name, spec, "shop") | {"status": {"phase": "Running", "podIP": "10.0.0.9", **status}}


def host(name: str, address: str) -> dict[str, Any]:
    return manifest("v1", "Node", name) | {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}


@pytest.mark.parametrize(
    "others, status, node",
    [
        ([host("a", "192.0.2.1"), host("b", "192.0.2.2")], {"hostIP": "192.0.2.2"}, "b"),
        ([host("a", "192.0.2.1"), host("b", "192.0.2.2")], {"hostIPs": [{"ip": "192.0.2.2"}]}, "b"),
        ([running("other", "c", hostIP="192.0.2.3", podIP="10.0.0.1")], {"hostIP": "192.0.2.3"}, "c"),
        ([host("a", "192.0.2.1")], {"hostIP": "192.0.2.77"}, "a"),
        ([host("a", "192.0.2.1")], {"phase": None}, "a"),
    ],
)
def test_a_pod_that_runs_without_nodename_gets_its_node(
    others: list[dict[str, Any]], status: dict[str, Any], node: str
) -> None:
    lacking = running("web", **status)
    found = {pod.name: pod for pod in loaded(*others, lacking).workloads}["web"]
    assert (found.node, found.addresses) == (node, ("10.0.0.9",))
    assert [(each.reason, each.hint) for each in problems(*others, lacking) if "assumed" in each.reason] == [
        ("the node is assumed for Pod shop/web", "--no-expand switches this off")
    ]


def test_a_pod_that_runs_without_node_and_address_gets_both() -> None:
    (found,) = loaded(running("web", podIP=None)).workloads
    assert (found.node, len(found.addresses)) == ("node1", 1)


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
def test_pods_that_do_not_run_get_no_node(phase: str) -> None:
    assert loaded(running("web", phase=phase)).workloads == ()
