"""The client side of the responder: start it, send requests, stop it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from felixpy.errors import EnvironmentMissing, KernelRefused
from felixpy.kernel import start_in_background
from felixpy.lab.responder import Item, short
from felixpy.lab.state import socket_of

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group. (unix(7))"""

PATIENCE_SECONDS = 30.0
"""How long an answer may take: a responder that makes a thousand sockets on a busy machine is still fine."""


def is_running(lab: str) -> bool:
    with suppress(OSError):
        ask(lab, {})
        return True
    return False


def start(lab: str, lock: int) -> None:
    """Start the responder of a lab; it listens when this returns. Raises EnvironmentMissing if it cannot.

    `lock` is held by the process that changes the lab. The responder also holds it until it listens, so that the lab
    cannot be removed while a responder is starting.
    """
    path = socket_of(lab)
    path.unlink(missing_ok=True)
    words = (sys.executable, "-m", "felixpy.lab.responder", str(path), str(lock))
    done = start_in_background(*words, holding=lock)
    if done.status:
        last = (done.errors.strip().splitlines() or [f"status {done.status}"])[-1]
        raise EnvironmentMissing(f"the responder of lab {lab} does not start: {last}")


def ask(lab: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to the responder and return its answer. Raises OSError if it does not answer."""
    with _connected(lab) as connection:
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        parts = iter(lambda: connection.recv(1 << 16), b"")
        answer: dict[str, Any] = json.loads(b"".join(parts) or b"null")
    if answer is None:
        raise ConnectionResetError
    return answer


def serve(lab: str, wanted: Iterable[tuple[str, str, str, int]]) -> None:
    """Make the responder listen at each (namespace, title, protocol, port). Raises KernelRefused if it cannot."""
    try:
        failed = ask(lab, {"serve": list(wanted)})["failed"]
    except OSError as wrong:
        raise EnvironmentMissing(f"nothing answers in lab {lab} any more; felixpy lab up starts it again") from wrong
    if failed:
        netns, reason = failed[0]
        raise KernelRefused(f"nothing can answer in network namespace {netns}: {reason}")


def served(lab: str) -> set[Item]:
    """Where the responder listens. Raises OSError without a responder."""
    return {(netns, protocol, port) for netns, protocol, port in ask(lab, {"served": True})["served"]}


def leave(lab: str, names: Iterable[str]) -> None:
    """Close the responder's sockets in these namespaces, so that the namespaces can be removed."""
    with suppress(OSError):
        ask(lab, {"leave": list(names)})


def settle(lab: str) -> None:
    """Wait until all packets that have arrived are answered. Raises EnvironmentMissing without a responder."""
    serve(lab, ())


def stop(lab: str) -> None:
    """Stop the responder, if it is running."""
    try:
        with _connected(lab) as connection:
            # The kernel knows which process listens there; a PID in a file may belong to another process by now.
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            process = os.pidfd_open(_CREDENTIALS.unpack(credentials)[0])
    except OSError:
        return
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], PATIENCE_SECONDS)
    finally:
        os.close(process)


def _connected(lab: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_SECONDS)
    try:
        with short(socket_of(lab)) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
