"""``--confirm 30s``: whoever changed the policy shows in time that they can still reach the machine."""

from __future__ import annotations

import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from felixpy.errors import UsageError

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_DURATION = re.compile(r"(\d+)\s*(s|m|min|h|)")
_YES = {"y", "yes"}


def duration(text: str, option: str = "--confirm") -> int:
    """Seconds in a text such as 30s, 2m or 45. Raises UsageError for anything else."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise UsageError(f"{option} {text}: write a time such as 30s or 2m")
    return int(found[1]) * _SECONDS[found[2]]


def confirmed(seconds: int) -> bool:
    """Ask on stderr and wait for a "y" on stdin; anything else, and the end of the input, is a no."""
    typer.echo(f"The new policy is in force. Keep it? Type y within {seconds} s, or the old one comes back: ", err=True)
    deadline = time.monotonic() + seconds
    try:
        ready, _, _ = select.select([sys.stdin], [], [], max(0.0, deadline - time.monotonic()))
    except KeyboardInterrupt:
        return False
    return bool(ready) and sys.stdin.readline().strip().lower() in _YES


@contextmanager
def interruptible() -> Iterator[None]:
    """A terminal that goes away, and a polite kill, end a command as Ctrl-C does: with everything put back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
