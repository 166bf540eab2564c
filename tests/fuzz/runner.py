"""One call in this process, under limits of time and memory, and what was wrong with how it ended."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from felixpy.cli import run
from felixpy.ending import DETAILS
from tests.fuzz.corpus import Input

SECONDS = 10
"""Of processor time; of time on the clock twelve times as much, since other things may run here."""

MEMORY = 2**30

ENDS = frozenset({0, 1, 2, 3, 4})


class Fault(NamedTuple):
    """What was wrong: a name that is the same for the same cause, and everything that was printed."""

    name: str
    said: str


class TooLong(BaseException):
    """Not an Exception: nothing on the way may take it for one of its own."""


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise TooLong


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Limits for what runs in this process: time for each call, memory on top of what is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    handlers = {number: signal.signal(number, _ring) for number in (signal.SIGALRM, signal.SIGPROF)}
    os.environ[DETAILS] = "1"
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def call(made: Input, folder: Path) -> Fault | None:
    """Run an input in a folder of its own. None if it ended as it should."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in made.files.items():
        (folder / name).write_bytes(content)
    words = [word.replace("@", f"{folder}/", 1) if word[:1] == "@" else word for word in made.words]
    os.chdir(folder)
    streams = sys.stdin, sys.stdout, sys.stderr
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"),
        io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"),
    )
    sys.stdin = io.TextIOWrapper(io.BytesIO(made.stdin), "utf-8")
    sys.stdout, sys.stderr = out, err
    status: int | str = "?"
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(12 * SECONDS)
        try:
            status = run(words)
        finally:
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
    except TooLong as hang:
        frame = hang.__traceback__
        places = []
        while frame:
            places.append(f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_frame.f_code.co_name}")
            frame = frame.tb_next
        return Fault(f"hang {[place for place in places if 'runner' not in place][-1]}", "\n".join(places))
    except BaseException as escaped:  # noqa: BLE001 - whatever gets here is a fault
        status = f"{type(escaped).__name__}"
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
    err.flush()
    said = err.buffer.getvalue().decode(errors="replace")
    if "felixpy: out of memory" in said:
        return Fault("memory", said)
    if "Traceback (most recent call last)" in said or status not in ENDS:
        places = re.findall(r'felixpy/([\w/]+\.py)", line \d+, in (\S+)', said)
        last = ":".join(places[-1]) if places else ""
        return Fault(
            f"{status} {said.strip().splitlines()[-1].split(':')[2].split()[0] if places else ''} {last}", said
        )
    return None
