"""All nodes at once: one process, several or a Dask cluster give the same files; a bad node does not stop the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed import LocalCluster

import felixpy
from felixpy.cli import run
from felixpy.compiler import Compiler
from felixpy.fleet import render_nodes
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
    outcomes = render_nodes(Compiler(felixpy.load([SHOP])), folder, jobs=1)
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
    ready: list[int] = []
    render_nodes(Compiler(felixpy.load([SHOP])), tmp_path, jobs=2, done=ready.append)
    assert ready[-1] == len(NODES)
    assert texts(tmp_path) == alone


@pytest.mark.filterwarnings("ignore")  # what Dask itself warns about is not ours
def test_a_dask_cluster_gives_the_same_files(tmp_path: Path, alone: dict[str, str]) -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, scheduler_port=0
    ) as cluster:
        render_nodes(Compiler(felixpy.load([SHOP])), tmp_path, dask=cluster.scheduler_address)
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
