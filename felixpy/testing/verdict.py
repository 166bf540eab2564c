"""The verdict of policies on a packet, computed from the model: the oracle that rendered rules are compared with.

It shares only the model and the selector language with the compiler. A packet opens a connection; replies need no
policy. The source's egress is evaluated first, then the destination's ingress: tiers, then profiles, then deny.

A selector in a rule matches addresses: those of every endpoint in the cluster that it selects, and the nets of network
sets. So a rule can match a packet through another pod with the same address. Named ports and services match
(address, protocol, port) in the same way. (felix/calc/rule_scanner.go, felix/labelindex)

Left out: untracked and pre-DNAT policy, policy of host endpoints on forwarded traffic, the choice among the interfaces
of a host; NAT, spoofing, encapsulation and loop checks, limits; what pods may always send to their node (neighbour
discovery, OpenStack's exceptions). Rules are evaluated literally, also if three or more lists of one rule need blocks
of iptables rules, of which Felix lets a later one pass on the mark of an earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from ipaddress import ip_address, ip_network
from typing import Literal, NamedTuple, TypeAlias

from felixpy.config import Config
from felixpy.errors import Path, UsageError
from felixpy.model import (
    Cluster,
    HostEndpoint,
    Icmp,
    NetworkSet,
    Policy,
    PolicyKey,
    PortRange,
    Rule,
    ServiceName,
    Side,
    Source,
    Workload,
)
from felixpy.selector import matches, parse

Endpoint: TypeAlias = Workload | HostEndpoint
Peer: TypeAlias = Workload | HostEndpoint | str
"""Who sends or receives. A bare address is a machine without policy of its own, perhaps one of the nodes."""

Direction: TypeAlias = Literal["egress", "ingress"]
Outcome: TypeAlias = Literal["allow", "deny", "pass", "log"]

OUTCOMES: Mapping[str, Outcome] = {"allow": "allow", "deny": "deny", "next-tier": "pass", "log": "log"}
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
WITH_PORTS = (PROTOCOLS["tcp"], PROTOCOLS["udp"], PROTOCOLS["sctp"])

IMPLIED_VERSION: Mapping[str | int | None, int] = {"icmp": 4, "icmpv6": 6}
"""Protocols that tie a rule to one family when given by name; by number they do not. (felix/calc/rule_convert.go)"""

DEFAULTS = Config()


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPacket:
    """The first packet of a connection, before any NAT; protocols are names in lower case or numbers.

    Endpoints use their first address of the family, which is that of a bare address, else IPv4. Ports count for TCP,
    UDP and SCTP, `icmp` (by default an echo request) for ICMP.
    """

    source: Peer
    destination: Peer
    protocol: str | int
    port: int | None = None
    source_port: int = 49152
    icmp: Icmp | None = None
    family: int | None = None


class Statement(NamedTuple):
    """One step of the evaluation: a rule that matched, or the default where no rule does.

    `reason` is "rule", or names the circumstance: "end of tier", "failsafe port" and so on. `rule` is the index
    among the rules of that direction, as in flow logs; `path` is its place in the manifest `source`.
    """

    direction: Direction
    outcome: Outcome
    reason: str
    tier: str = ""
    policy: PolicyKey | None = None
    profile: str = ""
    rule: int | None = None
    path: Path = ()
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class OracleVerdict:
    """The verdict and the steps that led to it; no steps if no policy applies."""

    allowed: bool
    steps: tuple[Statement, ...]


class PortMember(NamedTuple):
    """One end of a packet, spelled like a member of a set of ports; the port is 0 where there is none."""

    address: str
    protocol: int
    port: int


class Header(NamedTuple):
    """A packet as rules see it, without endpoints."""

    family: int
    protocol: int
    source: PortMember
    destination: PortMember
    icmp: Icmp


class Oracle:
    """Computes verdicts in one cluster; results about selectors and endpoints are cached.

    `configs` are the parameters by node; other nodes have Felix's defaults.
    """

    def __init__(self, cluster: Cluster, configs: Mapping[str, Config] | None = None) -> None:
        self._cluster = cluster
        self._configs = configs or {}
        endpoints: tuple[Endpoint, ...] = (*cluster.workloads, *cluster.host_endpoints)
        self._endpoints = [(end, self._labels(end)) for end in endpoints if not self._refused(end)]
        self._network_sets = [(networks, self._labels(networks)) for networks in cluster.network_sets]
        self._policies = sorted(cluster.policies, key=_order)
        self._nodes = dict(self._node_addresses())
        self._tiers: dict[tuple[str, ...], list[tuple[str, list[Policy]]]] = {}
        self._addresses = cache(self._find_addresses)
        self._selects = cache(self._has_selected)
        self._ports = cache(self._find_ports)
        self._backends = cache(self._find_backends)

    def verdict(self, packet: FirstPacket) -> OracleVerdict:
        """The verdict of both ends. Raises UsageError for an impossible packet."""
        return _verdict(self._both_ends(packet, _flow(packet)))

    def ask(self, packet: FirstPacket, direction: Direction) -> OracleVerdict:
        """The verdict of one end: the source for egress, the destination for ingress."""
        peer = packet.source if direction == "egress" else packet.destination
        return _verdict(self._one_end(peer, direction, _flow(packet)))

    # --- which ends apply

    def _both_ends(self, packet: FirstPacket, flow: Header) -> Iterator[Statement]:
        """The steps of both ends. A pod reaches itself, and a node its own pods, without policy."""
        source, destination = packet.source, packet.destination
        at_home = self._node(source) == self._node(destination)
        if isinstance(source, Workload) and (source is destination or flow.destination.address in source.addresses):
            yield Statement("egress", "allow", "loopback")
        elif at_home and isinstance(destination, Workload) and not isinstance(source, Workload):
            yield Statement("ingress", "allow", "host to own pod")
        elif at_home and isinstance(source, Workload) and not isinstance(destination, Workload):
            yield from self._one_end(source, "egress", flow)
            drops = self._config(source.node).endpoint_to_host_action == "DROP"
            yield Statement("egress", "deny" if drops else "allow", "DefaultEndpointToHostAction")
        else:
            yield from self._one_end(source, "egress", flow)
            yield from self._one_end(destination, "ingress", flow)

    def _one_end(self, peer: Peer, direction: Direction, flow: Header) -> Iterator[Statement]:
        """The steps of one end, up to the first allow or deny."""
        if isinstance(peer, str):
            return
        for step in self._sayings(peer, direction, flow):
            yield step
            if step.outcome in ("allow", "deny"):
                return

    def _sayings(self, endpoint: Endpoint, direction: Direction, flow: Header) -> Iterator[Statement]:
        """All steps of an endpoint, in order. A profile that does not exist denies."""
        if isinstance(endpoint, HostEndpoint) and _failsafe(self._config(endpoint.node), direction, flow):
            yield Statement(direction, "allow", "failsafe port")
        if self._refused(endpoint):
            yield Statement(direction, "deny", "allowedSourcePrefixes")
        for tier, policies in self._applying(endpoint, direction):
            yield from self._tier(tier, policies, direction, flow)
        for name in endpoint.profiles:
            profile = self._cluster.profiles.get(name)
            if profile is None:
                yield Statement(direction, "deny", "missing profile", profile=name)
                return
            said = Statement(direction, "deny", "rule", profile=name, source=profile.source)
            yield from self._rules(profile.inbound if direction == "ingress" else profile.outbound, said, flow)
        yield Statement(direction, "deny", "no profile")

    def _tier(self, name: str, policies: Iterable[Policy], direction: Direction, flow: Header) -> Iterator[Statement]:
        """The steps of a tier: its policies in order, then its default. A tier that does not exist denies."""
        for policy in policies:
            said = Statement(direction, "deny", "rule", name, policy.key, source=policy.source)
            for step in self._rules(policy.inbound if direction == "ingress" else policy.outbound, said, flow):
                yield step
                if step.outcome == "pass":
                    return
        tier = self._cluster.tiers.get(name)
        yield Statement(direction, "pass" if tier and tier.passes else "deny", "end of tier", name)

    # --- what a rule means

    def _rules(self, rules: Iterable[Rule], said: Statement, flow: Header) -> Iterator[Statement]:
        """The matching rules of one chain, up to the first that does more than log."""
        for index, rule in enumerate(rules):
            if self._applies(rule, flow):
                yield said._replace(outcome=OUTCOMES[rule.action], rule=index, path=rule.path)
                if rule.action != "log":
                    return

    def _applies(self, rule: Rule, flow: Header) -> bool:
        return (
            (rule.ip_version or IMPLIED_VERSION.get(rule.protocol, flow.family)) == flow.family
            and (rule.protocol is None or _number(rule.protocol) == flow.protocol)
            and (rule.not_protocol is None or _number(rule.not_protocol) != flow.protocol)
            and (rule.icmp is None or _is_icmp(rule.icmp, flow))
            and (rule.not_icmp is None or not _is_icmp(rule.not_icmp, flow))
            and self._side(rule.source, flow.source)
            and self._side(rule.destination, flow.destination)
            and (not rule.source.service or flow.source.address in self._backends(rule.source.service))
            and (not rule.destination.service or flow.destination in self._backends(rule.destination.service))
        )

    def _side(self, side: Side, end: PortMember) -> bool:
        """Whether a side without its service matches; nets of only the other family do not. (felix/rules/policy.go)"""
        selector = _selector(side)
        return (
            (not side.nets or _within(end.address, side.nets) is True)
            and (not side.not_nets or _within(end.address, side.not_nets) is False)
            and (not selector or self._selects(selector, end.address))
            and (not side.not_selector or bool(selector) or not self._selects(side.not_selector, end.address))
            and (not side.ports or any(self._is_port(port, selector, end) for port in side.ports))
            and not any(self._is_port(port, selector, end) for port in side.not_ports)
        )

    def _is_port(self, port: PortRange | str, selector: str, end: PortMember) -> bool:
        """Whether a port matches; a name is that port of any endpoint that `selector` matches, in notPorts, too."""
        if isinstance(port, PortRange):
            return port.first <= end.port <= port.last
        return end in self._ports(selector, port)

    # --- what is known of the cluster

    def _config(self, node: str) -> Config:
        return self._configs.get(node, DEFAULTS)

    def _refused(self, endpoint: Endpoint) -> bool:
        """Whether Felix ignores a pod because of its source prefixes. (felix/calc/validation_filter.go)"""
        claims = isinstance(endpoint, Workload) and bool(endpoint.spoofable)
        return claims and self._config(endpoint.node).source_spoofing != "Any"

    def _labels(self, thing: Endpoint | NetworkSet) -> dict[str, str]:
        """All labels: own ones override those of profiles, earlier profiles override later ones."""
        labels: dict[str, str] = {}
        for profile in filter(None, map(self._cluster.profiles.get, reversed(thing.profiles))):
            labels.update(profile.labels)
        return labels | dict(thing.labels)

    def _node(self, peer: Peer) -> str:
        return self._nodes.get(_canonical(peer), "") if isinstance(peer, str) else peer.node

    def _node_addresses(self) -> Iterator[tuple[str, str]]:
        for node in self._cluster.nodes.values():
            tunnels = (node.ipip_tunnel, node.vxlan_tunnel_v4, node.vxlan_tunnel_v6)
            for address in filter(None, (node.bgp_v4, node.bgp_v6, *node.addresses, *tunnels)):
                yield _canonical(address.partition("/")[0]), node.name
        for host in self._cluster.host_endpoints:
            for address in host.addresses:
                yield address, host.node

    def _applying(self, endpoint: Endpoint, direction: Direction) -> list[tuple[str, list[Policy]]]:
        """The tiers with policies for an endpoint; tiers that do not exist come last. (policy_sorter.go)"""
        key = (direction, endpoint.node, getattr(endpoint, "namespace", ""), endpoint.name)
        if key not in self._tiers:
            labels, tiers = self._labels(endpoint), self._cluster.tiers
            applying: dict[str, list[Policy]] = {}
            for policy in self._policies:
                if _takes_part(policy, direction) and matches(parse(policy.selector), labels):
                    applying.setdefault(policy.tier, []).append(policy)
            order = {name: tiers[name].order if name in tiers else math.inf for name in applying}
            self._tiers[key] = sorted(applying.items(), key=lambda item: (order[item[0]], item[0]))
        return self._tiers[key]

    def _has_selected(self, selector: str, address: str) -> bool:
        single, nets = self._addresses(selector)
        return address in single or _within(address, nets) is True

    def _find_addresses(self, selector: str) -> tuple[frozenset[str], tuple[str, ...]]:
        node = parse(selector)
        single = {address for end, labels in self._endpoints if matches(node, labels) for address in end.addresses}
        nets = (net for networks, labels in self._network_sets if matches(node, labels) for net in networks.nets)
        return frozenset(single), tuple(nets)

    def _find_ports(self, selector: str, name: str) -> frozenset[PortMember]:
        """Ports of every protocol: a rule with a protocol meets only packets of that protocol anyway."""
        node = parse(selector)
        return frozenset(
            PortMember(address, PROTOCOLS[port.protocol], port.port)
            for endpoint, labels in self._endpoints
            if matches(node, labels)
            for port in endpoint.ports
            if port.name == name
            for address in endpoint.addresses
        )

    def _find_backends(self, service: ServiceName) -> frozenset[str | PortMember]:
        """The addresses of a service's endpoints (for a source), and their ports (for a destination)."""
        slices = [(part.addresses, part.ports) for part in self._cluster.slices if part.service == service]
        ends = (
            PortMember(ip, PROTOCOLS[protocol], port) for ips, ports in slices for protocol, port in ports for ip in ips
        )
        return frozenset([*(ip for ips, _ in slices for ip in ips), *ends])


