"""What commands print with ``-o json`` is as the published schemas say, to the last key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

import felixpy
from felixpy.cli import app
from tests.commands import Answer, caller
from tests.conformance.recordings import ROOT as RECORDINGS
from tests.schemas import FOLDER, NO_OUTPUT, checked, file_of, kinds, schemas

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHOP = FIXTURES / "demo" / "shop"
CHANGED = FIXTURES / "demo" / "pull-request"
SAMPLE = FIXTURES / "sample-project"
SERVICES = FIXTURES / "demo" / "service.yaml"
HOST = RECORDINGS / "host" / "hep-named-interface-with-policy" / "manifests.yaml"
ELSEWHERE = {"lab status", "lab list", "lab policy list", "lab probe", "watch"}
"""Their output is compared in tests/netns/test_lab_command.py, which needs root, and tests/cluster/test_watch.py."""

INPUTS = sorted(
    folder / "manifests.yaml"
    for area in ("k8s", "calico", "host", "config", "random")
    for folder in sorted((RECORDINGS / area).iterdir())[::12]
)
"""Recorded inputs, some of each area."""


def commands() -> Iterator[tuple[str, Any]]:
    """Each command with its name, those of groups after the name of the group."""
    from typer.main import get_command

    def below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        for key, one in getattr(command, "commands", {}).items():
            yield from below(one, f"{name} {key}".strip())
        if not hasattr(command, "commands"):
            yield name, command

    yield from below(get_command(app.complete()), "")


def printers() -> set[str]:
    """The commands that print JSON."""
    return {
        name
        for name, command in commands()
        for option in command.params
        if "-o" in option.opts and "json" in getattr(option.type, "choices", ())
    }


STRANGE = '-A cali-FORWARD -m string --string "x" --algo bm --to 65535 -j DROP\n'
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec: {defaultBackend: {service: {name: api, port: {number: 80}}}}
"""


