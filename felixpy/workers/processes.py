"""Processes forked from this one, which inherit the work and its data in memory."""

from __future__ import annotations

import gc
import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as ready_ones
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any, NamedTuple

from felixpy.workers.work import Computed, Item, Lost, Numbered, Result, Work, Workers

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess

AHEAD = 4
"""Items for each process that may be ahead of the next result to be yielded, where results are yielded in order."""

FINISHING = 4
"""Threads of a process that finish items: synchronising several files with a disk takes the time of one."""

NEW_VALUES = 150_000
"""New container objects after which a process collects garbage.

Objects that survive are frozen (`gc.freeze`), as checking them again would be slow: most belong to caches.
"""

_FORK = multiprocessing.get_context("fork")


class _Begun(NamedTuple):
    """The answer that says that a process has begun an item."""


_BEGUN = _Begun()


class _Failed(NamedTuple):
    """An exception that work raised: `wrong` is None if it cannot be pickled; `trace` is its traceback as text."""

    wrong: BaseException | None
    trace: str


class WorkFault(Exception):
    """Work in another process raised an exception that cannot be pickled."""


@dataclass(eq=False)
class _Process:
    """A forked process and the numbers of its items; `own` are those that it was not sent yet."""

    process: ForkProcess
    pipe: Connection
    own: range
    told: list[int] = field(default_factory=list)
    """Numbers that were sent to it and that it has not answered."""
    begun: list[int] = field(default_factory=list)
    """Numbers that it has begun, in order, answered ones included."""


@dataclass(frozen=True)
class Forked(Workers):
    """Processes forked from this one. Each begins with neighbouring items, then takes over items of the others."""

    jobs: int
    is_here = False
    reaches_files = True

    def _results(
        self, work: Work[Item, Result], items: Sequence[Item], *, in_order: bool
    ) -> Iterator[Numbered[Result]]:
        """Yield results in the order of items (`in_order`), or as they become ready."""
        gc.freeze()  # a garbage collection would write to shared memory pages, and so copy them
        running = _Running(work, items, self.jobs, in_order=in_order)
        try:
            yield from running.results()
        finally:
            running.stop()
            gc.unfreeze()


