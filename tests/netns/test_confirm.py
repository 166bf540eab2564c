"""``felixpy apply --confirm``: whatever happens but a whole "yes" in time, the old rules come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.recordings import cases
from tests.netns.enforcing import EVERY_BACKEND
from tests.netns.namespace import Namespace
from tests.netns.test_apply_command import EMPTY, apply_case, asked, goal, here, snapshot

pytestmark = pytest.mark.netns

__all__ = ["here"]

SHOP = next(case for case in cases("k8s") if case.name == "shop-three-tiers")
TIMEOUT = 30
EACH_BACKEND = pytest.mark.parametrize("backend", EVERY_BACKEND)


class Attempt:
    """An apply that asks to be confirmed, with its standard input in our hands."""

    def __init__(self, here: str, backend: str, seconds: int, stdin: int = subprocess.PIPE) -> None:
        words = ["apply", str(SHOP.folder / "manifests.yaml"), "--node", SHOP.node, "--netns", here]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "felixpy", *words, *asked(backend), "--confirm", f"{seconds}s"],
            stdin=stdin,
            stderr=subprocess.PIPE,
        )

    def asked(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            if b"Keep it?" in line:
                return
        pytest.fail("it did not ask")

    def says(self, answer: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(answer)
        self.process.stdin.flush()

    def ends(self) -> int:
        status = self.process.wait(TIMEOUT)
        for stream in (self.process.stdin, self.process.stderr):
            if stream:
                stream.close()
        return status


def eventually(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.1)
    return False


@EACH_BACKEND
def test_a_whole_yes_in_time_keeps_the_new_rules(here: str, netns: Namespace, backend: str) -> None:
    attempt = Attempt(here, backend, 60)
    attempt.asked()
    assert snapshot(netns, backend) == goal(SHOP, backend)
    attempt.says(b"yes\n")
    assert attempt.ends() == 0
    assert snapshot(netns, backend) == goal(SHOP, backend)


@EACH_BACKEND
@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\xff\xfe\n", b"y\xff\n", b"y" * 100 + b"\n"])
def test_another_answer_brings_the_old_rules_back(here: str, netns: Namespace, backend: str, answer: bytes) -> None:
    attempt = Attempt(here, backend, 60)
    attempt.asked()
    attempt.says(answer)
    assert attempt.ends() == 1
    assert snapshot(netns, backend) == EMPTY


@pytest.mark.parametrize("answer", [b"", b"y", b"yes"])
def test_an_unfinished_line_is_no_answer(here: str, netns: Namespace, answer: bytes) -> None:
    """Neither while the input stays open nor at its end."""
    attempt = Attempt(here, "legacy", 1)
    attempt.asked()
    attempt.says(answer)
    assert attempt.ends() == 1
    assert snapshot(netns, "legacy") == EMPTY
    attempt = Attempt(here, "legacy", 60)
    attempt.asked()
    attempt.says(answer)
    assert attempt.process.stdin
    attempt.process.stdin.close()
    assert attempt.ends() == 1
    assert snapshot(netns, "legacy") == EMPTY


def test_no_standard_input_is_said_before_anything_is_written(here: str, netns: Namespace) -> None:
    words = ["apply", str(SHOP.folder / "manifests.yaml"), "--node", SHOP.node, "--netns", here, "--confirm", "9s"]
    command = 'exec "$@" <&-'
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "felixpy", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "standard input, which is closed or /dev/null; nothing was written" in done.stderr
    assert snapshot(netns, "legacy") == EMPTY


@EACH_BACKEND
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_old_rules_come_back_when_felixpy_is_killed(here: str, netns: Namespace, backend: str, number: int) -> None:
    attempt = Attempt(here, backend, 600)
    attempt.asked()
    attempt.process.send_signal(number)
    attempt.ends()
    assert eventually(lambda: snapshot(netns, backend) == EMPTY)


def test_the_old_rules_come_back_when_felixpy_is_stopped(here: str, netns: Namespace) -> None:
    """As with Ctrl-Z: the deadline is not felixpy's to keep."""
    attempt = Attempt(here, "legacy", 2)
    attempt.asked()
    attempt.process.send_signal(signal.SIGSTOP)
    assert eventually(lambda: snapshot(netns, "legacy") == EMPTY)
    attempt.process.send_signal(signal.SIGCONT)
    attempt.says(b"y\n")
    assert attempt.ends() == 1
    assert snapshot(netns, "legacy") == EMPTY


@EACH_BACKEND
@pytest.mark.parametrize("part", range(8))
def test_killed_while_it_writes(here: str, netns: Namespace, backend: str, part: int) -> None:
    """At moments spread over the whole of the work, before and after the first rule is written."""
    attempt = Attempt(here, backend, 600)
    time.sleep(0.3 + 0.15 * part)
    attempt.process.kill()
    attempt.ends()
    time.sleep(0.5)
    assert eventually(lambda: snapshot(netns, backend) == EMPTY)
    done = apply_case(SHOP, "--netns", here, *asked(backend))
    assert done.exit_code == 0, done.stderr
    assert snapshot(netns, backend) == goal(SHOP, backend)


def test_the_rules_of_before_come_back_and_not_just_nothing(here: str, netns: Namespace, tmp_path: Path) -> None:
    more = tmp_path / "old.yaml"
    more.write_text(
        (SHOP.folder / "manifests.yaml").read_text().partition("kind: NetworkPolicy")[0].rpartition("---")[0]
    )
    from tests.netns.test_apply_command import felixpy

    assert felixpy("apply", str(more), "--node", SHOP.node, "--netns", here).exit_code == 0
    old = snapshot(netns, "legacy")
    assert old not in (EMPTY, goal(SHOP))
    attempt = Attempt(here, "legacy", 600)
    attempt.asked()
    assert snapshot(netns, "legacy") == goal(SHOP)
    os.kill(attempt.process.pid, signal.SIGKILL)
    attempt.ends()
    assert eventually(lambda: snapshot(netns, "legacy") == old)