def _verdict(steps: Iterable[Statement]) -> OracleVerdict:
    """The verdict from the steps: denied by the first denial."""
    said: list[Statement] = []
    for step in steps:
        said.append(step)
        if step.outcome == "deny":
            return OracleVerdict(False, tuple(said))
    return OracleVerdict(True, tuple(said))


def _flow(packet: FirstPacket) -> Header:
    """The header of a packet: addresses chosen, protocol parsed. Raises UsageError if that is impossible."""
    ends = (packet.source, packet.destination)
    family = packet.family or (6 if any(isinstance(peer, str) and ":" in peer for peer in ends) else 4)
    protocol = PROTOCOLS.get(packet.protocol) if isinstance(packet.protocol, str) else packet.protocol
    if protocol is None:
        raise UsageError(f'"{packet.protocol}" is none of {", ".join(PROTOCOLS)}, nor a number')
    source_port, port = (packet.source_port, packet.port) if protocol in WITH_PORTS else (0, 0)
    if port is None:
        raise UsageError(f"a {packet.protocol} packet needs a destination port")
    source, destination = (_address(peer, family) for peer in ends)
    icmp = packet.icmp or Icmp(8 if family == 4 else 128, 0)
    return Header(
        family, protocol, PortMember(source, protocol, source_port), PortMember(destination, protocol, port), icmp
    )


