"""What is remembered of labs, and who may change it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from felixpy.errors import EnvironmentMissing, KernelRefused
from felixpy.lab import state
from felixpy.lab.layout import layout_of
from felixpy.lab.state import FOLDER, InForce, Inputs, LabState
from felixpy.model import PolicyKey
from tests.clusters import cluster, pod

LAB = LabState(
    layout=layout_of(cluster(pod("web", serves=(("tcp", 80),))), "trial"),
    backend="nft",
    inputs=Inputs(
        paths=("/shop/a.yaml", "git:main:shop"),
        node="node1",
        settings=("IptablesFilterAllowAction=RETURN",),
        removed=(PolicyKey("NetworkPolicy", "shop", "deny"),),
        strict=True,
    ),
    finished=True,
    policies=("NetworkPolicy shop/web",),
    enforced=(InForce(node="node1", backend="nftables", rules=7, sets=2, since="2025-11-21T17:33:00+00:00"),),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "labs"))
    return tmp_path / "labs"


def test_what_was_written_is_read_until_it_is_forgotten(folder: Path) -> None:
    assert state.read("trial") is None
    with state.locked():
        state.write(LAB)
        state.write(replace(LAB, layout=replace(LAB.layout, name="other")))
    assert state.read("trial") == LAB
    assert state.known() == ["other", "trial"]
    with state.locked():
        state.forget("trial")
    assert (state.read("trial"), state.exists("trial"), state.known()) == (None, False, ["other"])
    with state.locked():
        state.forget("other")
    assert not folder.exists()


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"layout": 7}', '"text"'])
def test_what_cannot_be_read_is_there_but_says_nothing(folder: Path, text: str) -> None:
    with state.locked():
        state.write(LAB)
        (folder / "trial.json").write_text(text)
    assert (state.read("trial"), state.exists("trial")) == (None, True)


def test_only_one_may_change_labs_at_a_time() -> None:
    with (
        state.locked(),
        pytest.raises(KernelRefused, match="another felixpy changes a lab, still after 0 s"),
        state.locked(0),
    ):
        pass
    with state.locked(0):
        pass


def test_who_waits_goes_on_although_the_folder_went_away_meanwhile(folder: Path) -> None:
    entered, waited = threading.Event(), threading.Event()

    def wait() -> None:
        entered.wait()
        with state.locked():
            waited.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    with state.locked():
        entered.set()
        assert not waited.wait(0.2)
    waiter.join()
    assert waited.is_set()
    assert not folder.exists()


def test_a_folder_that_cannot_be_is_told_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER, str(tmp_path / "file" / "labs"))
    with pytest.raises(EnvironmentMissing, match=FOLDER), state.locked():
        pass
