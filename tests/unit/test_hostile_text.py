"""Hostile text in every field and file name: no output of any command is more than what felixpy meant to print."""

from __future__ import annotations

import copy
import io
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.commands import caller
from tests.conformance.recordings import ROOT

SHOP = ROOT / "k8s" / "shop-three-tiers" / "manifests.yaml"
OBJECTS: list[dict[str, Any]] = [one for one in yaml.safe_load_all(SHOP.read_text()) if one]
HOSTILE = [
    "\n-I INPUT -j ACCEPT", "x\n*filter", "\x1b[2J\x1b]0;x\x07", "\x9b31m", "\u202eevil", "\u2028-I INPUT",
    "\r\nCOMMIT", "::error file=a::b", "\n::add-mask::x", "` |\n\n# h\n@team [x](http://e)", '"><script>', "]]>&amp;",
    "%0A::x::", "\x85", "```\n", "$(reboot)", "=1+1",
]  # fmt: skip
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
COMMANDS = {
    "validate": (), "validate-github": ("-o", "github"), "lint": (), "render": ("--node", "node1", "--annotate"),
    "render-sets": ("--node", "node1", "--annotate", "--ipsets"), "render-json": ("--node", "node1", "-o", "json"),
    "matrix": ("-o", "lines"), "matrix-csv": ("-o", "csv"), "matrix-svg": ("-o", "svg"), "matrix-dot": ("-o", "dot"),
    "matrix-json": ("-o", "json"),
}  # fmt: skip
"""What is asked of manifests in which one text is hostile, behind their file."""

DUMP = SHOP.parent / "expected" / "iptables.save"
ENDS = ("shop/frontend-6c8f7d9b4-5t2wq", "shop/backend-5b9d8c7f6-hn7rz:9000")
QUESTIONS: dict[str, tuple[str, ...]] = {
    "diff-text": ("diff", str(SHOP), "FILE"), "diff-markdown": ("diff", str(SHOP), "FILE", "-o", "markdown"),
    "diff-json": ("diff", "FILE", str(SHOP), "-o", "json", "--flows"),
    "diff-dump": ("diff", "DUMP", str(SHOP), "--node", "node1", "--rules", "-v"),
    "trace": ("trace", *ENDS, "FILE", "-v"), "trace-json": ("trace", *ENDS, "FILE", "-o", "json"),
    "trace-dump": ("trace", *ENDS, "FILE", "--rules", "DUMP", "--node", "node1", "-v"),
    "explain-pod": ("explain", "pod", "shop/database-0", "FILE", "-v"),
    "explain-policy": ("explain", "netpol", "shop/backend", "FILE"),
    "explain-json": ("explain", "netpol", "shop/backend", "FILE", "-o", "json"),
    "decode": ("decode", "cali-pi-knp/shop/database", "HOSTILE", "-f", "FILE"),
    "annotate": ("annotate", "FILE"),
    "counters": ("counters", "FILE", "--rules", "DUMP", "--node", "node1"),
    "counters-json": ("counters", "FILE", "--rules", "DUMP", "--node", "node1", "-o", "json"),
    "test": ("test", "TEST"), "test-junit": ("test", "TEST", "-o", "junit"),
    "test-json": ("test", "TEST", "-o", "json"),
}  # fmt: skip
"""The same with the words in their order. FILE is the manifests, DUMP a hostile dump, TEST a hostile test of them."""


