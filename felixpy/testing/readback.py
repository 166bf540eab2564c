"""Read the legacy tables with python-iptables, as an independent check in tests.

iptables-save and felixpy may have the same error; python-iptables reads the kernel's tables by itself. It comes with
the extra ``felixpy[legacy]`` and needs a compiler to install. It is not used elsewhere for three reasons: it is about
twenty times slower than iptables-save, it may crash, and reading a table makes the kernel create it. So it runs in a
separate process, and in namespaces made for the test.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from signal import Signals
from typing import Any, NamedTuple

from felixpy.errors import EnvironmentMissing, KernelRefused
from felixpy.kernel import Done, Kernel, run_together
from felixpy.netfilter.numbers import PROTOCOLS
from felixpy.ruleset import TABLES

Tables = Mapping[tuple[int, str], Mapping[str, tuple["ReadRule", ...]]]
"""(family, table) → chain → rules, chains in the kernel's order."""

_EVERYWHERE = {"0.0.0.0/0.0.0.0", "::/0"}
_ANY_PROTOCOL = {"ip", "all"}


class Extension(NamedTuple):
    """A match or target with its options in order; the values of a negated one begin with "!"."""

    name: str
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def words(self) -> Iterator[str]:
        for option, values in self.options:
            negated = values[:1] == ("!",)
            yield from ("!", f"--{option}") if negated else (f"--{option}",)
            yield from values[negated:]


class ReadRule(NamedTuple):
    """A rule as python-iptables reads it. `core` are the options before the matches, such as ("-s", "10.0.0.0/8").

    `target` is None for a rule that only counts; `goto`: the target is a chain that does not return.
    """

    core: tuple[tuple[str, str], ...]
    matches: tuple[Extension, ...]
    target: Extension | None
    goto: bool = False

    def words(self) -> list[str]:
        """The rule as iptables-save spells it, without its chain."""
        words = []
        for option, value in self.core:
            words += ["!", option, value[1:]] if value.startswith("!") else [option, value]
        for match in self.matches:
            words += ["-m", match.name, *match.words()]
        if self.target:
            words += ["-g" if self.goto else "-j", self.target.name, *self.target.words()]
        return words


def read_back(kernel: Kernel) -> Tables:
    """All legacy tables of a namespace; tables that do not exist are created by reading them.

    Raises EnvironmentMissing without a working python-iptables, KernelRefused if reading fails.
    """
    # One process for each family: where a target serves both, as DSCP does, loading it a second time is an error.
    answers = run_together(
        kernel, *((sys.executable, "-m", "felixpy.testing.readback", str(family)) for family in (4, 6))
    )
    return {
        (family, table): {chain: tuple(map(_rule, rules)) for chain, rules in chains.items()}
        for family, done in zip((4, 6), answers, strict=True)
        for table, chains in _answer(done).items()
    }


def _answer(done: Done) -> dict[str, Any]:
    if done.status == EnvironmentMissing.exit_code:
        raise EnvironmentMissing(done.errors.strip())
    if done.status < 0:
        raise KernelRefused(f"python-iptables died of {Signals(-done.status).name}")
    if done.status:
        raise KernelRefused("python-iptables failed: " + done.errors.strip().rpartition("\n")[2])
    answer: dict[str, Any] = json.loads(done.output)
    return answer


def _rule(told: Mapping[str, Any]) -> ReadRule:
    target = told["target"]
    return ReadRule(
        core=tuple((option, value) for option, value in told["core"]),
        matches=tuple(map(_extension, told["matches"])),
        target=_extension(target) if target else None,
        goto=told["goto"],
    )


def _extension(told: tuple[str, list[tuple[str, list[str]]]]) -> Extension:
    name, options = told
    return Extension(name, tuple((option, tuple(values)) for option, values in options))


# --- in the process that reads


def main(family: str) -> int:
    """Print all tables of a family as JSON."""
    try:
        import iptc
    except Exception as wrong:  # noqa: BLE001 - without its libraries it fails with whatever comes to hand
        print(f"python-iptables does not work here: {type(wrong).__name__}: {wrong}", file=sys.stderr)
        return EnvironmentMissing.exit_code
    kind = iptc.Table6 if family == "6" else iptc.Table
    json.dump({table: _chains(kind(table)) for table in TABLES}, sys.stdout)
    return 0


def _chains(table: Any) -> dict[str, list[dict[str, Any]]]:
    return {chain.name: [_told(rule) for rule in chain.rules] for chain in table.chains}


def _told(rule: Any) -> dict[str, Any]:
    target = rule.target
    return {
        "core": list(_core(rule)),
        "matches": [_options(match) for match in rule.matches],
        "target": _options(target) if target and target.name else None,
        "goto": bool(target and target.goto),
    }


def _core(rule: Any) -> Iterator[tuple[str, str]]:
    """The options of the rule itself, in the order of iptables-save."""
    for option, network in (("-s", rule.src), ("-d", rule.dst)):
        if network not in _EVERYWHERE:
            yield option, _with_length(network)
    for option, interface in (("-i", rule.in_interface), ("-o", rule.out_interface)):
        if interface:
            yield option, interface
    if rule.protocol not in _ANY_PROTOCOL:
        yield "-p", _protocol(rule)


def _protocol(rule: Any) -> str:
    """The name of a protocol in iptables; python-iptables differs for a few."""
    told = str(rule.protocol)
    name = told.removeprefix("!")
    number = next((number for number, known in rule.protocols.items() if known == name), None)
    return told.replace(name, PROTOCOLS.get(int(name) if number is None else number, name))


def _with_length(network: str) -> str:
    """10.0.0.0/255.0.0.0 as 10.0.0.0/8; IPv6 networks have a prefix length already."""
    address, _, mask = network.partition("/")
    if "." not in mask:
        return network
    bits = "".join(f"{int(part):08b}" for part in mask.split("."))
    return f"{address}/{bits.count('1')}"


def _options(extension: Any) -> tuple[str, list[tuple[str, list[str]]]]:
    return extension.name, list(extension.get_all_parameters().items())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
