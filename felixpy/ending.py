"""How a run of felixpy ends for reasons other than its input: message and exit status.

If the reader of the output is gone, it ends without a message with 141, the shell's status for SIGPIPE. Output that
cannot be written gives 74 (EX_IOERR of sysexits.h), too little memory 3. Any other exception is a fault of felixpy: one
line, and 70 (EX_SOFTWARE). The status is never Python's own 1, which is felixpy's negative answer.
"""

from __future__ import annotations

import atexit
import errno
import functools
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn, ParamSpec

INTERNAL = 70
UNWRITABLE = 74
LACKING = 3
NO_SUCH_FILE = 2
BROKEN_PIPE = 141

DETAILS = "FELIXPY_TRACEBACK"
"""The environment variable that shows where an unforeseen error comes from."""

UNFIT = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO}
)
"""Errors in the name of a file, which is input, as opposed to errors of its disk."""

P = ParamSpec("P")


def open_streams() -> None:
    """Replace stdin, stdout and stderr where they are closed (``>&-``).

    Otherwise the next file that is opened takes the free descriptor, and messages go into it. The replacement for
    stdout is read-only: output is lost, and writing fails, which sets the exit status. `sys.stdin` stays None, so that
    prompts can tell that there is no answer.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # characters that the locale or UTF-8 cannot express


def ended(run: Callable[P, int]) -> Callable[P, int]:
    """Decorator: run a command, flush its output, and return an exit status for every exception."""

    @functools.wraps(run)
    def to_the_end(*arguments: P.args, **named: P.kwargs) -> int:
        try:
            status = run(*arguments, **named)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_output()
            return BROKEN_PIPE
        except OSError as wrong:
            _forget_output()
            _say(_io_error(wrong))
            return NO_SUCH_FILE if wrong.filename is not None and wrong.errno in UNFIT else UNWRITABLE
        except MemoryError:
            _say("felixpy: out of memory")
            return LACKING
        except Exception as wrong:  # noqa: BLE001 - the last resort
            return _unforeseen(wrong)
        return status

    return to_the_end


def leave(status: int) -> NoReturn:
    """End the process with an exit status; its output must have been written.

    A normal exit would deallocate all values and modules first: a fifth of the time of a small cluster, half a second
    with 250,000 pods. If other threads run, it exits normally and waits for them.
    """
    if threading.active_count() > 1:
        sys.exit(status)
    atexit._run_exitfuncs()  # noqa: SLF001 - what Python itself calls; there is no other way
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _io_error(wrong: OSError) -> str:
    what = wrong.strerror or type(wrong).__name__
    return f"felixpy: {wrong.filename!r}: {what}" if wrong.filename is not None else f"felixpy: input or output: {what}"


def _unforeseen(wrong: Exception) -> int:
    """Print one line with the exception, its place in the code, and how to report it; return the exit status."""
    if os.environ.get(DETAILS):
        _say("".join(traceback.format_exception(wrong)).rstrip())
    last = traceback.extract_tb(wrong.__traceback__)[-1]
    what = " ".join(f"{type(wrong).__name__} {ascii(str(wrong))[:200]}".split())
    _say(
        f"felixpy: internal error: {what} in {Path(last.filename).name}:{last.lineno}; this is a fault of felixpy,"
        f" please report it with the command, its input and what it prints with {DETAILS}=1"
    )
    return INTERNAL


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _forget_output() -> None:
    """Discard buffered output: Python tries to write it again at exit, and would print an error."""
    out = sys.__stdout__
    if out is None or out is not sys.stdout:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)
