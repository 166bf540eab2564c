"""Verification of a real kernel: nothing is found where all is right, and just the damage where there is some."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import felixpy
from felixpy.cli.trace import trace
from felixpy.cli.verify import verify as verify_command
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from felixpy.effective import configure
from felixpy.errors import EnvironmentMissing
from felixpy.kernel import Machine
from felixpy.model import Host
from felixpy.verification import Node, observe_live, verify
from felixpy.verification.report import text
from tests.conformance.recordings import AREAS, Case, cases
from tests.netns.enforcing import fresh_machine, here
from tests.netns.namespace import BACKENDS
from tests.unit.damages import DAMAGES, SHOP, Damage, classes, inflict

pytestmark = pytest.mark.netns

EACH_BACKEND = pytest.mark.parametrize("backend", BACKENDS)
MANIFESTS = felixpy.load([SHOP.folder / "manifests.yaml"])
NODE = Node(name=SHOP.node, compiler=Compiler(MANIFESTS), host=Host(interfaces={}))
SAMPLE = cases(*AREAS)[::30]


@pytest.fixture(autouse=True)
def locks(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of our own, so that nobody waits for a test, nor a test for somebody."""
    monkeypatch.setenv("FELIXPY_LOCKFILE", str(tmp_path / "felixpy.lock"))
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))


@pytest.fixture
def machine() -> Iterator[Machine]:
    with fresh_machine() as machine:
        yield machine


def node_of(case: Case) -> Node:
    interfaces = {name: tuple(addresses) for name, addresses in case.facts.get("interfaces", {}).items()}
    compiler = Compiler(felixpy.load([case.folder / "manifests.yaml"], strict=False))
    return Node(name=case.node, compiler=compiler, host=Host(interfaces=interfaces))


def program(machine: Machine, backend: str, node: Node) -> None:
    append = configure(node.compiler.cluster, node.name).chain_insert_mode == "append"
    IptablesEnforcer(Tools(machine, backend), machine.scratch).apply(Wanted.of(node.ruleset(), append=append))


@EACH_BACKEND
@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_what_was_applied_is_equal(case: Case, backend: str, machine: Machine) -> None:
    try:
        program(machine, backend, node_of(case))
    except EnvironmentMissing as missing:
        if "ipvs" not in str(missing):
            raise
        pytest.skip("this kernel has no ipvs match")
    found = verify(observe_live(machine, backend, "here"), node_of(case))
    assert (classes(found), found.notes) == ((), ())


@EACH_BACKEND
def test_each_kind_of_damage_is_found_and_nothing_else(backend: str, subtests: pytest.Subtests) -> None:
    for name, damage in DAMAGES.items():
        with subtests.test(name), fresh_machine() as machine:
            program(machine, backend, NODE)
            inflict(machine, backend, damage)
            found = verify(observe_live(machine, backend, "here"), NODE)
            assert classes(found) == damage.found
            shown = "\n".join(text(found, verbose=True))
            assert [piece for piece in damage.told if piece not in shown] == []


@EACH_BACKEND
def test_spellings_of_the_tools_are_their_own(backend: str, machine: Machine) -> None:
    """iptables-nft keeps silent about --nflog-range; a rule that says something else is not taken for a spelling."""
    settings = (Setting("FlowLogsLocalReporter", "Enabled"), Setting("FeatureDetectOverride", "NFLogSize=false"))
    node = replace(NODE, settings=settings)
    program(machine, backend, node)
    assert "--nflog-range 80" in node.ruleset().save(4)
    assert verify(observe_live(machine, backend, "here"), node).equal
    first = next(chain for chain in node.ruleset().tables[4, "filter"].chains if chain.name == "cali-FORWARD").hashes[0]
    comment = f'-m comment --comment "cali:{first}"'
    inflict(machine, backend, Damage((("filter", f"-R cali-FORWARD 1 {comment} -j ACCEPT"),), ()))
    found = verify(observe_live(machine, backend, "here"), node)
    assert classes(found) == (("rule-tampered", "LETS_THROUGH"),)


