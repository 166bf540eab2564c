"""Progress of long work: a line at the bottom of a terminal, shown after one second and removed at the end.

In a pipe nothing is shown. A thread draws the line, so that it also moves during work that reports no progress.
Other output to the terminal is written inside `aside`, which hides the line meanwhile.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Event, Lock, Thread

DELAY_SECONDS = 1.0
"""Work that is done sooner shows nothing; so long after other output the line is back."""

REDRAW_SECONDS = 0.2
WIDTH = 24
"""Characters of a bar."""

CLEAR = b"\r\x1b[K"
STDERR = 2


class ShownStage:
    """A stage of the work: its name, when it began, and how much of it is done, if that is counted."""

    def __init__(self, words: str) -> None:
        self.words = words
        self._start = self._counted = time.monotonic()
        self._done = self._total = 0
        self._what = ""

    def count(self, done: int, total: int, what: str) -> None:
        """Set how many items are done, out of how many."""
        if self._what != what:
            self._counted = time.monotonic()
        self._done, self._total, self._what = done, total, what

    def text(self, now: float) -> str:
        """``rendering [####····] 120/200 nodes, 14/s, 6 s left``, or ``rendering: 3 s`` where nothing is counted."""
        if not self._total:
            return f"{self.words}: {now - self._start:.0f} s"
        filled = WIDTH * self._done // self._total
        bar = "#" * filled + "·" * (WIDTH - filled)
        told = f"{self.words} [{bar}] {self._done}/{self._total} {self._what}"
        rate = self._done / max(now - self._counted, REDRAW_SECONDS)
        return f"{told}, {rate:.3g}/s, {(self._total - self._done) / rate:.0f} s left" if rate else told


class StatusLine:
    """The progress line of a terminal, and the thread that writes the innermost stage to it."""

    def __init__(self) -> None:
        self.stages: list[ShownStage] = []
        self._stopped, self._lock = Event(), Lock()
        self._is_drawn, self._idle = False, 0
        self._quiet_until = time.monotonic() + DELAY_SECONDS

    def start(self) -> None:
        Thread(target=self._draw_on, daemon=True).start()

    def stop(self) -> None:
        """Stop the thread and remove the line."""
        with self.aside():
            self._stopped.set()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the line while something else writes to the terminal."""
        with self._lock:
            self._take_away()
            try:
                yield
            finally:
                self._quiet_until = time.monotonic() + DELAY_SECONDS

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Hide the line, and stop the clock, while waiting."""
        with self._lock:
            self._take_away()
            self._idle += 1
        try:
            yield
        finally:
            self._idle -= 1
            self._quiet_until = time.monotonic() + DELAY_SECONDS

    def _take_away(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            os.write(STDERR, CLEAR)

    def _draw_on(self) -> None:
        while not self._stopped.wait(REDRAW_SECONDS):
            with self._lock:
                now, stages = time.monotonic(), self.stages
                if stages and not self._idle and not self._stopped.is_set() and now > self._quiet_until:
                    self._is_drawn = True
                    os.write(STDERR, CLEAR + stages[-1].text(now).encode())


_line: list[StatusLine] = []
"""The line, if there is one."""


@contextmanager
def shown(words: str) -> Iterator[None]:
    """Show a stage of work while the block runs, if stderr is a terminal; nested stages replace the outer one."""
    if _line:
        stage = ShownStage(words)
        _line[0].stages.append(stage)
        try:
            yield
        finally:
            if stage in (stages := _line[0].stages if _line else []):
                stages.remove(stage)
        return
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    line = StatusLine()
    line.stages.append(ShownStage(words))
    _line.append(line)
    line.start()
    try:
        yield
    finally:
        line.stop()
        _line.clear()


def is_shown() -> bool:
    """Whether progress is shown."""
    return bool(_line)


def count(done: int, total: int, what: str) -> None:
    """Set how many items of the current stage are done."""
    for line in _line:
        line.stages[-1].count(done, total, what)


def say(words: str) -> None:
    """Rename the current stage."""
    for line in _line:
        line.stages[-1].words = words


def aside() -> AbstractContextManager[None]:
    """Hide the progress line while the block writes to the terminal."""
    return _line[0].aside() if _line else nullcontext()


def idle() -> AbstractContextManager[None]:
    """Hide the progress line while the block waits for the user or for an event."""
    return _line[0].idle() if _line else nullcontext()


os.register_at_fork(after_in_child=_line.clear)
