"""Answers about saved rules that were wrong once: of verify, diff and trace, with what is right."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import typer

import felixpy
from felixpy.cli.diff import diff
from felixpy.cli.matrix import matrix
from felixpy.cli.trace import trace
from felixpy.cli.verify import verify
from felixpy.errors import UsageError
from tests.commands import output_of

DUMPS = Path(__file__).parents[2] / "fixtures" / "dumps"
HOST, TWO, ONE = (str(DUMPS / f"{name}.yaml") for name in ("guarded-host", "two-nodes", "one-node"))

app = typer.Typer()
for command in (diff, matrix, trace, verify):
    app.command(command.__name__)(command)
run = partial(output_of, app)


@cache
def ruleset(manifests: str, node: str) -> felixpy.Ruleset:
    return felixpy.compile(felixpy.load([manifests]), node=node)


def without(text: str, words: str) -> str:
    """A dump without the rules that have some words in them."""
    lines = text.splitlines(keepends=True)
    assert any(words in line for line in lines)
    return "".join(line for line in lines if words not in line)


def found(*words: str, status: int = 1) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(run(*words, "-o", "json", "-q", status=status))
    return shown


# --- verify


@pytest.mark.parametrize("family", [4, 6])
def test_a_host_whose_endpoint_is_not_asked_is_open(tmp_path: Path, family: int) -> None:
    """In IPv6 as well, where nothing is known of the host's addresses."""
    text = ruleset(HOST, "n1").save(family)
    (tmp_path / "rules").write_text(without(text, "-A cali-from-host-endpoint -i eth0"))
    shown = found("verify", HOST, "--rules", str(tmp_path / "rules"))
    (finding,) = [each for each in shown["findings"] if each["table"] == "filter"]
    assert (finding["effect"], finding["severity"], finding["certain"]) == ("opens", "lets-through", True)
    to_host = [flow for flow in finding["flows"] if {"kind": "Host", "name": "n1"} in flow["destinations"]]
    assert {state for flow in to_host for state in flow["states"]} >= {"new", "invalid"}
    assert {flow["change"] for flow in finding["flows"]} == {"opens"}


def test_what_cannot_be_known_is_unknown(tmp_path: Path) -> None:
    text = ruleset(ONE, "n1").save(4)
    strange = "-A cali-FORWARD -m owner --uid-owner 0 -j ACCEPT\n-A cali-FORWARD"
    (tmp_path / "rules").write_text(text.replace("-A cali-FORWARD", strange, 1))
    (finding,) = found("verify", ONE, "--rules", str(tmp_path / "rules"))["findings"]
    assert (finding["effect"], finding["certain"], finding["unknown"]) == ("unknown", False, ["-m owner"])


