"""A network namespace of one's own: what runs the kernel's tools in it, and what it takes to have one."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
BACKENDS = ("legacy", "nft")
TOOLS = {4: "iptables", 6: "ip6tables"}
NEEDED = ("ipset", *(f"{tool}-{backend}-restore" for tool in TOOLS.values() for backend in BACKENDS))
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """The tools of a fresh, empty network namespace; one thread enters it and leaves it again."""

    def __init__(self, lock: Path) -> None:
        # The lock file of iptables belongs to the whole machine, the tables do not: with a lock of its own a
        # namespace waits for nobody.
        self.environment = {**os.environ, "PATH": PATH, "XTABLES_LOCKFILE": str(lock)}

    def run(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a tool with the text as its input; the caller looks at the exit status."""
        return subprocess.run(
            command, input=text, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )


@contextmanager
def fresh_namespace() -> Iterator[Namespace]:
    """Move the calling thread, and the processes it starts, to a namespace that vanishes with its last user."""
    with Path("/proc/thread-self/ns/net").open() as home, tempfile.TemporaryDirectory() as folder:
        _succeed(_LIBC.unshare(CLONE_NEWNET))
        try:
            yield Namespace(Path(folder, "xtables.lock"))
        finally:
            _succeed(_LIBC.setns(home.fileno(), CLONE_NEWNET))


def _succeed(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def in_ci() -> bool:
    """Whether what is missing is a broken set-up rather than a choice."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def obstacle() -> str:
    """Why tests cannot have a namespace with working tables here; "" if they can."""
    if os.geteuid():
        return "network namespaces need root"
    if missing := [tool for tool in NEEDED if not shutil.which(tool, path=PATH)]:
        return f"missing tools: {', '.join(missing)}"
    try:
        with fresh_namespace() as namespace:
            for tool in NEEDED[1:]:
                done = namespace.run(tool, text="*filter\nCOMMIT\n")
                if done.returncode:
                    return f"{tool} does not work here: {done.stderr.strip()}"
    except OSError as refusal:
        return f"no network namespace: {refusal.strerror}"
    return ""


def canonical(save: str) -> dict[str, list[str]]:
    """What ``iptables-save`` printed, table by table, without comment lines, counters and empty tables.

    The order of tables is the kernel's own affair. A table in which no chain holds a rule is as good as none: it comes
    to be when somebody looks at it.
    """
    tables: dict[str, list[str]] = {}
    for line in save.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line, [])
        elif line and not line.startswith("#"):
            table.append(re.sub(r" ?\[\d+:\d+\] ?", "", line))
    return {name: lines for name, lines in tables.items() if any(line.startswith("-A") for line in lines)}


def members(sets: str) -> set[str]:
    """What ``ipset save`` printed, line by line, without the sizes that the kernel chooses for itself."""
    return {re.sub(r" (hashsize|bucketsize|initval) \S+", "", line) for line in sets.splitlines()}
