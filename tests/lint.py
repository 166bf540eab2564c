"""Manifests in text, linted."""

from __future__ import annotations

from io import StringIO
from textwrap import dedent

from felixpy.linting import CHECKS, LintOptions, lint
from felixpy.manifests import load
from felixpy.reports import Result

PODS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: red}}
---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {team: blue}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.65.0.2, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: sql, containerPort: 5432}]}]}
status: {podIP: 10.65.0.3, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: other, labels: {app: job}}
spec: {nodeName: n2, containers: [{name: c, image: i}]}
status: {podIP: 10.65.1.2, phase: Running}
"""


def policy(spec: str, *, name: str = "p", namespace: str = "shop") -> str:
    """A NetworkPolicy of Kubernetes; `spec` in block style."""
    head = f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"{head}\nspec:\n{_indented(spec)}"


def guard(spec: str, *, name: str = "g") -> str:
    """A GlobalNetworkPolicy of Calico."""
    head = f"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}"
    return f"{head}\nspec:\n{_indented(spec)}"


def _indented(spec: str) -> str:
    return "".join(f"  {line}\n" for line in dedent(spec).strip().splitlines())


def findings(*manifests: str, pods: str = PODS, select: str = "", options: LintOptions | None = None) -> list[Result]:
    """What lint says about manifests and the pods of this module; all checks run, optional ones included, or one."""
    text = "\n---\n".join(filter(None, (*map(dedent, manifests), pods)))
    checks = [check for code, check in CHECKS.items() if code.startswith(select)]
    return lint(load(["-"], stdin=StringIO(text)), checks=checks, options=options).failures


def codes(*manifests: str, pods: str = PODS, select: str = "") -> list[str]:
    """The codes of the findings that are not optional ones."""
    found = findings(*manifests, pods=pods, select=select)
    return [result.name for result in found if select or result.name not in ("FX112", "FX113")]
