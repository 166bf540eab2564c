"""A process that restores the old rules unless it is instructed in time to keep the new ones.

It is started before anything is written, in its own session, and holds the earlier state. felixpy holds one end of a
socket pair: if that end is closed without a "keep", however felixpy ended, the old rules are restored.
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
"""The words on the socket: from felixpy, and from the watchdog as its answer."""

LATE, GONE = b"l", b"g"
"""Returned for a word that was not received."""


class Watchdog:
    """felixpy's end: reports when the new rules are in force and whether to keep them."""

    def __init__(self, connection: socket.socket, process: int) -> None:
        self._connection, self._process = connection, process
        self.decided = False

    def start(self) -> None:
        """Start the countdown: the new rules are in force."""
        self._say(START)

    def keep(self) -> bool:
        """Keep the new rules; return False if the old ones had been restored already. Raises KernelRefused."""
        return self._ask(KEEP) == KEPT

    def revert(self) -> None:
        """Restore the old rules now. Raises KernelRefused if that failed."""
        if not self.decided:
            self._ask(REVERT)

    def _say(self, word: bytes) -> None:
        with suppress(OSError):
            self._connection.sendall(word)

    def _ask(self, word: bytes) -> bytes:
        """Send a word and wait for the answer, which is the last message."""
        self.decided = True
        self._say(word)
        try:
            answer = self._connection.recv(1)
        except OSError:
            answer = b""
        if answer not in (KEPT, REVERTED):
            raise KernelRefused("the old rules could not be restored; felixpy apply repairs the current ones")
        return answer

    def close(self) -> None:
        self._connection.close()
        with suppress(ChildProcessError):
            os.waitpid(self._process, 0)


@contextmanager
def watched(machine: Machine, enforcer: AnyEnforcer, before: Any, seconds: float) -> Iterator[Watchdog]:
    """Run a watchdog that restores `before` after `seconds`, counted from `start`, unless `keep` is called.

    `machine` is locked already; the watchdog shares the lock. At the end of the block it reverts if neither was called.
    """
    ours, its = socket.socketpair()
    try:
        with warnings.catch_warnings():
            # The other thread, that of `machine`, waits for work meanwhile and holds no lock that the child needs.
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
    """The body of the watchdog process: wait for a word or the deadline, act, and exit."""
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
    except BaseException as wrong:  # noqa: BLE001 - no caller could report it
        _tell(f"the watchdog of --confirm failed: {type(wrong).__name__}: {wrong}")
    finally:
        os._exit(status)


def _leave() -> None:
    """Detach from terminal and felixpy: new session, signals that end a run ignored, stdin and stdout on /dev/null."""
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nothing, standard)


def _word(connection: socket.socket, seconds: float) -> bytes:
    """The word that felixpy sends; LATE at the deadline, GONE if felixpy ended without one."""
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
    """Restore the earlier state; unless felixpy's lock is shared, wait for it first."""
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
