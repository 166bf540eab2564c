"""``matrix --explain``: which rules decide about each connection, allowed or denied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Answer, caller
from tests.manifests import manifest, namespace, pod

WEB, API = pod("web", "10.65.0.2", labels={"app": "web"}), pod("api", "10.65.0.3", labels={"app": "api"})
RULES = [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}, {"port": 81}]}]
POLICY = manifest(
    "networking.k8s.io/v1", "NetworkPolicy", "api",
    {"podSelector": {"matchLabels": {"app": "api"}}, "ingress": RULES}, "shop",
)  # fmt: skip
DENY = manifest(
    "projectcalico.org/v3", "GlobalNetworkPolicy", "no-81",
    {"order": 1, "selector": "app == 'api'", "types": ["Ingress"],
     "ingress": [{"action": "Deny", "protocol": "TCP", "destination": {"ports": [81]}}]},
)  # fmt: skip


@pytest.fixture
def asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answer]:
    monkeypatch.chdir(tmp_path)
    call = caller(capsys, monkeypatch, "matrix")
    items = [namespace(), WEB, API, POLICY, DENY]
    Path("all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return lambda *words: call("all.json", "-q", *words)


def rows(entries: list[dict[str, Any]], source: str, destination: str) -> list[dict[str, Any]]:
    ends = [(entry["source"].get("name"), entry["destination"].get("name"), entry) for entry in entries]
    return [entry for sender, receiver, entry in ends if (sender, receiver) == (source, destination)]


def test_every_entry_has_its_rules(asked: Callable[..., Answer]) -> None:
    found = json.loads(asked("-o", "json", "--explain").out)
    (allowed,) = rows(found["connections"], "web", "api")
    (decision,) = allowed["decisions"]
    assert (decision["verdict"], decision["connection"]) == ("allow", allowed["connection"]) == ("allow", "TCP 80")
    last = decision["rules"][-1]
    assert (last["reporter"], last["name"], last["rule_index"], last["action"]) == ("dst", "api", 0, "Allow")
    assert (last["file"], last["line"]) == ("all.json", 1)
    denied = {entry["connection"]: entry for entry in rows(found["denied"], "web", "api")}
    assert denied.keys() == {"TCP 81", "All but TCP 80-81"}
    assert denied["TCP 81"]["rules"][-1]["name"] == "no-81"
    assert denied["All but TCP 80-81"]["rules"][-1]["kind"] == "EndOfTier"


def test_addresses_outside_are_explained(asked: Callable[..., Answer]) -> None:
    found = json.loads(asked("-o", "json", "--explain").out)
    assert all(entry["decisions"] for entry in found["connections"])
    outside = [entry for entry in found["denied"] if entry["source"]["kind"] == "External"]
    assert {entry["destination"]["name"] for entry in outside} == {"api"}


def test_only_what_is_asked_for(asked: Callable[..., Answer]) -> None:
    found = json.loads(asked("-o", "json", "--explain", "--ports", "81").out)
    assert [entry["connection"] for entry in rows(found["denied"], "web", "api")] == ["TCP 81"]
    assert "denied" not in json.loads(asked("-o", "json").out)


def test_it_is_for_json(asked: Callable[..., Answer]) -> None:
    answer = asked("-o", "lines", "--explain")
    assert (answer.status, answer.err) == (2, "felixpy: --explain goes with -o json\n")
