"""Reading a running cluster with a real kubectl: the same tests for the stand-in and for the API server itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from felixpy.kubectl import list_cluster
from felixpy.kubectl.client import Absent
from tests.cluster.conftest import RunningCluster
from tests.commands import caller
from tests.manifests import STORED, manifest, namespace, pod


def running_pod(name: str, address: str) -> dict[str, Any]:
    """A pod that an API server accepts."""
    item = pod(name, address, labels={"app": name})
    item["spec"]["containers"][0]["image"] = "registry.example/shop:1"
    return item


SHOP = [
    namespace("shop", team="web"),
    manifest("v1", "Node", "node1"),
    running_pod("web", "10.244.0.10"),
    running_pod("db", "10.244.0.11"),
    manifest(
        "networking.k8s.io/v1", "NetworkPolicy", "db",
        {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": [{"port": 5432}]}]}, "shop",
    ),
    manifest(STORED, "GlobalNetworkPolicy", "default.deny-sctp", {
        "selector": "app == 'db'", "order": 10, "types": ["Ingress"],
        "ingress": [{"action": "Deny", "protocol": "SCTP"}], "tier": "default",
    }),
]  # fmt: skip


@pytest.fixture
def shop(cluster: RunningCluster) -> RunningCluster:
    for item in SHOP:
        cluster.objects.put(item)
    return cluster


def names(cluster: RunningCluster, resource: str, **options: Any) -> set[str]:
    return {item["metadata"]["name"] for item in list_cluster(cluster.kubectl, **options).listed[resource].items}


def test_a_cluster_is_listed(shop: RunningCluster) -> None:
    found = list_cluster(shop.kubectl)
    assert found.context == "test"
    assert not found.missing
    assert {"web", "db"} <= names(shop, "pods")
    assert names(shop, "calico/globalnetworkpolicies") == {"default.deny-sctp"}
    assert found.listed["pods"].revision


@pytest.mark.parametrize("page", [1, 2, 500])
def test_pages_make_no_difference(shop: RunningCluster, page: int) -> None:
    assert names(shop, "pods", page=page) == names(shop, "pods")


def test_what_is_not_needed_is_not_kept(shop: RunningCluster) -> None:
    (web,) = [item for item in list_cluster(shop.kubectl).listed["pods"].items if item["metadata"]["name"] == "web"]
    assert "managedFields" not in web["metadata"]
    assert web["status"]["podIPs"] == [{"ip": "10.244.0.10"}]


def test_an_object_that_is_not_there(shop: RunningCluster) -> None:
    with pytest.raises(Absent, match="not found"):
        shop.kubectl.get("/api/v1/namespaces/shop/pods/nobody")


def test_commands_read_it(
    shop: RunningCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    felixpy = caller(capsys, monkeypatch)
    answer = felixpy("matrix", "--kubeconfig", shop.kubeconfig, "-q")
    assert answer.status == 0, answer.err
    assert "shop/web => shop/db : TCP 5432" in answer.out
    answer = felixpy("trace", "shop/web", "shop/db:5432", "--kubeconfig", shop.kubeconfig, "-q", "--expect", "allow")
    assert answer.status == 0, answer.out + answer.err


def test_a_snapshot_is_read_like_the_cluster(
    shop: RunningCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    felixpy = caller(capsys, monkeypatch)
    saved = tmp_path / "cluster.json"
    assert felixpy("snapshot", "--kubeconfig", shop.kubeconfig, "-o", saved).status == 0
    live = felixpy("matrix", "--kubeconfig", shop.kubeconfig, "-q")
    again = felixpy("matrix", saved, "-q", "--no-expand")
    assert again == live
    assert "metadata" in saved.read_text()
    assert "managedFields" not in saved.read_text()


def test_diff_of_a_cluster_and_a_folder(
    shop: RunningCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    felixpy = caller(capsys, monkeypatch)
    saved = tmp_path / "cluster.json"
    felixpy("snapshot", "--kubeconfig", shop.kubeconfig, "-o", saved)
    monkeypatch.setenv("KUBECONFIG", str(shop.kubeconfig))
    assert felixpy("diff", "cluster:", saved, "-q").status == 0
    saved.write_text(saved.read_text().replace("5432", "5433"))
    assert felixpy("diff", "cluster:test", saved, "-q").status == 1
