"""Ingresses, Gateway API routes and OpenShift Routes: what they open, in matrix and diff."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Answer, caller
from tests.manifests import manifest

GATEWAY = "gateway.networking.k8s.io"


def pod(name: str, address: str, space: str = "shop", port: int = 9000, labels: Any = None) -> dict[str, Any]:
    spec = {
        "nodeName": "n1",
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": port, "name": "web"}]}],
    }
    made = manifest("v1", "Pod", name, spec, space, labels={"app": name, **(labels or {})})
    return made | {"status": {"phase": "Running", "podIP": address}}


def service(name: str, target: int | str = 9000, space: str = "shop", **port: Any) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": target, **port}]}
    return manifest("v1", "Service", name, spec, space)


def ingress(name: str, *backends: tuple[str, Any], version: str = "networking.k8s.io/v1") -> dict[str, Any]:
    def backend(service: str, port: Any) -> dict[str, Any]:
        if version != "networking.k8s.io/v1":
            return {"serviceName": service, "servicePort": port}
        return {"service": {"name": service, "port": {"name" if isinstance(port, str) else "number": port}}}

    paths = [{"path": "/", "pathType": "Prefix", "backend": backend(*each)} for each in backends]
    return manifest(version, "Ingress", name, {"rules": [{"http": {"paths": paths}}]}, "shop")


def route(kind: str, *backends: dict[str, Any], version: str = "v1", **spec: Any) -> dict[str, Any]:
    return manifest(f"{GATEWAY}/{version}", kind, "r", {"rules": [{"backendRefs": list(backends)}], **spec}, "shop")


def closed(name: str, *peers: dict[str, Any]) -> dict[str, Any]:
    rules = [{"from": list(peers)}] if peers else []
    spec = {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"], "ingress": rules}
    return manifest("networking.k8s.io/v1", "NetworkPolicy", f"only-{name}", spec, "shop")


API, WEB = pod("api", "10.65.0.2"), pod("web", "10.65.0.3", port=8080)
BASE = (manifest("v1", "Namespace", "shop"), API, WEB, service("api"), service("web", "web", port=8080))


@pytest.fixture
def matrix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Answer]:
    monkeypatch.chdir(tmp_path)
    call = caller(capsys, monkeypatch, "matrix")

    def asked(*things: dict[str, Any], options: tuple[str, ...] = ("-o", "lines")) -> Answer:
        Path("all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*BASE, *things]}))
        return call("all.json", *options)

    return asked


def opened(answer: Answer) -> list[str]:
    return [line for line in answer.out.splitlines() if line.startswith("{ingress-controller}")]


@pytest.mark.parametrize("version", ["networking.k8s.io/v1", "networking.k8s.io/v1beta1", "extensions/v1beta1"])
def test_an_ingress_opens_its_backends(matrix: Callable[..., Answer], version: str) -> None:
    answer = matrix(ingress("i", ("api", 80), ("web", "http"), version=version))
    assert opened(answer) == [
        "{ingress-controller} => shop/api : TCP 9000",
        "{ingress-controller} => shop/web : TCP 8080",
    ]


@pytest.mark.parametrize(
    "made, flow",
    [
        (route("HTTPRoute", {"name": "api", "port": 80}), "TCP 9000"),
        (route("GRPCRoute", {"name": "api", "port": 80}), "TCP 9000"),
        (route("TCPRoute", {"name": "api", "port": 80}, version="v1alpha2"), "TCP 9000"),
        (route("TLSRoute", {"name": "api", "port": 80}, version="v1alpha3"), "TCP 9000"),
        (route("HTTPRoute", {"name": "api", "port": 80, "weight": 0}), ""),
        (route("HTTPRoute", {"name": "api", "kind": "ServiceImport", "group": "x"}), ""),
        (
            manifest("route.openshift.io/v1", "Route", "r", {"to": {"kind": "Service", "name": "api"},
                     "port": {"targetPort": 9000}}, "shop"),
            "TCP 9000",
        ),
        (manifest("route.openshift.io/v1", "Route", "r", {"to": {"name": "api"}}, "shop"), "TCP 9000"),
    ],
)  # fmt: skip
def test_other_routes(matrix: Callable[..., Answer], made: dict[str, Any], flow: str) -> None:
    assert opened(matrix(made)) == ([f"{{ingress-controller}} => shop/api : {flow}"] if flow else [])


def test_requests_that_are_mirrored_arrive(matrix: Callable[..., Answer]) -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "web", "port": 8080}}}
    rules = [{"backendRefs": [{"name": "api", "port": 80}], "filters": [mirror]}]
    assert len(opened(matrix(manifest(f"{GATEWAY}/v1", "HTTPRoute", "r", {"rules": rules}, "shop")))) == 2


def test_policies_have_the_last_word(matrix: Callable[..., Answer]) -> None:
    """Any pod of any namespace may come from the controller's; one that has to have a label may not."""
    anybody: dict[str, Any] = {"namespaceSelector": {}}
    some = {"namespaceSelector": {"matchLabels": {"team": "web"}}}
    assert opened(matrix(ingress("i", ("api", 80)), closed("api", anybody)))
    answer = matrix(ingress("i", ("api", 80)), closed("api", some))
    assert not opened(answer)
    assert (
        "Ingress shop/i: policies close shop/api port 80/tcp (10.65.0.2) from a pod that is not in the input"
        in answer.err
    )


