"""Run the kernel's tools (iptables, ipset, nft) inside a network namespace.

Code that programs a kernel uses a `Kernel`, which has one method: run a command, with a text as its input. `Machine` is
the real one; `felixpy.testing.kernels` has others for tests.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, Protocol, TypeVar

from felixpy import libnftables
from felixpy.errors import EnvironmentMissing, KernelRefused

Result = TypeVar("Result")

NAMESPACES = Path("/run/netns")
"""Where named network namespaces are mounted (``ip netns add`` and pyroute2 agree on that)."""

OWN_NAMESPACE = Path("/proc/thread-self/ns/net")
LOCK_FILE = "FELIXPY_LOCKFILE"
"""Environment variable with another place for the lock, as XTABLES_LOCKFILE is for that of iptables."""

DEFAULT_LOCK_FILE = "/run/felixpy.lock"
LOCK_POLL_SECONDS = 0.05
PATIENCE_SECONDS = 600.0
"""How long one command may take: far above a load of a million rules, which is a matter of a minute or two."""

NOT_FOUND = 127
"""The status of a command that does not exist, as shells have it."""

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Done(NamedTuple):
    """The exit status of a command, and its output."""

    status: int
    output: str = ""
    errors: str = ""


class Kernel(Protocol):
    """Where commands run."""

    def run(self, *command: str, text: str = "") -> Done:
        """Run a command to its end with `text` as its input; a missing one has the status `NOT_FOUND`."""
        ...


class _Started(NamedTuple):
    """A running command and the file for its output; the process is None if there is no such command."""

    command: tuple[str, ...]
    process: subprocess.Popen[bytes] | None
    output: IO[bytes]

    def done(self) -> Done:
        """Wait until it ends. Raises KernelRefused after a time limit."""
        with self.output:
            if self.process is None:
                return Done(NOT_FOUND, errors=f"{self.command[0]}: command not found")
            with self.process:
                try:
                    _, said = self.process.communicate(timeout=PATIENCE_SECONDS)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    raise KernelRefused(f"{self.command[0]} has not finished after {PATIENCE_SECONDS:.0f} s") from None
            self.output.seek(0)
            printed = self.output.read()
        output, errors = (text.decode(errors="surrogateescape") for text in (printed, said))
        return Done(self.process.returncode, output, errors)


LIST = ("nft", "-s", "list")
"""How commands begin that nft's library answers in less time."""


class _Printed(NamedTuple):
    """A running listing by nft's library; if that fails, the nft command is run instead."""

    listing: libnftables.Printing
    output: IO[bytes]
    instead: Callable[[], _Started]

    def done(self) -> Done:
        """Wait until it ends; raises what `_Started.done` raises."""
        with self.output:
            if self.listing.succeeded(PATIENCE_SECONDS):
                self.output.seek(0)
                return Done(0, self.output.read().decode(errors="surrogateescape"))
        return self.instead().done()


