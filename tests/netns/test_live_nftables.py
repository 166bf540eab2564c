"""Tables of Felix's nftables data plane in a kernel: they are read, and never compared as rules of iptables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from felixpy.kernel import Machine
from tests.commands import caller
from tests.netns.enforcing import here
from tests.netns.test_lab_command import DENY, SHOP

pytestmark = pytest.mark.netns

NFTABLES = ("--dataplane", "nftables")


@pytest.fixture
def place(machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A namespace with the rules of a shop whose database denies everything, as Felix hands them to nft."""
    (tmp_path / "shop.yaml").write_text(f"{SHOP}---\n{DENY}")
    monkeypatch.chdir(tmp_path)
    rules = caller(capsys, monkeypatch)("render", "shop.yaml", "--node", "n2", *NFTABLES, "--form", "restore")
    assert machine.run("nft", "-f", "-", text=rules.out).status == 0
    return here()


def test_live_tables_are_traced_and_counted(
    place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    felixpy = caller(capsys, monkeypatch)
    traced = felixpy(
        "trace",
        "shop/web",
        "shop/deployment/db:5432",
        "shop.yaml",
        "--node",
        "n2",
        "--netns",
        place,
        "-o",
        "json",
        "-q",
    )
    assert traced.status in (0, 1), traced.err
    assert (traced.status, json.loads(traced.out)["verdict"]) == (0, "deny"), traced.err
    counted = felixpy("counters", "shop.yaml", "--node", "n2", "--netns", place, "-o", "json", "-q")
    assert counted.status == 0, counted.err
    assert json.loads(counted.out)["items"]


def test_live_tables_are_verified(
    place: str, machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    felixpy = caller(capsys, monkeypatch)

    def findings() -> list[tuple[str, str]]:
        answer = felixpy("verify", "shop.yaml", "--node", "n2", "--netns", place, "-o", "json", "-q")
        return [(each["class"], each["effect"]) for each in json.loads(answer.out)["findings"]]

    sets = [
        ("member-missing", "none"),
        ("member-extra", "none"),
    ]  # of the machine's own addresses, which are others here
    assert set(findings()) <= set(sets)
    chain = "filter-cali-to-wl-dispatch"
    assert machine.run("nft", "insert", "rule", "ip", "calico", chain, "accept").status == 0
    assert machine.run("nft", "add", "chain", "ip", "calico", "filter-INPUT", "{ policy drop; }").status == 0
    found = findings()
    assert {("rule-extra", "opens"), ("base-chain", "closes")} <= set(found)


def test_iptables_rules_left_beside_live_tables(
    place: str, machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go on dropping, whatever Felix's tables let through."""
    left = "*filter\n:cali-FORWARD - [0:0]\n-A FORWARD -j cali-FORWARD\n-A cali-FORWARD -j DROP\nCOMMIT\n"
    assert machine.run("iptables-legacy-restore", text=left).status == 0
    felixpy = caller(capsys, monkeypatch)
    traced = felixpy("trace", "shop/deployment/db", "shop/web:80", "shop.yaml", "--node", "n2", "--netns", place)
    assert "tables of Felix in iptables are also in force: packets pass both" in traced.err
    assert "iptables filter cali-FORWARD 1: -j DROP" in traced.out
    answer = felixpy("verify", "shop.yaml", "--node", "n2", "--netns", place, "-o", "json", "-q")
    found = {each["class"]: each["effect"] for each in json.loads(answer.out)["findings"]}
    assert found["other-data-plane"] == "closes"
