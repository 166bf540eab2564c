"""``felixpy trace``, ``decode`` and ``annotate`` as commands: options, streams and exit status."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import typer

from felixpy.cli.annotate import annotate
from felixpy.cli.decode import decode
from felixpy.cli.screen import fitted
from felixpy.cli.trace import trace
from felixpy.errors import FelixpyError
from tests.commands import output_of
from tests.conformance.recordings import ROOT

FOLDER = ROOT / "seeds" / "catfacts-facts-denied"
MANIFESTS = str(FOLDER / "manifests.yaml")
RULES, SETS = (FOLDER / "expected" / name for name in ("iptables.save", "ipset.save"))
WORKER, FACTS = "catfacts/worker-6d9c8b7f5-x7n3q", "catfacts/deployment/facts:80"

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
app.command("trace")(trace)
app.command("decode")(decode)
app.command("annotate")(annotate)


run = partial(output_of, app)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("expect, status", [((), 0), (("--expect", "deny"), 0), (("--expect", "allow"), 1)])
def test_verdicts_and_status(expect: tuple[str, ...], status: int) -> None:
    out = run("trace", WORKER, FACTS, MANIFESTS, *expect, status=status)
    assert out.startswith("DENIED  catfacts/worker-6d9c8b7f5-x7n3q → catfacts/facts-75467c56d6-dm29c tcp/80\n")
    assert f"{MANIFESTS}:135" in out
    assert "\x1b" not in out


def test_json() -> None:
    shown = json.loads(run("trace", WORKER, FACTS, "-f", MANIFESTS, "-o", "json"))
    assert [(hit["name"], hit["action"], hit["rule_index"]) for hit in shown["enforced"]] == [("facts", "Deny", 0)]


def test_verbose() -> None:
    assert "  + raw PREROUTING 1  -j cali-PREROUTING" in run("trace", WORKER, FACTS, MANIFESTS, "-v")


@pytest.mark.parametrize(
    "manifests, source, destination, more",
    [
        ((MANIFESTS,), WORKER, FACTS, ()),
        ((MANIFESTS, "--node", "node1"), WORKER, FACTS, ()),
        (
            (),
            "10.65.1.12",
            "10.65.1.11:80",
            ("--in-interface", "calif373273a45b", "--out-interface", "cali057b5379cfb"),
        ),
    ],
)
def test_dumps(manifests: tuple[str, ...], source: str, destination: str, more: tuple[str, ...]) -> None:
    """The node is that whose pods have chains in the dump, unless one is named."""
    dumps = ("--rules", str(RULES), "--ipsets", str(SETS))
    out = run("trace", source, destination, *manifests, *dumps, *more)
    assert out.startswith("DENIED")
    assert "by NetworkPolicy catfacts/application-catfacts.facts (tier application-catfacts), ingress" in out


@pytest.mark.parametrize("plain", [True, False])
def test_on_a_terminal_lines_fit_and_the_verdict_has_a_colour(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setenv("NO_COLOR", "1" if plain else "")
    line = "DENIED  a b c" + " and more" * 20
    folded, cut = fitted(line), fitted(line, cut=True)
    colour = 0 if plain else len("\x1b[31m\x1b[0m")
    assert max(len(part) for part in folded.splitlines()) <= 72 + colour
    assert folded.replace("\n    ", " ").endswith(line[7:])
    assert (len(cut), cut[-1], cut.startswith("DENIED")) == (72 + colour, "…", plain)


def test_rules_from_stdin_and_of_both_families() -> None:
    six = str(FOLDER / "expected" / "ip6tables.save")
    ends = ("2001:db8::1", "2001:db8::2:80", "--out-interface", "cali057b5379cfb")
    out = run("trace", ends[0], "[2001:db8::2]:80", *ends[2:], "--rules", "-", "--rules", six, stdin=RULES.read_text())
    assert "application-catfacts.facts" in out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("trace", WORKER, FACTS, MANIFESTS, "-4", "-6"), "exclude each other"),
        (("trace", WORKER, FACTS, MANIFESTS, "--ipsets", str(SETS)), "--ipsets goes with --rules"),
        (("trace", WORKER, FACTS, MANIFESTS, "--rules", "gone"), "gone: there is no such file"),
        (("trace", WORKER, FACTS, MANIFESTS, "--rules", str(RULES), "--netns", "x"), "--netns and --rules exclude"),
        (("trace", WORKER, FACTS, MANIFESTS, "--rules", str(SETS)), "there is no table in it"),
        (("trace", WORKER, FACTS, "--rules", str(RULES), "--rules", str(RULES)), "a dump of IPv4 was given already"),
        (("trace", WORKER, FACTS, MANIFESTS, "--interface", "eth0=192.0.2.1/24"), "say which with --node"),
        (("trace", WORKER, "catfacts/db", MANIFESTS), "did you mean catfacts/db-5c8d7f9b6-4k2wz"),
        (("decode", "cali-pi-np/a/b", "-f", "gone.yaml"), "gone.yaml"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(FelixpyError, match=said):
        run(*arguments)


def test_interfaces_of_one_of_several_nodes() -> None:
    out = run("trace", "internet", FACTS, MANIFESTS, "--node", "node1", "--interface", "bond0=192.0.2.1/24")
    assert "node1: in by bond0" in out


def test_decode() -> None:
    out = run("decode", "cali-pi-_mI9yrXW8cuTeJ6PsFz-", "0x10000/0x30000", "-f", MANIFESTS)
    assert "ingress rules of NetworkPolicy catfacts/application-catfacts.facts\n" in out
    assert "0x10000/0x30000: accept (0x10000) set, pass (0x20000) clear\n" in out
    shown = json.loads(run("decode", "cali:s21B1C1Ok4dUxQDo", "-f", MANIFESTS, "--node", "node1", "-o", "json"))
    assert (shown["kind"], shown["items"][0]["line"]) == ("MeaningList", 135)


def test_decode_without_manifests() -> None:
    assert "ports of the node that stay open" in run("decode", "cali-failsafe-in")
    assert "no such policy" in run("decode", "cali-pi-np/shop/db", status=1)


def test_decode_as_another_version() -> None:
    old = str(ROOT / "seeds" / "gke-dump-alpha-deny" / "manifests.yaml")
    policy = "ingress rules of KubernetesNetworkPolicy alpha/alpha-deny"
    assert policy in run("decode", "cali-pi-_kxgQy6VBWOo3Mj1GNsy", "-f", old, "--dialect", "v3.8")
    assert "a name of Felix v3." in run("decode", "cali-pi-_kxgQy6VBWOo3Mj1GNsy", "-f", old, status=1)


def test_annotate() -> None:
    text = RULES.read_text()
    out = run("annotate", MANIFESTS, stdin=text)
    assert [line for line in out.splitlines() if not line.startswith("#")] == text.splitlines()
    assert f"# cali-tw-cali057b5379cfb: packets to pod catfacts/facts-75467c56d6-dm29c ({MANIFESTS}:" in out
    assert "# cali-pi-np/shop/db: ingress rules of NetworkPolicy shop/db; no such" in run(
        "annotate", stdin="*filter\n:cali-pi-np/shop/db - [0:0]\nCOMMIT\n"
    )
