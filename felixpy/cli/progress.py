"""Progress of long work: a line at the bottom of a terminal from its second second on, gone with the first output.

In a pipe nothing is shown. The line is drawn by a thread, so that work that takes long in one piece shows it as well.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

DELAY_SECONDS = 1.0
"""Work that is done sooner shows nothing."""

REDRAW_SECONDS = 0.2
PAUSE_SECONDS = 0.5
WIDTH = 24
"""Characters of a bar."""

CLEAR = b"\r\x1b[K"
STDERR = 2


class Status:
    """What is being done, for how long, and how far it is where that is known."""

    def __init__(self, words: str) -> None:
        self.words = words
        self._start = time.monotonic()
        self._counted = self._start
        self._done = self._total = 0
        self._what = ""
        self._stopped, self._lock, self._is_drawn = Event(), Lock(), False
        self._paused_until = 0.0

    def start(self) -> None:
        Thread(target=self._draw_on, daemon=True).start()

    def count(self, done: int, total: int, what: str) -> None:
        """So many of all are done."""
        if self._what != what:
            self._counted = time.monotonic()
        self._done, self._total, self._what = done, total, what

    def pause(self) -> None:
        """Something else has the line for the moment."""
        self._paused_until = time.monotonic() + PAUSE_SECONDS

    def stop(self) -> None:
        """Take the line away for good."""
        with self._lock:
            self._stopped.set()
            if self._is_drawn:
                self._is_drawn = False
                os.write(STDERR, CLEAR)

    def text(self, now: float) -> str:
        """``render [####····] 120/200 nodes, 14/s, 6 s left``, or ``render: 3 s`` where nothing is counted."""
        if not self._total:
            return f"{self.words}: {now - self._start:.0f} s"
        filled = WIDTH * self._done // self._total
        bar = "#" * filled + "·" * (WIDTH - filled)
        told = f"{self.words} [{bar}] {self._done}/{self._total} {self._what}"
        rate = self._done / max(now - self._counted, REDRAW_SECONDS)
        return f"{told}, {rate:.3g}/s, {(self._total - self._done) / rate:.0f} s left" if rate else told

    def _draw_on(self) -> None:
        if self._stopped.wait(DELAY_SECONDS):
            return
        while not self._stopped.wait(REDRAW_SECONDS):
            with self._lock:
                if not self._stopped.is_set() and time.monotonic() > self._paused_until:
                    self._is_drawn = True
                    os.write(STDERR, CLEAR + self.text(time.monotonic()).encode())


_shown: list[Status] = []


@contextmanager
def shown(words: str) -> Iterator[None]:
    """Show progress while something runs, if stderr is a terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    status = Status(words)
    _shown.append(status)
    status.start()
    try:
        yield
    finally:
        status.stop()
        _shown.remove(status)


def count(done: int, total: int, what: str) -> None:
    """How far the work is that is shown."""
    for status in _shown:
        status.count(done, total, what)


def pause() -> None:
    """Something else has the line for the moment."""
    for status in _shown:
        status.pause()


def end() -> None:
    """Take the line away: something else is written."""
    for status in _shown:
        status.stop()


os.register_at_fork(after_in_child=_shown.clear)
