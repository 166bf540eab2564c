"""The nodes that packets pass: their rules and their interfaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from felixpy.compiler import Compiler
from felixpy.config import Config, Setting
from felixpy.decode.rules import RuleIndex
from felixpy.errors import Problem
from felixpy.model import Cluster, Host
from felixpy.netfilter.rules import Dump, Rule
from felixpy.ruleset import Ruleset
from felixpy.topology.addresses import AddressBook
from felixpy.walk import Machine, Walker

UPLINK = "eth0"
"""The name of the interface to other machines, if it is unknown."""

TUNNELS = {4: (("ipip", "tunl0"), ("vxlan", "vxlan.calico")), 6: (("vxlan", "vxlan-v6.calico"),)}


@dataclass(frozen=True, slots=True)
class SavedRules:
    """The rules of a node, and the index of the compiled node, if there is one."""

    dump: Dump
    index: RuleIndex | None


@dataclass(eq=False)
class NodeRules:
    """One node: its rules, the index of the compiled node, and the machine.

    `saved`: the rules are from a dump, not compiled from the manifests.
    """

    name: str
    dump: Dump
    machine: Machine
    index: RuleIndex | None
    saved: bool = False

    @cached_property
    def walker(self) -> Walker:
        return Walker(self.dump, self.machine)

    def asks(self, table: str, rule: Rule) -> bool:
        """Whether a rule jumps to a chain that has rules."""
        chain = self.dump.tables[rule.body.family][table].get(rule.target)
        return chain is not None and bool(chain.lines)

    @property
    def refused(self) -> tuple[Problem, ...]:
        """Errors for rules that no kernel accepts, so that the node does not get them; none for saved rules."""
        return self.index.ruleset.refused if self.index and not self.saved else ()


class Nodes:
    """The nodes of a cluster, each compiled on first use.

    `hosts` are the interfaces of nodes, `dumps` are saved rules, which are used in place of compiled ones. Nodes
    without a dump are compiled from the manifests, if they are in them.
    """

    def __init__(
        self,
        compiler: Compiler,
        *,
        hosts: Mapping[str, Host] | None = None,
        settings: Sequence[Setting] = (),
        dumps: Mapping[str, Dump] | None = None,
    ) -> None:
        self.compiler, self.cluster, self.settings = compiler, compiler.cluster, settings
        self.hosts, self.dumps = hosts or {}, dumps or {}
        self.book = AddressBook(self.cluster, self.hosts, self.dumps)
        self._known: dict[str, NodeRules] = {}
        self._rules: dict[str, SavedRules] = {}

    def __reduce__(self) -> tuple[Callable[..., Nodes], tuple[object, ...]]:
        """Elsewhere nodes are compiled again."""
        return _again, (self.compiler, self.hosts, self.settings, self.dumps)

    def get(self, name: str) -> NodeRules | None:
        """A node. With dumps, one without a dump is compiled; None if the manifests do not have it."""
        if self.dumps and name not in self.dumps and name not in self._names:
            return None
        if name not in self._known:
            self._known[name] = self._make(name)
        return self._known[name]

    def compiled(self, name: str) -> Ruleset | None:
        """The compiled ruleset of a node, None if it has not been compiled yet."""
        index = self._known[name].index if name in self._known else None
        return index.ruleset if index else None

    def config(self, name: str) -> Config:
        return self.compiler.config(name, self.settings)

    def families(self, name: str) -> frozenset[int]:
        """The families in which a node's rules are known; a node without a dump is not compiled for that."""
        dump = self.dumps.get(name)
        return frozenset(self.config(name).families if dump is None else dump.tables)

    def knows_sets(self, name: str) -> bool:
        """Whether the sets of a node are known."""
        dump = self.dumps.get(name)
        return dump is None or dump.sets is not None

    def _make(self, name: str) -> NodeRules:
        rules = self._rules.pop(name, None) or self._make_rules(name)
        machine = machine_of(self.cluster, name, self.hosts.get(name), self.book)
        return NodeRules(name, rules.dump, machine, rules.index, saved=name in self.dumps)

    def _make_rules(self, name: str) -> SavedRules:
        ruleset = self.compiler.compile(name, self.hosts.get(name), self.settings) if name in self._names else None
        dump = self.dumps.get(name)
        if dump is None:
            assert ruleset is not None
            dump = ruleset.dump
        return SavedRules(dump, RuleIndex(ruleset) if ruleset else None)

    def rules(self, name: str, *, keep: bool = True) -> SavedRules:
        """The rules of an existing node, without its machine; with `keep` they are cached."""
        if name in self._known:
            return SavedRules(self._known[name].dump, self._known[name].index)
        found = self._rules.get(name) or self._make_rules(name)
        if keep:
            self._rules[name] = found
        return found

    @cached_property
    def _names(self) -> frozenset[str]:
        """The nodes of the manifests."""
        return frozenset(self.cluster.node_names())


