"""What shells complete."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from felixpy.cli import run
from felixpy.cli.completing import objects
from tests.conformance.recordings import ROOT

DEMO = ROOT.parent / "demo"
SUGGESTED = {
    "re": {"render", "remove"},
    "trace sh": {"shop/deployment/web", "shop/deployment/api", "shop/statefulset/db", "shop/svc/api", "shop/web-1"},
    "trace shop/web-1 inter": {"internet"},
    "render --node n": {"node1", "node7"},
    "render -f shop --node n": {"node1"},
    "matrix -n m": {"monitoring"},
    "explain po": {"pod", "policy"},
    "explain policy shop/d": {"shop/db", "shop/default-deny"},
    "explain tier s": {"security"},
    "render --calico-version v3.3": {"v3.32", "v3.31", "v3.30"},
    "render --set IptablesFilterA": {"IptablesFilterAllowAction="},
    "render --dataplane n": {"nftables"},
    "lint --select FX13": {"FX131", "FX132"},
}
"""What is typed, and what completes it, in the folder of the test."""


@pytest.mark.parametrize("typed", SUGGESTED)
def test_completion_knows_commands_names_and_words(typed: str, monkeypatch, capsys, tmp_path: Path) -> None:
    shutil.copytree(DEMO / "shop", tmp_path / "shop")
    shutil.copy(DEMO / "service.yaml", tmp_path)
    pod = {"kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop"}, "spec": {"nodeName": "node7"}}
    (tmp_path / "pods.json").write_text(json.dumps({"kind": "List", "items": [pod]}))
    (tmp_path / "broken.json").write_text("{[")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.yaml").write_text("kind: Namespace\nmetadata:\n  name: monkeys\n")
    monkeypatch.chdir(tmp_path)
    words = typed.split(" ")
    environment = {"_FELIXPY_COMPLETE": "complete_bash", "COMP_WORDS": f"felixpy {typed}", "COMP_CWORD": len(words)}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    run([])
    assert set(capsys.readouterr().out.split()) == SUGGESTED[typed]


LISTED = """
apiVersion: v1
items:
- apiVersion: v1
  kind: Pod
  metadata:
    labels:
      name: x
    name: a
    ownerReferences:
    - apiVersion: apps/v1
      kind: ReplicaSet
      name: r
  spec:
    containers:
    - name: c
- apiVersion: v1
  kind: Pod
  metadata: # a comment
    name: "b" # another
    namespace: shop
kind: List
---
kind: Tier
metadata:
  name: security
"""


def test_names_are_completed_from_lists_of_kubectl() -> None:
    assert [one.full for one in objects(LISTED)] == ["default/a", "shop/b", "default/security"]


def test_all_names_of_recorded_inputs_are_found() -> None:
    """Those of the kinds that are completed; what the reader of manifests says is the measure."""
    for file in sorted(ROOT.glob("k8s/*/manifests.yaml"))[::6]:
        text = file.read_text()
        wanted = {
            (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
            for one in yaml.safe_load_all(text)
            if one and one["kind"] != "List"
        }
        assert wanted <= {(one.kind, one.namespace, one.name) for one in objects(text)}, file


def test_completion_needs_no_reader_of_manifests() -> None:
    code = "from felixpy.cli import run; import sys; run([]); print(*{'yaml', 'jinja2', 'msgspec'} & {*sys.modules})"
    for typed, number in (("felixpy re", "1"), ("felixpy trace sh", "2")):
        told = {"_FELIXPY_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": number}
        command = [sys.executable, "-c", code]
        answer = subprocess.run(
            command, cwd=DEMO, env={**os.environ, **told}, capture_output=True, text=True, check=True
        ).stdout
        assert answer.split()
        assert answer.splitlines()[-1] == ""
