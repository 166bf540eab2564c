"""Rules of one IP family as sets of addresses and traffic."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

from felixpy.flows.packets.traffic import Mentions, TrafficSpace
from felixpy.linting.addresses import AddressSpace, family_of, partition
from felixpy.match import match
from felixpy.model import Icmp, NetworkSet, PortRange, Rule, ServiceName, Side, Slice
from felixpy.netfilter.numbers import ICMP, NUMBERS, WITH_PORTS, Range
from felixpy.remembered import remembered
from felixpy.resolve import Shared
from felixpy.rules import EVERYONE, IMPLIED_VERSION, activate
from felixpy.selector import parse

Ranges = tuple[Range, ...]


class PortAddresses(NamedTuple):
    """Addresses that serve one port of one protocol."""

    addresses: int
    protocol: int
    port: int


Rows = tuple[PortAddresses, ...]


class RuleTraffic(NamedTuple):
    """The conditions of a rule apart from addresses; None or () is no condition.

    `icmp` are numbers of type * 256 + code.
    """

    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Range | None = None
    not_icmp: Range | None = None
    source: Ranges = ()
    not_source: Ranges = ()
    destination: Ranges = ()
    not_destination: Ranges = ()


class RuleEnds(NamedTuple):
    """One side of a rule. `addresses` is None for any; `named` are alternatives to numeric ports of the rule.

    `numbered`: there are numeric ports besides the named ones. `backends` are those of a service.
    """

    addresses: int | None = None
    named: Rows | None = None
    numbered: bool = False
    not_named: Rows = ()
    backends: Rows | None = None

    @property
    def masks(self) -> list[int]:
        """All address sets in this side."""
        rows = (*(self.named or ()), *self.not_named, *(self.backends or ()))
        return [row.addresses for row in rows] + ([] if self.addresses is None else [self.addresses])

    @property
    def rows(self) -> Rows:
        return (*(self.named or ()), *self.not_named, *(self.backends or ()))


ANYWHERE = RuleEnds()


class Terms(NamedTuple):
    """A rule in one family. `possible` is false for rules that no packet of the family can match.

    `exact` is false if Felix's iptables rules match more than the rule: with three or more lists that each need rules
    of their own, a later one passes packets on the mark of an earlier one. (felix/rules/policy.go)
    """

    action: str
    possible: bool
    exact: bool
    traffic: RuleTraffic
    source: RuleEnds
    destination: RuleEnds


IMPOSSIBLE = Terms("", False, True, RuleTraffic(), ANYWHERE, ANYWHERE)


class Landscape:
    """The addresses of one family in a cluster, and the conversion of rules to sets of them."""

    def __init__(self, shared: Shared, family: int, nets: Iterable[str] = ()) -> None:
        self.shared, self.family = shared, family
        self.addresses = AddressSpace(family, (*_mentioned(shared), *nets))
        self._pieces: dict[frozenset[int], tuple[int, dict[int, int]]] = {}
        self._by_selector: dict[str, int] = {}
        self._by_port: dict[tuple[str, str], Rows] = {}
        self._sides: dict[tuple[Side, bool], RuleEnds | None] = {}
        self._terms: dict[int, Terms] = {}

    def terms(self, rule: Rule) -> Terms:
        """The terms of a rule of the cluster."""
        found = self._terms.get(id(rule))
        if found is None:
            found = self._terms[id(rule)] = self._read(rule)
        return found

    def selected(self, selector: str) -> int:
        """Addresses of the endpoints and network sets that a selector matches."""
        found = self._by_selector.get(selector)
        if found is None:
            labelled = self.shared.membership.labelled
            nets: list[str] = []
            for number in self.shared.membership.index.select(parse(selector)):
                thing = labelled[number]
                nets += thing.nets if isinstance(thing, NetworkSet) else thing.addresses
            found = self._by_selector[selector] = self.addresses.nets(nets)
        return found

    @cached_property
    def public(self) -> int:
        """Addresses of the public internet that no endpoint has."""
        whole = self.addresses.net(GLOBAL_UNICAST) if self.family == 6 else ~self.addresses.nets(PRIVATE)
        return whole & self._outside

    @cached_property
    def private(self) -> int:
        """All other addresses that no endpoint has."""
        return self._outside & ~self.public

    @cached_property
    def _outside(self) -> int:
        labelled = self.shared.membership.labelled.values()
        known = (net for thing in labelled if not isinstance(thing, NetworkSet) for net in thing.addresses)
        return self.addresses.all & ~self.addresses.nets(known)

    def peers(self, masks: frozenset[int]) -> tuple[int, dict[int, int]]:
        """All addresses, cut into the pieces that the sets distinguish; see `partition`."""
        if masks not in self._pieces:
            self._pieces[masks] = partition(self.addresses.all, sorted(masks))
        return self._pieces[masks]

    def _read(self, rule: Rule) -> Terms:
        implied = IMPLIED_VERSION.get(rule.protocol) if isinstance(rule.protocol, str) else None
        if (rule.ip_version or implied or self.family) != self.family:
            return IMPOSSIBLE._replace(action=rule.action)
        source, destination = self._side(rule.source, True), self._side(rule.destination, False)
        if source is None or destination is None:
            return IMPOSSIBLE._replace(action=rule.action)
        own = NUMBERS["icmp"] if self.family == 4 else NUMBERS["icmpv6"]
        protocol = _number(rule.protocol)
        possible = not (rule.icmp and protocol not in (None, own))
        traffic = RuleTraffic(
            protocol=own if rule.icmp else protocol,
            not_protocol=_number(rule.not_protocol),
            icmp=_icmp(rule.icmp),
            not_icmp=_icmp(rule.not_icmp),
            source=_numeric(rule.source.ports),
            not_source=_numeric(rule.source.not_ports),
            destination=_numeric(rule.destination.ports),
            not_destination=_numeric(rule.destination.not_ports),
        )
        return Terms(rule.action, possible, _is_exact(rule, self.family), traffic, source, destination)

    def _side(self, side: Side, is_source: bool) -> RuleEnds | None:
        """None if no packet of the family can match. (Lists of the other family's networks match nothing.)"""
        key = side, is_source
        if key not in self._sides:
            self._sides[key] = self._read_side(side, is_source)
        return self._sides[key]

    def _read_side(self, side: Side, is_source: bool) -> RuleEnds | None:
        if side == Side():
            return ANYWHERE
        for nets in (side.nets, side.not_nets):
            if nets and not any(family_of(net) == self.family for net in nets):
                return None
        chosen = self.addresses.all
        if side.nets:
            chosen &= self.addresses.nets(side.nets)
        if side.not_nets:
            chosen &= ~self.addresses.nets(side.not_nets)
        selector = side.selector
        if selector and side.not_selector:
            selector = f"({selector}) && (!({side.not_selector}))"
        if selector:
            chosen &= self.selected(selector)
        elif side.not_selector:
            chosen &= ~self.selected(side.not_selector)
        backends = None
        if side.service and is_source:
            chosen &= self.addresses.nets(net for piece in self._slices(side.service) for net in piece.addresses)
        elif side.service:
            backends = self._rows(
                (address, NUMBERS[protocol], port)
                for piece in self._slices(side.service)
                for address in piece.addresses
                for protocol, port in piece.ports
            )
        names = [port for port in side.ports if isinstance(port, str)]
        return RuleEnds(
            addresses=None if chosen == self.addresses.all else chosen,
            named=self._named(selector, names) if names else None,
            numbered=len(names) < len(side.ports),
            not_named=self._named(selector, [port for port in side.not_ports if isinstance(port, str)]),
            backends=backends,
        )

    def _named(self, selector: str, names: Iterable[str]) -> Rows:
        """The ports of these names of the selected endpoints."""
        return tuple(row for name in names for row in self._find_ports(selector or EVERYONE, name))

    def _find_ports(self, selector: str, name: str) -> Rows:
        if (selector, name) not in self._by_port:
            membership = self.shared.membership
            pairs: list[tuple[str, int, int]] = []
            for number in membership.index.select(parse(selector)):
                thing = membership.labelled[number]
                if isinstance(thing, NetworkSet):
                    continue
                for port in thing.ports:
                    if port.name == name and (membership.init_ports or not port.init):
                        pairs += [(address, NUMBERS[port.protocol], port.port) for address in thing.addresses]
            self._by_port[selector, name] = self._rows(pairs)
        return self._by_port[selector, name]

    def _slices(self, service: ServiceName) -> list[Slice]:
        return [piece for piece in self.shared.cluster.slices if piece.service == service]

    def _rows(self, pairs: Iterable[tuple[str, int, int]]) -> Rows:
        found: dict[tuple[int, int], list[str]] = {}
        for address, protocol, port in pairs:
            found.setdefault((protocol, port), []).append(address)
        return tuple(PortAddresses(self.addresses.nets(nets), *key) for key, nets in sorted(found.items()))


def _mentioned(shared: Shared) -> Iterable[str]:
    """Every address of an endpoint, and every network of a rule or network set."""
    cluster = shared.cluster
    for thing in shared.membership.labelled.values():
        yield from thing.nets if isinstance(thing, NetworkSet) else thing.addresses
    for piece in cluster.slices:
        yield from piece.addresses
    rules = [rule for policy in cluster.policies for rule in (*policy.inbound, *policy.outbound)]
    rules += [rule for profile in cluster.profiles.values() for rule in (*profile.inbound, *profile.outbound)]
    for rule in rules:
        for side in (rule.source, rule.destination):
            yield from side.nets
            yield from side.not_nets
    yield from (*PRIVATE, GLOBAL_UNICAST)


PRIVATE = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "224.0.0.0/3",
)  # fmt: skip
"""IPv4 addresses that are not on the public internet. (IANA special-purpose address registry)"""

