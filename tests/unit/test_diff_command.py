"""``felixpy diff`` as people type it: what the two sides may be, what is printed, and the exit status."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from felixpy.cli import run
from tests.commands import caller
from tests.conformance.recordings import ROOT

CASE = ROOT / "transitions" / "04-rule-changed-in-the-middle"
BEFORE, AFTER = CASE / "before.yaml", CASE / "after.yaml"
SHOP = ROOT.parent / "demo" / "shop"
PULL_REQUEST = ROOT.parent / "demo" / "pull-request"


@pytest.fixture
def diff(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    return caller(capsys, monkeypatch, "diff")


@pytest.fixture
def saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The rules and sets of node1 as they are in a dump, before the change."""
    assert run(["render", str(BEFORE), "--node", "node1", "--output-dir", str(tmp_path / "saved"), "-q"]) == 0
    capsys.readouterr()
    return tmp_path / "saved"


@pytest.mark.parametrize(
    "before, after, options, status",
    [
        (BEFORE, BEFORE, [], 0),
        (BEFORE, AFTER, [], 1),
        (BEFORE, AFTER, ["--flows"], 0),  # nobody has the label that the rule asks for
        (SHOP, PULL_REQUEST, ["--flows"], 1),
        (BEFORE, AFTER, ["--rules"], 1),
        (BEFORE, AFTER, ["--summary"], 1),
        (BEFORE, "nowhere.yaml", [], 2),
        (BEFORE, "git:no-such-revision:x", [], 2),
        ("-", "-", [], 2),
    ],
)
def test_the_status_is_that_of_diff(diff, before, after, options, status) -> None:
    answer = diff(before, after, *options)
    assert answer.status == status
    assert bool(answer.out) == (status < 2)
    assert "Traceback" not in answer.err


def test_the_answer_begins_with_a_summary_and_names_policy_and_line(diff) -> None:
    answer = diff(BEFORE, AFTER)
    lines = answer.out.splitlines()
    assert lines[0].startswith("1 rule added, 1 removed in 1 chain; ")
    assert f"  ~ NetworkPolicy shop/web-in  {AFTER}:134:1" in lines
    assert any(line.startswith("      - 3  -p tcp") and "--dports 8443" in line for line in lines)
    assert any(line.startswith("      + 3  -p tcp") and "--dports 8444" in line for line in lines)
    assert diff(BEFORE, AFTER, "--summary").out == f"{lines[0]}\n"


def test_a_folder_a_file_or_one_text_may_be_a_dump(diff, saved, tmp_path) -> None:
    one = tmp_path / "everything.txt"
    one.write_text("".join((saved / name).read_text() for name in ("ip6tables.save", "ipset.save", "iptables.save")))
    for dump in (saved, one):
        same = diff(dump, BEFORE, "--rules", "--node", "node1")
        assert (same.status, same.out) == (0, "no difference\n")
    assert "--dports 8444" in diff(saved, AFTER, "--rules", "--node", "node1").out
    four = diff(saved / "iptables.save", AFTER, "--rules", "--node", "node1").out
    assert "--dports 8444" in four
    assert "(IPv4)" in four


def test_folders_by_node_are_dumps_of_those_nodes(diff, saved, tmp_path) -> None:
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    saved.rename(nodes / "node1")
    changed = diff(nodes, AFTER, "--rules", "--node", "node1")
    assert changed.status == 1
    assert "--dports 8444" in changed.out
    assert "node2" in diff(nodes, AFTER, "--rules").out


def test_whose_dump_it_is_has_to_be_said_where_nobody_can_know(diff, saved, tmp_path) -> None:
    assert diff(saved, AFTER, "--rules").status == 1  # chains of node1's pods tell
    bare = tmp_path / "bare"
    bare.write_text("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")
    answer = diff(bare, AFTER, "--rules")
    assert answer.status == 2
    assert "use --node to say which node these rules are from: node1, node2" in answer.err


def test_manifests_may_give_names_to_dumps(diff, saved, tmp_path) -> None:
    assert run(["render", str(AFTER), "--node", "node1", "--output-dir", str(tmp_path / "new"), "-q"]) == 0
    bare = diff(saved, tmp_path / "new", "--rules")
    named = diff(saved, tmp_path / "new", "--rules", "-f", AFTER, "--node", "node1")
    assert "NetworkPolicy shop/web-in  " not in bare.out
    assert f"NetworkPolicy shop/web-in  {AFTER}:134:1" in named.out


def test_one_side_may_be_standard_input(diff, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(AFTER.read_text()))
    assert diff(BEFORE, "-", "--rules").status == 1


def test_one_side_may_be_a_revision(diff, tmp_path, monkeypatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(BEFORE.read_text())
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        subprocess.run(["git", *identity, *arguments], check=True)
    (tmp_path / "shop.yaml").write_text(AFTER.read_text())
    answer = diff("git:HEAD:shop.yaml", "shop.yaml", "--rules")
    assert answer.status == 1
    assert "NetworkPolicy shop/web-in  shop.yaml:134:1" in answer.out


def test_an_upgrade_is_a_difference_between_versions(diff) -> None:
    answer = diff(BEFORE, BEFORE, "--dialect-before", "v3.31", "--rules")
    assert answer.status == 1
    assert answer.out.startswith("v3.31 → v3.32; ")
    assert "chains renamed" in answer.out
    assert "cali-pi-" not in answer.out, "the rules say the same"
    verbose = diff(BEFORE, BEFORE, "--dialect-before", "v3.31", "--rules", "--verbose")
    assert "~ filter cali-pi-np/shop/web-in, was cali-pi-_" in verbose.out
    assert diff(BEFORE, BEFORE, "--dialect-before", "v3.31", "--flows").status == 0


def test_json_and_markdown_say_the_same(diff) -> None:
    document = json.loads(diff(SHOP, PULL_REQUEST, "-o", "json", "-q").out)
    assert (document["kind"], document["different"]) == ("Difference", True)
    assert [change["object"] for change in document["objects"]] == ["KubernetesNetworkPolicy shop/db"]
    markdown = diff(SHOP, PULL_REQUEST, "-o", "markdown", "-q").out
    assert markdown.startswith(f"**felixpy:** {document['summary']}\n")
    assert "| " in markdown


def test_flows_tell_what_a_pull_request_opens(diff) -> None:
    answer = diff(SHOP, PULL_REQUEST, "--flows", "-q")
    opened = [line.strip() for line in answer.out.splitlines() if line.lstrip().startswith("+")]
    assert opened
    assert all("shop/db" in line and "TCP 5432" in line for line in opened)
    assert any("monitoring/prometheus" in line for line in opened)
    assert not any("shop/api" in line for line in opened)


def test_colour_is_for_terminals(diff, monkeypatch) -> None:
    assert "\x1b" not in diff(BEFORE, AFTER, "--rules").out
    monkeypatch.setattr("felixpy.cli.screen.painted", lambda text, colour: f"\x1b[{colour}m{text}")
    coloured = diff(BEFORE, AFTER, "--rules").out
    assert "\x1b[32m" in coloured
    assert "\x1b[31m" in coloured
    assert "\x1b" not in diff(BEFORE, AFTER, "--rules", "-o", "markdown").out
