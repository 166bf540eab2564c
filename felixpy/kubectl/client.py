"""All access to a cluster goes through ``kubectl``, so that every way of logging in works: exec plugins, OIDC, proxies.

Only read-only verbs are run: `get --raw`, `proxy` of GET requests for the lists that felixpy reads, `exec` of a command
in `READING`, `config view`.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from felixpy.errors import EnvironmentMissing, FelixpyError

READING: frozenset[tuple[str, ...]] = frozenset({
    ("iptables-legacy-save", "-c"), ("ip6tables-legacy-save", "-c"),
    ("iptables-nft-save", "-c"), ("ip6tables-nft-save", "-c"),
    ("ipset", "save"), ("nft", "list", "tables"), ("nft", "list", "ruleset"),
})  # fmt: skip
"""The commands that may run on a node. Each of them prints, and changes nothing."""

ALL_BUT_GET = "^[^G]|^G[^E]|^GE[^T]|^GET."
"""The methods that a proxy of felixpy's refuses, as a regular expression, which in Go has no negation."""

TRIES = 4
FIRST_PAUSE_SECONDS = 0.2


class RequestRefused(FelixpyError):
    """The API server did not fulfil the request."""

    exit_code = 3


class Forbidden(RequestRefused):
    """This user may not read the resource (403)."""


class Absent(RequestRefused):
    """The cluster has no such resource or object (404)."""


class Expired(RequestRefused):
    """A list or a watch cannot be continued, because the API server no longer has that revision (410)."""


class Unauthorized(RequestRefused):
    """The credentials are missing or expired (401)."""


class Unreachable(RequestRefused):
    """No response, or an incomplete one."""


class Overloaded(Unreachable):
    """The API server is overloaded or failing; the request can be retried (429, 500, 503, 504)."""


class _Meaning(NamedTuple):
    pattern: re.Pattern[str]
    kind: type[RequestRefused]


_MEANINGS = tuple(
    _Meaning(re.compile(pattern), kind)
    for pattern, kind in (
        (r"\(Forbidden\)", Forbidden),
        (r"\(NotFound\)|could not find the requested resource", Absent),
        (r"\(Expired\)|\(Gone\)|[Tt]he provided continue parameter is too old|too old resource version", Expired),
        (r"\(Unauthorized\)|must be logged in|provide credentials|getting credentials", Unauthorized),
        (r"\((TooManyRequests|ServiceUnavailable|ServerTimeout|Timeout|InternalError)\)|etcdserver", Overloaded),
        (r"currently unable to handle the request", Overloaded),
        (r"EOF|refused|reset by peer|i/o timeout|no such host|Unable to connect|no route|deadline|TLS|connection",
         Unreachable),
    )
)  # fmt: skip
"""What kubectl prints on stderr, in the order in which it is tried."""


_TERMINATED = re.compile(r"command terminated with (?:non-zero )?exit code")


def failure(said: str, what: str) -> RequestRefused:
    """The exception for an error message of kubectl about `what`.

    >>> failure("Error from server (Forbidden): pods is forbidden: User \\"dev\\" cannot list …", "/api/v1/pods")
    Forbidden('/api/v1/pods: pods is forbidden: User "dev" cannot list …')
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # `exec` adds a line after the command's own output that says less.
    line = next((line for line in reversed(lines) if not _TERMINATED.match(line)), "")
    line = line or (lines[-1] if lines else "kubectl said nothing")
    kind = next((meaning.kind for meaning in _MEANINGS if meaning.pattern.search(said)), RequestRefused)
    words = re.sub(r"^(error: |Error from server( \(\w+\))?: )", "", line)
    return kind(f"{what}: {words}")


class Kubectl:
    """Runs the user's kubectl with a context, a kubeconfig file and a timeout (seconds) for each request."""

    def __init__(
        self, *, context: str = "", kubeconfig: str = "", timeout: float = 60.0, program: str = "kubectl",
        pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._context, self._pause = context, pause
        self.timeout = timeout
        self._following: set[subprocess.Popen[bytes]] = set()
        options = (("--context", context), ("--kubeconfig", kubeconfig))
        self._command = [program, *(f"{name}={value}" for name, value in options if value)]

    @property
    def context(self) -> str:
        """The name of the current context, "cluster" if the configuration has none (as inside a pod)."""
        return self._context or self._view.get("current-context") or "cluster"

    @cached_property
    def _view(self) -> dict[str, Any]:
        """The part of the configuration that is in use, without credentials; empty without a configuration."""
        done = self._run(["config", "view", "--minify", "--output=json"])
        try:
            found = json.loads(done.stdout)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def _root(self) -> str:
        """The path of the server's URL, which a gateway for several clusters has, and which ``get --raw`` drops."""
        for named in self._view.get("clusters") or ():
            return urlsplit(named["cluster"].get("server") or "").path.rstrip("/")
        return ""

    def get(self, path: str) -> bytes:
        """The API server's response to a GET of `path`; retried if the server is overloaded or the connection is lost.

        Raises Refused, as the subclass for the failure.
        """
        for attempt in range(TRIES):
            done = self._run(["get", "--raw", self._root + path])
            if not done.returncode:
                return done.stdout
            wrong = failure(done.stderr.decode(errors="replace"), path)
            if not isinstance(wrong, Unreachable) or attempt == TRIES - 1:
                raise wrong
            self._pause(FIRST_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the last attempt raises")

    def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        """The output of one of the `READING` commands inside a container. Raises Refused."""
        if tuple(command) not in READING:
            raise ValueError(f"{' '.join(command)} is not among the commands that may run on a node")
        done = self._run(["exec", "--namespace", namespace, pod, "--container", container, "--", *command])
        if done.returncode:
            raise failure(done.stderr.decode(errors="replace"), f"{pod}: {' '.join(command)}")
        return done.stdout.decode(errors="surrogateescape")

    def proxy(self, unix_socket: Path, accepted: Iterable[str], options: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a kubectl proxy that accepts only GET of the `accepted` paths (regular expressions) on a socket.

        It prints a line as soon as it listens, or exits. Raises EnvironmentMissing without kubectl.
        """
        rules = [f"--accept-paths={','.join(accepted)}", f"--reject-methods={ALL_BUT_GET}", *options]
        return self._started(["proxy", f"--unix-socket={unix_socket}", *rules], stderr=subprocess.DEVNULL)

    def follow(self, path: str) -> Iterator[bytes]:
        """The lines of a streamed response, such as a watch, as they arrive; `close` ends it from another thread.

        Raises Refused if it ends with an error.
        """
        process = self._started(["get", "--raw", self._root + path])
        assert process.stdout
        assert process.stderr
        self._following.add(process)
        try:
            yield from process.stdout
            said = process.stderr.read().decode(errors="replace")
            if process.wait():
                raise failure(said, path)
        finally:
            self._following.discard(process)
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()

    def close(self) -> None:
        """End all streamed responses."""
        for process in [*self._following]:
            process.kill()

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(  # noqa: S603 - the arguments are felixpy's own
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=self.timeout,
            )  # fmt: skip
        except FileNotFoundError:
            raise _missing(self._command[0]) from None
        except subprocess.TimeoutExpired:
            raise Unreachable(f"{arguments[-1]}: no answer within {self.timeout:.0f} s") from None

    def _started(self, arguments: Sequence[str], stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - as above
                [*self._command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
            )
        except FileNotFoundError:
            raise _missing(self._command[0]) from None


def _missing(program: str) -> EnvironmentMissing:
    return EnvironmentMissing(f"{program} is missing, which --cluster needs; install kubectl")
