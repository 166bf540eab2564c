"""Progress is for people at a terminal: long work shows it there, a pipe never does, and Ctrl-C ends cleanly."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from felixpy.cli.progress import CLEAR, Status
from tests.bench.clusters import Shape, write

EAGER = (
    "import sys; from felixpy.cli import progress, run; "
    "progress.DELAY_SECONDS = 0; progress.REDRAW_SECONDS = 0.01; sys.exit(run(sys.argv[1:]))"
)
"""felixpy that does not wait for a second before it shows what it does."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster of thirty nodes."""
    return write(Shape(30, 20, 4, 2, nodes=30), tmp_path_factory.mktemp("many"), "json")


def at_terminal(*words: str) -> tuple[int, bytes]:
    """The exit status, and all that appears on the terminal that stderr is."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (sys.executable, "-c", EAGER, *words), stderr=theirs, stdout=subprocess.DEVNULL, env=os.environ | {"TERM": "vt"}
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return process.wait(), shown


def test_a_terminal_shows_nodes_and_takes_the_line_away(many: Path, tmp_path: Path) -> None:
    status, shown = at_terminal("render", str(many), "--all-nodes", "--output-dir", str(tmp_path), "-j", "1")
    assert status == 0
    assert b"working: 0 s" in shown
    assert b"/30 nodes" in shown
    assert b"s left" in shown
    last = shown.split(CLEAR)[-1]
    assert last.startswith(b"felixpy: 30 of 30 nodes written")


@pytest.mark.parametrize("words", [("matrix",), ("lint",), ("render", "--node", "node1"), ("exposure",)])
def test_every_command_shows_that_it_works(many: Path, words: tuple[str, ...]) -> None:
    _, shown = at_terminal(words[0], str(many), *words[1:], "-q")
    assert b"working: " in shown
    assert shown.rpartition(b"working: ")[2].endswith(CLEAR)


def test_a_pipe_shows_nothing(many: Path, tmp_path: Path) -> None:
    words = ("render", str(many), "--all-nodes", "--output-dir", str(tmp_path), "-q")
    found = subprocess.run((sys.executable, "-c", EAGER, *words), capture_output=True, check=True)
    assert (found.stdout, found.stderr) == (b"", b"")


def test_an_interrupt_ends_all_processes_and_leaves_whole_files(many: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        (sys.executable, "-m", "felixpy", "render", str(many), "--all-nodes", "--output-dir", str(tmp_path), "-j", "2"),
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not any(tmp_path.glob("*/ipset.save")):
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert b"Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    if process.returncode:
        assert process.returncode == 130
        assert len([*tmp_path.iterdir()]) < 30
    for node in tmp_path.iterdir():
        assert {file.name for file in node.iterdir()} == {
            "ipset.save", "iptables.save", "iptables.restore", "ip6tables.save", "ip6tables.restore",
        }  # fmt: skip


def test_a_bar_with_rate_and_time_left() -> None:
    status = Status("working")
    status.count(0, 200, "nodes")
    status.count(50, 200, "nodes")
    now = status._counted + 10
    assert status.text(now) == "working [######··················] 50/200 nodes, 5/s, 30 s left"
    assert Status("working").text(status._start + 3).startswith("working: 3")
