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


def test_verify_refuses_live_tables(
    place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = caller(capsys, monkeypatch)("verify", "shop.yaml", "--node", "n2", "--netns", place)
    assert answer.status == 2
    assert "nftables data plane, which verify does not support yet" in answer.err