class Machine:
    """The kernel of this machine, as seen from one network namespace.

    A separate thread enters the namespace and starts every command, so that the rest of the process stays outside.
    Commands run one after another, except in `run_together`. Each gets its whole input before it starts, in a file in
    memory, not through a pipe: if felixpy is killed, a command that was started still reads all of it. Commands run in
    their own session, so that Ctrl-C reaches felixpy only.
    """

    def __init__(self, namespace: int, path: Path | None = None) -> None:
        """`namespace` is an open file of /proc/…/ns/net, which is not closed here; `path` is the path of that file.

        Raises OSError if the file is not a network namespace.
        """
        self._namespace, self._path = namespace, path
        self._lock = -1
        self._pool = ThreadPoolExecutor(1, "felixpy-netns")
        self.inside(self._enter)

    def _enter(self) -> None:
        if os.fstat(self._namespace).st_ino != Path("/proc/thread-self/ns/net").stat().st_ino:
            _succeed(_LIBC.setns(self._namespace, _CLONE_NEWNET))

    def inside(self, function: Callable[[], Result]) -> Result:
        """Call a function in the thread that is in the namespace."""
        return self._pool.submit(function).result()

    def vanished(self) -> bool:
        """Whether the path no longer leads to the namespace: it was deleted, and only this process still holds it."""
        if self._path is None:
            return False
        ours = os.fstat(self._namespace)
        try:
            found = self._path.stat()
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino)

    def run(self, *command: str, text: str = "") -> Done:
        """Run a command in the namespace.

        Raises KernelRefused if it does not end in time, EnvironmentMissing if it cannot be started.
        """
        return self.inside(lambda: self._start(command, text).done())

    def run_together(self, commands: Iterable[tuple[str, ...]]) -> list[Done]:
        """Run read-only commands in parallel; raises what `run` raises."""

        def run_all() -> list[Done]:
            started: list[_Started | _Printed] = []
            try:
                for command in commands:
                    started.append(self._look(command))  # noqa: PERF401 - if one cannot start, the others are there
            finally:
                answers = [one.done() for one in started]
            return answers

        return self.inside(run_all)

    def _look(self, command: tuple[str, ...]) -> _Started | _Printed:
        if command[: len(LIST)] != LIST or not libnftables.available(_path()):
            return self._start(command)
        output = _file_in_memory()
        try:
            listing = libnftables.Printing(" ".join(command[len(LIST) - 1 :]), output)
        except OSError:
            output.close()
            return self._start(command)
        return _Printed(listing, output, partial(self._start, command))

    def _start(self, command: tuple[str, ...], text: str = "") -> _Started:
        environment = {**os.environ, "PATH": _path(), "LC_ALL": "C"}
        with ExitStack() as held:
            try:
                source = held.enter_context(_file_in_memory(text.encode(errors="surrogateescape")))
                output = held.enter_context(_file_in_memory())
                process = subprocess.Popen(  # noqa: S603 - commands come from felixpy, never from manifests
                    command,
                    stdin=source,
                    stdout=output,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                    # A command that outlives felixpy keeps the lock until it is done.
                    pass_fds=[self._lock] if self._lock >= 0 else [],
                )
            except FileNotFoundError:
                process = None
            except OSError as refusal:
                raise EnvironmentMissing(f"{command[0]} cannot be run: {refusal.strerror}") from refusal
            source.close()
            held.pop_all()
        return _Started(command, process, output)

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Lock this namespace against other runs of felixpy. Raises KernelRefused if one holds it too long.

        The lock is one byte of a file, at the offset of the namespace's inode number. It belongs to the open file, so
        it ends with the last process that holds it, however that process ends.
        """
        path = os.environ.get(LOCK_FILE, DEFAULT_LOCK_FILE)
        try:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as refusal:
            raise EnvironmentMissing(
                f"the lock {path} cannot be opened: {refusal.strerror} ({LOCK_FILE} names another place for it)"
            ) from refusal
        try:
            deadline = time.monotonic() + seconds
            while not _take(self._lock, os.fstat(self._namespace).st_ino):
                if time.monotonic() >= deadline:
                    raise KernelRefused(
                        f"another felixpy is at work in this network namespace, still after {seconds:g} s; "
                        "nothing was written"
                    )
                time.sleep(LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(self._lock)
            self._lock = -1

    @contextmanager
    def after_fork(self, *, share_lock: bool) -> Iterator[Machine]:
        """A machine for the same namespace in a forked process, where the thread of this one does not exist.

        The lock that was held at the fork is shared, or released in the child.
        """
        with _running(self._namespace, self._path) as machine:
            if share_lock:
                machine._lock = self._lock  # noqa: SLF001 - it is one of us
            elif self._lock >= 0:
                os.close(self._lock)
            yield machine

    @contextmanager
    def scratch(self) -> Iterator[Machine]:
        """A temporary network namespace of the same kernel, for trying things out.

        Raises EnvironmentMissing if none can be made.
        """
        with ThreadPoolExecutor(1) as pool:
            try:
                namespace = pool.submit(_fresh_namespace).result()
            except OSError as refusal:
                raise EnvironmentMissing(
                    f"no network namespace can be made to try things in: {refusal.strerror}"
                ) from refusal
        try:
            with _running(namespace) as machine:
                yield machine
        finally:
            os.close(namespace)

    def close(self) -> None:
        self._pool.shutdown()


def _path() -> str:
    """The PATH for commands, with the sbin folders that a user's PATH often lacks."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def found_tool(command: str) -> str | None:
    """The executable for a command's name, None if there is none."""
    return shutil.which(command, path=_path())


