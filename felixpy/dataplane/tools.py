"""iptables and ipset as commands: their names and arguments, and the meaning of their failures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from signal import Signals
from types import MappingProxyType
from typing import NamedTuple

from felixpy.dataplane.current import OWNED_SET
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import NOT_FOUND, Done, Kernel, run_together

BACKENDS = ("legacy", "nft")
PROGRAMS = {4: "iptables", 6: "ip6tables"}
SAVE_SETS = ("ipset", "save")
LIST_TABLES = ("nft", "list", "chains")
"""Names every table, too, and unlike ``nft list tables`` does not read the rules of all of them (nft 1.0.6)."""
LOCK_SECONDS = 10
"""How long Felix lets iptables wait for the lock of the tables."""


PACKAGES = {"ipset": "ipset", "nft": "nftables"}
"""Which package has a tool that is not of iptables, under its name in all distributions."""


class Failure(NamedTuple):
    """A known failure of a tool: the exception to raise, and the hint for the user."""

    words: re.Pattern[str]
    error: type[FelixpyError]
    advice: str


FAILURES = (
    Failure(
        re.compile("you must be root|Permission denied|not permitted"),
        EnvironmentMissing,
        "it takes root, and in a container CAP_NET_ADMIN",
    ),
    Failure(
        re.compile("cache initialization failed|Unable to initialize Netlink socket"),
        EnvironmentMissing,
        "this kernel has no nf_tables: modprobe nf_tables, or take --dataplane iptables",
    ),
    Failure(
        re.compile("Could not fetch rule set generation id|Failed to initialize nft"),
        EnvironmentMissing,
        "this kernel has no nf_tables: modprobe nf_tables, or take --backend legacy",
    ),
    Failure(
        re.compile("ip6tables.* unable to initialize table|can't initialize ip6tables table"),
        EnvironmentMissing,
        "this kernel lacks it for IPv6: modprobe ip6_tables, take --backend nft, or --set Ipv6Support=false",
    ),
    Failure(
        re.compile("unable to initialize table|can't initialize iptables table"),
        EnvironmentMissing,
        "this kernel lacks legacy tables: modprobe ip_tables, or take --backend nft",
    ),
    Failure(
        re.compile("Cannot open session to kernel|Kernel error received: (Invalid argument|set type not supported)"),
        EnvironmentMissing,
        "this kernel lacks sets: modprobe ip_set ip_set_hash_net ip_set_hash_ip ip_set_hash_ipport",
    ),
    Failure(re.compile("xt_set is not loaded"), EnvironmentMissing, "this kernel lacks xt_set: modprobe xt_set"),
    Failure(
        re.compile("do you need to insmod|missing kernel module"),
        EnvironmentMissing,
        "this kernel lacks the module for it",
    ),
    Failure(
        re.compile("can't open lock file"),
        EnvironmentMissing,
        "XTABLES_LOCKFILE names another place for the lock",
    ),
    Failure(
        re.compile("payload_expr_complete: Assertion"),
        KernelRefused,
        "a rule in the table matches a set with ports of a protocol that nft does not know, so nft cannot list it; "
        "nft delete table removes the table, and all policies in it",
    ),
    Failure(
        re.compile("holding the xtables lock"),
        KernelRefused,
        "another program works on the tables for so long; --wait gives it more time",
    ),
)
"""Which words mean what, the first that fits. They are those of iptables 1.8 and ipset 7."""


def is_about_a_line(done: Done) -> bool:
    """Whether a restore failed because of its input, not because of a lock, a missing permission or program."""
    known = any(row.words.search(done.errors) for row in FAILURES)
    return done.status > 0 and done.status != NOT_FOUND and not known


def failure(command: str, done: Done, where: str = "") -> FelixpyError:
    """The exception for a command that failed. `where` names the table or set, for the message."""
    if done.status == NOT_FOUND:
        package = PACKAGES.get(command, "iptables")
        return EnvironmentMissing(f"{command} is missing; install {package} (Debian: apt-get install {package})")
    said = " ".join(line.strip() for line in done.errors.splitlines() if line.strip()) or _end(done.status)
    text = f"{command} refused{where and ' '}{where}: {said}"
    for row in FAILURES:
        if row.words.search(done.errors):
            return row.error(f"{text} ({row.advice})")
    return KernelRefused(text)


def _end(status: int) -> str:
    return f"ended by {Signals(-status).name}" if status < 0 else f"status {status}"


_LINE = re.compile(r"\bline:? (\d+)\b")


def line_number(done: Done) -> int:
    """The number of the line that a tool's error message names, 0 if it names none."""
    found = _LINE.search(done.errors)
    return int(found[1]) if found else 0


