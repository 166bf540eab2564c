"""What the rules of policies are about, as ends of packets in a lab: who they are for, who is meant, on which ports.

Nothing here has to be exact. It only makes packets that are drawn by lot meet rules more often than chance does.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from felixpy.lab.layout import LabLayout, family_of
from felixpy.labels import LabelIndex
from felixpy.model import Cluster, HostEndpoint, NetworkSet, Policy, Rule, Side, Workload
from felixpy.selector import parse
from felixpy.topology.question import LARGEST_PORT

Net = IPv4Network | IPv6Network

UNFIT = (
    *map(ip_network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")),
    *map(ip_network, ("::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8")),
)
"""Addresses that nobody in the world can have."""


class End(NamedTuple):
    """An address, and what has it: "pods", "nodes" or "world"."""

    kind: str
    address: str

    @property
    def family(self) -> int:
        return family_of(self.address)


class Aim(NamedTuple):
    """Packets to those whom a policy is for, or from them, and who is at the other end. Nothing where all are meant."""

    inward: bool
    subjects: tuple[End, ...]
    others: tuple[End, ...]
    protocol: str
    ports: tuple[int, ...]


class Map:
    """The ends of a lab; `lot` draws addresses inside nets."""

    def __init__(self, cluster: Cluster, layout: LabLayout, lot: random.Random) -> None:
        self.cluster, self.layout, self.lot = cluster, layout, lot
        self.here = tuple(sorted(set(_here(layout))))
        self._nobody = [*UNFIT, *map(ip_network, layout.nobody)]

    def internet(self) -> Iterator[End]:
        return self._world(ip_network(text) for text in self.layout.internet)

    def aims(self) -> list[Aim]:
        """One for each rule of each policy."""
        return [
            self._aim(policy, rule, inward=rules is policy.inbound)
            for policy in self.cluster.policies
            for rules in (policy.inbound, policy.outbound)
            for rule in rules
        ]

    @cached_property
    def ports(self) -> list[int]:
        """Those that pods name or serve and those beside them."""
        found = {port.port for pod in self.cluster.workloads for port in pod.ports}
        found |= {port for pod in self.cluster.workloads for _, port in pod.serves}
        return sorted(set(_beside((port, port) for port in found)))

    # --- rules

    def _aim(self, policy: Policy, rule: Rule, *, inward: bool) -> Aim:
        other = rule.source if inward else rule.destination
        return Aim(
            inward=inward,
            subjects=tuple(end for end in self._meant([policy.selector]) if end.kind != "world"),
            others=tuple(self._at(other)),
            protocol=str(rule.protocol or "").replace("icmpv6", "icmp"),
            ports=tuple(sorted(set(self._service(rule.destination)))),
        )

    def _at(self, side: Side) -> Iterator[End]:
        """Whoever is named, and those just beside."""
        yield from self._inside(map(ip_network, (*side.nets, *side.not_nets)))
        yield from self._meant(filter(None, (side.selector, side.not_selector)))
        behind = [text for part in self.cluster.slices if part.service == side.service for text in part.addresses]
        yield from self._inside(map(ip_network, behind))

    def _service(self, side: Side) -> Iterator[int]:
        """The ends of ranges, and the ports beside them."""
        listed = (*side.ports, *side.not_ports)
        yield from _beside(port for port in listed if not isinstance(port, str))
        names = {port for port in listed if isinstance(port, str)}
        yield from (port.port for pod in self.cluster.workloads for port in pod.ports if port.name in names)
        yield from (port for part in self.cluster.slices if part.service == side.service for _, port in part.ports)

    # --- who is where

    @cached_property
    def _labelled(self) -> list[Workload | HostEndpoint | NetworkSet]:
        return [*self.cluster.workloads, *self.cluster.host_endpoints, *self.cluster.network_sets]

    @cached_property
    def _index(self) -> LabelIndex:
        inherited = {name: profile.labels for name, profile in self.cluster.profiles.items()}
        return LabelIndex({n: (each.labels, each.profiles) for n, each in enumerate(self._labelled)}, inherited)

    def _meant(self, selectors: Iterable[str]) -> Iterator[End]:
        for selector in selectors:
            found = [self._labelled[number] for number in sorted(self._index.select(parse(selector)))]
            texts = [thing.nets if isinstance(thing, NetworkSet) else thing.addresses for thing in found]
            yield from self._inside(ip_network(text) for listed in texts for text in listed)

    def _inside(self, nets: Iterable[Net]) -> Iterator[End]:
        """Who in the lab is in one of the nets, and the world around them."""
        found = sorted(set(nets), key=str)
        yield from (end for end in self.here if any(ip_address(end.address) in net for net in found))
        yield from self._world(found)

    def _world(self, nets: Iterable[Net]) -> Iterator[End]:
        """Of each net both ends, their neighbours, and an address inside, unless they are pods, nodes or nobody."""
        here = {end.address for end in self.here}
        for net in nets:
            first, last = int(net[0]), int(net[-1])
            inside = self.lot.randint(first, last)
            for number in dict.fromkeys((first - 1, first, first + 1, inside, last - 1, last, last + 1)):
                if 0 <= number < 2**net.max_prefixlen:
                    address = type(net[0])(number)
                    if str(address) not in here and not any(address in other for other in self._nobody):
                        yield End("world", str(address))


def _here(layout: LabLayout) -> Iterator[End]:
    for pod in layout.built_pods:
        yield from (End("pods", text) for text in pod.addresses)
    for node in layout.built_nodes:
        for _, texts in node.interfaces:
            yield from (End("nodes", text) for text in texts if not ip_address(text).is_link_local)


def _beside(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    for first, last in ranges:
        yield from (port for port in (first - 1, first, last, last + 1) if 0 < port <= LARGEST_PORT)
