"""Commands about many nodes say the same however many processes work on them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from felixpy.cli import run
from felixpy.verification import Node
from felixpy.verification import verify as compare
from tests.bench.clusters import Shape, write


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster of twelve nodes."""
    return write(Shape(6, 8, 3, 2, nodes=12), tmp_path_factory.mktemp("many"), "json")


@pytest.fixture(scope="module")
def fewer(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one address less in its policies."""
    file = tmp_path_factory.mktemp("fewer") / "manifests.json"
    file.write_text(many.read_text().replace("198.51.1.0/24", "198.51.200.0/24"))
    return file


@pytest.fixture(scope="module")
def saved(fewer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    assert run(["render", str(fewer), "--all-nodes", "--output-dir", str(folder), "-q", "-j", "1"]) == 0
    return folder


@pytest.mark.parametrize("output", ["text", "json"])
def test_verify(many: Path, saved: Path, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for jobs in ("1", "3"):
        assert run(["verify", str(many), "--rules", str(saved), "-q", "-o", output, "-j", jobs]) == 1
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].count("node12") >= 1


@pytest.mark.parametrize("output", ["text", "json", "markdown"])
def test_diff(many: Path, fewer: Path, saved: Path, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    for before in (fewer, saved):
        printed = []
        for jobs in ("1", "3"):
            assert run(["diff", str(before), str(many), "-q", "-o", output, "-j", jobs]) == 1
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1]
        assert "198.51.200.0/24" in printed[0]


def test_a_node_that_could_not_be_compared_is_unknown(
    many: Path, saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare_or_die(observed: object, node: Node) -> object:
        if node.name == "node7":
            os.kill(os.getpid(), signal.SIGKILL)
        return compare(observed, node)  # type: ignore[arg-type]

    monkeypatch.setattr("felixpy.verification.verify", compare_or_die)
    assert run(["verify", str(many), "--rules", str(saved), "-q", "-j", "2"]) == 1
    assert "node7   unknown" in capsys.readouterr().out
