"""Namespaces and service accounts that must exist although the input lacks them."""

from __future__ import annotations

import io

import pytest

from felixpy.errors import Problem
from felixpy.manifests.completion.assumptions import assume
from felixpy.manifests.reading.documents import Document, read

CALICO = "projectcalico.org/v3"


def manifest(kind: str, name: str, namespace: str = "", *, version="v1", spec="{}", more="") -> str:
    place = f", namespace: {namespace}" if namespace else ""
    return f"---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}{place}{more}}}\nspec: {spec}\n"


def pod(name: str, namespace: str = "shop", account: str = "", more: str = "") -> str:
    return manifest("Pod", name, namespace, spec=f"{{serviceAccountName: {account}}}" if account else "{}", more=more)


def assumed(text: str) -> tuple[list[Document], list[Problem]]:
    found = read(["-"], stdin=io.StringIO(text))
    assert found.problems == []
    documents, problems = assume(found.documents)
    assert documents[: len(found.documents)] == found.documents
    return documents[len(found.documents) :], problems


def names(text: str) -> list[str]:
    added, _ = assumed(text)
    return [f"{data['kind']} {data['metadata'].get('namespace', '')}/{data['metadata']['name']}" for data, _ in added]


NAMESPACE = ["Namespace /shop"]
CASES = {
    "nothing": ("", []),
    "pod": (pod("web"), NAMESPACE),
    "pod in a known namespace": (manifest("Namespace", "shop") + pod("web"), []),
    "the namespace comes later": (pod("web") + manifest("Namespace", "shop"), []),
    "no namespace is default": (pod("web", ""), ["Namespace /default"]),
    "system namespaces too": (pod("dns", "kube-system"), ["Namespace /kube-system"]),
    "account": (manifest("ServiceAccount", "a", "shop"), NAMESPACE),
    "policy": (manifest("NetworkPolicy", "p", "shop", version="networking.k8s.io/v1"), NAMESPACE),
    "calico policy": (manifest("NetworkPolicy", "p", "shop", version=CALICO), NAMESPACE),
    "stored policy": (manifest("NetworkPolicy", "p", "shop", version="crd.projectcalico.org/v1"), NAMESPACE),
    "staged policy": (manifest("StagedNetworkPolicy", "p", "shop", version=CALICO), NAMESPACE),
    "staged kubernetes policy": (manifest("StagedKubernetesNetworkPolicy", "p", "shop", version=CALICO), NAMESPACE),
    "network set": (manifest("NetworkSet", "p", "shop", version=CALICO), NAMESPACE),
    "service": (manifest("Service", "p", "shop"), []),
    "another group": (manifest("NetworkPolicy", "p", "shop", version="example.com/v1"), []),
    "without namespaces": (manifest("GlobalNetworkPolicy", "p", version=CALICO), []),
    "several": (pod("a", "one") + pod("b", "two") + pod("c", "one"), ["Namespace /one", "Namespace /two"]),
    "account of a pod": (
        pod("web", account="runner"), [*NAMESPACE, "ServiceAccount shop/runner"],
    ),
    "known account": (manifest("ServiceAccount", "runner", "shop") + pod("web", account="runner"), NAMESPACE),
    "account of another namespace": (
        manifest("Namespace", "shop") + manifest("Namespace", "b") + manifest("ServiceAccount", "runner", "b")
        + pod("web", account="runner"),
        ["ServiceAccount shop/runner"],
    ),
    "one account of two pods": (
        pod("a", account="default") + pod("b", account="default"), [*NAMESPACE, "ServiceAccount shop/default"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, expected", CASES.values(), ids=CASES)
def test_what_is_assumed(text, expected):
    assert names(text) == expected


def test_assumed_objects():
    [namespace, account], _ = assumed(manifest("Namespace", "other") + pod("web", account="runner"))
    assert namespace.data == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}},
    }
    assert account.data == {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "runner", "namespace": "shop"},
    }
    assert namespace.source == account.source == ("<stdin>", 7, 0, 0)


POLICY = manifest("NetworkPolicy", "web", "shop", version=CALICO)
OWNED = ", ownerReferences: [{kind: Deployment, name: web}]"
UNKNOWN = "labels but kubernetes.io/metadata.name are unknown, namespaceSelectors on them cannot match"
WARNINGS = {
    "one": (
        pod("web-1") + POLICY,
        [
            "2: warning: namespace shop, used by Pod shop/web-1 and NetworkPolicy shop/web:"
            f" there is no Namespace object for it (its {UNKNOWN})"
        ],
    ),
    "two": (
        pod("b", "two") + pod("a", "one"),
        [
            "2: warning: namespaces one, used by Pod one/a; two, used by Pod two/b:"
            f" there are no Namespace objects for them (their {UNKNOWN})"
        ],
    ),
    "many users": (
        "".join(pod(f"p{number}") for number in range(6)),
        [
            "2: warning: namespace shop, used by Pod shop/p0, Pod shop/p1, Pod shop/p2 and 3 more:"
            f" there is no Namespace object for it (its {UNKNOWN})"
        ],
    ),
    "assumed pods are told by their workload": (
        pod("web-1", more=OWNED) + pod("web-2", more=OWNED),
        [
            "2: warning: namespace shop, used by Deployment shop/web:"
            f" there is no Namespace object for it (its {UNKNOWN})"
        ],
    ),
    "live ones by their name": (
        pod("web-1", more=OWNED + ", uid: x"),
        [f"2: warning: namespace shop, used by Pod shop/web-1: there is no Namespace object for it (its {UNKNOWN})"],
    ),
    "pods of the kubelet itself by their name": (
        pod("etcd-n1", more=", ownerReferences: [{kind: Node, name: n1}]"),
        [f"2: warning: namespace shop, used by Pod shop/etcd-n1: there is no Namespace object for it (its {UNKNOWN})"],
    ),
    "account": (
        manifest("Namespace", "shop") + pod("web", account="runner"),
        [
            "7: warning: service account shop/runner, used by Pod shop/web: there is no ServiceAccount object for it"
            " (its labels are unknown, serviceAccountSelectors cannot match)"
        ],
    ),
    "the default account goes without saying": (manifest("Namespace", "shop") + pod("web", account="default"), []),
    "nothing missing": (manifest("Namespace", "shop") + pod("web"), []),
}


@pytest.mark.parametrize("text, expected", WARNINGS.values(), ids=WARNINGS)
def test_warnings(text, expected):
    _, problems = assumed(text)
    assert [str(problem).removeprefix("<stdin>:") for problem in problems] == expected


def test_a_long_warning_is_cut():
    _, [problem] = assumed("".join(pod("p", f"n{number:02}") for number in range(25)))
    assert problem.subject.startswith("namespaces n00, used by Pod n00/p; n01, used by ")
    assert problem.subject.endswith("n09, used by Pod n09/p; 15 more")
