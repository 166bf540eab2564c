"""The tools of the kernel, run inside a network namespace. No other module starts a process.

All who program a kernel talk to a `Kernel`, which is one method wide: run a command, with a text as its input. There
are three of them: `Machine` runs commands, `Recorder` also writes them down, `Faulty` makes some of them fail.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

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
    """How a command ended, and what it said."""

    status: int
    output: str = ""
    errors: str = ""


class Kernel(Protocol):
    """Where commands run."""

    def run(self, *command: str, text: str = "") -> Done:
        """Run a command to its end with `text` as its input; a missing one has the status `NOT_FOUND`."""
        ...


class Machine:
    """The kernel of this machine, as seen from one network namespace.

    A thread of its own enters the namespace and starts every command, so the rest of the process stays where it is.
    Commands run one after another. Each gets its whole input before it starts, through a file in memory rather than a
    pipe: if felixpy is killed, the command it had started still reads all of it and not half a line. Commands are in
    a session of their own, so Ctrl-C reaches felixpy alone, which can then decide what to do.
    """

    def __init__(self, namespace: int) -> None:
        """`namespace` is an open file of /proc/…/ns/net; it is not closed here. Raises OSError if it is none."""
        self._namespace = namespace
        self._lock = -1
        self._pool = ThreadPoolExecutor(1, "felixpy-netns")
        self.inside(self._enter)

    def _enter(self) -> None:
        if os.fstat(self._namespace).st_ino != Path("/proc/thread-self/ns/net").stat().st_ino:
            _succeed(_LIBC.setns(self._namespace, _CLONE_NEWNET))

    def inside(self, function: Callable[[], Result]) -> Result:
        """Call a function in the thread that is in the namespace."""
        return self._pool.submit(function).result()

    def run(self, *command: str, text: str = "") -> Done:
        """Run a command in the namespace. Raises KernelRefused if it does not come to an end."""
        return self.inside(lambda: self._run(command, text))

    def _run(self, command: tuple[str, ...], text: str) -> Done:
        paths = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        with os.fdopen(os.memfd_create("felixpy"), "wb+") as source:
            source.write(text.encode(errors="surrogateescape"))
            source.seek(0)
            try:
                done = subprocess.run(  # noqa: S603 - commands come from felixpy, never from manifests
                    command,
                    stdin=source,
                    capture_output=True,
                    env={**os.environ, "PATH": paths, "LC_ALL": "C"},
                    timeout=PATIENCE_SECONDS,
                    check=False,
                    start_new_session=True,
                    # A command that outlives felixpy keeps the lock until it is done.
                    pass_fds=[self._lock] if self._lock >= 0 else [],
                )
            except FileNotFoundError:
                return Done(NOT_FOUND, errors=f"{command[0]}: command not found")
            except subprocess.TimeoutExpired:
                raise KernelRefused(f"{command[0]} has not finished after {PATIENCE_SECONDS:.0f} s") from None
        output, errors = (said.decode(errors="surrogateescape") for said in (done.stdout, done.stderr))
        return Done(done.returncode, output, errors)

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Keep other runs of felixpy away from this namespace. Raises KernelRefused if one stays too long.

        The lock is one byte of a file, at the offset of the namespace's inode number. It belongs to the open file, so
        it ends with the last process that holds it, however that process ends.
        """
        path = os.environ.get(LOCK_FILE, DEFAULT_LOCK_FILE)
        try:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as refusal:
            raise EnvironmentMissing(f"the lock {path} cannot be opened: {refusal.strerror}") from refusal
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
    def scratch(self) -> Iterator[Machine]:
        """A fresh network namespace of the same kernel, to try things in; it vanishes afterwards."""
        with ThreadPoolExecutor(1) as pool:
            namespace = pool.submit(_fresh_namespace).result()
        try:
            with _running(namespace) as machine:
                yield machine
        finally:
            os.close(namespace)

    def close(self) -> None:
        self._pool.shutdown()


def _succeed(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _fresh_namespace() -> int:
    """Move the calling thread to a new namespace and open that."""
    _succeed(_LIBC.unshare(_CLONE_NEWNET))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _take(lock: int, offset: int) -> bool:
    """Lock one byte of an open file; False if somebody else has it."""
    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
    try:
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, wanted)
    except (BlockingIOError, PermissionError):  # POSIX lets a system choose between EAGAIN and EACCES
        return False
    return True


@contextmanager
def _running(namespace: int) -> Iterator[Machine]:
    machine = Machine(namespace)
    try:
        yield machine
    finally:
        machine.close()


def namespace_path(name: str) -> Path:
    """The file of a network namespace given by name, or by path as in /proc/4711/ns/net.

    Raises EnvironmentMissing for one that is not there.
    """
    path = NAMESPACES / name
    if not path.exists():
        there = sorted(other.name for other in NAMESPACES.iterdir()) if NAMESPACES.is_dir() else []
        known = f"there are: {', '.join(there)}" if there and "/" not in name else "ip netns add makes one"
        raise EnvironmentMissing(f"no network namespace {name}; {known}")
    return path


@contextmanager
def open_machine(netns: str | None = None) -> Iterator[Machine]:
    """The kernel of this machine, seen from a network namespace; None is our own.

    Raises EnvironmentMissing without root, and for a namespace that does not exist.
    """
    if os.geteuid():
        raise EnvironmentMissing("only root may program the kernel; try sudo")
    path = namespace_path(netns) if netns else OWN_NAMESPACE
    with ExitStack() as held:
        try:
            namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            held.callback(os.close, namespace)
            machine = held.enter_context(_running(namespace))
        except OSError as refusal:
            raise EnvironmentMissing(f"{path} cannot be entered: {refusal.strerror}") from refusal
        yield machine


class Recorder:
    """Passes commands on and writes them down."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.commands: list[tuple[tuple[str, ...], str]] = []

    def run(self, *command: str, text: str = "") -> Done:
        self.commands.append((command, text))
        return self.kernel.run(*command, text=text)

    def written(self) -> list[str]:
        """The commands that were handed a text, that is those that can have changed anything."""
        return [" ".join(command) for command, text in self.commands if text]


class Faulty:
    """Passes commands on, but lets some fail.

    `fault` sees each command and its text, and says how it fails: with what it would answer, or by raising. None lets
    it through.
    """

    def __init__(self, kernel: Kernel, fault: Callable[[tuple[str, ...], str], Done | None]) -> None:
        self.kernel, self.fault = kernel, fault

    def run(self, *command: str, text: str = "") -> Done:
        return self.fault(command, text) or self.kernel.run(*command, text=text)