Answers = Mapping[tuple[str, ...], Done]
"""What commands answered that only look."""

NOTHING: Answers = MappingProxyType({})


class Tools:
    """The tools of one backend, in one namespace.

    `known` are recent answers of commands; each is used once, in place of running the command again.
    """

    def __init__(
        self, kernel: Kernel, backend: str, lock_seconds: int = LOCK_SECONDS, known: Answers = NOTHING
    ) -> None:
        self.kernel, self.backend, self.lock_seconds = kernel, backend, lock_seconds
        self._known = dict(known)
        self._prefixes: dict[int, str] = {}

    def in_another(self, kernel: Kernel) -> Tools:
        """The same tools in another namespace."""
        return Tools(kernel, self.backend, self.lock_seconds)

    def restore_command(self, family: int, *, test: bool = False) -> tuple[str, ...]:
        """The iptables-restore command as Felix calls it, but without --verbose and --wait-interval (now ignored)."""
        options = ("--noflush", "--wait", str(self.lock_seconds), *(["--test"] if test else []))
        return f"{self._prefix(family)}-restore", *options

    def _prefix(self, family: int) -> str:
        return self._prefixes.get(family, f"{PROGRAMS[family]}-{self.backend}")

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Run the listings of both families' tables and of the sets in parallel; they are used inside the block only.

        It takes as long as the slowest of them.
        """
        commands = [*((f"{self._prefix(family)}-save",) for family in PROGRAMS), SAVE_SETS]
        asked = [command for command in commands if command not in self._known]
        self._known.update(zip(asked, run_together(self.kernel, *asked), strict=True))
        try:
            yield
        finally:
            self._known.clear()

    def _ask(self, *command: str) -> Done:
        return self._known.pop(command, None) or self.kernel.run(*command)

    def tables(self, family: int, *, counters: bool = False) -> str:
        """The output of iptables-save for all existing tables, with `counters` if set; no table is created.

        If there are no tools with the backend in their name, the plain ones are used from then on.
        """
        for prefix in (f"{PROGRAMS[family]}-{self.backend}", PROGRAMS[family]):
            done = self._ask(f"{prefix}-save", *(["--counters"] if counters else []))
            if done.status != NOT_FOUND:
                self._prefixes[family] = prefix
                break
        if done.status:
            raise failure(f"{prefix}-save", done)
        return done.output

    def restore(self, family: int, text: str, *, test: bool = False) -> Done:
        """Run one input of iptables-restore; the caller checks the status."""
        return self.kernel.run(*self.restore_command(family, test=test), text=text)

    def sets(self) -> str:
        """The output of ipset save for Felix's sets.

        A foreign set of a revision that this ipset does not know makes ipset save fail as a whole; then sets are saved
        one by one, as Felix always does.
        """
        done = self._ask(*SAVE_SETS)
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
        """Run one input of ipset restore. Raises KernelRefused with the line at which it stopped."""
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


class BackendChoice(NamedTuple):
    """The backend in use, and those that hold rules of Felix; `guessed` if there are no rules at all."""

    backend: str
    ours: tuple[str, ...] = ()
    guessed: bool = False


def look(kernel: Kernel) -> Answers:
    """List the tables of both kinds of iptables, the sets, and the names of nftables tables."""
    saves = [(f"{program}-{backend}-save",) for backend in BACKENDS for program in PROGRAMS.values()]
    commands = [*saves, SAVE_SETS, LIST_TABLES]
    return dict(zip(commands, run_together(kernel, *commands), strict=True))


def choose(answers: Answers) -> BackendChoice:
    """Find the backend as Felix does (felix/environment/feature_detect_linux.go).

    It is the one with kubelet's chain in table mangle, nft checked first; otherwise the one with more rules, legacy if
    both have as many. A backend without tools is not considered, one whose tools fail counts as empty.
    """
    saves = {name: [answers[f"{program}-{name}-save",] for program in PROGRAMS.values()] for name in BACKENDS}
    there = [name for name in BACKENDS if any(done.status != NOT_FOUND for done in saves[name])]
    texts = {name: "".join(f"\n{done.output}" for done in saves[name] if not done.status) for name in BACKENDS}
    ours = tuple(backend for backend in there if "\n:cali-" in texts[backend])
    for backend in ("nft", "legacy"):
        if _KUBELET.search(_mangle(texts[backend])):
            return BackendChoice(backend, ours)
    rules = {backend: texts[backend].count("\n-") for backend in BACKENDS}
    return BackendChoice(
        max(there or BACKENDS, key=lambda backend: rules[backend]), ours, guessed=not any(rules.values())
    )


def _mangle(text: str) -> str:
    return "".join(part.partition("\n*")[0] for part in text.split("\n*mangle\n")[1:])