def _file_in_memory(content: bytes = b"") -> IO[bytes]:
    """An open file in memory with this content, positioned at its beginning."""
    file = os.fdopen(os.memfd_create("felixpy"), "wb+", buffering=0)
    try:
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _succeed(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _fresh_namespace() -> int:
    """Move the calling thread to a new network namespace; return an open file of it."""
    _succeed(_LIBC.unshare(_CLONE_NEWNET))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _take(lock: int, offset: int) -> bool:
    """Lock one byte of an open file; return False if another process has locked it."""
    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
    try:
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, wanted)
    except (BlockingIOError, PermissionError):  # POSIX lets a system choose between EAGAIN and EACCES
        return False
    return True


@contextmanager
def _running(namespace: int, path: Path | None = None) -> Iterator[Machine]:
    machine = Machine(namespace, path)
    try:
        yield machine
    finally:
        machine.close()


def namespace_path(name: str) -> Path:
    """The file of a network namespace given by name, or by path as in /proc/4711/ns/net.

    Raises EnvironmentMissing if it does not exist.
    """
    path = NAMESPACES / name
    if not path.exists():
        there = sorted(other.name for other in NAMESPACES.iterdir()) if NAMESPACES.is_dir() else []
        known = f"there are: {', '.join(there)}" if there and "/" not in name else "ip netns add makes one"
        raise EnvironmentMissing(f"no network namespace {name}; {known}")
    return path


@contextmanager
def open_machine(netns: str | None = None) -> Iterator[Machine]:
    """The kernel of this machine, seen from a network namespace; None is that of this process.

    Raises EnvironmentMissing without root, and for a namespace that does not exist.
    """
    if os.geteuid():
        raise EnvironmentMissing("only root may program the kernel; try sudo")
    path = namespace_path(netns) if netns else OWN_NAMESPACE
    with ExitStack() as held:
        try:
            namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            held.callback(os.close, namespace)
            machine = held.enter_context(_running(namespace, path))
        except OSError as refusal:
            raise EnvironmentMissing(f"{path} cannot be entered: {refusal.strerror}") from refusal
        yield machine


def run_together(kernel: Kernel, *commands: tuple[str, ...]) -> list[Done]:
    """Run read-only commands, in parallel if the kernel is a `Machine`."""
    if isinstance(kernel, Machine):
        return kernel.run_together(commands)
    return [kernel.run(*command) for command in commands]


def start_in_background(*command: str, holding: int) -> Done:
    """Run a command that starts a background process and ends as soon as that is ready.

    Both inherit the open file `holding`: a lock on it lasts at least until then, even if felixpy is killed meanwhile.
    Raises KernelRefused if the foreground command does not end in time.
    """
    try:
        done = subprocess.run(  # noqa: S603 - commands come from felixpy, never from manifests
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
            start_new_session=True,
            pass_fds=[holding],
        )
    except subprocess.TimeoutExpired:
        raise KernelRefused(f"{command[0]} has not finished after {PATIENCE_SECONDS:.0f} s") from None
    return Done(done.returncode, "", done.stderr.decode(errors="surrogateescape"))