def _again(
    compiler: Compiler, hosts: Mapping[str, Host], settings: Sequence[Setting], dumps: Mapping[str, Dump]
) -> Nodes:
    return Nodes(compiler, hosts=hosts, settings=settings, dumps=dumps)


def machine_of(cluster: Cluster, name: str, host: Host | None, book: AddressBook) -> Machine:
    """The machine of a node, with routes.

    Local pods are reached by their interfaces, pods of other nodes by the tunnel of their pool, if it has one.
    """
    return replace(bare_machine(cluster, name, host, book), routes=_routes(cluster, name))


def bare_machine(cluster: Cluster, name: str, host: Host | None, book: AddressBook) -> Machine:
    """The machine of a node, without routes: interfaces as given, else from its host endpoints and its Node object."""
    interfaces: dict[str, list[str]] = {}
    if host and host.interfaces is not None:
        interfaces = {key: [str(ip_interface(text).ip) for text in texts] for key, texts in host.interfaces.items()}
    else:
        for endpoint in cluster.host_endpoints:
            if endpoint.node == name and endpoint.interface not in ("", "*"):
                interfaces.setdefault(endpoint.interface, []).extend(endpoint.addresses)
    node = cluster.nodes.get(name)
    own = [book.address(name, family) for family in (4, 6)]
    uplink = _uplink(interfaces, own)
    there = {address for addresses in interfaces.values() for address in addresses}
    devices = {}
    if node:
        devices[_bare(node.ipip_tunnel)] = "tunl0"
        devices[_bare(node.vxlan_tunnel_v4)] = "vxlan.calico"
        devices[_bare(node.vxlan_tunnel_v6)] = "vxlan-v6.calico"
    for address in book.of_node(name):
        if address not in there:
            interfaces.setdefault(devices.get(address, uplink), []).append(address)
    return Machine({key: tuple(texts) for key, texts in interfaces.items()}, uplink=uplink)


def _bare(text: str) -> str:
    return text.partition("/")[0]


def _uplink(interfaces: Mapping[str, Sequence[str]], own: Sequence[str]) -> str:
    """The interface with the node's address, else the first one that is not a tunnel."""
    for name, addresses in interfaces.items():
        if set(addresses) & set(own):
            return name
    devices = {device for tunnels in TUNNELS.values() for _, device in tunnels} | {"lo", "kube-ipvs0"}
    return next((name for name in interfaces if name not in devices and not name.startswith("cali")), UPLINK)


def tunnelled_pools(cluster: Cluster) -> list[tuple[IPv4Network | IPv6Network, str]]:
    """(network, tunnel device) for pools with a tunnel between nodes; the first that contains an address is used."""
    return [
        (ip_network(pool.cidr), device)
        for pool in cluster.pools
        for kind, device in TUNNELS[6 if ":" in pool.cidr else 4]
        if getattr(pool, kind)
    ]


def _routes(cluster: Cluster, node: str) -> dict[str, str]:
    tunnelled = tunnelled_pools(cluster)
    routes: dict[str, str] = {}
    for pod in cluster.workloads:
        for address in pod.addresses:
            if pod.node == node:
                routes[address] = pod.interface
            elif tunnelled:
                parsed = ip_address(address)
                device = next((device for net, device in tunnelled if parsed in net), "")
                if device:
                    routes.setdefault(address, device)
    return routes