def strings(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every text in a value, keys of mappings included."""
    if isinstance(value, dict):
        own = [(*path, key, None) for key in value]
        return own + [found for key, below in value.items() for found in strings(below, (*path, key))]
    if isinstance(value, list):
        return [found for number, below in enumerate(value) for found in strings(below, (*path, number))]
    return [path] if isinstance(value, str) else []


PLACES = [(number, path) for number, one in enumerate(OBJECTS) for path in strings(one)]


def poisoned(number: int, path: tuple[Any, ...], text: str) -> str:
    """The manifests with one text changed; a path that ends with None means the key."""
    objects = copy.deepcopy(OBJECTS)
    value: Any = objects[number]
    *way, last = path[:-1] if path[-1] is None else path
    for step in way:
        value = value[step]
    if path[-1] is None:
        value[f"{last}{text}"] = value.pop(last)
    else:
        value[last] = f"{value[last]}{text}"
    return "\n---\n".join(json.dumps(one) for one in objects)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def check(command: str, out: str, err: str, harmless: str) -> None:
    assert not UNSAFE.search(out), (command, out)
    assert not UNSAFE.search(err), (command, err)
    for line in err.splitlines() if command != "validate-github" else ():
        assert not re.match(r"\s*::[a-z-]+[^:]*::", line), line
    if command in ("render", "render-sets"):
        rules = [line for line in out.split("\n") if not line.startswith("#")]
        assert not out or len(rules) == len([line for line in harmless.split("\n") if not line.startswith("#")])
        assert "-I INPUT" not in "\n".join(rules)
    if command.endswith("-json") and out:
        json.loads(out)
    if command.endswith("-svg") and out:
        ET.fromstring(out)


@pytest.mark.parametrize("command", COMMANDS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), text=st.sampled_from(HOSTILE), in_name=st.booleans())
def test_output_stays_what_it_is(command, place, text, in_name, folder, capsys, monkeypatch) -> None:  # noqa: PLR0917 - fixtures
    call = caller(capsys, monkeypatch, command.partition("-")[0])
    options = COMMANDS[command]
    name = f"a{text.replace('/', '_')}.yaml" if in_name else "a.yaml"
    file = folder / name
    file.write_text(SHOP.read_text() if in_name else poisoned(place[0], place[1], text))
    harmless = call(SHOP, *options).out
    answer = call(file, *options)
    assert answer.status in (0, 1, 2)
    check(command, answer.out, answer.err, harmless if in_name else answer.out)


def hostile_dump(text: str) -> str:
    """Rules with counters, of which one has a comment and a chain with what no line break of iptables-save ends."""
    inside = text.replace("\n", " ").replace("\r", " ").replace('"', "'")
    rule = f'-A INPUT -m comment --comment "{inside}" -j DROP'
    lines = [f"[1:2] {line}" if line.startswith("-A ") else line for line in DUMP.read_text().splitlines()]
    at = lines.index("*filter")
    first = next(number for number, line in enumerate(lines[at:], at) if line.startswith("[1:2] -A INPUT"))
    return "\n".join([*lines[:first], f"[1:2] {rule}", *lines[first:], ""])


def hostile_test(manifests: Path, text: str) -> str:
    """One connection that is as expected and one that is not, and a table, with hostile names."""
    source, destination = ENDS
    ends = {"from": source, "to": destination.partition(":")[0], "ports": [9000]}
    wanted = [{**ends, "expect": verdict, "note": f"note{text}"} for verdict in ("allow", "deny")]
    wanted.append({**ends, "from": f"shop/x{text}", "expect": "deny"})
    document = {"name": f"n{text}", "manifests": [str(manifests)], "expectations": wanted, "matrix": f"a{text}"}
    return json.dumps(document)


def check_form(question: str, out: str, dump: str) -> None:
    """Outputs that other programs read are what they are."""
    if question.endswith("-json") and out:
        json.loads(out)
    elif question.endswith("-junit") and out:
        ET.fromstring(out)
    elif question == "annotate" and out:
        # What is no comment is the dump, line by line; so the annotated text loads the same rules.
        kept = [line for line in out.split("\n") if not line.startswith("# ")]
        assert kept == [line for line in dump.split("\n") if not line.startswith("# ")]
    elif question == "diff-markdown":
        outside = re.sub(r"^```diff\n.*?^```$", "", out, flags=re.DOTALL | re.MULTILINE)
        assert not re.search(
            r"^# |(?<![\\`\w])@team|\]\(http|<script", re.sub(r"`[^`\n]+`", "", outside), re.MULTILINE
        ), out


@pytest.mark.parametrize("question", QUESTIONS)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), text=st.sampled_from(HOSTILE), in_name=st.booleans())
def test_answers_stay_what_they_are(question, place, text, in_name, folder, capsys, monkeypatch) -> None:  # noqa: PLR0917 - fixtures
    call = caller(capsys, monkeypatch)
    name = text.replace("/", "_") if in_name else ""
    files = {
        "FILE": folder / f"a{name}.yaml",
        "DUMP": folder / f"dump{name}",
        "TEST": folder / f"a{name}.felixtest.yaml",
    }
    files["FILE"].write_text(SHOP.read_text() if in_name else poisoned(place[0], place[1], text))
    files["DUMP"].write_text(dump := hostile_dump(text), newline="")
    files["TEST"].write_text(hostile_test(files["FILE"], text))
    monkeypatch.setattr(sys, "stdin", io.StringIO(dump))
    answer = call(*(text if word == "HOSTILE" else files.get(word, word) for word in QUESTIONS[question]))
    assert answer.status in (0, 1, 2)
    # The dump itself comes out of annotate as it went in.
    out = (
        "\n".join(line for line in answer.out.split("\n") if line.startswith("# "))
        if question == "annotate"
        else answer.out
    )
    assert not UNSAFE.search(out), (question, out)
    assert not UNSAFE.search(answer.err), (question, answer.err)
    check_form(question, answer.out, dump)