def _address(peer: Peer, family: int) -> str:
    for address in (_canonical(peer),) if isinstance(peer, str) else peer.addresses:
        if (":" in address) == (family == 6):
            return address
    raise UsageError(f"{peer if isinstance(peer, str) else peer.name} has no IPv{family} address")


@lru_cache(maxsize=1 << 12)
def _canonical(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        raise UsageError(f'"{address}" is not an IP address') from None


def _number(protocol: str | int) -> int:
    return PROTOCOLS[protocol] if isinstance(protocol, str) else protocol


@lru_cache(maxsize=1 << 16)
def _within(address: str, nets: tuple[str, ...]) -> bool | None:
    """Whether one of the nets contains the address; None if none of them is of its family."""
    own = [net for net in nets if (":" in net) == (":" in address)]
    parsed = ip_address(address)
    return any(parsed in ip_network(net) for net in own) if own else None


def _selector(side: Side) -> str:
    """Selector and notSelector make one selector where both are given. (felix/calc/rule_scanner.go)"""
    both = side.selector and side.not_selector
    return f"({side.selector}) && (!({side.not_selector}))" if both else side.selector


def _is_icmp(icmp: Icmp, flow: Header) -> bool:
    own = PROTOCOLS["icmp" if flow.family == 4 else "icmpv6"]
    return flow.protocol == own and icmp.type == flow.icmp.type and icmp.code in (None, flow.icmp.code)


def _takes_part(policy: Policy, direction: Direction) -> bool:
    early = policy.do_not_track or policy.pre_dnat
    return not early and not policy.staged and (policy.ingress if direction == "ingress" else policy.egress)


def _order(policy: Policy) -> tuple[float, str]:
    """The sort key: order, None last, then a text where "/" sorts after "-" and ".". (felix/calc/policy_sorter.go)"""
    kind, namespace, name = policy.key
    return math.inf if policy.order is None else policy.order, f"{name}/{namespace}/{kind}"


def _failsafe(config: Config, direction: Direction, flow: Header) -> bool:
    """Whether the packet is to a failsafe port. (felix/rules/static.go)"""
    peer = flow.destination if direction == "egress" else flow.source
    return any(
        (PROTOCOLS[safe.protocol], safe.port) == flow.destination[1:]
        and (not safe.net or bool(_within(peer.address, (safe.net,))))
        for safe in (config.failsafe_outbound if direction == "egress" else config.failsafe_inbound)
    )