@pytest.fixture
def felixpy_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    return caller(capsys, monkeypatch)


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a node of the example has, and the same with damages."""
    folder = tmp_path_factory.mktemp("dumps")
    ruleset = felixpy.compile(felixpy.load(SHOP))
    text = re.sub(r"^-A", "[3:180] -A", ruleset.save(4), flags=re.MULTILINE)
    (folder / "right.save").write_text(text)
    (folder / "wrong.save").write_text(
        "".join(
            line.replace("DROP", "ACCEPT")
            for number, line in enumerate(ruleset.save(4).splitlines(keepends=True))
            if not (line.startswith("-A cali-") and number % 9 == 0)
        )
    )
    strange = ruleset.save(4).replace("-A cali-FORWARD", f"{STRANGE}-A cali-FORWARD", 1)
    (folder / "strange.save").write_text(strange)
    (folder / "ingress.yaml").write_text(INGRESS)
    (folder / "right.ipset").write_text(ruleset.ipset_save())
    (folder / "nodes" / "node1").mkdir(parents=True)
    (folder / "nodes" / "node1" / "iptables.save").write_text(text)
    return folder


TRACES = (
    ("shop/deployment/web", "shop/db-0:5432"),
    ("monitoring/deployment/prometheus", "shop/db-0:5432"),
    ("internet", "shop/deployment/web"),
    ("shop/deployment/web", "192.0.2.7:53/udp", "--verbose"),
    ("host", "shop/deployment/api:8443", "--state", "established"),
    ("shop/deployment/web", "shop/svc/api:80", SERVICES),
    ("shop/deployment/web", "shop/svc/api:80", SERVICES, "--verbose"),
)
NAMES = (
    "cali-FORWARD", "cali40s:XZEFRy4u2E2Kz28IwtNm0u8", "0x10000/0x30000", "cali12d4a09f50c", "cali:Wueya6CRETN1itqs",
    "cali-pi-nothing", "API0|default.x", "eth0",
)  # fmt: skip
POD = ("cali-fw-cali43878a68a0a", "cali-tw-cali43878a68a0a", "cali43878a68a0a")

CASES: dict[str, list[tuple[object, ...]]] = {
    "render": [(SHOP,), (SHOP, "--dataplane", "nftables"), (CHANGED, SERVICES), (SHOP, "--ipsets")],
    "validate": [(SHOP,), (FIXTURES / "mistakes",)],
    "lint": [(SHOP,), (CHANGED,), (FIXTURES / "mistakes",)],
    "test": [(SAMPLE,), (SAMPLE, "--coverage")],
    "trace": [(*question, SHOP) for question in TRACES],
    "explain": [
        ("pod", "shop/db-0", "-f", SHOP),
        ("policy", "shop/db", "-f", SHOP),
        ("tier", "default", "-f", SHOP),
        ("hep", "node1-eth0", "-f", HOST, "--no-strict"),
    ],
    "matrix": [
        (SHOP,),
        (SHOP, SERVICES, "--services", "--exposure"),
        (SHOP, "--explain", "--ports", "5432,53/udp"),
        (SHOP, "--by", "pod", "--hosts"),
        (SHOP, "--by", "class"),
        (SHOP, "--by", "namespace", "--hosts"),
        (SHOP, "--by", "label:app", "--ports", "80"),
        (SHOP, SERVICES, "ingress.yaml"),
        (SHOP, "--rules", "strange.save", "--ipsets", "right.ipset"),
    ],
    "exposure": [(SHOP,), (CHANGED, SERVICES)],
    "diff": [
        (SHOP, CHANGED),
        (CHANGED, SHOP),
        (SHOP, SHOP),
        (SHOP, CHANGED, "--rules"),
        ("strange.save", SHOP),
        (FIXTURES / "demo" / "access-nginx.yaml", SHOP),
    ],
    "decode": [(*NAMES, "-f", SHOP), (*POD, "-f", SHOP)],
    "counters": [("--rules", "right.save", SHOP), ("--rules", "right.save"), ("--rules", "nodes", SHOP)],
    "verify": [
        (SHOP, "--rules", "right.save", "--ipsets", "right.ipset"),
        (SHOP, "--rules", "wrong.save"),
        (CHANGED, "--rules", "right.save", "--ipsets", "right.ipset"),
        (SHOP, "--rules", "nodes"),
    ],
    "settings": [()],
    "version": [()],
}
"""What is asked of each command; the files of dumps are those of the fixture."""


def test_every_command_that_prints_json_is_tried() -> None:
    assert printers() == CASES.keys() | ELSEWHERE


@pytest.mark.parametrize("command", CASES)
def test_output_is_as_its_schema_says(command: str, felixpy_, dumps: Path, monkeypatch) -> None:
    monkeypatch.chdir(dumps)
    for words in CASES[command]:
        answer = felixpy_(command, *words, "-o", "json")
        assert answer.out, (command, words, answer.err)
        assert answer.status in (0, 1, 2), answer.err
        checked(answer.out)


@pytest.mark.parametrize("file", INPUTS, ids=lambda file: f"{file.parent.parent.name}/{file.parent.name}")
def test_outputs_about_recorded_inputs_are_as_their_schemas_say(file: Path, felixpy_) -> None:
    for command in ("render", "lint", "matrix", "exposure"):
        node = ("--node", nodes[0]) if (nodes := _nodes(file)) and command == "render" else ()
        answer = felixpy_(command, file, *node, "-q", "--no-strict", "-o", "json")
        assert answer.status in (0, 1), answer.err
        checked(answer.out)


def _nodes(file: Path) -> list[str]:
    return felixpy.load(file, strict=False).node_names()


def test_schemas_are_schemas_and_every_one_is_of_an_output() -> None:
    for name, schema in schemas().items():
        Draft202012Validator.check_schema(schema)
        assert name in NO_OUTPUT or all(file_of(kind) == name for kind in kinds(schema)), name
        assert f"({name})" in (FOLDER / "README.md").read_text(), f"{name} is not in docs/schemas/README.md"


def test_a_key_that_no_schema_knows_is_found(felixpy_) -> None:
    document = json.loads(felixpy_("version", "-o", "json").out)
    for wrong in ({**document, "more": 1}, {**document, "calico": 3}, {"kind": document["kind"]}):
        with pytest.raises(ValidationError):
            checked(json.dumps(wrong))
