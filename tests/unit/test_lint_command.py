"""``felixpy lint`` and the reports of ``felixpy validate``, as people and CI call them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml

from tests.commands import caller
from tests.lint import PODS, policy

ROOT = Path(__file__).parents[2]
SARIF = json.loads((ROOT / "fixtures" / "schemas" / "sarif-2.1.0.json").read_text())


@pytest.fixture
def felixpy_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    return caller(capsys, monkeypatch)


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """One warning (FX108) and one piece of information (FX104)."""
    file = tmp_path / "wrong.yaml"
    spec = (
        "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress]\negress: [{}]\ningress: [{ports: [{port: 9}]}]"
    )
    file.write_text(policy(spec) + "---" + PODS)
    return file


def test_findings_from_a_level_on_are_a_negative_answer(felixpy_, wrong: Path) -> None:
    answer = felixpy_("lint", wrong)
    assert answer.status == 1
    assert answer.out.splitlines()[-1] == "felixpy lint: 1 warning, 1 info"
    statuses = {level: felixpy_("lint", wrong, "--fail-on", level).status for level in ("error", "info", "never")}
    assert statuses == {"error": 0, "info": 1, "never": 0}


def test_checks_are_chosen_by_code(felixpy_, wrong: Path) -> None:
    assert felixpy_("lint", wrong, "--select", "FX104", "--fail-on", "info").out.count("FX104") == 1
    assert felixpy_("lint", wrong, "--ignore", "FX10").out == "felixpy lint: no findings\n"
    unknown = felixpy_("lint", wrong, "--select", "FX1O8")
    assert (unknown.status, unknown.out) == (2, "")
    assert "did you mean FX108" in unknown.err


def test_the_page_of_a_check(felixpy_) -> None:
    assert felixpy_("lint", "--explain", "fx121").out.startswith("# FX121: rule-never-reached\n")
    assert felixpy_("lint", "--explain", "FX1").status == 2


def test_public_ports_switch_their_check_on(felixpy_, wrong: Path) -> None:
    answer = felixpy_("lint", wrong, "--public-ports", "443", "--select", "FX108")
    assert "FX113" in answer.out
    assert felixpy_("lint", wrong, "--public-ports", "http").status == 2


@pytest.mark.parametrize("command", ["lint", "validate"])
def test_reports_for_machines(felixpy_, wrong: Path, command: str) -> None:
    status = {"lint": 1, "validate": 0}[command]
    sarif = felixpy_(command, wrong, "-o", "sarif")
    assert sarif.status == status
    log: dict[str, Any] = json.loads(sarif.out)
    jsonschema.Draft4Validator(SARIF).validate(log)
    assert {result["ruleId"] for result in log["runs"][0]["results"]} >= {"FX104", "FX108"}
    document = json.loads(felixpy_(command, wrong, "-o", "json").out)
    assert document["summary"]["warning"] >= 1
    assert ET.fromstring(felixpy_(command, wrong, "-o", "junit").out).tag == "testsuites"
    assert felixpy_(command, wrong, "-o", "github").out.count("::warning file=") >= 1
    assert felixpy_(command, wrong, "-o", "tap").out.startswith("TAP version 13\n1..")


@pytest.mark.parametrize("command", ["lint", "validate"])
def test_input_that_is_refused_is_a_report_too(felixpy_, tmp_path: Path, command: str) -> None:
    file = tmp_path / "refused.yaml"
    file.write_text("{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: x}, spec: {order: high}}")
    answer = felixpy_(command, file, "-o", "sarif")
    assert answer.status == 2
    log = json.loads(answer.out)
    jsonschema.Draft4Validator(SARIF).validate(log)
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == ["FX001"]
    assert felixpy_(command, file).out == ""


def test_validate_prints_findings_as_warnings(felixpy_, wrong: Path) -> None:
    answer = felixpy_("validate", wrong)
    assert answer.status == 0
    assert answer.out.startswith("valid: ")
    assert "warning: FX108" in answer.err
    assert "FX104" not in answer.err
    assert "FX108" not in felixpy_("validate", wrong, "--no-lint").err


# --- where it runs


def repository(folder: Path, *states: dict[str, str]) -> list[str]:
    """A git repository with a commit for each state; returns their hashes."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout

    git("init", "--quiet")
    hashes = []
    for files in states:
        for name, text in files.items():
            (folder / name).write_text(text)
        git("add", "--all")
        git("commit", "--quiet", "--message", "state")
        hashes.append(git("rev-parse", "HEAD").strip())
    return hashes


def test_the_comment_of_the_action_tells_what_changes(tmp_path: Path) -> None:
    closed = policy("podSelector: {matchLabels: {app: db}}", name="db")
    opened = policy("podSelector: {matchLabels: {app: db}}\ningress: [{from: [{podSelector: {}}]}]", name="db")
    first, _ = repository(tmp_path, {"a.yaml": closed + "---" + PODS}, {"a.yaml": opened + "---" + PODS})
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for given in (".", "./a.yaml"):
        environment = {"PATH": path, "MANIFESTS": given, "BASE": first, "DRY_RUN": "1", "HOME": str(tmp_path)}
        command = [ROOT / "tools" / "comment.sh"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("<!-- felixpy -->\n## felixpy")
        assert "shop/web" in done.stdout


def test_the_action_names_options_that_exist(felixpy_) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    scripts = "\n".join(step.get("run", "") for step in action["runs"]["steps"])
    help_ = felixpy_("lint", "--help").out + felixpy_("validate", "--help").out
    for option in ("--no-lint", "--output", "--quiet", "--select", "--ignore", "--fail-on"):
        assert option in scripts
        assert option in help_
    inputs = set(action["inputs"])
    assert {name for name in inputs if f"inputs.{name}" not in (ROOT / "action.yml").read_text()} == set()


def test_the_action_runs_the_tests_that_are_there(tmp_path: Path) -> None:
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    (script,) = (step["run"] for step in steps if step.get("name") == "Test")
    shutil.copytree(ROOT / "fixtures" / "sample-project", tmp_path / "project")
    (tmp_path / "bare").mkdir()
    (tmp_path / "own").mkdir()
    wrong = (tmp_path / "project" / "shop.felixtest.yaml").read_text().replace("expect: deny", "expect: allow")
    (tmp_path / "own" / "a.felixtest.yaml").write_text(wrong.replace("shop/", "../project/shop/", 1))

    def status(manifests: str, tests: str = "") -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "MANIFESTS": manifests, "TESTS": tests}
        command = ["bash", "-eo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert status("project")[0] == 0
    assert status("bare") == (0, "felixpy: no *.felixtest.yaml in bare, so nothing is tested\n")
    code, said = status("project", "own")
    assert code == 1
    assert said.startswith("::error file=own/a.felixtest.yaml,line=")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_scripts_of_the_action_are_sound(tmp_path: Path) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    for number, step in enumerate(action["runs"]["steps"]):
        if "\n" in step.get("run", ""):
            script = tmp_path / f"{number}.sh"
            script.write_text("#!/bin/bash\n" + step["run"])
            subprocess.run(["shellcheck", script], check=True)
    subprocess.run(["shellcheck", ROOT / "tools" / "comment.sh"], check=True)


def test_hooks_call_commands_that_exist(felixpy_) -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["felixpy-validate", "felixpy-lint", "felixpy-test"]
    for hook in hooks:
        program, command, *options = hook["entry"].split()
        assert program == "felixpy"
        assert all(option in felixpy_(command, "--help").out for option in options)