class _Running:
    """One run of forked processes over some items."""

    def __init__(self, work: Work[Any, Any], items: Sequence[Any], jobs: int, *, in_order: bool) -> None:
        self._work, self._items, self._in_order = work, items, in_order
        self._stopped = _FORK.RawValue("b", 0)
        self._most_ahead = AHEAD * jobs
        self._next = self._told = 0
        """With `in_order`: the first number not sent to a process, and the first whose result was not yielded."""
        self._again: list[int] = []
        self._processes: list[_Process] = []
        self._jobs = jobs

    def results(self) -> Iterator[Numbered[Any]]:
        held: dict[int, Any] = {}
        size = -(-len(self._items) // self._jobs) or 1
        for start in range(0, len(self._items), size):
            self._fork(range(start, min(start + size, len(self._items))))
        for process in self._processes:
            self._feed(process)
        for number, answer in self._answers():
            if not self._in_order:
                yield self._result(number, answer)
                continue
            held[number] = answer
            while self._told in held:
                yield self._result(self._told, held.pop(self._told))
                self._told += 1
            for process in self._processes:
                self._feed(process)

    def _result(self, number: int, answer: Any) -> Numbered[Any]:
        if isinstance(answer, _Failed):
            raise answer.wrong or WorkFault(f"{self._items[number]}: {answer.trace}")
        return Numbered(number, answer)

    def stop(self) -> None:
        """Wait for each process to finish its current items; processes that only compute are killed at once."""
        self._stopped.value = 1
        for process in self._processes:
            process.pipe.close()
            if isinstance(self._work, Computed):
                process.process.kill()
        for process in self._processes:
            process.process.join()

    def _fork(self, own: range) -> None:
        ours, theirs = _FORK.Pipe()
        foreign = [ours, *(process.pipe for process in self._processes)]
        process = _FORK.Process(target=_serve, args=(theirs, foreign, self._work, self._items, self._stopped))
        with _uninterrupted():
            process.start()
            theirs.close()
            self._processes.append(_Process(process, ours, own))

    def _answers(self) -> Iterator[Numbered[Any]]:
        missing = len(self._items)
        while missing:
            by_pipe = {process.pipe: process for process in self._processes}
            for pipe in ready_ones([*by_pipe]):
                assert isinstance(pipe, Connection)
                process = by_pipe[pipe]
                try:
                    number, answer = pipe.recv()
                except (EOFError, OSError):
                    if lost := self._bury(process):
                        missing -= 1
                        yield lost
                    continue
                if isinstance(answer, _Begun):
                    process.begun.append(number)
                    continue
                process.told.remove(number)
                self._feed(process)
                missing -= 1
                yield Numbered(number, answer)

    def _bury(self, process: _Process) -> Numbered[Any] | None:
        """Remove a process that ended by itself, and return the result of the item that it had begun last, if any.

        A new process gets its other items.
        """
        process.pipe.close()
        process.process.join()
        self._processes.remove(process)
        lost = next((number for number in reversed(process.begun) if number in process.told), None)
        lost = process.told[0] if lost is None and process.told else lost
        if lost is None:
            return None
        self._again += [number for number in process.told if number != lost]
        if self._again or process.own:
            self._fork(process.own)
            self._feed(self._processes[-1])
        code = process.process.exitcode or 0
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"status {code}"
        return Numbered(lost, Lost(f"the process that worked on it ended by {how}"))

    def _feed(self, process: _Process) -> None:
        """Send a process the numbers of its next items, enough of them that it never waits."""
        while len(process.told) <= FINISHING:
            number = self._take(process)
            if number is None:
                return
            process.told.append(number)
            try:
                process.pipe.send(number)
            except OSError:  # the process has ended; `_answers` notices when it reads from the pipe
                return

    def _take(self, process: _Process) -> int | None:
        if self._again:
            return self._again.pop()
        if self._in_order:
            number = self._next
            if number < min(len(self._items), self._told + self._most_ahead):
                self._next += 1
                return number
            return None
        if not process.own:
            # Take the last items of the process with the most left: they are the farthest from its current one.
            most = max(self._processes, key=lambda other: len(other.own))
            if len(most.own) <= len(process.told):
                return None  # that process begins them as early
            middle = len(most.own) // 2
            most.own, process.own = most.own[:middle], most.own[middle:]
        if not process.own:
            return None
        number, process.own = process.own[0], process.own[1:]
        return number


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Block SIGINT: a process that is being forked does not ignore it yet."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Post:
    """Sends the answers of a forked process, from several threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, Lock()

    def send(self, *words: Any) -> None:
        """Send an answer; an error is ignored, as it means that the first process has closed the pipe."""
        with self._lock, suppress(OSError):
            self._pipe.send(words)


def _serve(
    pipe: Connection, foreign: Sequence[Connection], work: Work[Any, Any], items: Sequence[Any], stopped: Any
) -> None:
    """Run in a forked process: work on the items whose numbers arrive, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all processes of a terminal get it; the first one sets `stopped`
    for other in foreign:
        other.close()
    gc.disable()
    post, room = _Post(pipe), Semaphore(FINISHING)

    def finish(number: int, begun: Any) -> None:
        try:
            post.send(number, work.end(begun))
        except BaseException as wrong:  # noqa: BLE001 - the first process raises it
            post.send(number, _failure(wrong))
        finally:
            room.release()

    with ThreadPoolExecutor(FINISHING) as threads:
        while True:
            try:
                number = pipe.recv()
            except (EOFError, OSError):
                return
            room.acquire()
            if stopped.value:
                return
            if gc.get_count()[0] > NEW_VALUES:
                gc.collect()
                gc.freeze()
            post.send(number, _BEGUN)
            try:
                threads.submit(finish, number, work.begin(items[number]))
            except BaseException as wrong:  # noqa: BLE001 - as above
                post.send(number, _failure(wrong))
                room.release()


def _failure(wrong: BaseException) -> _Failed:
    trace = "".join(traceback.format_exception(wrong))
    try:
        pickle.loads(pickle.dumps(wrong))  # noqa: S301 - pickled on the same line
    except Exception:  # noqa: BLE001 - pickling may raise anything
        return _Failed(None, trace)
    return _Failed(wrong, trace)
