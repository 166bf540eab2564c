"""The policies of a lab: compiled for each of its nodes, and applied in their namespaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.dataplane.backends import EnforcerOptions, enforcer_of, find, goal_of
from felixpy.dataplane.enforcer import WantedRules
from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.dataplane.tools import LOCK_SECONDS
from felixpy.errors import InputError, Problem
from felixpy.kernel import open_machine
from felixpy.lab.layout import LabLayout, LabNode
from felixpy.model import Host
from felixpy.ruleset import Ruleset

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class EnforcedRules:
    """The wanted rules of a node."""

    node: LabNode
    ruleset: Ruleset
    wanted: WantedRules

    @property
    def rules(self) -> int:
        return sum(len(chain.bodies) for table in self.ruleset.tables.values() for chain in table.all_chains())


@dataclass(frozen=True, slots=True)
class Enforced:
    """What was changed on a node, and the backend used; `summary` is "" if nothing was changed."""

    rules: EnforcedRules
    backend: str
    summary: str
    remarks: tuple[str, ...]


def compile_nodes(compiler: Compiler, layout: LabLayout, settings: Sequence[Setting]) -> list[EnforcedRules]:
    """Compile the rules of each node that is built. Raises InputError for rules that no kernel accepts."""
    found, refused = [], list[Problem]()
    for node in layout.built_nodes:
        ruleset = compiler.compile(node.name, _host(node), settings)
        refused += ruleset.errors
        mode = compiler.config(node.name, settings).chain_insert_mode
        found.append(EnforcedRules(node, ruleset, goal_of(ruleset, append=mode == "append")))
    if refused:
        raise InputError(list(dict.fromkeys(refused)))
    return found


def _host(node: LabNode) -> Host:
    """The interfaces of a node, for compiling; the interfaces of pods have no addresses."""
    return Host(
        interfaces={
            name: tuple(f"{text}/{ip_address(text).max_prefixlen}" for text in addresses)
            for name, addresses in node.interfaces
        }
    )


def choose_backend(layout: LabLayout) -> str:
    """The kind of iptables that a namespace of this machine would use."""
    with open_machine(layout.home.netns) as machine:
        return find(machine).iptables.backend


def enforce(
    nodes: Iterable[EnforcedRules], iptables: str, before: Mapping[str, str], wait: int = LOCK_SECONDS
) -> list[Enforced]:
    """Apply the rules of every node, one after another; raises what `Enforcer.apply` raises.

    `iptables` is the kind of iptables to use, `before` the backend of each node so far: if it changes, the rules in the
    old one are removed when the new ones are in force.
    """
    done = []
    for rules in nodes:
        backend = NFTABLES if rules.wanted.dataplane == NFTABLES else iptables
        old = [name for name in (before.get(rules.node.name, backend),) if name != backend]
        with open_machine(rules.node.netns) as machine, machine.locked(wait):
            enforcer = enforcer_of(machine, backend, machine.scratch, instead_of=old, options=EnforcerOptions(wait))
            applied = enforcer.apply(rules.wanted)
        summary = "" if applied.program.empty else applied.program.summary()
        done.append(Enforced(rules, backend, summary, applied.remarks))
    return done


def summaries(done: Iterable[Enforced]) -> Mapping[str, str]:
    """What was changed, by node, without unchanged nodes."""
    return {one.rules.node.name: one.summary for one in done if one.summary}
