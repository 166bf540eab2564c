"""`felixpy apply` and `felixpy remove` as they are called, in a namespace of their own."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from felixpy.cli.apply import apply
from felixpy.cli.remove import remove
from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.errors import InputError, UsageError
from tests.conformance.recordings import REFUSED, Case, cases
from tests.netns import enforcing
from tests.netns.enforcing import EVERY_BACKEND, nft_tables
from tests.netns.namespace import BACKENDS, TOOLS, Namespace, canonical, members

pytestmark = pytest.mark.netns

app = typer.Typer()
app.command("apply")(apply)
app.command("remove")(remove)

SHOP = next(case for case in cases("k8s") if case.name == "shop-three-tiers")
HOSTS = next(case for case in cases("host") if case.facts.get("interfaces"))
EACH_BACKEND = pytest.mark.parametrize("backend", EVERY_BACKEND)


@pytest.fixture
def here(netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a fresh namespace, as --netns takes it."""
    monkeypatch.setenv("FELIXPY_LOCKFILE", str(tmp_path / "felixpy.lock"))
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))
    # Whatever the shell of whoever runs the tests says about Felix is not meant here.
    for name in [name for name in os.environ if name.upper().startswith("FELIX_")]:
        monkeypatch.delenv(name)
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"


def felixpy(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, words, input=stdin)


def interfaces(case: Case) -> list[str]:
    """The options that describe the recorded host."""
    described = case.facts["interfaces"].items()
    return [f"--interface={name}={','.join(addresses)}" for name, addresses in described]


def apply_case(case: Case, *words: str, stdin: str = "") -> Result:
    return felixpy("apply", str(case.folder / "manifests.yaml"), "--node", case.node, *words, stdin=stdin)


def asked(backend: str) -> tuple[str, str]:
    """The option that asks for a backend."""
    return ("--dataplane", NFTABLES) if backend == NFTABLES else ("--backend", backend)


def snapshot(netns: Namespace, backend: str) -> tuple[object, ...]:
    if backend == NFTABLES:
        return *nft_tables(netns.run("nft", "-s", "list", "ruleset").stdout), members(netns.run("ipset", "save").stdout)
    four, six = (canonical(netns.run(f"{tool}-{backend}-save").stdout) for tool in TOOLS.values())
    return four, six, members(netns.run("ipset", "save").stdout)


def goal(case: Case, backend: str = "legacy") -> tuple[object, ...]:
    if backend == NFTABLES:
        return enforcing.goal(case.compile(dataplane=NFTABLES), NFTABLES)
    return canonical(case.expected(4)), canonical(case.expected(6)), members(case.expected_sets())


EMPTY: tuple[object, ...] = ({}, {}, set())


@EACH_BACKEND
def test_apply_again_and_remove(here: str, netns: Namespace, backend: str) -> None:
    words = ("--netns", here, *asked(backend))
    first = apply_case(SHOP, *words)
    assert (first.exit_code, first.stdout) == (0, "")
    assert re.search(rf"felixpy: network namespace \S+ \({backend}\): changed \d+ sets and \d+ chains", first.stderr)
    assert snapshot(netns, backend) == goal(SHOP, backend)
    again = apply_case(SHOP, "--netns", here, *(asked(backend) if backend == NFTABLES else ()))
    assert (again.exit_code, again.stdout) == (0, "")
    assert f"({backend}) is in step already; nothing was written" in again.stderr
    gone = felixpy("remove", "--netns", here)
    assert (gone.exit_code, gone.stdout) == (0, "")
    assert f"({backend}): took out " in gone.stderr
    assert snapshot(netns, backend) == EMPTY
    assert "nothing of Felix was there" in felixpy("remove", "--netns", here).stderr


@pytest.mark.parametrize("before, after", [("legacy", NFTABLES), ("nft", NFTABLES), (NFTABLES, "legacy")])
def test_from_one_data_plane_to_the_other(here: str, netns: Namespace, before: str, after: str) -> None:
    assert apply_case(SHOP, "--netns", here, *asked(before)).exit_code == 0
    done = apply_case(SHOP, "--netns", here, *asked(after))
    assert done.exit_code == 0
    assert "they go once those of" in done.stderr
    assert re.search(rf"\({after}\): changed .* and \d+ chains .*; took .* chains .* out of ", done.stderr)
    assert snapshot(netns, after) == goal(SHOP, after)
    assert snapshot(netns, before)[:2] == EMPTY[:2]
    gone = felixpy("remove", "--netns", here, "--dataplane", "iptables" if before == NFTABLES else NFTABLES)
    assert gone.exit_code == 0
    assert snapshot(netns, after) == EMPTY


def test_a_kind_of_iptables_for_rules_of_nftables_is_bad_usage(here: str, netns: Namespace) -> None:
    done = apply_case(SHOP, "--netns", here, "--backend", "nft", "--dataplane", NFTABLES)
    assert isinstance(done.exception, UsageError)
    assert "--backend nft is a kind of iptables" in str(done.exception)
    assert isinstance(felixpy("remove", "--netns", here, *asked("nft"), *asked(NFTABLES)).exception, UsageError)
    assert snapshot(netns, NFTABLES) == EMPTY


