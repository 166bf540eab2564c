"""Rules from the point of view of one end of a connection: criteria become packet sets of traffic and peers.

For a sender, the source is its own address and destinations are peers; for a receiver it is the other way round. What
depends on the end itself, its address and interfaces, is a `Factor`, which is evaluated for each end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Protocol as Shape

from felixpy.flows.packets.packet_sets import PacketSet, join, meet, minus, product, union
from felixpy.flows.packets.peers import AddressOwners, Layer, Layers
from felixpy.flows.packets.tags import (
    DNAT,
    EARLY,
    ESTABLISHED,
    INVALID,
    RELATED,
    SPOOFED,
    STATELESS,
    UNTRACKED,
    tag_test,
)
from felixpy.flows.packets.traffic import TrafficSpace
from felixpy.flows.programs.code import ChainCode, OpenQuestion, RuleCode, SetCode
from felixpy.flows.programs.views import ChainView, Direction, Factor, RuleView, own_interface
from felixpy.netfilter.actions import Nothing
from felixpy.netfilter.criteria import (
    AddressIn,
    Assumed,
    Constant,
    Criterion,
    IcmpTypes,
    InSet,
    Interface,
    Local,
    Marked,
    Masked,
    NotUnderstood,
    Ports,
    Protocol,
    ReversePath,
    Side,
    TcpFlags,
    Test,
    Tracked,
)
from felixpy.netfilter.numbers import ACK, BITS, STATES, SYN, Range
from felixpy.walk.members import Member

MANY_PEERS = 32_768
"""Number of peers (bits of a mask) from which on the packets of rules with nets are not cached."""

SOURCES: Mapping[Side, str] = {"source": "src", "destination": "dst"}


class Others(Shape):
    """Peers that are not endpoints: `mask` is the mask of all, `peers` that of those inside of layers."""

    @property
    def mask(self) -> int: ...

    def peers(self, layers: Layers) -> int: ...


class Perspective:
    """One family on one side of a comparison, in one direction.

    `questions` are conditions that no packet decides, each with the bit of a tag that is its answer. Without them
    assumed answers apply, and rules that are not understood are read in both ways (`Evaluator.readings`).
    """

    def __init__(
        self,
        space: TrafficSpace,
        directory: AddressOwners,
        externals: Others,
        direction: Direction,
        questions: Mapping[OpenQuestion, int] = MappingProxyType({}),
    ) -> None:
        self.space, self.direction, self.questions = space, direction, questions
        self._directory, self._externals = directory, externals
        self.everybody = union(directory.owners.values()) | externals.mask
        self.all: PacketSet = product(space.all, self.everybody)
        self._many_peers = self.everybody.bit_length() > MANY_PEERS
        self._own: Side = "source" if direction == "egress" else "destination"
        self._views: dict[int, ChainView] = {}
        self._lines: dict[tuple[int, ...], RuleView | None] = {}
        """By the identities of body, target and sets, all of which the library keeps."""
        self._factors: dict[tuple[Test, SetCode | None], Factor] = {}
        self._packet_sets: dict[Factor, PacketSet | None] = {}
        self._ranges: dict[Range, int] = {}
        self._indexes: dict[tuple[SetCode, tuple[str, ...]], _Index] = {}

    def peers(self, layers: Layers) -> int:
        return self._directory.peers(layers) | self._externals.peers(layers)

    # --- chains

    def view(self, chain: ChainCode) -> ChainView:
        found = self._views.get(id(chain))
        if found is None:
            lines = [line for rule in chain.rules if (line := self._line(rule))]
            found = self._views[id(chain)] = ChainView(chain, lines, self.view)
        return found

    def _line(self, rule: RuleCode) -> RuleView | None:
        """Return the view of a rule, None if it does nothing or never applies. Equal rules share one view.

        Rules that can be in doubt have one each, as each is reported with its own place.
        """
        key = id(rule.body), id(rule.target), *map(id, rule.sets.values())
        if key in self._lines:
            return self._lines[key]
        line = self._read_line(rule)
        if line is None or not (line.unknown or line.own):
            self._lines[key] = line
        return line

    def _read_line(self, rule: RuleCode) -> RuleView | None:
        tags: list[tuple[int, int, bool]] = []
        unknown = self._unknown(rule, tags)
        if isinstance(rule.action, Nothing) and not unknown:
            return None
        by_tag: list[Test] = []
        factors: list[Factor] = []
        nets: list[Factor] = []
        packets = self.all
        for test in rule.body.tests:
            if isinstance(test.criterion, Marked):
                tags.append(tag_test(test.criterion, negated=test.negated))
            elif isinstance(test.criterion, BY_TAG):
                by_tag.append(test)
            elif isinstance(test.criterion, Masked | NotUnderstood) or self._question(test.criterion):
                continue
            elif not isinstance(test.criterion, InSet) or rule.sets[test.criterion.name]:
                code = rule.sets[test.criterion.name] if isinstance(test.criterion, InSet) else None
                factor = self._factor(test, code)
                if self._many_peers and isinstance(test.criterion, AddressIn) and test.criterion.side != self._own:
                    nets.append(factor)
                    continue
                value = self._packets(factor)
                if value is None:
                    factors.append(factor)
                else:
                    packets = value if packets is self.all else meet(packets, value)
        if not packets:
            return None
        return RuleView(
            rule=rule,
            tags=tuple(tags),
            by_tag=tuple(by_tag),
            fixed=None if packets is self.all else packets,
            reading=partial(self._nets, nets) if nets else None,
            factors=tuple(factors),
            own=tuple(factor for factor in factors if factor.own),
            unknown=unknown,
            action=rule.action,
            target=rule.target,
            interface=own_interface(factors, self.direction),
        )

    def _unknown(self, rule: RuleCode, tags: list[tuple[int, int, bool]]) -> str:
        """Return what is not understood about a rule; questions with an answer in the tag become tests of its bit."""
        questions = rule.questions()
        for question in questions:
            bit = self.questions.get(question)
            if bit:
                tags.append((bit, bit, False))
        return "" if self.questions else ", ".join(question.words for question in questions if question.is_open)

    def _question(self, criterion: Criterion) -> bool:
        """Return whether the answer to a criterion is a bit of the tag."""
        return isinstance(criterion, Assumed) and bool(self.questions)

    # --- criteria

    def _factor(self, test: Test, code: SetCode | None) -> Factor:
        known = self._factors.get((test, code))
        if known is None:
            criterion = test.criterion
            own = criterion.side == self._own if isinstance(criterion, Local) else not isinstance(criterion, Interface)
            known = self._factors[test, code] = Factor(test, code, own)
        return known

    def _nets(self, factors: Sequence[Factor]) -> PacketSet:
        """Return what criteria about the other end's address let through."""
        peers = self.everybody
        for factor in factors:
            criterion, negated = factor.test
            assert isinstance(criterion, AddressIn)
            inside = self.peers(tuple(map(Layer, criterion.ranges)))
            peers &= ~inside if negated else inside
        return self.of_peers(peers)

    def _packets(self, factor: Factor) -> PacketSet | None:
        """Return what a criterion lets through; None if that depends on the end."""
        if factor not in self._packet_sets:
            criterion, negated = factor.test
            value = self._read(criterion, factor.code)
            self._packet_sets[factor] = minus(self.all, value) if negated and value is not None else value
        return self._packet_sets[factor]

    def _read(self, criterion: Criterion, code: SetCode | None) -> PacketSet | None:
        match criterion:
            case AddressIn(side, ranges):
                return None if side == self._own else self.of_peers(self.peers(tuple(map(Layer, ranges))))
            case InSet(_, sides):
                assert code is not None
                return self._listed(code, sides)
            case Protocol(number):
                return self.of_traffic(self.space.protocol(number))
            case Ports(sides, ranges):
                sources = (self.space.ports(ranges, source=side == "source") for side in sides)
                return self.of_traffic(union(sources))
            case IcmpTypes(types):
                return self.of_traffic(self.space.icmp([types]))
            case Constant(holds) | Assumed(_, _, holds):
                return self.all if holds else {}
            case _:
                return None

    def of_traffic(self, traffic: int) -> PacketSet:
        return product(traffic, self.everybody)

    def of_peers(self, peers: int) -> PacketSet:
        return product(self.space.all, peers)

    def _listed(self, code: SetCode, sides: tuple[str, ...]) -> PacketSet | None:
        if len(sides) < len(code.dimensions):
            return {}
        own = SOURCES[self._own]
        if any(kind != "port" and side == own for kind, side in zip(code.dimensions, sides, strict=False)):
            return None
        if len(code.dimensions) == 1 and code.dimensions[0] != "port":
            return self.of_peers(self.peers(code.layers))
        return self._rows(code.rows, code, sides, None)

    # --- values that depend on the end

    def own_value(self, factor: Factor, own: int) -> PacketSet:
        """Return the value of a factor about the end's own address."""
        criterion, negated = factor.test
        if isinstance(criterion, AddressIn):
            value = self.all if any(low <= own <= high for low, high in criterion.ranges) else {}
        else:
            assert isinstance(criterion, InSet)
            assert factor.code is not None
            value = self._own_listed(factor.code, criterion.sides, own)
        return minus(self.all, value) if negated else value

    def _own_listed(self, code: SetCode, sides: tuple[str, ...], own: int) -> PacketSet:
        if len(code.dimensions) == 1:
            return self.all if code.holds(own) else {}
        key = code, sides
        if key not in self._indexes:
            self._indexes[key] = _Index(code, sides, SOURCES[self._own])
        return self._rows(self._indexes[key].rows(own), code, sides, own)

    def _rows(self, rows: Iterable[Member], code: SetCode, sides: tuple[str, ...], own: int | None) -> PacketSet:
        """Return what members of several dimensions let through; the first member that a packet meets decides."""
        by_peers: dict[int, int] = {}
        inside: PacketSet = {}
        decided: PacketSet = {}
        for row in rows:
            traffic, peers = self._row(row, code, sides, own)
            if code.is_exact:
                by_peers[peers] = by_peers.get(peers, 0) | traffic
                continue
            piece = minus(product(traffic, peers), decided)
            decided = join(decided, piece)
            if not row.excludes:
                inside = join(inside, piece)
        for peers, traffic in by_peers.items():
            if traffic and peers:
                inside[traffic] = inside.get(traffic, 0) | peers
        return inside

    def _row(self, row: Member, code: SetCode, sides: tuple[str, ...], own: int | None) -> tuple[int, int]:
        traffic, peers = self.space.all, self.everybody
        lengths = iter(row.lengths)
        for kind, side, value in zip(code.dimensions, sides, row.values, strict=False):
            if kind == "port":
                assert isinstance(value, tuple)
                protocol, number = value
                traffic &= self.space.service(protocol, number, source=side == "src")
                continue
            assert isinstance(value, int)
            addresses = member_range(value, next(lengths), code.family)
            if side != SOURCES[self._own]:
                peers &= self._of_range(addresses)
            elif own is None or not addresses.first <= own <= addresses.last:
                peers = 0
        return traffic, peers

    def _of_range(self, addresses: Range) -> int:
        if addresses not in self._ranges:
            self._ranges[addresses] = self.peers((Layer(addresses),))
        return self._ranges[addresses]

    # --- values that depend on the tag

    def by_tag(self, tag: int, test: Test) -> int:
        """Return the mask of traffic that meets a criterion about connection states, TCP flags or the reverse path."""
        match test.criterion:
            case Tracked(states):
                found = self._tracked(tag, states)
            case TcpFlags(examined, wanted):
                flags = ACK if tag & (ESTABLISHED | RELATED | INVALID | STATELESS) else SYN
                found = self.space.all if flags & examined == wanted else 0
            case ReversePath(fails):
                found = self.space.all if bool(tag & SPOOFED) is fails else 0
            case _:
                raise AssertionError(test)
        return self.space.all & ~found if test.negated else found

    def _tracked(self, tag: int, states: int) -> int:
        """Return the mask of traffic in any of some states (bits of `STATES`).

        Before connection tracking all of it is INVALID, except for what rules exclude from tracking.
        """
        everything = self.space.all
        found = everything if tag & DNAT and states & STATES["DNAT"] else 0
        if tag & EARLY and not tag & UNTRACKED:
            return found | (everything if states & STATES["INVALID"] else 0)
        if tag & (UNTRACKED | STATELESS):
            return found | (everything if states & STATES["UNTRACKED"] else 0)
        found |= self.space.untracked if states & STATES["UNTRACKED"] else 0
        for name, of_state in self._states(tag).items():
            found |= of_state if states & STATES[name] else 0
        return found

    def opening(self, tag: int) -> int:
        """Return the mask of traffic that opens a connection."""
        return 0 if tag & (EARLY | UNTRACKED | STATELESS) else self._states(tag).get("NEW", 0)

    def without_connection(self, tag: int) -> int:
        """Return the mask of traffic without a connection, which rules can exclude from tracking. (nft_ct.c)"""
        if tag & EARLY:
            return self.space.all
        return 0 if tag & (UNTRACKED | STATELESS) else self._states(tag).get("INVALID", 0)

    def _states(self, tag: int) -> Mapping[str, int]:
        tracked = self.space.all & ~self.space.untracked
        for name, bit in (("ESTABLISHED", ESTABLISHED), ("RELATED", RELATED), ("INVALID", INVALID)):
            if tag & bit:
                return {name: tracked}
        return {"NEW": tracked & ~self.space.unasked, "INVALID": self.space.unasked}


BY_TAG = (Tracked, TcpFlags, ReversePath)


class _Index:
    """The members of a set of several dimensions by the end's own address."""

    def __init__(self, code: SetCode, sides: tuple[str, ...], own: str) -> None:
        self._single: dict[int, list[Member]] | None = {} if code.is_exact else None
        self._all = code.rows
        if self._single is not None:
            kinds = [(kind, side) for kind, side in zip(code.dimensions, sides, strict=False)]
            at = next(number for number, (kind, side) in enumerate(kinds) if kind != "port" and side == own)
            for row in code.rows:
                value = row.values[at]
                assert isinstance(value, int)
                self._single.setdefault(value, []).append(row)

    def rows(self, own: int) -> Iterable[Member]:
        return self._all if self._single is None else self._single.get(own, ())


def member_range(address: int, length: int, family: int) -> Range:
    """Return the addresses of a member with a prefix length."""
    free = BITS[family] - length
    first = address >> free << free
    return Range(first, first | (1 << free) - 1)
