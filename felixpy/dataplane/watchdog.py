"""A process that brings the old rules back unless it is told in time to keep the new ones.

It is started before anything is written, in a session of its own, and remembers what was there. From then on felixpy
holds one end of a pair of sockets: if that end closes without a "keep", however felixpy ended, the old rules come back.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from felixpy.dataplane.enforcer import AnyEnforcer
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import Machine

LOCK_SECONDS = 600.0
"""How long a command that outlives felixpy may keep the lock: as long as one command may take."""

ATTEMPTS = 5
PAUSE_SECONDS = 1.0

START, KEEP, REVERT = b"s", b"k", b"r"
KEPT, REVERTED, FAILED = b"K", b"R", b"F"
"""What is said on the socket: by felixpy, and by the watchdog as its last word."""

LATE, GONE = b"l", b"g"
"""What stands for a word that did not come."""


class Watchdog:
    """The felixpy side: says when the new rules are in force and whether they may stay."""

    def __init__(self, connection: socket.socket, process: int) -> None:
        self._connection, self._process = connection, process
        self.decided = False

    def start(self) -> None:
        """The new rules are in force: the time runs."""
        self._say(START)

    def keep(self) -> bool:
        """Keep the new rules; False if it was too late and the old ones are back. Raises KernelRefused."""
        return self._ask(KEEP) == KEPT

    def revert(self) -> None:
        """Bring the old rules back at once. Raises KernelRefused if that failed."""
        if not self.decided:
            self._ask(REVERT)

    def _say(self, word: bytes) -> None:
        with suppress(OSError):
            self._connection.sendall(word)

    def _ask(self, word: bytes) -> bytes:
        """Say something and wait for the last word."""
        self.decided = True
        self._say(word)
        try:
            answer = self._connection.recv(1)
        except OSError:
            answer = b""
        if answer not in (KEPT, REVERTED):
            raise KernelRefused("the old rules could not be brought back; felixpy apply puts right what is there")
        return answer

    def close(self) -> None:
        self._connection.close()
        with suppress(ChildProcessError):
            os.waitpid(self._process, 0)


@contextmanager
def watched(machine: Machine, enforcer: AnyEnforcer, before: Any, seconds: float) -> Iterator[Watchdog]:
    """Have `before` brought back `seconds` after the start, unless the watchdog is told to keep what came after it.

    `machine` is locked already; the watchdog shares the lock. It reverts at the end if nothing was decided.
    """
    ours, its = socket.socketpair()
    try:
        with warnings.catch_warnings():
            # The other thread, that of `machine`, waits for work meanwhile and holds nothing the child needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
    except OSError as wrong:
        raise EnvironmentMissing(f"the watchdog of --confirm cannot be started: {wrong.strerror}") from wrong
    if not process:
        ours.close()
        _serve(its, machine, enforcer, before, seconds)
    its.close()
    watchdog = Watchdog(ours, process)
    try:
        yield watchdog
    finally:
        try:
            watchdog.revert()
        finally:
            watchdog.close()


def _serve(connection: socket.socket, machine: Machine, enforcer: AnyEnforcer, before: Any, seconds: float) -> None:
    """The process: wait for the word or the end of the time, act, and end without coming back."""
    status = 1
    try:
        _leave()
        word = _word(connection, seconds)
        # Felixpy is alive or waited for its answer: no command of its runs, so the lock can be shared. If it was
        # killed before that, a command may still be at work, which holds the lock until it ends.
        answer = KEPT if word == KEEP else _bring_back(machine, enforcer, before, share=word != GONE)
        with suppress(OSError):
            connection.sendall(answer)
        if answer == REVERTED and word in (GONE, LATE):
            _tell("not confirmed: the old rules are back")
        status = 0
    except BaseException as wrong:  # noqa: BLE001 - nobody above it could tell
        _tell(f"the watchdog of --confirm failed: {type(wrong).__name__}: {wrong}")
    finally:
        os._exit(status)


def _leave() -> None:
    """Belong to no terminal, obey no polite signal, hold no file of felixpy but stderr."""
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nothing, standard)


def _word(connection: socket.socket, seconds: float) -> bytes:
    """What felixpy says, LATE if it says nothing in time after the start, GONE if it ended before."""
    deadline: float | None = None
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([connection], [], [], left)
        if not ready:
            return LATE
        try:
            word = connection.recv(1)
        except OSError:
            word = b""
        if word == START:
            deadline = time.monotonic() + seconds
        elif word:
            return word
        else:
            return GONE if deadline is None else LATE


def _bring_back(machine: Machine, enforcer: AnyEnforcer, before: Any, *, share: bool) -> bytes:
    """Put back what was there. Without sharing felixpy's lock, first wait for it."""
    with machine.after_fork(share_lock=share) as own, nullcontext() if share else own.locked(LOCK_SECONDS):
        again = enforcer.in_another(own, own.scratch)
        for attempt in range(ATTEMPTS):
            try:
                again.revert(before)
            except FelixpyError as refusal:
                if attempt == ATTEMPTS - 1:
                    _tell(f"the old rules cannot be brought back: {refusal}")
                time.sleep(PAUSE_SECONDS)
            else:
                return REVERTED
    return FAILED


def _tell(text: str) -> None:
    with suppress(OSError, ValueError):
        print(f"felixpy: {text}", file=sys.stderr, flush=True)
