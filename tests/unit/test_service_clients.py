"""Which Services pods reach, in matrix and diff."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Answer, caller
from tests.manifests import manifest, namespace, pod

WEB = pod("web", "10.65.0.2", labels={"app": "web"})
APIS = [pod(f"api-{number}", f"10.65.0.{number + 3}", labels={"app": "api", "n": str(number)}) for number in range(2)]
API = manifest(
    "v1", "Service", "api", {"selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": 9000}]}, "shop"
)  # fmt: skip
BASE = [namespace(), WEB, *APIS, API]


def isolated(**labels: str) -> dict[str, Any]:
    spec = {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"]}
    return manifest("networking.k8s.io/v1", "NetworkPolicy", "isolated", spec, "shop")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answer]:
    monkeypatch.chdir(tmp_path)
    return caller(capsys, monkeypatch)


def written(name: str, *things: dict[str, Any]) -> str:
    Path(name).write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*BASE, *things]}))
    return name


def services(answer: Answer) -> list[str]:
    return [line for line in answer.out.splitlines() if "/svc/" in line]


def test_all_endpoints_some_or_none(run: Callable[..., Answer]) -> None:
    every = run("matrix", written("a.json"), "-q", "-o", "lines", "--services")
    assert services(every) == [f"shop/{name} => shop/svc/api : TCP 80" for name in ("api-0", "api-1", "web")]
    some = run("matrix", written("b.json", isolated(n="0")), "-q", "-o", "lines", "--services")
    assert "shop/web => shop/svc/api : TCP 80 (1 of 2 endpoints)" in services(some)
    assert not services(run("matrix", written("c.json", isolated(app="api")), "-q", "-o", "lines", "--services"))
    assert not services(run("matrix", "a.json", "-q", "-o", "lines"))


def test_json_and_focus(run: Callable[..., Answer]) -> None:
    found = json.loads(run("matrix", written("a.json"), "-q", "-o", "json", "--services", "--focus", "shop/web").out)
    (reach,) = found["services"]
    assert (reach["source"]["name"], reach["service"]["name"], reach["port"]) == ("web", "api", 80)
    assert (reach["reached"], reach["endpoints"]) == (2, 2)


@pytest.mark.parametrize("output", ["grid", "csv", "dot", "svg"])
def test_every_output_has_them(run: Callable[..., Answer], output: str) -> None:
    assert "shop/svc/api" in run("matrix", written("a.json"), "-q", "-o", output, "--services").out


def test_diff(run: Callable[..., Answer]) -> None:
    answer = run("diff", written("a.json"), written("b.json", isolated(n="0")), "-q", "--flows")
    assert answer.status == 1
    assert "- shop/web → shop/svc/api : TCP 80" in answer.out
    assert "0 connections to services opened, 3 closed" in answer.out
    found = json.loads(run("diff", "b.json", "a.json", "-q", "--flows", "-o", "json").out)
    assert len(found["services"]["opened"]) == 3
    assert found["services"]["closed"] == []
    assert "#### Services" in run("diff", "a.json", "b.json", "-q", "-o", "markdown").out


def test_a_service_that_points_elsewhere_is_a_difference(run: Callable[..., Answer]) -> None:
    moved = manifest("v1", "Service", "api", {"selector": {"app": "none"}, "ports": [{"port": 80}]}, "shop")
    answer = run("diff", written("a.json"), written("b.json", moved), "-q", "--flows")
    assert answer.status == 1
    assert "- shop/web → shop/svc/api : TCP 80" in answer.out
    assert "no flow" not in answer.out


def test_nodes_and_the_internet_are_ends_like_others(run: Callable[..., Answer]) -> None:
    agent = pod("agent", status={"phase": "Running", "podIP": "192.0.2.1"})
    agent["spec"]["hostNetwork"] = True
    file = written("a.json", agent)

    def focused(name: str) -> list[str]:
        return run("matrix", file, "-q", "-o", "lines", "--focus", name).out.splitlines()

    assert focused("shop/agent") == focused("host:node1") == focused("host")
    assert all("host:node1" in line for line in focused("host"))
    assert focused("internet")
    assert all("0.0.0.0/0" in line for line in focused("internet"))