def test_whole_clusters(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    (nodes / "n1.save").write_text(ruleset(TWO, "n1").save(4))
    out = run("verify", TWO, "--rules", str(nodes), "-q", status=2)
    assert out.splitlines() == [
        "NODE  STATE           FINDINGS",
        "n1    equal",
        "n2    no rules given",
        "",
        "n1: rules of IPv6 were not given, so they are not compared",
        "n1: sets were not given, so they are not compared; --ipsets FILE adds them",
    ]
    (nodes / "n2.save").write_text(without(ruleset(TWO, "n2").save(4), "End of tier"))
    out = run("verify", TWO, "--rules", str(nodes), "-q", status=1)
    assert out.splitlines()[:3] == ["NODE  STATE  FINDINGS", "n1    equal", "n2    opens  1 finding"]
    assert "LETS THROUGH  missing rule" in out
    shown = found("verify", TWO, "--rules", str(nodes))
    assert [(node["node"], node["state"]) for node in shown["nodes"]] == [("n1", "equal"), ("n2", "opens")]
    (nodes / "n3.save").write_text(ruleset(TWO, "n2").save(4))
    assert "n3    unknown  there is no node 'n3' in the input" in run(
        "verify", TWO, "--rules", str(nodes), "-q", status=1
    )


# --- diff


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Folders of a node as it should be, and without the rule of the policy."""
    whole = ruleset(ONE, "n1")
    for name, change in (("before", False), ("after", True)):
        (tmp_path / name).mkdir()
        for family, file in ((4, "iptables.save"), (6, "ip6tables.save")):
            text = whole.save(family)
            (tmp_path / name / file).write_text(without(text, "--dports 5432") if change else text)
        (tmp_path / name / "ipset.save").write_text(whole.ipset_save())
    return str(tmp_path / "before"), str(tmp_path / "after")


@pytest.mark.parametrize("names", [(), ("-f", ONE)])
def test_flows_between_dumps_mirror_each_other(pair: tuple[str, str], names: tuple[str, ...]) -> None:
    before, after = pair
    closes = run("diff", before, after, *names, "--flows", "-q", status=1)
    opens = run("diff", after, before, *names, "--flows", "-q", status=1)
    assert "0 flows opened, 1 closed" in closes
    assert "1 flow opened, 0 closed" in opens
    assert [line for line in closes.splitlines() if line.startswith("  -")] == [
        line.replace("  +", "  -") for line in opens.splitlines() if line.startswith("  +")
    ]
    assert ("shop/api → shop/db : TCP 5432" in closes) is bool(names)


def test_endpoints_of_a_dump_are_named_by_the_other_side(pair: tuple[str, str]) -> None:
    _, after = pair
    for words, sign in (((ONE, after), "-"), ((after, ONE), "+")):
        assert f"  {sign} shop/api → shop/db : TCP 5432" in run("diff", *words, "--flows", "-q", status=1)


def test_equal_is_proven_or_not_said(pair: tuple[str, str], tmp_path: Path) -> None:
    before, _ = pair
    assert run("diff", before, before, "-f", ONE, "-q") == "no difference\n"
    assert run("diff", before, ONE, "-q") == "no difference\n"
    (tmp_path / "four").write_text(ruleset(ONE, "n1").save(4))
    out = run("diff", str(tmp_path / "four"), ONE, "-q", status=2)
    assert "no difference as far as is known; 3 things unknown" in out
    assert "  rules of IPv6 on n1 were given of one side only" in out
    assert "  sets on n1 were not given" in out


def test_what_depends_on_sets_that_were_not_given_is_unknown(pair: tuple[str, str]) -> None:
    before, after = (f"{folder}/iptables.save" for folder in pair)
    shown = found("diff", before, after, "-f", ONE, "--flows", status=2)
    assert (shown["flows"]["opened"], shown["flows"]["closed"]) == ([], [])
    assert any("may open or close: set cali40s:" in words for words in shown["unknown"])


# --- trace and matrix


def test_the_other_node_is_compiled_or_undecided(tmp_path: Path) -> None:
    rules = tmp_path / "n1.save"
    rules.write_text(ruleset(TWO, "n1").save(4))
    words = ("trace", "shop/web", "shop/db:80", TWO, "--rules", str(rules), "--node", "n1", "-q")
    assert run(*words).startswith("DENIED  shop/web → shop/db tcp/80\n  by the end of tier default")
    assert "note: n2 is compiled from the manifests" in run(*words)
    alone = ("trace", "10.65.1.2", "10.65.2.2:80", "--rules", str(rules), "--node", "n1", "-q")
    assert run(*alone).startswith("PASSES n1, UNDECIDED on the node of 10.65.2.2  ")
    shown = found(*alone, status=0)
    assert (shown["verdict"], shown["certain"]) == ("undecided", False)
    run(*alone, "--expect", "allow", status=1)
    run(*alone, "--expect", "deny", status=1)


def test_rules_of_several_nodes_in_a_folder(tmp_path: Path) -> None:
    for node in ("n1", "n2"):
        (tmp_path / node).mkdir()
        (tmp_path / node / "iptables.save").write_text(ruleset(TWO, node).save(4))
        (tmp_path / node / "ipset.save").write_text(ruleset(TWO, node).ipset_save())
    words = ("trace", "shop/web", "shop/db:80", TWO, "--rules", str(tmp_path), "-q")
    assert run(*words).startswith("DENIED")
    assert "compiled from" not in run(*words)
    assert "shop/web => shop/db" not in run("matrix", TWO, "--rules", str(tmp_path), "-o", "lines", "-q")


def test_a_node_that_nothing_names(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text(ruleset(TWO, "n1").save(4))
    for words in (("verify", TWO), ("matrix", TWO), ("trace", "shop/web", "shop/db:80", TWO)):
        with pytest.raises(UsageError, match="there is no node 'n11' in the input; did you mean n1"):
            run(*words, "--rules", str(tmp_path / "rules"), "--node", "n11", "-q")


def test_files_of_a_folder_are_read_for_the_node_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may hold those of thousands of nodes: once it is known which files are whose, none is kept."""
    from felixpy.cli import dumps, saved_files
    from felixpy.iptables import forms

    for node in ("n1", "n2"):
        (tmp_path / node).mkdir()
        (tmp_path / node / "rules").write_text(f"*filter\n:{node} - [0:0]\nCOMMIT\n")
    (tmp_path / "n3").mkdir()
    (tmp_path / "n3" / "rules").write_text("table ip calico {\n}\n")
    taken: list[str] = []
    for module, function in ((saved_files, "read"), (forms, "split_saved")):
        real = getattr(module, function)

        def counted(*given: Any, real: Any = real, function: str = function) -> Any:
            taken.append(function)
            return real(*given)

        monkeypatch.setattr(module, function, counted)
    saved = dumps.read_saved([str(tmp_path)], None, both=True)
    assert isinstance(saved, dumps.SavedNodes)
    assert sorted(saved) == ["n1", "n2", "n3"]
    assert [saved.plane(node) for node in sorted(saved)] == ["iptables", "iptables", "nftables"]
    assert taken == ["read"] * 3
    taken.clear()
    assert (":n2 - [0:0]" in saved["n2"].rules[4], saved["n2"].plane, saved["n3"].plane) == (
        True,
        "iptables",
        "nftables",
    )
    assert taken == ["read", "split_saved"] * 3


def test_a_listing_without_tables_of_calico_beside_rules_is_not_the_data_plane(tmp_path: Path) -> None:
    from felixpy.cli.dumps import SavedNodes, read_saved

    for node, table in (("n1", "ip filter"), ("n2", "ip calico")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "rules").write_text("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
        (tmp_path / node / "nft").write_text(f"table {table} {{\n}}\n")
    saved = read_saved([str(tmp_path)], None, both=True)
    assert isinstance(saved, SavedNodes)
    assert {node: saved.plane(node) for node in saved} == {"n1": "iptables", "n2": "nftables"}
    assert {node: saved[node].plane for node in saved} == {"n1": "iptables", "n2": "nftables"}


SHOP = Path(__file__).parents[2] / "fixtures" / "conformance" / "k8s" / "shop-three-tiers"


@pytest.mark.parametrize("protocol", ["-p 99", "-p icmp", "-p udp"])
def test_a_damaged_chain_that_is_not_called_any_more(tmp_path: Path, protocol: str) -> None:
    """Each damage is judged by itself, where the chain is called: what only this chain asks counts there."""
    text = (SHOP / "expected" / "iptables.save").read_text()
    called = "-j cali-pi-knp/shop/database"
    opened = f"-A cali-pi-knp/shop/database {protocol} -j MARK --set-xmark 0x10000/0x10000\n"
    lines = without(text, called).splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith("-A cali-pi-knp/shop/database"))
    (tmp_path / "rules").write_text("".join([*lines[:at], opened, *lines[at:]]))
    sets = str(SHOP / "expected" / "ipset.save")
    shown = found("verify", str(SHOP / "manifests.yaml"), "--node", "node1", "--rules", str(tmp_path / "rules"),
                  "--ipsets", sets)  # fmt: skip
    effects = {finding["chain"]: finding["effect"] for finding in shown["findings"]}
    assert effects["cali-pi-knp/shop/database"] == "opens"
