"""Flows are the same however many processes evaluate them, and whether inputs are numbered together or apart."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from felixpy.cli import run
from felixpy.compiler import Compiler
from felixpy.flows import compare, survey
from felixpy.flows.presentation import pieces
from felixpy.flows.presentation.pieces import Pieces
from felixpy.flows.presentation.report import csv_rows, lines
from felixpy.flows.reachability import changes, halves, sides
from felixpy.flows.reachability.halves import Evaluation, Part
from felixpy.flows.reachability.renumbering import Apart
from felixpy.manifests import load
from felixpy.topology.nodes import Nodes
from felixpy.workers import Forked, Workers
from tests.bench.flows import Size, write
from tests.elsewhere import elsewhere


def forked(_: int) -> Workers:
    """Three processes, however few parts there are."""
    return Forked(3)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A cluster whose pods are hardly alike, the same with a policy less, and one with other ports and addresses."""
    folder = tmp_path_factory.mktemp("flows")
    whole, less = write(Size("unrelated", 160), folder)
    other = folder / "other.yaml"
    other.write_text(whole.read_text().replace("10007", "10070").replace("172.16.3.0/24", "172.16.2.0/23"))
    return {"whole": whole, "less": less, "other": other}


def nodes(file: Path) -> Nodes:
    return Nodes(Compiler(load(file)))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few classes in a part that several processes have something to do."""
    monkeypatch.setattr(halves, "CLASSES_OF_A_PART", 7)
    monkeypatch.setattr(pieces, "SENDERS_OF_A_PIECE", 9)
    monkeypatch.setattr(changes, "ENDPOINTS_OF_A_PART", 7)


@pytest.mark.parametrize("hands", [forked, elsewhere])
def test_a_survey_is_the_same(inputs: Mapping[str, Path], hands: halves.Hands) -> None:
    alone, shared = survey(nodes(inputs["whole"])), survey(nodes(inputs["whole"]), hands=hands)
    assert list(alone.flows()) == list(shared.flows())
    assert len(list(alone.flows())) > 500


@pytest.mark.parametrize("hands", [forked, elsewhere])
@pytest.mark.parametrize(("before", "after"), [("whole", "less"), ("less", "other"), ("other", "whole")])
def test_changes_are_the_same(inputs: Mapping[str, Path], before: str, after: str, hands: halves.Hands) -> None:
    old, new = inputs[before], inputs[after]
    alone = compare(nodes(old), nodes(new))
    assert alone == compare(nodes(old), nodes(new), hands=hands)
    assert alone.opened or alone.closed


@pytest.mark.parametrize("command", [["matrix", "{whole}"], ["diff", "--flows", "{less}", "{whole}"]])
@pytest.mark.parametrize("output", ["json", "other"])
def test_commands_print_the_same(
    inputs: Mapping[str, Path], command: list[str], output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(**inputs) for word in command]
    form = output if output == "json" else {"matrix": "csv", "diff": "markdown"}[words[0]]
    printed = []
    for jobs in ("1", "3"):
        assert run([*words, "-q", "-o", form, "-j", jobs]) == (words[0] == "diff")
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "own-7" in printed[0]


@pytest.mark.parametrize("more", [[], ["--by", "pod"], ["--focus", "team-1"], ["--focus", "internet", "--services"]])
@pytest.mark.parametrize("output", ["csv", "lines"])
def test_lines_of_pieces_are_those_of_all_flows(
    inputs: Mapping[str, Path], more: list[str], output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for jobs in ("1", "3"):
        assert run(["matrix", str(inputs["whole"]), "-q", "-o", output, "-j", jobs, *more]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].count("\n") > 20


def test_pieces_are_all_flows_in_order(inputs: Mapping[str, Path]) -> None:
    pairs = survey(nodes(inputs["whole"])).pairs()
    for tell in (lines, csv_rows):
        assert list(Pieces(pairs).lines(tell, forked)) == list(tell(pairs.flows()))


@pytest.mark.parametrize("mostly", [0, 2, 1000])
def test_it_does_not_matter_how_many_pods_are_compiled(
    inputs: Mapping[str, Path], mostly: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows = list(survey(nodes(inputs["whole"])).flows())
    monkeypatch.setattr(sides, "MOSTLY", mostly)
    assert list(survey(nodes(inputs["whole"])).flows()) == flows


@pytest.mark.filterwarnings("ignore")  # what Dask itself warns about is not ours
def test_a_dask_cluster_gives_the_same(inputs: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    commands = (["matrix", str(inputs["whole"]), "-o", "csv"], ["diff", *map(str, (inputs["less"], inputs["whole"]))])
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, scheduler_port=0
    ) as there:
        for command in commands:
            printed = []
            for more in (["-j", "1"], ["--scheduler", there.scheduler_address]):
                assert run([*command, "-q", *more]) == (command[0] == "diff")
                printed.append(capsys.readouterr().out)
            assert printed[0] == printed[1]


@pytest.mark.parametrize("command", [["matrix"], ["diff", "--flows"], ["diff"]])
def test_wrong_input_is_reported_as_by_one_process(
    inputs: Mapping[str, Path], command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = """\
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {iptablesMarkMask: 0x412104}
"""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(inputs["whole"].read_text() + settings)
    given = [str(wrong)] if command == ["matrix"] else [str(wrong), str(inputs["whole"])]
    said = []
    for jobs in ("1", "2"):
        assert run([*command, *given, "-q", "-j", jobs]) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert "5 are set" in said[0]


def dies(work: Callable[..., Any], item: Any, here: int) -> Callable[..., Any]:
    """Work during which the system ends any other process that is at one item."""

    def ended(self: Any, found: Any) -> Any:
        if found == item and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(self, found)

    return ended


def test_what_a_process_was_at_that_ended_is_evaluated_again(
    inputs: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    flows = list(survey(nodes(inputs["whole"])).flows())
    found = compare(nodes(inputs["less"]), nodes(inputs["whole"]))
    part = Part(side=0, family=4, out=True, first=14, end=21)
    monkeypatch.setattr(Evaluation, "evaluate", dies(Evaluation.evaluate, part, os.getpid()))
    monkeypatch.setattr(Apart, "evaluate", dies(Apart.evaluate, 1, os.getpid()))
    assert list(survey(nodes(inputs["whole"]), hands=forked).flows()) == flows
    assert compare(nodes(inputs["less"]), nodes(inputs["whole"]), hands=forked) == found