def test_a_controller_in_the_input_is_the_source(matrix: Callable[..., Answer]) -> None:
    labels = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}
    controller = pod("controller", "10.65.0.9", "ingress-nginx", labels=labels)
    things = (manifest("v1", "Namespace", "ingress-nginx"), controller, ingress("i", ("api", 80)))
    assert not opened(matrix(*things))
    found = json.loads(matrix(*things, options=("-o", "json")).out)
    (reached,) = found["routes"]
    assert (reached["source"], reached["pod"], reached["allowed"]) == ("ingress-nginx/controller", "shop/api", True)


def test_the_pods_of_a_gateway(matrix: Callable[..., Answer]) -> None:
    proxy = pod("proxy", "10.65.0.9", labels={"gateway.networking.k8s.io/gateway-name": "front"})
    made = route("HTTPRoute", {"name": "api", "port": 80}, parentRefs=[{"name": "front"}])
    (reached,) = json.loads(matrix(proxy, made, options=("-o", "json")).out)["routes"]
    assert reached["source"] == "shop/proxy"


def test_services_of_other_namespaces_need_a_grant(matrix: Callable[..., Answer]) -> None:
    far = (manifest("v1", "Namespace", "far"), pod("db", "10.65.0.7", "far"), service("db", space="far"))
    made = route("HTTPRoute", {"name": "db", "namespace": "far", "port": 80})
    refused = matrix(*far, made)
    assert not opened(refused)
    assert "HTTPRoute shop/r: no ReferenceGrant lets it use service far/db" in refused.err
    spec = {
        "from": [{"group": GATEWAY, "kind": "HTTPRoute", "namespace": "shop"}],
        "to": [{"group": "", "kind": "Service"}],
    }
    grant = manifest(f"{GATEWAY}/v1beta1", "ReferenceGrant", "g", spec, "far")
    assert opened(matrix(*far, made, grant)) == ["{ingress-controller} => far/db : TCP 9000"]


def test_what_leads_nowhere_is_said(matrix: Callable[..., Answer]) -> None:
    told = matrix(ingress("i", ("gone", 80), ("api", 81))).err
    assert "Ingress shop/i: there is no service shop/gone in the input" in told
    assert "Ingress shop/i: service shop/api has no port 81" in told


def test_focus_and_ports(matrix: Callable[..., Answer]) -> None:
    things = (ingress("i", ("api", 80), ("web", 8080)),)
    only = matrix(*things, options=("-o", "lines", "--focus", "ingress-controller")).out.splitlines()
    assert len(only) == 2
    assert len(opened(matrix(*things, options=("-o", "lines", "--focus", "shop/web")))) == 1
    assert len(opened(matrix(*things, options=("-o", "lines", "--ports", "8080")))) == 1


@pytest.mark.parametrize("output", ["grid", "csv", "json", "dot", "svg"])
def test_every_output_has_it(matrix: Callable[..., Answer], output: str) -> None:
    assert "ingress-controller" in matrix(ingress("i", ("api", 80)), options=("-o", output)).out


def test_diff(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    call = caller(capsys, monkeypatch, "diff")
    for name, things in (("a", [ingress("i", ("api", 80))]), ("b", [ingress("i", ("web", 8080))])):
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"apiVersion": "v1", "kind": "List", "items": [*BASE, *things]})
        )
    done = call(tmp_path / "a.json", tmp_path / "b.json", "-q", "--flows")
    assert done.status == 1
    assert "+ {ingress-controller} → shop/web : TCP 8080" in done.out
    assert "- {ingress-controller} → shop/api : TCP 9000" in done.out


@pytest.mark.parametrize(
    "spec", [{"rules": [{"backendRefs": "api"}]}, {"rules": {"a": 1}}, {"rules": [{"filters": [7]}]}]
)  # fmt: skip
def test_mistakes_are_told(matrix: Callable[..., Answer], spec: dict[str, Any]) -> None:
    answer = matrix(manifest(f"{GATEWAY}/v1", "HTTPRoute", "r", spec, "shop"))
    assert answer.status == 2
    assert "HTTPRoute shop/r: spec.rules" in answer.err
