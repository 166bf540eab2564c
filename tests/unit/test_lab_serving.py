"""Talking to a responder that is not there, and what is left behind on purpose."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from felixpy.errors import EnvironmentMissing
from felixpy.kernel import start_in_background
from felixpy.lab import serving
from felixpy.lab.responder import short
from felixpy.lab.state import FOLDER


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("left", [False, True], ids=["nothing", "a socket that nobody listens on"])
def test_without_a_responder_nothing_hangs(left: bool, folder: Path) -> None:
    if left:
        with socket.socket(socket.AF_UNIX) as dead, short(folder / "trial.socket") as address:
            dead.bind(address)
    assert not serving.is_running("trial")
    serving.stop("trial")
    serving.leave("trial", ["somewhere"])
    with pytest.raises(OSError, match="No such file" if not left else "refused"):
        serving.served("trial")
    with pytest.raises(EnvironmentMissing, match="felixpy lab up starts it again"):
        serving.settle("trial")


def test_sockets_may_be_deep_in_the_tree(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, short(deep / "x.socket") as address:
        listener.bind(address)
    assert (deep / "x.socket").is_socket()


def test_what_goes_to_the_background_holds_a_lock(tmp_path: Path) -> None:
    """The lock outlives the one who took it, and ends with the process that was left behind."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert start_in_background("sh", "-c", f"cat '{pipe}' >/dev/null 2>&1 &", holding=lock) == (0, "", "")
    os.close(lock)
    again = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    pipe.write_text("")
    fcntl.flock(again, fcntl.LOCK_EX)
    os.close(again)


def test_what_fails_to_go_there_tells_why() -> None:
    assert start_in_background("sh", "-c", "echo bad >&2; exit 3", holding=0) == (3, "", "bad\n")
