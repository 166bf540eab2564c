"""Manifests of Deployments and the like as texts, and the pods that they are expanded to."""

from __future__ import annotations

import io
from textwrap import dedent
from typing import Any

from felixpy.errors import Problem
from felixpy.manifests.completion import workloads
from felixpy.manifests.reading.documents import Document, read

TEMPLATE = "{metadata: {labels: {app: web}}, spec: {containers: []}}"


def documents(text: str) -> list[Document]:
    found = read(["-"], stdin=io.StringIO(text))
    assert found.problems == []
    return found.documents


def manifest(kind: str, name: str, spec: str, *, namespace: str = "shop", more: str = "") -> str:
    version = {"Pod": "v1", "Node": "v1", "Job": "batch/v1", "CronJob": "batch/v1", "IPPool": "projectcalico.org/v3"}
    version |= {"HostEndpoint": "projectcalico.org/v3", "ReplicationController": "v1"}
    version |= {"DeploymentConfig": "apps.openshift.io/v1"}
    metadata = f"{{name: {name}, namespace: {namespace}{', ' + more if more else ''}}}"
    return f"---\napiVersion: {version.get(kind, 'apps/v1')}\nkind: {kind}\nmetadata: {metadata}\n{dedent(spec)}\n"


def controller(kind: str, name: str = "web", fields: str = "", template: str = TEMPLATE, **kwargs: str) -> str:
    spec = f"{{selector: {{matchLabels: {{app: web}}}}, template: {template}, {fields}}}"
    return manifest(kind, name, f"spec: {spec}", **kwargs)


def cron_job(fields: str = "", job: str = "") -> str:
    spec = f"{{{fields} jobTemplate: {{spec: {{{job} template: {TEMPLATE}}}}}}}"
    return manifest("CronJob", "nightly", f"spec: {spec}")


def live(name: str, labels: str = "{app: web}", *, owner: str = "", namespace: str = "shop") -> str:
    more = f"labels: {labels}" + (f", ownerReferences: [{owner}]" if owner else "")
    return manifest("Pod", name, "spec: {nodeName: n1}\nstatus: {podIP: 10.9.9.9}", namespace=namespace, more=more)


def expanded(text: str, node: str | None = None) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The pods that were not there before, and the problems; nothing else may have changed."""
    before = documents(text)
    after, problems = workloads.expand(before, node=node)
    kept = [document for document in after if document in before]
    assert [document for document in before if document in kept] == kept
    return [document.data for document in after if document not in before], problems


def pods(text: str, node: str | None = None) -> list[dict[str, Any]]:
    found, problems = expanded(text, node)
    assert [problem for problem in problems if problem.severity == "error"] == []
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in found)
