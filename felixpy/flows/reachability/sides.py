"""One input, prepared for evaluation: its endpoints, and the rules of its nodes as programs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from msgspec.structs import replace

from felixpy.config import Setting
from felixpy.errors import Problem
from felixpy.flows.packets.peers import Layer
from felixpy.flows.programs.code import Library, NodeProgram, NodeText, of_dump, of_ruleset
from felixpy.flows.reachability.classes import (
    AddressMarks,
    Classes,
    Home,
    Identity,
    alone,
    behaviour,
    homes_of,
    sorted_out,
)
from felixpy.model import Cluster, Owner, Workload
from felixpy.names import limited
from felixpy.netfilter.numbers import Range, parse_address
from felixpy.plan.endpoints import FROM_HOST, FROM_WORKLOAD, TO_HOST, TO_WORKLOAD
from felixpy.resolve import Resolution
from felixpy.ruleset import Ruleset
from felixpy.topology.addresses import AddressBook
from felixpy.topology.nodes import Nodes, bare_machine, tunnelled_pools
from felixpy.walk import Machine

FAMILIES = (4, 6)
WITHOUT_IPV6 = Setting("Ipv6Support", "false")
"""Used where no pod has an IPv6 address: the rules of IPv6 are not needed, and those of IPv4 are the same without."""

MOSTLY = 2
"""All pods of a node are compiled if at least one in this number represents a class."""

HOST_CHAINS = (FROM_HOST, TO_HOST)


class SideEndpoint(NamedTuple):
    """An endpoint: a pod, an interface whose pod is unknown, or a node. `addresses` are numbers by family."""

    identity: Identity
    node: str
    interface: str
    addresses: Mapping[int, int]
    owner: Owner | None = None


class InputSide:
    """The nodes of one input. Rules are compiled or read when they are first needed.

    Of endpoints and nodes that behave the same (`classes`) only some are compiled. With `apart` each is a class of its
    own; so it is where rules were saved, or where pods share an address or the name of an interface.
    """

    def __init__(self, nodes: Nodes, *, apart: bool = False) -> None:
        self.nodes = nodes
        self.names = sorted({*nodes.dumps, *nodes.cluster.node_names()})
        self.programs: dict[int, Mapping[str, NodeProgram]] = {}
        self.apart = apart or bool(nodes.dumps) or _is_ambiguous(nodes.cluster, nodes.book)
        self._marks: dict[Identity, Hashable] = {}
        self._resolutions: dict[Home, Resolution] = {}
        self._rulesets: dict[str, Ruleset] = {}
        self._complete: set[Home] = set()
        """Nodes that are compiled with all their pods."""
        self._classes: Classes | None = None

    def __reduce__(self) -> tuple[Callable[..., InputSide], tuple[object, ...]]:
        """Pickle the nodes only: other processes compile the rules again."""
        return _again, (self.nodes, self.apart)

    @cached_property
    def machines(self) -> Mapping[str, Machine]:
        """The nodes as machines without routes."""
        hosts, book = self.nodes.hosts, self.nodes.book
        return {name: bare_machine(self.nodes.cluster, name, hosts.get(name), book) for name in self.names}

    @property
    def classes(self) -> Classes:
        """Classes of endpoints and nodes that behave the same; `refine` splits them."""
        if self._classes is None:
            self._classes = self._sorted_out()
        return self._classes

    def _sorted_out(self) -> Classes:
        if self.apart:
            return alone([(endpoint.identity, endpoint.node) for endpoint in self.endpoints], self.names)
        nodes = {name: (self._node_key(name), self._marks.get(Identity("host", "", name))) for name in self.names}
        homes = homes_of(nodes)
        chains = {
            (local.workload.namespace, local.workload.name): behaviour(local)
            for home in homes
            for local in self._resolution(home).workloads
        }
        return sorted_out(
            homes,
            (
                (endpoint.identity, endpoint.node, self._endpoint_key(endpoint, chains.get(endpoint.identity[1:])))
                for endpoint in self.endpoints
            ),
        )

    def _endpoint_key(self, endpoint: SideEndpoint, chains: Hashable) -> Hashable:
        if endpoint.identity.kind == "host":
            return ()
        return chains, tuple(sorted(endpoint.addresses)), self._marks.get(endpoint.identity)

    def _node_key(self, name: str) -> Hashable:
        """Return what a node's rules depend on besides its pods and addresses; its name if it is in `_special`."""
        if name in self._special:
            return name
        node, machine = self.nodes.cluster.nodes.get(name), self.machines[name]
        compiler = self.nodes.compiler
        return (
            compiler.config(name, self._settings),
            compiler.layout(name, self._settings).name,
            tuple((device, tuple(":" in text for text in texts)) for device, texts in machine.interfaces.items()),
            machine.uplink,
            node and tuple(map(bool, (node.ipip_tunnel, node.vxlan_tunnel_v4, node.vxlan_tunnel_v6))),
            node and tuple(map(bool, (node.bgp_v4, node.bgp_v6))),
        )

    @cached_property
    def _special(self) -> frozenset[str]:
        """Nodes with facts of their own (`Nodes.hosts`), or with host endpoints."""
        return frozenset((*self.nodes.hosts, *(endpoint.node for endpoint in self.nodes.cluster.host_endpoints)))

    def refine(self, libraries: Iterable[Library]) -> bool:
        """Split classes whose members the rules distinguish. Returns whether more rules have to be compiled."""
        if self.apart:
            return False
        before = self.classes
        for library in libraries:
            family = library.family
            addresses = {endpoint.identity: endpoint.addresses.get(family) for endpoint in self.endpoints}
            pools = [(Layer(Range(int(net[0]), int(net[-1]))),) for net, _ in tunnelled_pools(self.nodes.cluster)
                     if net.version == family]  # fmt: skip
            found = AddressMarks(library, pools, (number for number in addresses.values() if number is not None))
            for identity, number in addresses.items():
                marks = found.relative if identity.kind == "host" else found.absolute
                mark = None if number is None else marks[number]
                self._marks[identity] = self._marks.get(identity), mark
        self._classes = None
        if (len(before.homes), len(before.endpoints)) == (len(self.classes.homes), len(self.classes.endpoints)):
            return False
        if self._complete.issuperset(self.classes.homes):
            return False  # the rules of the new representatives are compiled already
        self._complete.clear()
        self._rulesets.clear()
        return True

    @cached_property
    def endpoints(self) -> tuple[SideEndpoint, ...]:
        """All pods, unknown interfaces and hosts."""
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
        """Nodes whose rules are compiled, although saved rules of other nodes are given."""
        return tuple(name for name in self.names if self.nodes.dumps and name not in self.nodes.dumps)

    @cached_property
    def has_hosts(self) -> bool:
        """Whether nodes themselves have policy."""
        chains = (name for dump in self.nodes.dumps.values() for tables in dump.tables.values()
                  for table in tables.values() for name in table)  # fmt: skip
        return bool(self.nodes.cluster.host_endpoints) or any(name.startswith(HOST_CHAINS) for name in chains)

    @cached_property
    def families(self) -> tuple[int, ...]:
        """Families that have rules, and in which a pod has an address (or no pod has any address)."""
        ruled = {family for home in self.classes.homes for family in self._ruled(home)}
        return tuple(family for family in FAMILIES if family in ruled and (not self._used or family in self._used))

    @cached_property
    def _used(self) -> frozenset[int]:
        """Families in which pods have addresses."""
        return frozenset(
            family for endpoint in self.endpoints if endpoint.identity.kind == "pod" for family in endpoint.addresses
        )

    def _ruled(self, home: Home) -> Iterable[int]:
        dump = self.nodes.dumps.get(home.name)
        return dump.tables if dump else self._ruleset(home).families

    @cached_property
    def _settings(self) -> Sequence[Setting]:
        return (WITHOUT_IPV6, *self.nodes.settings) if self._used == {4} else self.nodes.settings

    def _resolution(self, home: Home) -> Resolution:
        if home not in self._resolutions:
            first, *others = home.nodes
            found = self.nodes.compiler.resolve(first, self.nodes.hosts.get(first), self._settings, others)
            self._resolutions[home] = found
        return self._resolutions[home]

    def _ruleset(self, home: Home) -> Ruleset:
        """Return the rules of the first node, as if one or two pods of each class of all its nodes were on it.

        If these would be most of its pods, all are compiled: then classes that are split need no further rules.
        """
        name = home.name
        if name not in self._rulesets:
            compiled = self.nodes.compiled(name) if self.apart else None
            self._rulesets[name] = compiled or self._compiled(home)
        return self._rulesets[name]

    def _compiled(self, home: Home) -> Ruleset:
        resolution = self._resolution(home)
        asked = {each for found in self.classes.of(home) for each in (found.sender, found.receiver)}
        some = tuple(
            local for local in resolution.workloads
            if Identity("pod", local.workload.namespace, local.workload.name) in asked
        )  # fmt: skip
        if MOSTLY * len(some) >= len(resolution.workloads):
            some = resolution.workloads
            self._complete.add(home)
        host = self.nodes.hosts.get(home.name)
        return self.nodes.compiler.program(replace(resolution, workloads=some), host, self._settings)

    def text(self, home: Home, family: int) -> NodeText:
        """Return the rules of a node: saved ones if given, else compiled ones."""
        dump = self.nodes.dumps.get(home.name)
        return of_dump(dump, family) if dump else of_ruleset(self._ruleset(home), family)

    @property
    def findings(self) -> tuple[Problem, ...]:
        """Findings of compiling, without duplicates."""
        return tuple(dict.fromkeys(found for ruleset in self._rulesets.values() for found in ruleset.findings))

    @property
    def refused(self) -> tuple[Problem, ...]:
        """Problems with rules that the kernel rejects, so that nodes do not get them."""
        return tuple(dict.fromkeys(found for ruleset in self._rulesets.values() for found in ruleset.refused))

    def _interfaces(self, name: str) -> list[str]:
        """Return interfaces for which a dump has chains of a pod, except for long names, which are hashed in chains."""
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
        """Prepare the rules of every node in one family."""
        programs = {home.name: NodeProgram(self.text(home, library.family), library) for home in self.classes.homes}
        for program in programs.values():
            program.load()
        self.programs[library.family] = programs

    def known(self, family: int) -> Iterator[int]:
        """Yield the addresses of pods, also second ones, and of nodes."""
        cluster, book = self.nodes.cluster, self.nodes.book
        texts = [address for pod in cluster.workloads for address in pod.addresses]
        for text in (*texts, *book.known, *book.assumed):
            if (":" in text) == (family == 6):
                yield parse_address(text).number


def _again(nodes: Nodes, apart: bool) -> InputSide:
    return InputSide(nodes, apart=apart)


def _pod(pod: Workload) -> SideEndpoint:
    """Return a pod as an endpoint with the first of its addresses in each family."""
    addresses: dict[int, int] = {}
    for text in pod.addresses:
        number, family = parse_address(text)
        addresses.setdefault(family, number)
    return SideEndpoint(Identity("pod", pod.namespace, pod.name), pod.node, pod.interface, addresses, pod.owner)


def _is_ambiguous(cluster: Cluster, book: AddressBook) -> bool:
    """Return whether an address or interface belongs to several endpoints, which then cannot represent each other."""
    addresses = [*book.known, *book.assumed, *(address for pod in cluster.workloads for address in pod.addresses)]
    interfaces = [pod.interface for pod in cluster.workloads]
    return len(set(addresses)) < len(addresses) or len(set(interfaces)) < len(interfaces)
