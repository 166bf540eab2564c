"""Manifests as plain dicts, and what loading makes of them: a test writes only what it is about."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from felixpy.errors import InputError, Problem, spell
from felixpy.manifests import load
from felixpy.model import Cluster, Policy, Workload

KUBERNETES = "networking.k8s.io/v1"
CALICO = "projectcalico.org/v3"
STORED = "crd.projectcalico.org/v1"
CLUSTER_POLICIES = "policy.networking.k8s.io/v1alpha2"


def manifest(
    version: str, kind: str, name: str, spec: Any = None, namespace: str = "", **metadata: Any
) -> dict[str, Any]:
    """One object; without `spec` it has none."""
    named = {"name": name, **({"namespace": namespace} if namespace else {}), **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": named} | ({} if spec is None else {"spec": spec})


def namespace(name: str = "shop", **labels: str) -> dict[str, Any]:
    return manifest("v1", "Namespace", name, labels={"kubernetes.io/metadata.name": name, **labels})


def pod(name: str = "web", *addresses: str, ports: Any = (), status: Any = None, **metadata: Any) -> dict[str, Any]:
    """A running pod on node1; what is not given is as usual."""
    spec = {"nodeName": "node1", "containers": [{"name": "main", "ports": list(ports)}]}
    given = {"phase": "Running", "podIPs": [{"ip": address} for address in addresses or ("10.0.0.1",)]}
    return manifest("v1", "Pod", name, spec, "shop", **metadata) | {"status": given if status is None else status}


def loaded(*manifests: dict[str, Any], **options: Any) -> Cluster:
    """The cluster of these manifests; the namespace shop is there without asking."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*manifests, namespace()]})
    return load(["-"], stdin=StringIO(text), **options)


def problems(*manifests: dict[str, Any], **options: Any) -> list[Problem]:
    """Everything that loading says about these manifests, whether it fails or not."""
    try:
        return list(loaded(*manifests, **options).warnings)
    except InputError as wrong:
        return wrong.problems


def told(*manifests: dict[str, Any], **options: Any) -> list[tuple[str, str, str]]:
    """(severity, path, reason) of everything that loading says."""
    return [(problem.severity, spell(problem.path), problem.reason) for problem in problems(*manifests, **options)]


def only_policy(manifest: dict[str, Any], *others: dict[str, Any]) -> Policy:
    """The policy, whatever an API server would say about it."""
    (policy,) = loaded(manifest, *others, strict=False).policies
    return policy


def only_workload(manifest: dict[str, Any]) -> Workload:
    (workload,) = loaded(manifest).workloads
    return workload
