"""Progress is for people at a terminal: long work shows it there, a pipe never does, and Ctrl-C ends cleanly."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from felixpy.cli import progress
from felixpy.cli.progress import CLEAR, ShownStage
from tests.bench.clusters import Shape, write

EAGER = (
    "import sys; from felixpy.cli import progress, run; sys.setswitchinterval(0.0001); "
    "progress.DELAY_SECONDS = 0; progress.REDRAW_SECONDS = 0.001; sys.exit(run(sys.argv[1:]))"
)
"""felixpy that does not wait for a second before it shows what it does."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster of thirty nodes."""
    return write(Shape(30, 20, 4, 2, nodes=30), tmp_path_factory.mktemp("many"), "json")


def at_terminal(*words: str, until: bytes = b"") -> tuple[int, bytes]:
    """The exit status, and all that appears on the terminal that stderr is; Ctrl-C some time after `until` does."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (sys.executable, "-c", EAGER, *words), stderr=theirs, stdout=subprocess.DEVNULL, env=os.environ | {"TERM": "vt"}
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
            if until and until in shown:
                until = b""
                time.sleep(0.1)
                process.send_signal(signal.SIGINT)
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
    drawn = shown.split(CLEAR)
    assert any(piece.startswith(b"felixpy: 30 of 30 nodes written") for piece in drawn)
    assert not drawn[-1].startswith((b"working", b"rendering"))


COMMANDS = [
    ("render", "{many}", "--node", "node1"),
    ("render", "{many}", "--all-nodes", "-j", "2"),
    ("validate", "{many}"),
    ("lint", "{many}"),
    ("trace", "team-0/backend-1", "team-1/api-5:80", "{many}"),
    ("explain", "pod", "team-0/backend-1", "{many}"),
    ("matrix", "{many}"),
    ("exposure", "{many}"),
    ("diff", "{many}", "{changed}"),
    ("convert", "{many}"),
    ("decode", "cali40this-host", "-f", "{many}"),
    ("annotate", "{many}", "--node", "node1"),
    ("verify", "{many}", "--rules", "{rules}"),
    ("test", "{tests}", "-f", "{many}"),
    ("counters", "{many}", "--rules", "{rules}/node1/iptables.save", "--node", "node1"),
    ("apply", "{many}", "--node", "node1", "--netns", "felixpy-absent", "--check"),
]


@pytest.fixture(scope="module")
def named(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files that commands are given, by what they are."""
    folder = tmp_path_factory.mktemp("named")
    document = json.loads(many.read_text())
    document["items"] = [item for item in document["items"] if item["kind"] != "NetworkPolicy"][:900]
    (folder / "changed.json").write_text(json.dumps(document))
    (folder / "some.felixtest.yaml").write_text(
        "connections:\n- {from: team-0/backend-1, to: team-1/api-5, port: 80}\n"
    )
    subprocess.run(
        (sys.executable, "-m", "felixpy", "render", str(many), "--all-nodes", "--output-dir", folder / "rules", "-q"),
        check=True,
    )
    return {
        "many": many,
        "changed": folder / "changed.json",
        "tests": folder / "some.felixtest.yaml",
        "rules": folder / "rules",
    }


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]).replace(" {many}", ""))
def test_every_command_shows_that_it_works(named: dict[str, Path], words: tuple[str, ...]) -> None:
    _, shown = at_terminal(*(word.format_map(named) for word in words), "-q")
    drawn = shown.split(CLEAR)
    assert any(piece.startswith((b"working", b"reading", b"rendering")) for piece in drawn), shown
    assert not any(piece.startswith((b"working", b"reading", b"rendering")) for piece in drawn[-1:]), shown


def test_following_shows_nothing_while_it_waits(many: Path) -> None:
    status, shown = at_terminal("watch", str(many), "--node", "node1", until=b"Ctrl-C ends that")
    assert status == 130
    drawn = shown.split(CLEAR)
    assert any(piece.startswith(b"working") for piece in drawn), shown
    assert not drawn[-1].startswith(b"working"), shown


def test_reading_says_how_far_it_is(named: dict[str, Path]) -> None:
    _, shown = at_terminal("validate", str(named["many"]))
    assert b"manifests.json, 0 MiB: 0 s" in shown


def test_output_takes_the_line_away(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0.001)
    monkeypatch.setattr(os, "write", lambda descriptor, text: written.append(text))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.shown("working"):
        wait_for(lambda: len(written) > 1)
        with progress.aside():
            assert written[-1] == CLEAR
            drawn = len(written)
            time.sleep(0.02)
            assert len(written) == drawn
        wait_for(lambda: len(written) > drawn)
        with progress.idle():
            assert written[-1] == CLEAR
            drawn = len(written)
            time.sleep(0.02)
            assert len(written) == drawn
        with progress.shown("reading"):
            progress.say("reading x")
            wait_for(lambda: written[-1].startswith(CLEAR + b"reading x: "))
        wait_for(lambda: written[-1].startswith(CLEAR + b"working: "))
    assert written[-1] == CLEAR
    assert not progress.is_shown()


def wait_for(what: Callable[[], bool]) -> None:
    while not what():
        time.sleep(0.001)


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


@pytest.mark.parametrize("command", [("matrix", "{many}"), ("diff", "--flows", "{many}", "{changed}")])
def test_an_interrupt_ends_the_evaluation_of_flows(named: dict[str, Path], command: tuple[str, ...]) -> None:
    words = [word.format_map(named) for word in command]
    process = subprocess.Popen(
        (sys.executable, "-m", "felixpy", *words, "-q", "-j", "2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and not children.read_text():
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert b"Traceback" not in errors
    assert process.returncode in (0, 1, 130)
    wait_for(lambda: is_gone(process.pid))


def is_gone(group: int) -> bool:
    """Whether no process of a group is left; one that was interrupted while it was forked ends by itself."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_bar_with_rate_and_time_left() -> None:
    status = ShownStage("working")
    status.count(0, 200, "nodes")
    status.count(50, 200, "nodes")
    now = status._counted + 10
    assert status.text(now) == "working [######··················] 50/200 nodes, 5/s, 30 s left"
    assert ShownStage("working").text(status._start + 3).startswith("working: 3")
