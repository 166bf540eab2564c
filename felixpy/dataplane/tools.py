"""iptables and ipset as commands: what they are called, how they are called, and what they mean when they fail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from felixpy.dataplane.current import OWNED_SET
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import NOT_FOUND, Done, Kernel

BACKENDS = ("legacy", "nft")
PROGRAMS = {4: "iptables", 6: "ip6tables"}
NOTHING: Mapping[int, str] = MappingProxyType({})
LOCK_SECONDS = 10
"""How long Felix lets iptables wait for the lock of the tables."""


class Failure(NamedTuple):
    """What a tool's words mean: an exception, and what to do about it."""

    words: re.Pattern[str]
    error: type[FelixpyError]
    advice: str


FAILURES = (
    Failure(re.compile("you must be root|Permission denied|not permitted"), EnvironmentMissing, "it takes root"),
    Failure(
        re.compile("do you need to insmod|missing kernel module|Kernel error received: Invalid argument"),
        EnvironmentMissing,
        "this kernel lacks a module",
    ),
    Failure(
        re.compile("holding the xtables lock"),
        KernelRefused,
        "another program works on the tables for so long; --wait gives it more time",
    ),
)


def failure(command: str, done: Done, where: str = "") -> FelixpyError:
    """The exception for a command that failed. `where` says what it was about."""
    if done.status == NOT_FOUND:
        package = "ipset" if command == "ipset" else "iptables"
        return EnvironmentMissing(f"{command} is missing; install {package} (Debian: apt-get install {package})")
    said = " ".join(line.strip() for line in done.errors.splitlines() if line.strip()) or f"status {done.status}"
    text = f"{command} refused{where and ' '}{where}: {said}"
    for row in FAILURES:
        if row.words.search(done.errors):
            return row.error(f"{text} ({row.advice})")
    return KernelRefused(text)


_LINE = re.compile(r"\bline:? (\d+)\b")


def line_number(done: Done) -> int:
    """The line that a tool complains about, 0 if it names none."""
    found = _LINE.search(done.errors)
    return int(found[1]) if found else 0


class Tools:
    """The tools of one backend, in one namespace.

    `known` is what they printed a moment ago, by family: the first who asks need not wait for it again.
    """

    def __init__(
        self, kernel: Kernel, backend: str, lock_seconds: int = LOCK_SECONDS, known: Mapping[int, str] = NOTHING
    ) -> None:
        self.kernel, self.backend, self.lock_seconds = kernel, backend, lock_seconds
        self._known = dict(known)
        self._prefixes: dict[int, str] = {}

    def in_another(self, kernel: Kernel) -> Tools:
        """The same tools in another namespace."""
        return Tools(kernel, self.backend, self.lock_seconds)

    def restore_command(self, family: int, *, test: bool = False) -> tuple[str, ...]:
        """As Felix calls it, but quietly, and without the interval that newer releases of iptables ignore."""
        options = ("--noflush", "--wait", str(self.lock_seconds), *(["--test"] if test else []))
        return f"{self._prefix(family)}-restore", *options

    def _prefix(self, family: int) -> str:
        return self._prefixes.get(family, f"{PROGRAMS[family]}-{self.backend}")

    def tables(self, family: int) -> str:
        """What iptables-save prints. No table is named: naming one makes the kernel create it.

        Where no tool carries the backend in its name, the plain ones are used from then on.
        """
        if family in self._known:
            return self._known.pop(family)
        for prefix in (f"{PROGRAMS[family]}-{self.backend}", PROGRAMS[family]):
            done = self.kernel.run(f"{prefix}-save")
            if done.status != NOT_FOUND:
                self._prefixes[family] = prefix
                break
        if done.status:
            raise failure(f"{prefix}-save", done)
        return done.output

    def restore(self, family: int, text: str, *, test: bool = False) -> Done:
        """Run one input of iptables-restore; the caller looks at the status."""
        return self.kernel.run(*self.restore_command(family, test=test), text=text)

    def sets(self) -> str:
        """What ipset save prints of our sets.

        A set of others in a revision that ipset does not know makes it fail as a whole; then they are asked for one by
        one, as Felix always does.
        """
        done = self.kernel.run("ipset", "save")
        if not done.status:
            return done.output
        listed = self.kernel.run("ipset", "list", "-name")
        if listed.status:
            raise failure("ipset", listed)
        texts = []
        for name in filter(OWNED_SET.match, listed.output.split()):
            one = self.kernel.run("ipset", "save", name)
            if one.status:
                raise failure("ipset", one, f"to print set {name}")
            texts.append(one.output)
        return "".join(texts)

    def restore_sets(self, text: str) -> None:
        """Run one input of ipset restore. Raises KernelRefused with the line that it stopped at."""
        done = self.kernel.run("ipset", "restore", text=text)
        if done.status:
            number = line_number(done)
            lines = text.splitlines()
            where = f"line {number}, {lines[number - 1]!r}," if 0 < number <= len(lines) else ""
            raise failure("ipset", done, where)

    def sets_in_use(self) -> set[str]:
        """The sets that rules or other sets refer to."""
        done = self.kernel.run("ipset", "list", "-terse")
        if done.status:
            raise failure("ipset", done)
        name, used = "", set()
        for line in done.output.splitlines():
            key, _, value = line.partition(": ")
            if key == "Name":
                name = value
            elif key == "References" and value != "0":
                used.add(name)
        return used


_KUBELET = re.compile("KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY")


class Choice(NamedTuple):
    """The backend that this host uses, and those that hold rules of Felix."""

    backend: str
    ours: tuple[str, ...]


Saves = Mapping[tuple[str, int], Done]
"""How iptables-save of each backend and family ended."""


def look(kernel: Kernel) -> Saves:
    """Print the tables of all backends."""
    return {
        (backend, family): kernel.run(f"{program}-{backend}-save")
        for backend in BACKENDS
        for family, program in PROGRAMS.items()
    }


def choose(saves: Saves) -> Choice:
    """Find the backend as Felix does (felix/environment/feature_detect_linux.go).

    Where kubelet left its mark in table mangle, that backend, nft asked first; otherwise the one with more rules,
    legacy if both have as many. A backend without tools does not count, what fails counts as empty.
    """
    there = [name for name in BACKENDS if any(saves[name, family].status != NOT_FOUND for family in PROGRAMS)]
    texts = {name: "".join(f"\n{text}" for text in printed(saves, name).values()) for name in BACKENDS}
    ours = tuple(backend for backend in there if "\n:cali-" in texts[backend])
    for backend in ("nft", "legacy"):
        if _KUBELET.search(_mangle(texts[backend])):
            return Choice(backend, ours)
    rules = {backend: texts[backend].count("\n-") for backend in BACKENDS}
    return Choice(max(there or BACKENDS, key=lambda backend: rules[backend]), ours)


def printed(saves: Saves, backend: str) -> dict[int, str]:
    """The tables of one backend by family, as far as they could be printed."""
    return {family: saves[backend, family].output for family in PROGRAMS if not saves[backend, family].status}


def _mangle(text: str) -> str:
    return "".join(part.partition("\n*")[0] for part in text.split("\n*mangle\n")[1:])
