"""A ``kubectl proxy`` for lists of many pages, because starting kubectl takes longer than reading most pages.

It listens on a Unix socket in a folder that only this user may open, accepts only GET of the listed paths, and ends
when the lists have been read.
(kubernetes.io/docs/reference/kubectl/generated/kubectl_proxy)
"""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import tempfile
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from felixpy.errors import FelixpyError
from felixpy.kubectl.client import Kubectl
from felixpy.kubectl.resources import RESOURCES, of_lists

LISTS = tuple(filter(None, sorted({of_lists(version) for each in RESOURCES.values() for version in each.versions})))
"""The paths that it passes on, as regular expressions."""

START_SECONDS = 10.0
"""How long kubectl may take until it listens."""

MOST_FAILURES = 3
"""After so many failures, pages are requested without the proxy."""

OK = 200


class Proxy:
    """Sends GET requests through a kubectl proxy that is started at the first request and ends with the block.

    Requests that fail are sent again with `Kubectl.get`, which reports the reason. So lists also work, more slowly, if
    kubectl cannot run a proxy.
    """

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._starting = Lock()
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._idle: list[HTTPConnection] = []
        """Idle connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._idle:
            connection.close()
        if self._process:
            _end(self._process)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def get(self, path: str) -> bytes:
        """The API server's response to a GET of `path`. Raises Refused, as `Kubectl.get` does."""
        answer = self._answer(path) if self._listens() else None
        return self._kubectl.get(path) if answer is None else answer

    def _answer(self, path: str) -> bytes | None:
        """The body of a complete response with status 200, None for any other."""
        connection = self._connection()
        try:
            # Without a header about encodings kubectl requests gzip and unpacks it, as for its own requests.
            connection.putrequest("GET", path, skip_accept_encoding=True)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException):
            connection.close()
        else:
            self._idle.append(connection)
            if answer.status == OK and answer.getheader("Content-Type", "").startswith("application/json"):
                return body
        with self._starting:
            self._failures += 1
        return None

    def _connection(self) -> HTTPConnection:
        try:
            return self._idle.pop()
        except IndexError:
            return _SocketConnection(self._socket, self._kubectl.timeout)

    @property
    def _socket(self) -> Path:
        assert self._folder
        return self._folder / "socket"

    def _listens(self) -> bool:
        """Whether the proxy listens; the first call starts it."""
        with self._starting:
            if not self._folder:
                self._folder = Path(tempfile.mkdtemp(prefix="felixpy-"))  # of mode 0700
                self._process = self._started()
            return self._process is not None and self._failures < MOST_FAILURES

    def _started(self) -> subprocess.Popen[bytes] | None:
        """Start kubectl and wait until it listens; None if it does not."""
        if not hasattr(socket, "AF_UNIX"):
            return None
        for options in (("--append-server-path",), ()):  # kubectl before v1.23 has no such option
            try:
                process = self._kubectl.proxy(self._socket, LISTS, options)
            except FelixpyError:
                return None
            assert process.stdout
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
            # "Starting to serve on …" follows the call of listen(2); one that ended has printed nothing.
            if ready and process.stdout.readline():
                return process
            _end(process)
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


class _SocketConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
