"""All nodes at once: one process, several or a Dask cluster give the same files; a bad node does not stop the rest."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

import felixpy
from felixpy.cli import run
from felixpy.compiler import Compiler
from felixpy.fleet import render_nodes
from felixpy.ruleset import Ruleset
from felixpy.workers import Alone, Dask, Forked
from tests.conformance.recordings import ROOT

SHOP = ROOT / "k8s" / "shop-three-tiers" / "manifests.yaml"
NODES = ["node1", "node2"]

NARROW_MASK = """
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata:
  name: node.node2
spec:
  iptablesMarkMask: 0x1f
  wireguardEnabled: true
"""


def texts(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*.*"))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("alone")
    outcomes = render_nodes(Compiler(felixpy.load([SHOP])), folder, Alone())
    assert [outcome.node for outcome in outcomes] == NODES
    return texts(folder)


def test_each_node_is_what_compile_gives(alone: dict[str, str]) -> None:
    cluster = felixpy.load([SHOP])
    for node in NODES:
        ruleset = felixpy.compile(cluster, node)
        assert alone[f"{node}/iptables.save"] == ruleset.save(4)
        assert alone[f"{node}/ip6tables.restore"] == ruleset.restore(6)
        assert alone[f"{node}/ipset.save"] == ruleset.ipset_save()


def test_processes_give_the_same_files(tmp_path: Path, alone: dict[str, str]) -> None:
    outcomes = render_nodes(Compiler(felixpy.load([SHOP])), tmp_path, Forked(2))
    assert sorted(outcome.node for outcome in outcomes) == NODES
    assert texts(tmp_path) == alone


@pytest.mark.filterwarnings("ignore")  # what Dask itself warns about is not ours
def test_a_dask_cluster_gives_the_same_files(tmp_path: Path, alone: dict[str, str]) -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, scheduler_port=0
    ) as cluster:
        outcomes = render_nodes(Compiler(felixpy.load([SHOP])), tmp_path, Dask(cluster.scheduler_address))
        assert [outcome.node for outcome in outcomes] == NODES
    assert texts(tmp_path) == alone


def test_a_node_that_fails_is_named_and_the_others_are_written(
    tmp_path: Path, alone: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    manifests = tmp_path / "in"
    manifests.mkdir()
    (manifests / "shop.yaml").write_text(SHOP.read_text())
    (manifests / "mask.yaml").write_text(NARROW_MASK)
    status = run(["render", str(manifests), "--all-nodes", "--output-dir", str(tmp_path / "out"), "-j", "1"])
    errors = capsys.readouterr().err
    assert status == 2
    assert "node node2: " in errors
    assert "1 of 2 nodes written" in errors
    written = texts(tmp_path / "out")
    assert written == {name: text for name, text in alone.items() if not name.startswith("node2/")}


def test_all_nodes_printed_are_the_nodes_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["-6", "--form", "restore"], ["--ipsets"], ["--dataplane", "nftables"]):
        assert run(["render", str(SHOP), "--all-nodes", "-j", "2", "-q", *words]) == 0
        printed = capsys.readouterr().out
        parts = []
        for node in NODES:
            assert run(["render", str(SHOP), "--node", node, "-q", *words]) == 0
            parts.append(capsys.readouterr().out)
        headings = [line for line in printed.splitlines() if line.startswith("# ") and " of node " in line]
        assert [line.partition(" of node ")[2].partition(",")[0] for line in headings] == NODES
        for heading, part in zip(headings, parts, strict=True):
            assert f"{heading}\n{part}" in printed


def test_all_nodes_as_json_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", str(SHOP), "--all-nodes", "-j", "2", "-q", "-o", "json"]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["node"] for document in documents] == NODES
    assert run(["render", str(SHOP), "--node", NODES[1], "-q", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == documents[1]


@pytest.mark.parametrize("words", [["--node", "node1"], ["--annotate"]])
def test_what_is_for_one_node_is_refused(words: list[str]) -> None:
    assert run(["render", str(SHOP), "--all-nodes", *words]) == 2


def test_a_process_that_ends_costs_its_node_only(
    tmp_path: Path, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = Compiler.compile

    def compile_or_die(self: Compiler, node: str, *rest: Any, **named: Any) -> Ruleset:
        if node == "node1":
            os.kill(os.getpid(), signal.SIGKILL)
        return compiled(self, node, *rest, **named)

    monkeypatch.setattr(Compiler, "compile", compile_or_die)
    status = run(["render", str(SHOP), "--all-nodes", "--output-dir", str(tmp_path), "-j", "2"])
    assert status == 3
    errors = capsys.readouterr().err
    assert "node node1: the process that worked on it ended by signal 9 (Killed)" in errors
    assert "1 of 2 nodes written" in errors
    assert texts(tmp_path) == {name: text for name, text in alone.items() if not name.startswith("node1/")}
