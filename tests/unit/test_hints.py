"""Slips of those who type, and what is said to them: how it is written, no more than they asked for, and legibly."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.commands import caller
from tests.conformance.recordings import ROOT

SHOP = ROOT.parent / "demo" / "shop"
CHANGED = ROOT / "transitions" / "04-rule-changed-in-the-middle"
DUMP = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").symlink_to(SHOP)
    for name, text in (("dump", DUMP), ("list.json", '{"a": []}'), ("notes.txt", "to do\n- rules\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0")
    return tmp_path


@pytest.fixture
def felixpy(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    return caller(capsys, monkeypatch)


@pytest.mark.parametrize(
    "words, said",
    [
        (
            "diff HEAD:shop shop",
            "HEAD:shop: there is no such file or folder (a revision of git is written git:HEAD:shop)",
        ),
        ("diff shop main:shop/a.yaml", "(a revision of git is written git:main:shop/a.yaml)"),
        ("render v1.2~1:shop", "(a revision of git is written git:v1.2~1:shop)"),
        ("trace shop/web shop/api 9000", "9000: there is no such file or folder; a port is written shop/api:9000"),
        ("trace shop/web shop/api 53/udp shop", "a port is written shop/api:53/udp"),
        ("trace shop/web fd00::1 80 shop", "a port is written [fd00::1]:80"),
        ("annotate dump shop", "dump: a dump is read from stdin: felixpy annotate shop < dump"),
        ("annotate -f shop dump", "dump: a dump is read from stdin: felixpy annotate shop < dump"),
        ("annotate dump", "dump: a dump is read from stdin: felixpy annotate < dump"),
        ("diff notes.txt shop", "notes.txt: neither manifests nor a dump"),
        ("diff shop notes.txt", "notes.txt: neither manifests nor a dump"),
        ("diff list.json shop", "list.json: neither manifests nor a dump"),
        ("diff binary shop", "binary: a binary file, not text"),
    ],
)
def test_the_message_says_how_it_is_written(words: str, said: str, felixpy) -> None:
    answer = felixpy(*words.split())
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err


def test_what_is_right_has_no_hint(felixpy, folder: Path) -> None:
    assert "git:" not in felixpy("render", "gone.yaml").err
    (folder / "9000").symlink_to(SHOP)
    assert felixpy("trace", "shop/deployment/web", "shop/deployment/api:9000", "9000").status == 0
    assert felixpy("diff", "shop", "shop/", "-q").status == 0


@pytest.mark.parametrize("text", ["kind: Pod\n", "hello\n", "{}\n", "\x00\x01"])
def test_annotate_refuses_what_is_no_dump(text: str, felixpy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    answer = felixpy("annotate", "shop", "-q")
    assert (answer.status, answer.out) == (2, "")
    assert "stdin: neither rules nor sets" in answer.err


BAD = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bad, namespace: gone}
spec: {podSelector: {matchLabels: {a: "!!"}}, ingres: []}
"""


@pytest.mark.parametrize("words", ["validate bad.yaml", "render bad.yaml", "diff bad.yaml shop", "lint bad.yaml"])
def test_quiet_tells_errors_only(words: str, felixpy, folder: Path) -> None:
    (folder / "bad.yaml").write_text(BAD)
    loud, quiet = felixpy(*words.split(), "--no-strict"), felixpy(*words.split(), "--no-strict", "-q")
    assert (loud.status, quiet.status, quiet.out) == (2, 2, "")
    assert ": warning: " in loud.err
    errors = [line for line in loud.err.splitlines() if ": warning: " not in line and not line.startswith("felixpy: ")]
    assert quiet.err.splitlines() == errors != []


def folded(text: str) -> bool:
    """Whether lines fit a terminal of 60 columns, but for words that are longer."""
    return all(len(line) <= 60 or " " not in line.strip() for line in text.splitlines())


def test_on_a_terminal_warnings_fit_its_width(felixpy, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = felixpy("validate", "shop").err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    shown = felixpy("validate", "shop").err
    assert (folded(plain), folded(shown)) == (False, True)
    assert shown.split() == plain.split()


def test_on_a_terminal_rules_of_a_comparison_fit_its_width(felixpy, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("diff", CHANGED / "before.yaml", CHANGED / "after.yaml", "--rules")
    plain = felixpy(*words).out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    shown = felixpy(*words).out
    assert (folded(plain), folded(shown)) == (False, True)
    assert shown.split() == plain.split()


SOLO = """\
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: edge, labels: {role: edge}}
spec: {node: solo, interfaceName: eth0}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a}, ownerReferences: [{apiVersion: apps/v1, name: x, uid: u}]}
spec: {nodeName: solo, containers: [{name: c, image: i}]}
status: {podIP: 10.65.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: shop, labels: {app: a}, ownerReferences: [{apiVersion: apps/v1, name: x, uid: u}]}
spec: {nodeName: solo, containers: [{name: c, image: i}]}
status: {podIP: 10.65.0.2, phase: Running}
"""


@pytest.mark.parametrize(
    "words",
    [
        "render solo.yaml", "render solo.yaml --interface eth0=192.0.2.1/24 --ipsets", "validate solo.yaml",
        "lint solo.yaml", "trace host shop/a:80 solo.yaml", "trace host internet:80 solo.yaml --rules rules",
        "trace internet host:22 solo.yaml --interface eth0=192.0.2.1/24", "explain hep edge solo.yaml",
        "matrix solo.yaml", "matrix solo.yaml --rules rules", "exposure solo.yaml", "decode cali-INPUT -f solo.yaml",
        "annotate solo.yaml", "verify solo.yaml --rules rules", "counters solo.yaml --rules counted",
        "diff rules solo.yaml --rules", "diff solo.yaml solo.yaml", "snapshot solo.yaml",
    ],
)  # fmt: skip
def test_a_single_node_need_not_be_named(words: str, felixpy, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "solo.yaml").write_text(SOLO)
    rules = felixpy("render", "solo.yaml", "-q", "--no-strict").out
    (folder / "rules").write_text(rules)
    (folder / "counted").write_text(rules.replace("\n-A ", "\n[1:2] -A "))
    monkeypatch.setattr(sys, "stdin", io.StringIO(rules))
    answer = felixpy(*words.split())
    assert answer.out
    assert "--node" not in answer.err
    assert answer.status in (0, 1 if words.startswith("trace") else 0, 2 if words.startswith("diff rules") else 0)


def test_an_owner_without_a_kind_names_nobody(felixpy, folder: Path) -> None:
    """Its pods stay what they are."""
    (folder / "solo.yaml").write_text(SOLO)
    (folder / "closed.yaml").write_text(
        f"{SOLO}---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: none, namespace: shop}}\n"
        "spec: {podSelector: {}}\n"
    )
    matrix = felixpy("matrix", "solo.yaml", "--no-strict", "--no-external").out
    assert matrix.startswith("shop/a => shop/b : All\nshop/b => shop/a : All\n")
    diff = felixpy("diff", "solo.yaml", "closed.yaml", "--no-strict", "--flows")
    assert "None" not in diff.out + diff.err
    assert "shop/a" in diff.out
