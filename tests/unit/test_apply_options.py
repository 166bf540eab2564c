"""What `apply` and `remove` make of their options, before and after any kernel is touched."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from felixpy.cli.apply import apply
from felixpy.cli.confirmation import confirmed, duration, interruptible
from felixpy.cli.remove import remove
from felixpy.cli.target import IptablesKind, choose_place, settle
from felixpy.dataplane.tools import BackendChoice
from felixpy.errors import EnvironmentMissing, UsageError


@pytest.mark.parametrize("text, seconds", [("30s", 30), ("45", 45), ("2m", 120), ("1min", 60), (" 1h ", 3600)])
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0s", "-1", "1.5s", "soon", "10 parsecs"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="write a time such as 30s or 2m"):
        duration(text)


@pytest.mark.parametrize(
    "command, options, told",
    [
        (apply, {"confirm": "9s"}, "--confirm goes with --netns or --host"),
        (remove, {}, "felixpy remove needs --netns NAME for a network namespace or --host for this machine itself"),
        (apply, {"netns": "x", "host": True}, "--netns and --host exclude each other"),
        (remove, {"netns": "x", "host": True}, "--netns and --host exclude each other"),
        (apply, {"netns": "x", "dry_run": True, "check": True}, "--dry-run, --check, --confirm and --watch exclude"),
        (apply, {"netns": "x", "dry_run": True, "confirm": "9s"}, "--dry-run, --check, --confirm and --watch exclude"),
        (apply, {"netns": "x", "watch": True, "check": True}, "--dry-run, --check, --confirm and --watch exclude"),
        (apply, {"netns": "x", "resync": 5}, "--resync goes with --watch"),
        (apply, {"netns": "x", "watch": True, "paths": ["-"]}, "--watch -: only files and folders"),
        (apply, {"netns": "x", "confirm": "never"}, "--confirm never: write a time"),
    ],
)
def test_wrong_usage(command: Callable[..., None], options: dict[str, Any], told: str) -> None:
    """Nothing is read nor opened for it: there are no manifests here, and no namespace x."""
    with pytest.raises(UsageError, match=told):
        command(**options)


def test_a_namespace_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    place = choose_place("no-such-namespace", host=False, command="apply")
    assert place.words == "network namespace no-such-namespace"
    with pytest.raises(EnvironmentMissing, match="no network namespace no-such-namespace"), place.machine():
        pass


@pytest.mark.parametrize(
    "asked, found, chosen, warnings",
    [
        (IptablesKind.auto, BackendChoice("nft", ()), "nft", []),
        (IptablesKind.auto, BackendChoice("nft", ("nft",)), "nft", []),
        (IptablesKind.legacy, BackendChoice("legacy", ()), "legacy", []),
        (IptablesKind.nft, BackendChoice("legacy", (), guessed=True), "nft", []),
        (IptablesKind.legacy, BackendChoice("nft", ()), "legacy", ["--backend legacy, but nft is what is in use here"]),
        (
            IptablesKind.auto,
            BackendChoice("nft", ("legacy", "nft")),
            "nft",
            ["felixpy remove --backend legacy takes them out"],
        ),
        (
            IptablesKind.legacy,
            BackendChoice("nft", ("nft",)),
            "legacy",
            ["--backend legacy, but nft is what is in use here", "felixpy remove --backend nft takes them out"],
        ),
    ],
)
def test_the_backend_that_is_used(
    asked: IptablesKind, found: BackendChoice, chosen: str, warnings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert settle(asked, found) == chosen
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(warnings)
    for line, warning in zip(said, warnings, strict=True):
        assert line.startswith("felixpy: warning: ")
        assert warning in line


@pytest.mark.parametrize(
    "answer, kept",
    [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("yesterday\n", False), ("", False), (None, False)],
)
def test_only_yes_is_yes(answer: str | None, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """None: nobody answers at all."""
    reading, writing = os.pipe()
    if answer is not None:
        os.write(writing, answer.encode())
        os.close(writing)
    with os.fdopen(reading) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert confirmed(1) is kept
    if answer is None:
        os.close(writing)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_goes_away_does_not_confirm(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as terminal, interruptible():
        monkeypatch.setattr(sys, "stdin", terminal)
        threading.Timer(0.1, os.kill, [os.getpid(), number]).start()
        assert confirmed(20) is False
    os.close(writing)


def test_signals_are_as_before_afterwards() -> None:
    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with interruptible(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before
