"""The state of labs, kept between commands: a JSON file for each, in a folder owned by root.

The file is written before the first namespace is made and removed after the last one. So namespaces named like those of
a lab without a file are not felixpy's, and a file that says "unfinished" is the sign of a crash.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from felixpy.errors import EnvironmentMissing, KernelRefused
from felixpy.lab.layout import LabLayout
from felixpy.model import PolicyKey
from felixpy.reading import UnreadableFile, read_bytes
from felixpy.writing import write_file

FOLDER = "FELIXPY_LAB_DIR"
"""Environment variable with another place for the files."""

DEFAULT_FOLDER = "/run/felixpy"
LOCK_POLL_SECONDS = 0.05
LOCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The manifests and options that a lab was made from, so that later commands can read them again.

    `paths` are absolute; settings are ``NAME=VALUE``, interfaces ``NAME=ADDRESS,…``. `removed` are policies to be left
    out although a path has them.
    """

    paths: tuple[str, ...] = ()
    node: str = ""
    calico_version: str = ""
    dataplane: str = ""
    settings: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    host_file: str = ""
    no_expand: bool = False
    strict: bool | None = None
    removed: tuple[PolicyKey, ...] = ()

    @classmethod
    def parsed(cls, data: Mapping[str, Any]) -> Inputs:
        lists = {name: tuple(data[name]) for name in ("paths", "settings", "interfaces")}
        return cls(**{**data, **lists, "removed": tuple(PolicyKey(*key) for key in data["removed"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The policy of one node: which backend holds it, how many rules and sets, and since when (ISO 8601)."""

    node: str
    backend: str
    rules: int
    sets: int
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabState:
    """The state of a lab. It is not `finished` while its namespaces are being changed.

    `backend` is the kind of iptables of nodes that use iptables. `policies` are all that the cluster has, `enforced`
    has a row for each node that is built.
    """

    layout: LabLayout
    backend: str
    inputs: Inputs
    finished: bool
    policies: tuple[str, ...] = ()
    enforced: tuple[InForce, ...] = ()

    @property
    def name(self) -> str:
        return self.layout.name

    def document(self) -> dict[str, Any]:
        """The state as plain values for JSON; `parsed` reads it."""
        return {
            "apiVersion": "felixpy/v1",
            "kind": "LabState",
            "layout": self.layout.document(),
            "backend": self.backend,
            "inputs": asdict(self.inputs),
            "finished": self.finished,
            "policies": self.policies,
            "enforced": [asdict(row) for row in self.enforced],
        }

    @classmethod
    def parsed(cls, data: Mapping[str, Any]) -> LabState:
        return cls(
            layout=LabLayout.parsed(data["layout"]),
            backend=data["backend"],
            inputs=Inputs.parsed(data["inputs"]),
            finished=data["finished"],
            policies=tuple(data["policies"]),
            enforced=tuple(InForce(**row) for row in data["enforced"]),
        )


def folder() -> Path:
    return Path(os.environ.get(FOLDER) or DEFAULT_FOLDER)


def socket_of(lab: str) -> Path:
    """The path of the unix socket of a lab's responder."""
    return folder() / f"{lab}.socket"


def known() -> list[str]:
    """The names of all labs, sorted."""
    return sorted(path.stem for path in folder().glob("*.json"))


def exists(lab: str) -> bool:
    return _file(lab).exists()


def read(lab: str) -> LabState | None:
    """The state of a lab; None if there is no file, or if it cannot be read."""
    try:
        return LabState.parsed(json.loads(read_bytes(_file(lab))))
    except (UnreadableFile, ValueError, KeyError, TypeError):
        return None


def write(state: LabState) -> None:
    """Write the state atomically."""
    path = _file(state.name)
    write_file(path, json.dumps(state.document()), mode=0o600)


def forget(lab: str) -> None:
    """Remove the files of a lab, and the folder after the last one."""
    for path in (_file(lab), socket_of(lab)):
        path.unlink(missing_ok=True)


def _file(lab: str) -> Path:
    return folder() / f"{lab}.json"


@contextmanager
def locked(seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """Lock all labs against other processes. The folder is made if needed, and removed if it stays empty.

    Yields the open file with the lock, which lasts as long as any process has that file open.

    Raises KernelRefused if another process holds it too long, EnvironmentMissing if the folder cannot be made.
    """
    path, deadline = folder(), time.monotonic() + seconds
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as refusal:
            raise EnvironmentMissing(f"{path}: {refusal.strerror}; {FOLDER} names another folder") from refusal
        if _taken(lock) and _is(path, lock):
            break
        os.close(lock)
        if time.monotonic() >= deadline:
            raise KernelRefused(f"another felixpy changes a lab, still after {seconds:g} s; nothing was changed")
        time.sleep(LOCK_POLL_SECONDS)
    try:
        yield lock
    finally:
        with suppress(OSError):
            path.rmdir()
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: Path, lock: int) -> bool:
    """Whether the path still leads to the locked folder: the last owner of the lock may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except FileNotFoundError:
        return False