def test_remove_clears_both_backends(here: str, netns: Namespace) -> None:
    for backend in BACKENDS:
        done = apply_case(SHOP, "--netns", here, "--backend", backend)
        assert done.exit_code == 0
    assert "felixpy: warning: the legacy tables hold rules of Felix, too" in done.stderr
    assert felixpy("remove", "--netns", here).exit_code == 0
    assert [snapshot(netns, backend) for backend in BACKENDS] == [EMPTY, EMPTY]


REMOVALS = {
    **{name: f"# iptables-{name}-restore --noflush --wait 10\n*raw\n:cali-OUTPUT - -\n" for name in BACKENDS},
    NFTABLES: "\ndelete table ip calico\n",
}


@EACH_BACKEND
def test_a_dry_run_prints_exactly_what_would_be_written(here: str, netns: Namespace, backend: str) -> None:
    """What it prints, handed to the tools by somebody else, does the same."""
    dry = apply_case(SHOP, "--netns", here, *asked(backend), "--dry-run")
    assert dry.exit_code == 0
    assert snapshot(netns, backend) == EMPTY
    assert netns.run("iptables-legacy-save").stdout == ""
    for step in re.split(r"(?m)^(?=# )", dry.stdout)[1:]:
        command, _, text = step.partition("\n")
        done = netns.run(*command[2:].split(), text=text)
        assert done.returncode == 0, done.stderr
    assert snapshot(netns, backend) == goal(SHOP, backend)
    assert apply_case(SHOP, "--netns", here, *asked(backend), "--dry-run").stdout == ""
    removal = felixpy("remove", "--netns", here, "--dry-run").stdout
    assert REMOVALS[backend] in removal
    assert snapshot(netns, backend) == goal(SHOP, backend)


@EACH_BACKEND
def test_a_check_asks_the_kernel_and_changes_nothing(here: str, netns: Namespace, backend: str) -> None:
    done = apply_case(SHOP, "--netns", here, *asked(backend), "--check")
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"the kernel takes everything ({backend}); apply would change " in done.stderr
    assert snapshot(netns, backend) == EMPTY


@pytest.mark.parametrize("yes, status, told", [(True, 0, ": changed "), (False, 1, "not confirmed: the old rules of ")])
def test_rules_stay_only_if_they_are_confirmed(
    here: str, netns: Namespace, yes: bool, status: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(seconds: int) -> bool:
        times.append(seconds)
        assert snapshot(netns, "legacy") == goal(HOSTS)
        return yes

    times: list[int] = []
    monkeypatch.setattr("felixpy.cli.apply.confirmed", answer)
    assert apply_case(SHOP, "--netns", here).exit_code == 0
    done = apply_case(HOSTS, "--netns", here, "--confirm", "2m", *interfaces(HOSTS))
    assert (done.exit_code, times) == (status, [120])
    assert told in done.stderr
    assert snapshot(netns, "legacy") == goal(HOSTS if yes else SHOP)


def test_interfaces_are_those_of_the_namespace_unless_given(here: str, netns: Namespace) -> None:
    """A host endpoint that expects an address gets its chains where an interface has that address."""
    assert apply_case(HOSTS, "--netns", here).exit_code == 0
    bare = snapshot(netns, "legacy")
    assert bare != goal(HOSTS)
    assert apply_case(HOSTS, "--netns", here, *interfaces(HOSTS)).exit_code == 0
    assert snapshot(netns, "legacy") == goal(HOSTS)
    for name, addresses in HOSTS.facts["interfaces"].items():
        assert netns.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p").returncode == 0
        for address in addresses:
            netns.run("ip", "address", "add", address, "dev", name)
    assert apply_case(HOSTS, "--netns", here).exit_code == 0
    assert snapshot(netns, "legacy")[:2] == goal(HOSTS)[:2]


def test_a_missing_interface_of_a_host_endpoint_is_told(here: str, netns: Namespace, tmp_path: Path) -> None:
    manifests = tmp_path / "edge.yaml"
    manifests.write_text(
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: edge}\n"
        "spec: {node: node1, interfaceName: eth9}\n"
    )
    told = felixpy("apply", str(manifests), "--netns", here)
    assert told.exit_code == 0
    assert "HostEndpoint edge: spec.interfaceName: node1 has no interface eth9: no chains for it" in told.stderr
    assert netns.run("ip", "link", "add", "eth9", "type", "veth", "peer", "name", "eth9p").returncode == 0
    assert "eth9" not in felixpy("apply", str(manifests), "--netns", here).stderr


def test_what_no_kernel_takes_is_refused_before_anything_is_touched(here: str, netns: Namespace) -> None:
    done = apply_case(cases(REFUSED)[0], "--netns", here)
    assert isinstance(done.exception, InputError)
    assert done.exception.problems
    assert all(problem.severity == "error" for problem in done.exception.problems)
    assert snapshot(netns, "legacy") == EMPTY
    assert netns.run("iptables-legacy-save").stdout == ""


def test_hooks_are_appended_where_the_configuration_says_so(here: str, netns: Namespace) -> None:
    netns.run("iptables-legacy", "-A", "FORWARD", "-p", "tcp", "-j", "ACCEPT")
    case = next(case for case in cases("config") if case.name == "chain-insert-mode-append")
    assert apply_case(case, "--netns", here).exit_code == 0
    forward = netns.run("iptables-legacy", "-S", "FORWARD").stdout.splitlines()
    assert forward[1] == "-A FORWARD -p tcp -j ACCEPT"
    assert "cali-FORWARD" in forward[2]