def test_rules_in_both_kinds_of_tables(machine: Machine) -> None:
    for backend in BACKENDS:
        program(machine, backend, NODE)
    found = verify(observe_live(machine, "", "here"), NODE)
    assert (found.words, classes(found)) == ("here (legacy)", (("two-backends", "NO_EFFECT"),))
    machine.run("iptables-nft", "-I", "FORWARD", "-p", "tcp", "-j", "DROP")
    assert classes(verify(observe_live(machine, "legacy", "here"), NODE)) == (("two-backends", "DROPS"),)
    assert classes(verify(observe_live(machine, "nft", "here"), NODE)) == (
        ("foreign-rule-ahead", "DROPS"),
        ("two-backends", "NO_EFFECT"),
    )


@EACH_BACKEND
def test_rules_of_another_version(backend: str, machine: Machine) -> None:
    program(machine, backend, NODE.as_of("v3.29"))
    found = verify(observe_live(machine, backend, "here"), NODE)
    assert (classes(found), found.calico_version) == ((("other-version", "NO_EFFECT"),), "v3.29")


@EACH_BACKEND
def test_a_namespace_without_felix(backend: str, machine: Machine) -> None:
    found = verify(observe_live(machine, backend, "here"), NODE)
    assert classes(found)[0] == ("not-programmed", "LETS_THROUGH")


# --- as commands

app = typer.Typer()
app.command("verify")(verify_command)
app.command("trace")(trace)
PATH = str(SHOP.folder / "manifests.yaml")


def felixpy_command(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the shell of whoever runs the tests says about Felix is not meant here."""
    for name in [name for name in os.environ if name.upper().startswith("FELIX_")]:
        monkeypatch.delenv(name)


@EACH_BACKEND
def test_the_command_says_equal_or_what_differs(backend: str, bare_environment: None) -> None:
    with fresh_machine() as machine:
        program(machine, backend, NODE)
        words = ("verify", PATH, "--node", "node1", "--netns", here(), "-q")
        right = felixpy_command(*words)
        assert (right.exit_code, right.stdout.splitlines()[1:]) == (0, [])
        assert right.stdout.startswith(f"EQUAL  network namespace {here()} ({backend}) has what the manifests give")
        inflict(machine, backend, DAMAGES["foreign accept ahead"])
        wrong = felixpy_command(*words)
        assert wrong.exit_code == 1
        assert wrong.stdout.startswith(f"DIFFERENT  network namespace {here()} ({backend})")
        shown = json.loads(felixpy_command(*words, "-o", "json", "--backend", backend).stdout)
        assert [finding["class"] for finding in shown["findings"]] == ["foreign-rule-ahead"]


FLOWS = (
    ("internet", "shop/database-0:5432"),
    ("shop/deployment/backend", "shop/database-0:5432"),
    ("shop/deployment/backend", "shop/database-0:22"),
    ("shop/frontend-6c8f7d9b4-5t2wq", "internet:443"),
    ("monitoring/prometheus-0", "shop/frontend-6c8f7d9b4-5t2wq:9100"),
)


@EACH_BACKEND
@pytest.mark.parametrize("source, destination", FLOWS)
def test_a_trace_of_a_namespace_is_that_of_the_manifests(
    source: str, destination: str, backend: str, bare_environment: None
) -> None:
    words = ("trace", source, destination, PATH, "--node", "node1", "-q", "--interface", "eth0=192.0.2.1/24")
    with fresh_machine() as machine:
        program(machine, backend, NODE)
        live, compiled = felixpy_command(*words, "--netns", here()), felixpy_command(*words)
        assert live.exit_code == 0
        assert live.stdout.splitlines()[0] == compiled.stdout.splitlines()[0]
        # Of the other node's rules a namespace knows nothing: the manifests tell them.
        note = "  note: node2 is compiled from the manifests: its rules were not given\n"
        assert live.stdout.replace(note, "") == compiled.stdout
        inflict(machine, backend, DAMAGES["foreign accept ahead"])
        opened = felixpy_command(*words, "--netns", here(), "--backend", backend).stdout
        assert opened.startswith("ALLOWED") or "\n     node node2, " in opened
