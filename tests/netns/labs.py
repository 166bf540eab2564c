"""What tests of labs share: a folder and locks of their own, names that nobody else has, and things to do in a pod."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.kernel import open_machine
from felixpy.lab import Lab, LabOptions, state, take_down, wiring
from felixpy.lab.enforcing import AUTO

IP_TRANSPARENT = 19
"""Lets a socket have addresses that are not there. (include/uapi/linux/in.h)"""

_numbers = itertools.count()


def plane_of(backend: str) -> str:
    """The data plane that a backend belongs to."""
    return NFTABLES if backend == NFTABLES else "iptables"


def options(backend: str, **more: Any) -> LabOptions:
    """How a lab is made whose nodes have their rules in a backend."""
    return LabOptions(dataplane=plane_of(backend), backend=AUTO if backend == NFTABLES else backend, **more)


def new_name() -> str:
    """A lab's name that no other test has, in whatever process it runs."""
    return f"t{os.getpid()}-{next(_numbers)}"


@contextmanager
def places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Labs of this test only: whatever is up at the end is taken down, and nothing stays."""
    monkeypatch.setenv("FELIXPY_LAB_DIR", str(folder / "labs"))
    monkeypatch.setenv("FELIXPY_LOCKFILE", str(folder / "felixpy.lock"))
    monkeypatch.setenv("XTABLES_LOCKFILE", str(folder / "xtables.lock"))
    monkeypatch.setenv("FELIXPY_NFTABLES_MEMORY", str(folder / "nftables"))
    # Whatever the shell of whoever runs the tests says about Felix is not meant here.
    for name in [name for name in os.environ if name.upper().startswith("FELIX_")]:
        monkeypatch.delenv(name)
    try:
        yield folder / "labs"
    finally:
        for name in state.known():
            take_down(name)


def left_of(name: str, folder: Path) -> list[str]:
    """What there is of a lab: namespaces, files, and processes that know its socket."""
    processes = [
        command
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (command := _command(entry)) and str(folder / f"{name}.socket") in command
    ]
    files = [path.name for path in folder.glob(f"{name}.*")] if folder.exists() else []
    return [*wiring.existing(name), *files, *processes]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@contextmanager
def connected(lab: Lab, source: str, address: str, port: int, *, spoofed: str = "") -> Iterator[socket.socket]:
    """A TCP connection from where a endpoint is, maybe from an address that is not its own.

    Raises OSError, TimeoutError among them, if there is none.
    """
    with open_machine(lab.space(source)) as machine:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = machine.inside(lambda: socket.socket(family, socket.SOCK_STREAM))
    with connection:
        connection.settimeout(0.5)
        if spoofed:
            connection.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
            connection.bind((spoofed, 0))
        connection.connect((address, port))
        yield connection


def page(lab: Lab, source: str, address: str, port: int) -> str:
    """What a pod says to those who speak HTTP."""
    with connected(lab, source, address, port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(4096), b""))
    return text.decode().partition("\r\n\r\n")[2]


def said_back(connection: socket.socket, text: bytes) -> bytes:
    """What comes back of a text."""
    connection.sendall(text)
    return connection.recv(len(text))


def run(lab: Lab, endpoint: str, *command: str) -> str:
    """What a command says that runs where a endpoint is."""
    with open_machine(lab.space(endpoint)) as machine:
        done = machine.run(*command)
    assert not done.status, done.errors
    return done.output
