"""The ways of packets through the hooks of a node: from an endpoint to all peers, and from all peers to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import NamedTuple

from felixpy.flows.packets.packet_sets import PacketSet, join, join_all, meet, of_peers, union
from felixpy.flows.packets.tags import EARLY, new_source
from felixpy.flows.programs.alike import Own, SharedAnswers
from felixpy.flows.programs.code import ChainCode, NodeProgram
from felixpy.flows.programs.evaluation import ByInterface, Evaluator, Memory, Receivers, Site, States, about, add
from felixpy.flows.programs.hooks import Log, through
from felixpy.flows.programs.perspective import Perspective
from felixpy.flows.programs.views import Direction, RuleView
from felixpy.names import limited
from felixpy.netfilter.actions import Final
from felixpy.netfilter.numbers import parse_address
from felixpy.plan.endpoints import FROM_WORKLOAD
from felixpy.walk import Machine


class EndpointPlace(NamedTuple):
    """An endpoint on its node: its mask as a peer, its address (None if unknown) and interface ("" for the node)."""

    bit: int
    address: int | None
    interface: str


@dataclass(frozen=True, slots=True)
class Half:
    """What one end lets through; for packets that are `translated` the other end sees another source.

    These are by the new address, -1 for an address of the node. `unsure` is what could be treated differently because
    of rules that are not understood, which are in `doubts`.
    """

    allowed: PacketSet = field(default_factory=dict)
    translated: Mapping[int, PacketSet] = field(default_factory=dict)
    unsure: PacketSet = field(default_factory=dict)
    doubts: tuple[RuleView, ...] = ()


class _Sender(NamedTuple):
    """An endpoint whose packets leave by some interfaces; `known` caches outcomes of chains for them."""

    place: EndpointPlace
    leave: ByInterface
    known: SharedAnswers
    readings: bool


class Perspectives(NamedTuple):
    """The perspectives of both directions, of one family on one side."""

    egress: Perspective
    ingress: Perspective


class Crossing:
    """One node in one family: its rules, its interfaces and the endpoints behind them.

    `owners` are the masks of all endpoints by address, `routes` the masks of peers that each interface leads to. Of the
    peers on the node (`here`, a mask) those in `places` receive packets from the node. If the node represents others as
    well, `away` are the routes of one of the others, on which the pods of this node are elsewhere.
    """

    def __init__(
        self,
        program: NodeProgram,
        machine: Machine,
        perspectives: Perspectives,
        memory: Memory,
        *,
        owners: Mapping[int, int],
        routes: Mapping[str, int],
        places: Iterable[EndpointPlace] = (),
        here: int = 0,
        away: Mapping[str, int] | None = None,
    ) -> None:
        self._program, self._perspectives, self._memory = program, perspectives, memory
        self._places = {place.bit: place for place in places if place.bit and place.interface}
        self._everybody = perspectives.egress.everybody
        self._routes = self._with_uplink(routes, machine)
        self._away = self._routes if away is None else self._with_uplink(away, machine)
        self._nowhere = self._only("")
        self._site = _site(machine, perspectives.egress.space.family, owners)
        self._own = self._site.local_peers[""]
        self._here = self._own | here
        self._receivers: dict[bool, Receivers] = {}
        self._addresses: dict[tuple[EndpointPlace, Direction], Own] = {}

    def _with_uplink(self, routes: Mapping[str, int], machine: Machine) -> ByInterface:
        """Return the routes with all peers that no interface leads to behind the uplink."""
        beyond = self._everybody & ~union(routes.values())
        return ByInterface({**routes, machine.uplink: routes.get(machine.uplink, 0) | beyond})

    # --- both directions

    def egress(self, place: EndpointPlace) -> tuple[Half, Half]:
        """Return what an endpoint may send to peers of the same node (the whole way), and to peers elsewhere.

        Without `away` both are the same half, about all peers.
        """
        known = SharedAnswers()
        if self._away is self._routes:
            half = self._sent(place, -1, self._routes, known)
            return half, half
        near = self._sent(place, self._own | union(self._places), self._routes, known)
        return near, self._sent(place, ~self._own, self._away, known)

    def _sent(self, place: EndpointPlace, peers: int, leave: ByInterface, known: SharedAnswers) -> Half:
        start = of_peers(self._perspectives.egress.all, self._everybody & peers & ~place.bit)
        return _half(lambda log, readings: self._out(_Sender(place, leave, known, readings), start, log))

    def ingress(self, place: EndpointPlace) -> Half:
        """Return what an endpoint may receive from outside of its node, whatever source NAT sets at the end."""
        here = self._here if self._away is self._routes else self._own
        start = of_peers(self._perspectives.ingress.all, self._everybody & ~here & ~place.bit)
        half = _half(lambda log, readings: self._into(place, start, log, readings))
        arrived = join_all((half.allowed, *half.translated.values()))
        return replace(half, allowed=arrived, translated={})

    def never(self, place: EndpointPlace) -> int:
        """Return the mask of traffic that a pod may never send: its chain drops it before it applies policies."""
        chain = self._program.chain("filter", limited(FROM_WORKLOAD, place.interface)) if place.interface else None
        try:
            return _dropped_first(self._perspectives.egress, chain) if chain else 0
        except KeyError:  # no rule leads to the chain, so traffic that it alone mentions has no pieces
            return 0

    def _out(self, sender: _Sender, start: PacketSet, log: Log) -> States:
        """Return the packets of a sender that get through, to the node itself (INPUT) or onward (FORWARD, OUTPUT)."""
        if not sender.place.interface:
            evaluator = self._sending(sender)
            states = through(self._program, evaluator, "OUTPUT", {EARLY: start}, log)
            return through(self._program, evaluator, "POSTROUTING", states, log)
        nowhere = self._sending(sender._replace(leave=self._nowhere))
        states = through(self._program, nowhere, "PREROUTING", {EARLY: start}, log)
        ended = through(self._program, nowhere, "INPUT", about(states, self._own), log)
        evaluator = self._sending(sender)
        states = through(self._program, evaluator, "FORWARD", about(states, self._everybody & ~self._own), log)
        for tag, packets in through(self._program, evaluator, "POSTROUTING", states, log).items():
            add(ended, tag, packets)
        return ended

    def _into(self, place: EndpointPlace, start: PacketSet, log: Log, readings: bool) -> States:
        before = self._receiving(place, "", readings, self._away)
        states = through(self._program, before, "PREROUTING", {EARLY: start}, log)
        if not place.interface:
            return through(self._program, before, "INPUT", states, log)
        evaluator = self._receiving(place, place.interface, readings, self._away)
        states = through(self._program, evaluator, "FORWARD", states, log)
        return through(self._program, evaluator, "POSTROUTING", states, log)

    # --- evaluators

    def _only(self, interface: str) -> ByInterface:
        return ByInterface({interface: self._everybody})

    def _sending(self, sender: _Sender) -> Evaluator:
        place, leave, known, readings = sender
        evaluator = self._evaluator(place, "egress", place.interface, readings)
        evaluator.incoming, evaluator.outgoing = self._only(place.interface), leave
        evaluator.known, evaluator.for_all = known, True
        if leave is self._routes and place.bit:
            evaluator.receivers = self._receiving_all(readings)
        return evaluator

    def _receiving(self, place: EndpointPlace, leave: str, readings: bool, come: ByInterface) -> Evaluator:
        """Return an evaluator of a receiver; packets for the node arrive by the interface that has its address."""
        evaluator = self._evaluator(place, "ingress", leave, readings)
        own = self._site.interface_of(place.address) if not place.interface else ""
        evaluator.incoming, evaluator.outgoing = self._only(own) if own else come, self._only(leave)
        return evaluator

    def _evaluator(self, place: EndpointPlace, direction: Direction, interface: str, readings: bool) -> Evaluator:
        perspective = self._perspectives.egress if direction == "egress" else self._perspectives.ingress
        key = place, direction
        if key not in self._addresses:
            self._addresses[key] = Own(perspective, place.address, self._site.interfaces_of(place.address))
        return Evaluator(
            perspective=perspective,
            site=self._site,
            own=self._addresses[key],
            bit=place.bit,
            interface=interface,
            memory=self._memory,
            readings=readings,
        )

    def _receiving_all(self, readings: bool) -> Receivers:
        """Return the evaluators of local pods for forwarded packets to them."""
        if readings not in self._receivers:
            evaluators = [
                self._receiving(place, place.interface, readings, self._routes) for place in self._places.values()
            ]
            self._receivers[readings] = Receivers(evaluators, self._here)
        return self._receivers[readings]


def _half(go: Callable[[Log, bool], States]) -> Half:
    """Return what `go` lets through; if rules are not understood, both readings of them decide what is unsure."""
    log = Log()
    ended = go(log, False)
    by_source: dict[int | None, PacketSet] = {}
    for tag, packets in ended.items():
        source = new_source(tag)
        by_source[source] = join(by_source.get(source, {}), packets)
    plain = by_source.pop(None, {})
    translated = {source: packets for source, packets in by_source.items() if source is not None}
    if not log.doubts:
        return Half(plain, translated)
    both = Log()
    unsure = meet(join_all(go(both, True).values()), both.dropped)
    return Half(plain, translated, unsure, tuple(both.doubts) if unsure else ())


def _site(machine: Machine, family: int, owners: Mapping[int, int]) -> Site:
    local: dict[str, frozenset[int]] = {}
    for name, texts in machine.interfaces.items():
        parsed = map(parse_address, texts)
        local[name] = frozenset(address.number for address in parsed if address.family == family)
    local[""] = frozenset[int]().union(*local.values())
    peers = {name: union(owners.get(address, 0) for address in found) for name, found in local.items()}
    return Site(local, peers)


DROPS = (Final("drop"), Final("reject"))


def _dropped_first(perspective: Perspective, chain: ChainCode) -> int:
    """Return the mask of traffic that a chain drops for all peers before it calls another chain."""
    found = 0
    for line in takewhile(lambda line: not line.target, perspective.view(chain).lines("")):
        if line.action in DROPS and not (line.tags or line.by_tag or line.factors or line.unknown):
            packets = line.packets or {}
            found |= union(traffic for traffic, peers in packets.items() if peers == perspective.everybody)
    return found