GLOBAL_UNICAST = "2000::/3"
"""The IPv6 addresses that are."""


def _number(protocol: str | int | None) -> int | None:
    return NUMBERS[protocol] if isinstance(protocol, str) else protocol


def _icmp(icmp: Icmp | None) -> Range | None:
    if icmp is None:
        return None
    first = icmp.type << 8
    return Range(first, first | 0xFF) if icmp.code is None else Range(first | icmp.code, first | icmp.code)


def _numeric(ports: Iterable[PortRange | str]) -> Ranges:
    return tuple(Range(port.first, port.last) for port in ports if isinstance(port, PortRange))


def _is_exact(rule: Rule, family: int) -> bool:
    sides = (rule.source, rule.destination)
    lists = sum((len(side.nets) > 1) + bool(side.not_nets) + (len(side.ports) > 1) for side in sides)
    if lists < 3:
        return True
    found = match(activate(0, rule), family, "0x0")
    return found is None or len(found.blocks) < 3


class Needs(NamedTuple):
    """What a traffic space has to distinguish. `ports` are (protocol, port, whether it is the source's)."""

    family: int
    traffic: frozenset[RuleTraffic]
    ports: frozenset[tuple[int, int, bool]]


@remembered(1 << 14)
def traffic_space(needs: Needs) -> TrafficSpace:
    """The coarsest partition of traffic that the rules need."""
    mentions = Mentions(needs.family)
    for traffic in needs.traffic:
        protocols = [number for number in (traffic.protocol, traffic.not_protocol) if number is not None]
        mentions.protocols.update(protocols)
        of = [traffic.protocol] if traffic.protocol is not None else []
        mentions.icmp(numbers for numbers in (traffic.icmp, traffic.not_icmp) if numbers)
        for ranges, source in (
            (traffic.source, True), (traffic.not_source, True),
            (traffic.destination, False), (traffic.not_destination, False),
        ):  # fmt: skip
            if ranges:
                mentions.ports(of, ranges, source=source)
    for protocol, port, source in needs.ports:
        if protocol in WITH_PORTS:
            mentions.ports([protocol], [Range(port, port)], source=source)
        else:
            mentions.protocols.add(protocol)
    return TrafficSpace(mentions, every_icmp=True, coarse=True)


@remembered(1 << 16)
def traffic_mask(space: TrafficSpace, traffic: RuleTraffic, named: tuple[bool, bool]) -> int:
    """The pieces of a space that a rule matches; `named`: (source, destination) ports are decided by named ports."""
    found = space.all
    if traffic.protocol is not None:
        found &= space.protocol(traffic.protocol)
    if traffic.not_protocol is not None:
        found &= ~space.protocol(traffic.not_protocol)
    if traffic.icmp:
        found &= space.icmp([traffic.icmp])
    if traffic.not_icmp:
        found &= ~space.icmp([traffic.not_icmp])
    for ranges, source, left_out in ((traffic.source, True, named[0]), (traffic.destination, False, named[1])):
        if ranges and not left_out:
            found &= space.ports(ranges, source=source)
    for ranges, source in ((traffic.not_source, True), (traffic.not_destination, False)):
        if ranges:
            found &= ~space.ports(ranges, source=source)
    return found


def port_mask(space: TrafficSpace, protocol: int, port: int, *, source: bool) -> int:
    """The pieces of a space for one port of one protocol."""
    if protocol not in WITH_PORTS:
        return space.protocol(protocol) if protocol not in ICMP.values() else 0
    return space.service(protocol, port, source=source)
