"""One input made ready: its endpoints, and the rules of its nodes as programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Literal, NamedTuple

from felixpy.config import Setting
from felixpy.errors import Problem
from felixpy.flows.programs.code import Library, NodeProgram, NodeText, of_dump, of_ruleset
from felixpy.model import Owner, Workload
from felixpy.names import limited
from felixpy.netfilter.numbers import parse_address
from felixpy.plan.endpoints import FROM_HOST, FROM_WORKLOAD, TO_HOST, TO_WORKLOAD
from felixpy.ruleset import Ruleset
from felixpy.topology.nodes import Nodes, machine_of
from felixpy.walk import Machine

FAMILIES = (4, 6)
WITHOUT_IPV6 = Setting("Ipv6Support", "false")
"""Where no pod has an IPv6 address, nobody asks for the rules of that family; those of IPv4 are the same without."""

HOST_CHAINS = (FROM_HOST, TO_HOST)

EndpointKind = Literal["pod", "interface", "host"]


class Identity(NamedTuple):
    """What tells endpoints apart: pods by namespace and name, hosts by name, unknown pods by node and interface."""

    kind: EndpointKind
    space: str
    name: str


class SideEndpoint(NamedTuple):
    """An endpoint: a pod, an interface of whose pod nothing is known, or a node. `addresses` are numbers by family."""

    identity: Identity
    node: str
    interface: str
    addresses: Mapping[int, int]
    owner: Owner | None = None


class InputSide:
    """The nodes of one input. Rules are compiled or read when they are first needed."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.names = sorted({*nodes.dumps, *nodes.cluster.node_names()})
        self.programs: dict[int, Mapping[str, NodeProgram]] = {}
        self._rulesets: dict[str, Ruleset] = {}

    @cached_property
    def machines(self) -> Mapping[str, Machine]:
        hosts, book = self.nodes.hosts, self.nodes.book
        return {name: machine_of(self.nodes.cluster, name, hosts.get(name), book) for name in self.names}

    @cached_property
    def endpoints(self) -> tuple[SideEndpoint, ...]:
        """Pods, unknown interfaces, hosts."""
        pods = [_pod(pod) for pod in self.nodes.cluster.workloads]
        known = {(endpoint.node, endpoint.interface) for endpoint in pods}
        strangers = [
            SideEndpoint(Identity("interface", name, interface), name, interface, {})
            for name in self.names
            for interface in self._interfaces(name)
            if (name, interface) not in known
        ]
        return (*pods, *strangers, *(self._host(name) for name in self.names))

    @property
    def compiled(self) -> tuple[str, ...]:
        """Nodes whose rules were not given while those of others were."""
        return tuple(name for name in self.names if self.nodes.dumps and name not in self.nodes.dumps)

    @cached_property
    def has_hosts(self) -> bool:
        """Whether nodes themselves have policy."""
        chains = (name for dump in self.nodes.dumps.values() for tables in dump.tables.values()
                  for table in tables.values() for name in table)  # fmt: skip
        return bool(self.nodes.cluster.host_endpoints) or any(name.startswith(HOST_CHAINS) for name in chains)

    @cached_property
    def families(self) -> tuple[int, ...]:
        """Families in which there are rules and a pod has an address, or none has any."""
        ruled = {family for name in self.names for family in self._ruled(name)}
        return tuple(family for family in FAMILIES if family in ruled and (not self._used or family in self._used))

    @cached_property
    def _used(self) -> frozenset[int]:
        """Families in which pods have addresses."""
        return frozenset(
            family for endpoint in self.endpoints if endpoint.identity.kind == "pod" for family in endpoint.addresses
        )

    def _ruled(self, name: str) -> Iterable[int]:
        dump = self.nodes.dumps.get(name)
        return dump.tables if dump else self._ruleset(name).families

    def _ruleset(self, name: str) -> Ruleset:
        if name not in self._rulesets:
            settings = (WITHOUT_IPV6, *self.nodes.settings) if self._used == {4} else self.nodes.settings
            compiled = self.nodes.compiled(name)
            self._rulesets[name] = compiled or self.nodes.compiler.compile(name, self.nodes.hosts.get(name), settings)
        return self._rulesets[name]

    def text(self, name: str, family: int) -> NodeText:
        """Rules that were saved count instead of compiled ones."""
        dump = self.nodes.dumps.get(name)
        return of_dump(dump, family) if dump else of_ruleset(self._ruleset(name), family)

    @property
    def findings(self) -> tuple[Problem, ...]:
        """What compiling had to remark, each thing once."""
        return tuple(dict.fromkeys(found for ruleset in self._rulesets.values() for found in ruleset.findings))

    def _interfaces(self, name: str) -> list[str]:
        """Interfaces for which a dump has chains of a pod; the names of long ones are hashed, so they are unknown."""
        dump = self.nodes.dumps.get(name)
        if not dump:
            return []
        prefixes = (FROM_WORKLOAD, TO_WORKLOAD)
        chains = {chain for tables in dump.tables.values() for chain in tables.get("filter", {})}
        found = {chain[len(prefix) :] for prefix in prefixes for chain in chains if chain.startswith(prefix)}
        return sorted(text for text in found if all(limited(prefix, text) == prefix + text for prefix in prefixes))

    def _host(self, name: str) -> SideEndpoint:
        texts = {family: self.nodes.book.address(name, family) for family in FAMILIES}
        addresses = {family: parse_address(text).number for family, text in texts.items() if text}
        return SideEndpoint(Identity("host", "", name), name, "", addresses)

    def load(self, library: Library) -> None:
        """Make the rules of every node ready in one family."""
        programs = {name: NodeProgram(self.text(name, library.family), library) for name in self.names}
        for program in programs.values():
            program.load()
        self.programs[library.family] = programs

    def known(self, family: int) -> Iterator[int]:
        """Addresses of pods, also second ones, and of nodes."""
        cluster, book = self.nodes.cluster, self.nodes.book
        texts = [address for pod in cluster.workloads for address in pod.addresses]
        for text in (*texts, *book.known, *book.assumed):
            if (":" in text) == (family == 6):
                yield parse_address(text).number


def _pod(pod: Workload) -> SideEndpoint:
    """A pod with the first of its addresses in each family."""
    addresses: dict[int, int] = {}
    for text in pod.addresses:
        number, family = parse_address(text)
        addresses.setdefault(family, number)
    return SideEndpoint(Identity("pod", pod.namespace, pod.name), pod.node, pod.interface, addresses, pod.owner)
