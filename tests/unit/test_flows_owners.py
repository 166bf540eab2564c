"""Which workload a pod belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.model import Owner
from tests.manifests import loaded, manifest, pod


def made_by(*owners: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [
        {"apiVersion": "apps/v1", "kind": owner[0], "name": owner[1], **({"controller": owner[2]} if owner[2:] else {})}
        for owner in owners
    ]


def maker(kind: str, name: str, *owners: tuple[str, str], namespace: str = "shop") -> dict[str, Any]:
    version = "batch/v1" if kind == "Job" else "apps/v1"
    spec = {"replicas": 0, "suspend": True, "template": {"spec": {"containers": []}}}
    return manifest(version, kind, name, spec, namespace, ownerReferences=made_by(*owners))


@pytest.mark.parametrize(
    "owners, labels, others, expected",
    [
        ([], {}, [], None),
        ([("StatefulSet", "db")], {}, [], Owner("StatefulSet", "db")),
        ([("Rollout", "web")], {}, [], Owner("Rollout", "web")),
        ([("Node", "node1")], {}, [], None),
        ([("Node", "node1"), ("DaemonSet", "agent")], {}, [], Owner("DaemonSet", "agent")),
        ([("Tidy", "up"), ("DaemonSet", "agent", True)], {}, [], Owner("DaemonSet", "agent")),
        ([("ReplicaSet", "web-5c8")], {}, [], Owner("ReplicaSet", "web-5c8")),
        ([("ReplicaSet", "web-5c8")], {"pod-template-hash": "5c8"}, [], Owner("Deployment", "web")),
        ([("ReplicaSet", "web-5c8")], {"pod-template-hash": "777"}, [], Owner("ReplicaSet", "web-5c8")),
        ([("StatefulSet", "web-5c8")], {"pod-template-hash": "5c8"}, [], Owner("StatefulSet", "web-5c8")),
        ([("ReplicaSet", "odd")], {}, [maker("ReplicaSet", "odd", ("Deployment", "web"))], Owner("Deployment", "web")),
        ([("ReplicaSet", "odd")], {}, [maker("ReplicaSet", "odd")], Owner("ReplicaSet", "odd")),
        ([("ReplicaSet", "odd")], {}, [maker("ReplicaSet", "odd", ("Deployment", "web"), namespace="other")],
         Owner("ReplicaSet", "odd")),
        ([("Job", "nightly-1")], {}, [maker("Job", "nightly-1", ("CronJob", "nightly"))], Owner("CronJob", "nightly")),
        ([("Job", "once")], {}, [], Owner("Job", "once")),
        ([("ReplicationController", "web-1")], {},
         [manifest("v1", "ReplicationController", "web-1", {"replicas": 0, "template": {"spec": {"containers": []}}},
                   "shop", ownerReferences=made_by(("DeploymentConfig", "web")))],
         Owner("DeploymentConfig", "web")),
    ],
)  # fmt: skip
def test_owners_of_pods(
    owners: list[tuple[str, str]], labels: dict[str, str], others: list[dict[str, Any]], expected: Owner | None
) -> None:
    given = pod("web-1", labels=labels, **({"ownerReferences": made_by(*owners)} if owners else {}))
    (found,) = (each for each in loaded(given, *others).workloads if each.name == "web-1")
    assert found.owner == expected


@pytest.mark.parametrize(
    "version, kind", [("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"),
                      ("apps/v1", "DaemonSet"), ("batch/v1", "Job"), ("batch/v1", "CronJob"),
                      ("v1", "ReplicationController"), ("apps.openshift.io/v1", "DeploymentConfig")]
)  # fmt: skip
def test_pods_that_are_assumed_belong_to_what_they_are_assumed_for(version: str, kind: str) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec: dict[str, Any] = {"template": template, "selector": {"matchLabels": {"app": "web"}}}
    if kind == "CronJob":
        spec = {"schedule": "@daily", "jobTemplate": {"spec": spec}}
    (found,) = loaded(manifest(version, kind, "web", spec, "shop")).workloads
    assert found.owner == Owner(kind, "web")
