"""The policy of a lab: compiled for each of its nodes, and put into their namespaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.dataplane.enforcer import Enforcer
from felixpy.dataplane.tools import LOCK_SECONDS, Tools, choose, look
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import InputError, Problem
from felixpy.kernel import open_machine
from felixpy.lab.layout import LabLayout, LabNode
from felixpy.model import Host
from felixpy.ruleset import Ruleset

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class EnforcedRules:
    """What a node shall hold."""

    node: LabNode
    ruleset: Ruleset
    wanted: Wanted

    @property
    def rules(self) -> int:
        return sum(len(chain.bodies) for table in self.ruleset.tables.values() for chain in table.all_chains())


@dataclass(frozen=True, slots=True)
class Enforced:
    """What was done to a node: `summary` is "" if nothing had to be."""

    rules: EnforcedRules
    summary: str
    remarks: tuple[str, ...]


def compile_nodes(compiler: Compiler, layout: LabLayout, settings: Sequence[Setting]) -> list[EnforcedRules]:
    """The rules of each node that is built. Raises InputError for rules that no kernel takes."""
    found, refused = [], list[Problem]()
    for node in layout.built_nodes:
        ruleset = compiler.compile(node.name, _host(node), settings)
        refused += ruleset.errors
        mode = compiler.config(node.name, settings).chain_insert_mode
        found.append(EnforcedRules(node, ruleset, Wanted.of(ruleset, append=mode == "append")))
    if refused:
        raise InputError(list(dict.fromkeys(refused)))
    return found


def _host(node: LabNode) -> Host:
    """The machine as rules know it. Pods' interfaces have no addresses that would matter."""
    return Host(
        interfaces={
            name: tuple(f"{text}/{ip_address(text).max_prefixlen}" for text in addresses)
            for name, addresses in node.interfaces
        }
    )


def choose_backend(layout: LabLayout) -> str:
    """The kind of iptables that a namespace of this machine would use."""
    with open_machine(layout.home.netns) as machine:
        return choose(look(machine)).backend


def enforce(nodes: Iterable[EnforcedRules], backend: str, wait: int = LOCK_SECONDS) -> list[Enforced]:
    """Bring every node in step, one after another. Raises as `Enforcer.apply` does."""
    done = []
    for rules in nodes:
        with open_machine(rules.node.netns) as machine, machine.locked(wait):
            applied = Enforcer(Tools(machine, backend, wait), machine.scratch).apply(rules.wanted)
        summary = "" if applied.program.empty else applied.program.summary()
        done.append(Enforced(rules, summary, applied.remarks))
    return done


def clear(nodes: Iterable[EnforcedRules], backend: str, wait: int = LOCK_SECONDS) -> None:
    """Take the rules out of a backend that is not used any more; sets are for both."""
    for rules in nodes:
        with open_machine(rules.node.netns) as machine, machine.locked(wait):
            Enforcer(Tools(machine, backend, wait)).apply(Wanted({}, rules.wanted.sets))


def summaries(done: Iterable[Enforced]) -> Mapping[str, str]:
    """What was changed, by node; nodes that were in step are left out."""
    return {one.rules.node.name: one.summary for one in done if one.summary}
