"""Plain `felixpy apply`: without a namespace to work on, it is the lab that gets the rules."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from felixpy.cli import run
from felixpy.kernel import open_machine
from felixpy.lab import Lab, layout, state
from tests.netns.labs import new_name, places

pytestmark = pytest.mark.netns

WEB, CLIENT = "shop/web", "shop/client"
PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
status: {podIPs: [{ip: 10.65.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop}
spec: {nodeName: n1, containers: [{name: client, image: shell}]}
status: {podIPs: [{ip: 10.65.0.2}]}
"""
DENY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}}
"""
PATIENCE_SECONDS = 60


@pytest.fixture
def name(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name that the lab without a name has in this test; its manifests are in the current folder."""
    with places(tmp_path, monkeypatch):
        name = new_name()
        monkeypatch.setattr(layout, "DEFAULT_NAME", name)
        monkeypatch.chdir(tmp_path)
        Path("shop").mkdir()
        Path("shop/pods.yaml").write_text(PODS)
        yield name


def reaches(name: str) -> bool:
    found = Lab.find(name)
    assert found
    return found.probe(CLIENT, WEB, 80).allowed


def test_the_lab_is_brought_up_and_in_step(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["apply", "shop", "-q"]) == 0
    assert f"lab {name} is up: 2 pods on 1 node" in capsys.readouterr().err
    assert reaches(name)
    assert run(["apply", "shop", "-q"]) == 0
    assert "in step already" in capsys.readouterr().err
    Path("shop/deny.yaml").write_text(DENY)
    assert run(["apply", "shop", "-q"]) == 0
    assert not reaches(name)


@pytest.mark.parametrize("up", [False, True], ids=["before", "after"])
def test_what_would_be_written_is_shown_before_and_after(name: str, up: bool, capsys) -> None:
    if up:
        assert run(["apply", "shop", "-q"]) == 0
        Path("shop/deny.yaml").write_text(DENY)
    capsys.readouterr()
    assert run(["apply", "shop", "-q", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert ("-A cali-wl-to-host " in shown) is not up
    assert ("cali-pi-knp/shop/deny" in shown) is up
    assert run(["apply", "shop", "-q", "--check"]) == 0
    assert ("an empty network namespace" in capsys.readouterr().err) is not up
    assert state.exists(name) is up


def test_a_lab_needs_no_confirmation(name: str, capsys) -> None:
    assert run(["apply", "shop", "-q", "--confirm", "5s"]) == 2
    assert "--netns or --host" in capsys.readouterr().err
    assert not state.exists(name)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def policies(name: str) -> tuple[str, ...]:
    found = state.read(name)
    return found.policies if found and found.finished else ("not there yet",)


def rules(name: str) -> str:
    with open_machine(name) as machine:
        return machine.run("iptables-legacy-save", "-t", "filter").output


def test_a_watched_lab_follows_files_and_is_repaired(name: str, capsys) -> None:
    """What happens to files and rules meanwhile is done by another thread, which then says that it is enough."""
    done: list[str] = []

    def meanwhile() -> None:
        try:
            until(lambda: policies(name) == ())
            Path("shop/deny.yaml").write_text(DENY)
            until(lambda: "KubernetesNetworkPolicy shop/deny" in policies(name))
            before = rules(name)
            with open_machine(name) as machine:
                assert not machine.run("iptables-legacy", "-F", "cali-to-wl-dispatch").status
            until(lambda: rules(name).count("\n-A") == before.count("\n-A"))
            Path("shop/deny.yaml").write_text("kind: [")
            time.sleep(1)
            done.append("all")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    other = threading.Thread(target=meanwhile)
    other.start()
    status = run(["apply", "shop", "-q", "--watch", "--resync", "1", "--backend", "legacy"])
    other.join()
    said = capsys.readouterr().err
    assert (status, done) == (0, ["all"])
    assert "shop/deny.yaml" in said
    assert "the lab stays as it was" in said
    assert said.rstrip().endswith("stopped; the lab stays up")
    assert not reaches(name)
