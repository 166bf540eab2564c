"""``--confirm 30s``: the user confirms within a time limit that the machine can still be reached.

A separate process keeps the deadline; `felixpy.dataplane.watchdog` starts it before anything is written.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from felixpy.cli import invocation, progress
from felixpy.errors import UsageError

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_DURATION = re.compile(r"([0-9]{1,9})\s*(s|m|min|h|)")
_YES = {b"y", b"yes"}

LONGEST = 24 * 3600
"""The longest time to wait for a confirmation, in seconds."""

_ENOUGH = 64
"""The longest answer, in bytes."""


def duration(text: str, option: str = "--confirm") -> int:
    """Seconds in a text such as 30s, 2m or 45. Raises UsageError for anything else, and for more than a day."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise UsageError(f"{option} {text}: write a time such as 30s or 2m")
    seconds = int(found[1]) * _SECONDS[found[2]]
    if seconds > LONGEST:
        raise UsageError(f"{option} {text}: at most {LONGEST // 3600}h")
    return seconds


def check_answerable() -> None:
    """Raise UsageError if standard input is closed, so that no confirmation could be read.

    A process that is started without one has /dev/null in its place.
    """
    closed = sys.stdin is None or sys.stdin.closed
    with suppress(OSError, ValueError):
        closed = closed or os.path.samestat(os.fstat(sys.stdin.fileno()), os.stat(os.devnull))  # noqa: PTH116
    if closed:
        words = "--confirm reads the answer from standard input, which is closed or /dev/null; nothing was written"
        raise UsageError(words)


def confirmed(seconds: float) -> bool:
    """Ask on stderr and wait for a whole line "y" or "yes" on stdin.

    Anything else is a no: another answer, a line that is not finished in time, the end of the input, a signal.
    """
    with suppress(OSError, ValueError):
        invocation.tell(
            f"The new policy is in force. Keep it? Type y within {seconds:.0f} s, or the old one comes back: "
        )
    try:
        with progress.idle():
            return _line(sys.stdin.fileno(), time.monotonic() + seconds).strip().lower() in _YES
    except (KeyboardInterrupt, OSError, ValueError):
        return False


def _line(source: int, deadline: float) -> bytes:
    """The first line of a file descriptor, b"" unless it is complete before the deadline."""
    said = b""
    while (left := deadline - time.monotonic()) > 0 and len(said) < _ENOUGH:
        ready, _, _ = select.select([source], [], [], left)
        if not ready or not (more := os.read(source, _ENOUGH)):
            return b""
        said += more
        if b"\n" in said:
            return said.partition(b"\n")[0]
    return b""


@contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGHUP and SIGTERM as Ctrl-C: the command ends with everything restored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
