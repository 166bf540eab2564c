"""Counters of a lab after real packets: as many as were sent, at the rules that they met."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import caller
from tests.netns.labs import new_name, places
from tests.netns.test_lab_command import DENY, SHOP

pytestmark = pytest.mark.netns

ALLOW = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-sql, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: nobody}}}]
  - ports: [{port: 5432}]
"""


@pytest.fixture
def lab(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with places(tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("shop.yaml").write_text(f"{SHOP}---\n{DENY}---\n{ALLOW}")
        yield new_name()


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_packets_are_counted_where_they_are_decided(
    lab: str, backend: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    felixpy = caller(capsys, monkeypatch)
    assert felixpy("lab", "up", "shop.yaml", "--name", lab, "--backend", backend, "-q").status == 0

    def counted() -> dict[tuple[str, str, str], int]:
        answer = felixpy("counters", "shop.yaml", "--lab", lab, "--backend", backend, "-o", "json", "-q")
        assert answer.status == 0, answer.err
        found: dict[tuple[str, str, str], int] = {}
        for item in json.loads(answer.out)["items"]:
            if item["family"] == 4 and item["direction"] == "ingress":
                key = item["subject"].split("/")[-1].split("-")[0], item["detail"], item["action"]
                found[key] = found.get(key, 0) + item["packets"]
        return found

    before = counted()
    for _ in range(3):
        assert felixpy("lab", "probe", "--name", lab, "shop/web", "shop/deployment/db:5432").out.startswith("ALLOWED")
    assert felixpy("lab", "probe", "--name", lab, "shop/web", "shop/deployment/db:81").out.startswith("DENIED")
    after = counted()
    hits = {key: after[key] - before[key] for key in after if after[key] != before[key]}
    assert hits["allow", "spec.ingress[1]", "allow"] == 3
    assert hits["db", "tier default", "deny"] >= 1
    assert ("allow", "spec.ingress[0]", "allow") not in hits
    assert hits["db", "policy", "allow"] == 3
