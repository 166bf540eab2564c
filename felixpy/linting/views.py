"""Which policies decide about the packets of which endpoints, with exact sets of packets.

The packets of an endpoint in one direction are all combinations of its own address, the other end's address and the
traffic. Addresses and traffic are cut into the pieces that the endpoint's policies distinguish, which are few, so a set
of packets is a small integer. Endpoints with equivalent policies share a `View`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from felixpy.flows.packets.traffic import TrafficSpace
from felixpy.linting.addresses import family_of, partition
from felixpy.linting.chains import PolicyStep, TierChain, TierPolicies, profile_rest
from felixpy.linting.terms import (
    Landscape,
    Needs,
    Ranges,
    Rows,
    RuleEnds,
    Terms,
    port_mask,
    traffic_mask,
    traffic_space,
)
from felixpy.model import HostEndpoint, NetworkSet, Policy, PolicyKey, Workload
from felixpy.remembered import remembered
from felixpy.resolve import Shared
from felixpy.selector import parse

Direction = Literal["ingress", "egress"]
Section = Literal["normal", "forward", "untracked", "pre-dnat"]

DIRECTIONS: tuple[Direction, ...] = ("ingress", "egress")

LARGEST = 1 << 23
"""The maximum of combinations of addresses and traffic in one view; a megabyte for each set of packets."""

Asked = frozenset[tuple[int, int, bool]]
"""Ports that are distinguished although no rule mentions them: (protocol, port, whether the source's)."""


class PacketSpace:
    """The pieces that one view distinguishes; a set of packets has a bit for each combination of them."""

    def __init__(
        self, space: TrafficSpace, own: Mapping[int, int], peers: Mapping[int, int], sizes: tuple[int, int]
    ) -> None:
        self.space, self._own, self._peers = space, own, peers
        self._own_size, self._peer_size = sizes
        self._width = space.all.bit_length()
        self.all_peers = (1 << self._peer_size) - 1
        self._all_own = (1 << self._own_size) - 1
        self.everything = (1 << self._own_size * self._peer_size * self._width) - 1

    def box(self, own: int, peers: int, traffic: int) -> int:
        """The packets with these addresses and traffic, each given as bits of pieces."""
        return _spread(own, self._width * self._peer_size) * _spread(peers, self._width) * traffic

    def traffic(self, traffic: int) -> int:
        """The packets with some traffic between any addresses."""
        return self.box(self._all_own, self.all_peers, traffic)

    def port(self, protocol: int, port: int) -> int:
        """The packets to a destination port, which must be among those that the view distinguishes."""
        return self.traffic(port_mask(self.space, protocol, port, source=False))

    def with_peers(self, addresses: int) -> int:
        """All packets to or from addresses, which must be mentioned."""
        return self.box(self._all_own, self._peers[addresses], self.space.all)

    def traffic_of(self, packets: int) -> int:
        """The traffic of some packets, regardless of addresses."""
        found, mask = 0, self.space.all
        while packets:
            found |= packets & mask
            packets >>= self._width
        return found

    def packets(self, terms: Terms, inward: bool) -> int:
        """The packets that a rule matches."""
        if not terms.possible:
            return 0
        named = terms.source.named is not None, terms.destination.named is not None
        traffic = traffic_mask(self.space, terms.traffic, named)
        own, peer = (terms.destination, terms.source) if inward else (terms.source, terms.destination)
        found = self.box(self._bits(own, True), self._bits(peer, False), traffic)
        for ends, is_source, ranges in (
            (terms.source, True, terms.traffic.source),
            (terms.destination, False, terms.traffic.destination),
        ):
            found = self._with_ports(found, ends, ranges, is_own=is_source != inward, is_source=is_source)
        return found

    def _bits(self, ends: RuleEnds, is_own: bool) -> int:
        if ends.addresses is None:
            return self._all_own if is_own else self.all_peers
        return (self._own if is_own else self._peers)[ends.addresses]

    def _with_ports(self, found: int, ends: RuleEnds, ranges: Ranges, *, is_own: bool, is_source: bool) -> int:
        """The packets in `found` whose ports of one side match, for ports that depend on addresses."""
        if ends.named is not None:
            fitting = self._rows(ends.named, is_own, is_source)
            if ends.numbered:
                fitting |= self.traffic(self.space.ports(ranges, source=is_source))
            found &= fitting
        if ends.not_named:
            found &= ~self._rows(ends.not_named, is_own, is_source)
        if ends.backends is not None:
            found &= self._rows(ends.backends, is_own, is_source)
        return found

    def _rows(self, rows: Rows, is_own: bool, is_source: bool) -> int:
        found = 0
        for addresses, protocol, port in rows:
            traffic = port_mask(self.space, protocol, port, source=is_source)
            if is_own:
                found |= self.box(self._own[addresses], self.all_peers, traffic)
            else:
                found |= self.box(self._all_own, self._peers[addresses], traffic)
        return found


@remembered(1 << 16)
def _spread(bits: int, stride: int) -> int:
    """The bits, `stride` apart.

    >>> bin(_spread(0b101, 3))
    '0b1000001'
    """
    found = 0
    while bits:
        lowest = bits & -bits
        found |= 1 << (lowest.bit_length() - 1) * stride
        bits ^= lowest
    return found


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Endpoints (by number) whose packets in one direction and family pass through the same chain.

    `policies` are in the order of the chain's tiers. In section "normal" the chain decides what the endpoint allows;
    the other sections are for host endpoints' forwarded, untracked and pre-DNAT packets.
    """

    family: int
    direction: Direction
    section: Section
    endpoints: tuple[int, ...]
    policies: tuple[tuple[Policy, ...], ...]
    chain: TierChain
    pieces: PacketSpace


class Views:
    """All views of a cluster, and the policies that could not be analysed, with the reason."""

    def __init__(
        self, shared: Shared, families: Sequence[int], asked: Asked = frozenset(), nets: Iterable[str] = ()
    ) -> None:
        self.shared, self.asked = shared, asked
        self.unknown: dict[PolicyKey, str] = {}
        self.all: list[View] = []
        self.landscapes = {family: Landscape(shared, family, nets) for family in families}
        self._passes = {name: tier.passes for name, tier in shared.cluster.tiers.items()}
        self._chains: dict[TierChain, TierChain] = {}
        self._build()

    def _build(self) -> None:
        stacks = self._stacks()
        for family, landscape in self.landscapes.items():
            for (policies, profiles, section), everywhere in stacks.items():
                numbers = self._in_family(everywhere, family)
                if not numbers:
                    continue
                for direction in DIRECTIONS if section != "pre-dnat" else DIRECTIONS[:1]:
                    stack = _Stack(landscape, policies, profiles, direction, section, self.asked)
                    self.all += self._views(stack, numbers, landscape)

    def _in_family(self, numbers: Iterable[int], family: int) -> list[int]:
        labelled = self.shared.membership.labelled
        return [
            number
            for number in numbers
            if isinstance(thing := labelled[number], HostEndpoint)
            or (isinstance(thing, Workload) and any(family_of(address) == family for address in thing.addresses))
        ]

    def _stacks(self) -> dict[tuple[tuple[Policy, ...], tuple[str, ...], Section], list[int]]:
        """Endpoints by their policies, in order, their profiles and the section."""
        applied: dict[int, list[Policy]] = {}
        index, labelled = self.shared.membership.index, self.shared.membership.labelled
        endpoints = frozenset(number for numbers in self.shared.local.values() for number in numbers)
        for number in endpoints:
            applied[number] = []
        for _, policies in self.shared.tiers:
            for policy in policies:
                if not policy.staged:
                    for number in index.select(parse(policy.selector), endpoints):
                        applied[number].append(policy)
        found: dict[tuple[tuple[int, ...], tuple[str, ...], Section], list[int]] = {}
        by_id = {id(policy): policy for policies in applied.values() for policy in policies}
        for number, chosen in applied.items():
            thing = labelled[number]
            assert not isinstance(thing, NetworkSet)
            for section, part in _sections(chosen, host=isinstance(thing, HostEndpoint)):
                found.setdefault((tuple(map(id, part)), thing.profiles, section), []).append(number)
        return {
            (tuple(by_id[key] for key in policies), profiles, section): sorted(numbers)
            for (policies, profiles, section), numbers in found.items()
        }

    def _views(self, stack: _Stack, numbers: Sequence[int], landscape: Landscape) -> Iterator[View]:
        if stack.unknown:
            self.unknown.update(dict.fromkeys((policy.key for policy in stack.policies), stack.unknown))
            return
        labelled = self.shared.membership.labelled
        alike: dict[tuple[int, ...], list[int]] = {}
        owns: dict[tuple[int, ...], int] = {}
        for number in numbers:
            thing = labelled[number]
            if isinstance(thing, HostEndpoint):
                own = landscape.addresses.all
            else:
                assert isinstance(thing, Workload)
                own = landscape.addresses.nets(thing.addresses)
            single = not own & (own - 1)
            key = tuple(1 if own & mask else 0 for mask in stack.own_masks) if single else (own,)
            alike.setdefault(key, []).append(number)
            owns.setdefault(key, own)
        for key, members in alike.items():
            pieces = stack.pieces(owns[key])
            if pieces is None:
                reason = "its rules tell too many addresses and ports apart"
                self.unknown.update(dict.fromkeys((policy.key for policy in stack.policies), reason))
                continue
            chain = stack.chain(pieces, self._passes)
            chain = self._chains.setdefault(chain, chain)
            yield View(
                stack.landscape.family, stack.direction, stack.section, tuple(members), stack.by_tier, chain, pieces
            )


def _sections(policies: Sequence[Policy], *, host: bool) -> Iterator[tuple[Section, list[Policy]]]:
    """The sections in which the policies of an endpoint are enforced, as the resolver assigns them."""
    ordinary = [policy for policy in policies if not policy.do_not_track and not policy.pre_dnat]
    yield "normal", ordinary
    if not host:
        return
    sections: tuple[tuple[Section, list[Policy]], ...] = (
        ("forward", [policy for policy in ordinary if policy.apply_on_forward]),
        ("untracked", [policy for policy in policies if policy.do_not_track]),
        ("pre-dnat", [policy for policy in policies if policy.pre_dnat and not policy.do_not_track]),
    )
    yield from ((section, chosen) for section, chosen in sections if chosen)


class _Stack:
    """Policies and profiles of some endpoints in one direction, with the terms of their rules."""

    def __init__(
        self,
        landscape: Landscape,
        policies: Sequence[Policy],
        profiles: Sequence[str],
        direction: Direction,
        section: Section,
        asked: Asked,
    ) -> None:
        self.landscape, self.direction, self.section = landscape, direction, section
        self.inward = direction == "ingress"
        self.policies = [policy for policy in policies if (policy.ingress if self.inward else policy.egress)]
        self.by_tier = tuple(map(tuple, _by_tier(self.policies)))
        self._policy_terms = [[self._terms(policy.inbound, policy.outbound) for policy in t] for t in self.by_tier]
        self._profile_terms = [self._profile(name) for name in profiles] if section == "normal" else []
        every = [terms for tier in self._policy_terms for rules in tier for terms in rules]
        every += [terms for rules in self._profile_terms for terms in rules or ()]
        possible = list({id(terms): terms for terms in every if terms.possible}.values())
        self.unknown = _why_unknown(every, [terms for rules in self._profile_terms for terms in rules or ()])
        own = {mask for terms in possible for mask in (terms.destination if self.inward else terms.source).masks}
        self.own_masks = sorted(own)
        self._peer_masks = frozenset(
            {mask for terms in possible for mask in (terms.source if self.inward else terms.destination).masks}
            | {landscape.public, landscape.private}
        )
        rows = [
            (row.protocol, row.port, is_source)
            for terms in possible
            for ends, is_source in ((terms.source, True), (terms.destination, False))
            for row in ends.rows
        ]
        self._needs = Needs(landscape.family, frozenset(terms.traffic for terms in possible), asked.union(rows))

    def _terms(self, *rules: Sequence) -> list[Terms]:  # type: ignore[type-arg]
        return [self.landscape.terms(rule) for rule in rules[0 if self.inward else 1]]

    def _profile(self, name: str) -> list[Terms] | None:
        """The terms of a profile; None if it does not exist, which Felix treats as a profile that denies everything."""
        profile = self.landscape.shared.cluster.profiles.get(name)
        return None if profile is None else self._terms(profile.inbound, profile.outbound)

    def pieces(self, own: int) -> PacketSpace | None:
        """The packet space for endpoints with these addresses; None if it would be too large."""
        space = traffic_space(self._needs)
        own_size, own_bits = partition(own, self.own_masks)
        peer_size, peer_bits = self.landscape.peers(self._peer_masks)
        if own_size * peer_size * space.all.bit_length() > LARGEST:
            return None
        return PacketSpace(space, own_bits, peer_bits, (own_size, peer_size))

    def chain(self, pieces: PacketSpace, passes: Mapping[str, bool]) -> TierChain:
        def steps(rules: Sequence[Terms]) -> tuple[PolicyStep, ...]:
            return tuple(PolicyStep(terms.action, pieces.packets(terms, self.inward)) for terms in rules)

        tiers = tuple(
            TierPolicies(passes.get(policies[0].tier, False), tuple(map(steps, terms)))
            for policies, terms in zip(self.by_tier, self._policy_terms, strict=True)
        )
        if self.section != "normal":
            return TierChain(tiers, pieces.everything, pieces.everything)
        denies = (PolicyStep("deny", pieces.everything),)
        profiles = [denies if rules is None else steps(rules) for rules in self._profile_terms]
        return TierChain(tiers, pieces.everything, profile_rest(profiles, pieces.everything))


def _why_unknown(every: Sequence[Terms], of_profiles: Sequence[Terms]) -> str:
    """Why rules are not analysed: Felix's iptables rules match more than they should; "" if all are analysed."""
    if any(not terms.exact for terms in every):
        return "a rule has three or more lists, which Felix's rules read in their own way"
    if any(terms.action == "next-tier" for terms in of_profiles):
        # Its rule returns on the pass mark, which an earlier tier may have set.
        return "a rule of a profile passes, which Felix also does for packets that passed a tier"
    return ""


def _by_tier(policies: Sequence[Policy]) -> list[list[Policy]]:
    """The policies grouped by tier; they are sorted by tier already."""
    found: list[list[Policy]] = []
    for policy in policies:
        if not found or found[-1][0].tier != policy.tier:
            found.append([])
        found[-1].append(policy)
    return found
