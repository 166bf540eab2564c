"""Evaluates chains for all packets of one end at once.

Packets are grouped by tag, with a packet set for each. A rule takes from each set what it applies to, and accepts,
drops, returns or retags it, or sends it through another chain. The outcome of a chain for all packets is cached for all
ends for which its criteria have the same values, so the pods of a workload cost little more than one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from felixpy.flows.packets.packet_sets import PacketSet, by_sender, join, meet, minus, of_peers, of_traffic, union
from felixpy.flows.packets.tags import RETAGS, UNTRACKED, translated
from felixpy.flows.programs.alike import Own, SharedAnswers
from felixpy.flows.programs.code import ChainCode
from felixpy.flows.programs.perspective import Perspective
from felixpy.flows.programs.views import ChainView, Factor, RuleView
from felixpy.netfilter.actions import Call, ConnectionMark, Final, NoTrack, Rewrite, SetMark, Unclear
from felixpy.netfilter.criteria import Interface, Local

States: TypeAlias = dict[int, PacketSet]
"""Packet sets by tag."""


class Moved(NamedTuple):
    """A new destination: the address (None for one of the node's own), the port (None for the old one), and the tag."""

    address: int | None
    port: int | None
    tag: int


def about(states: States, peers: int) -> States:
    """Return the packets whose peers are in a mask."""
    return {tag: some for tag, packets in states.items() if (some := of_peers(packets, peers))}


def add(states: States, tag: int, packets: PacketSet) -> None:
    """Add packets with a tag, in place."""
    if packets:
        states[tag] = join(states[tag], packets) if tag in states else packets


class ByInterface:
    """The interfaces by which packets arrive or leave ("" for none), and for each the mask of peers that use it."""

    def __init__(self, peers: Mapping[str, int]) -> None:
        self.peers = peers
        self._known: dict[str, int] = {}

    def by(self, criterion: Interface) -> int:
        """Return the mask of peers whose interface has a name or, with ``+``, a prefix."""
        pattern = criterion.pattern
        if not pattern.endswith("+"):
            return self.peers.get(pattern, 0)
        if pattern not in self._known:
            self._known[pattern] = union(those for name, those in self.peers.items() if criterion.fits(name))
        return self._known[pattern]


@dataclass(slots=True)
class Outcome:
    """The outcome of a chain: packets that were accepted, or returned to the caller; others were dropped or rewritten.

    `dropped` is recorded only where rules are read in both ways (`Evaluator.readings`). `doubts` are rules that packets
    met and that are not understood. `moved` are packets with a new destination, by address, port (None for the old one)
    and tag.
    """

    accepted: States = field(default_factory=dict)
    returned: States = field(default_factory=dict)
    dropped: PacketSet = field(default_factory=dict)
    doubts: dict[RuleView, None] = field(default_factory=dict)
    moved: dict[Moved, PacketSet] = field(default_factory=dict)

    def absorb(self, other: Outcome) -> None:
        """Add another outcome, except for what it returned."""
        for tag, packets in other.accepted.items():
            add(self.accepted, tag, packets)
        if other.dropped:
            self.dropped = join(self.dropped, other.dropped)
        if other.doubts:
            self.doubts.update(other.doubts)
        for target, packets in other.moved.items():
            self.move(target, packets)

    def move(self, target: Moved, packets: PacketSet) -> None:
        """Add packets with a new destination."""
        self.moved[target] = join(self.moved[target], packets) if target in self.moved else packets

    def within(self, packets: PacketSet) -> Outcome:
        """Return the outcome for some packets."""
        return Outcome(
            {tag: found for tag, each in self.accepted.items() if (found := meet(each, packets))},
            {tag: found for tag, each in self.returned.items() if (found := meet(each, packets))},
            meet(self.dropped, packets),
            self.doubts,
            {target: found for target, each in self.moved.items() if (found := meet(each, packets))},
        )


NO_INTERFACE = ByInterface({})


@dataclass(slots=True, eq=False)
class Memory:
    """Cached outcomes of chains for all packets, shared by ends for which their criteria have the same values."""

    outcomes: dict[tuple[int, int, bool, int], Outcome] = field(default_factory=dict)
    """By (identity of the view, tag, reading, kind of end)."""
    passes: dict[tuple[object, ...], Any] | None = None
    """Cached results of the chains of tables (`felixpy.flows.programs.hooks`); None where ends do not send the same."""
    _kinds: dict[tuple[object, ...], int] = field(default_factory=dict)

    def kind(self, values: Iterable[PacketSet | None]) -> int:
        """Return a number for all ends for which criteria have these values."""
        key = tuple(None if value is None else tuple(value.items()) for value in values)
        return self._kinds.setdefault(key, len(self._kinds))


@dataclass(slots=True, eq=False)
class Site:
    """The addresses of a node in one family.

    `local` are its own addresses by interface, "" for all of them; `local_peers` the masks of endpoints with these.
    """

    local: Mapping[str, frozenset[int]]
    local_peers: Mapping[str, int]

    def interface_of(self, address: int | None) -> str:
        """Return the interface that has an address, "" for none."""
        return next((name for name, own in self.local.items() if name and address in own), "")

    def interfaces_of(self, address: int | None) -> frozenset[str]:
        """Return the interfaces that have an address, with "" for the node; none if the address is unknown."""
        return frozenset(name for name, own in self.local.items() if address in own)


@dataclass(slots=True, eq=False)
class Evaluator:
    """Evaluates chains for one end of connections at one point of the way of its packets.

    `own` is the end's address, `bit` its mask as a peer, `interface` its own interface at this point; `incoming` and
    `outgoing` are the interfaces by which packets arrive and leave. `receivers` are the endpoints of the same node that
    packets may be for. `known` caches outcomes; ends share it that have equal `receivers` and the same perspective.
    """

    perspective: Perspective
    site: Site
    own: Own
    bit: int
    interface: str
    memory: Memory
    incoming: ByInterface = NO_INTERFACE
    outgoing: ByInterface = NO_INTERFACE
    receivers: Receivers | None = None
    readings: bool = False
    """Whether rules that are not understood are read in both ways: as met and as not met. Outcomes may overlap then."""
    known: SharedAnswers = field(default_factory=SharedAnswers)
    for_all: bool = False
    """Whether chains that do not depend on outgoing interfaces are evaluated for all packets at once: evaluators with
    other outgoing interfaces use the same outcomes."""
    _values: dict[Factor, PacketSet | None] = field(default_factory=dict)
    _kinds: dict[int, int] = field(default_factory=dict)
    """The kind of this end (`Memory.kind`) by the identity of a view."""

    # --- values of criteria

    def value(self, factor: Factor) -> PacketSet | None:
        """Return what a criterion lets through; None if it depends on an unknown address."""
        if factor not in self._values:
            self._values[factor] = self._evaluate(factor)
        return self._values[factor]

    def _evaluate(self, factor: Factor) -> PacketSet | None:
        criterion = factor.test.criterion
        if isinstance(criterion, Interface):
            interfaces = self.incoming if criterion.incoming else self.outgoing
            return self._of(interfaces.by(criterion), negated=factor.test.negated)
        if isinstance(criterion, Local):
            local = self._local(criterion)
            return None if local is None else self._of(local, negated=factor.test.negated)
        return self.own.value(factor)

    def _of(self, peers: int, *, negated: bool) -> PacketSet:
        everybody = self.perspective.everybody
        those = everybody & ~peers if negated else everybody & peers
        return self.perspective.all if those == everybody else self.perspective.of_peers(those)

    def _local(self, criterion: Local) -> int | None:
        own = (criterion.side == "source") == (self.perspective.direction == "egress")
        if own and self.own.address is None:
            return None
        if not criterion.limit:
            return self._local_on("", self.perspective.everybody, own=own)
        interfaces = self.incoming if criterion.limit == "in" else self.outgoing
        return union(self._local_on(name, peers, own=own) for name, peers in interfaces.peers.items())

    def _local_on(self, interface: str, peers: int, *, own: bool) -> int:
        if own:
            return peers if interface in self.own.local else 0
        return peers & self.site.local_peers.get(interface, 0)

    # --- chains

    def call(self, chain: ChainCode, tag: int, packets: PacketSet) -> Outcome:
        """Return the outcome of a chain for packets with a tag."""
        view = self.perspective.view(chain)
        everything = self.perspective.all
        if view.factors is None:
            if self.receivers and view.asks_out and not view.asks_in:
                return self._received(view, tag, packets)
            if self.for_all and not view.bound_out and packets is not everything:
                of_all = self._known(view, tag, everything)
                if not of_all.doubts:  # doubts are reported only for the packets that meet them
                    return of_all.within(packets)
            return self._known(view, tag, packets)
        key = id(view), tag, self.readings, self._kind(view)
        found = self.memory.outcomes.get(key)
        if found is None:
            found = self.memory.outcomes[key] = self._run(view, tag, everything)
        return found if packets is everything else found.within(packets)

    def _known(self, view: ChainView, tag: int, packets: PacketSet) -> Outcome:
        came = self.interface if view.bound_in else None
        goes = id(self.outgoing) if view.bound_out else None
        key = id(view), tag, self.readings, came, goes, *packets.items()
        return self.known.recall(key, self.own, lambda: self._run(view, tag, packets))

    def key(self, chain: ChainCode) -> tuple[int, bool, int] | None:
        """Return a key that ends share for which a chain has the same outcome; None if the chain has no such key."""
        view = self.perspective.view(chain)
        return None if view.factors is None else (id(view), self.readings, self._kind(view))

    def _kind(self, view: ChainView) -> int:
        if view.own:
            self.own.note(view.own)
        kind = self._kinds.get(id(view))
        if kind is None:
            assert view.factors is not None
            kind = self._kinds[id(view)] = self.memory.kind(map(self.value, view.factors))
        return kind

    def _received(self, view: ChainView, tag: int, packets: PacketSet) -> Outcome:
        """Return the outcome of a chain that depends on outgoing interfaces, reusing those of local receivers."""
        assert self.receivers is not None
        seen = self.receivers.outcome(view.chain, tag, self.bit)
        others = of_peers(packets, ~self.receivers.peers)
        found = self._run(view, tag, others) if others else Outcome()
        near = seen.within(packets)
        found.absorb(near)
        for returned, some in near.returned.items():
            add(found.returned, returned, some)
        return found

    def _run(self, view: ChainView, start: int, whole: PacketSet) -> Outcome:
        outcome = Outcome()
        states: States = {start: whole}
        for line in view.lines(self.interface):
            later: States = {}
            for tag, packets in list(states.items()):
                hit = self._hit(line, tag, packets)
                if not hit:
                    continue
                if line.unknown or (self.own.address is None and self._is_open(line)):
                    outcome.doubts[line] = None
                    if not self.readings:
                        continue
                elif hit is packets:
                    del states[tag]
                else:
                    rest = minus(packets, hit)
                    if rest:
                        states[tag] = rest
                    else:
                        del states[tag]
                self._act(line, tag, hit, outcome, later)
            for tag, packets in later.items():
                add(states, tag, packets)
            if not states:
                break
        for tag, packets in states.items():
            add(outcome.returned, tag, packets)
        return outcome

    def _is_open(self, line: RuleView) -> bool:
        """Return whether a rule depends on an unknown address."""
        return any(self.value(factor) is None for factor in line.factors)

    def _hit(self, line: RuleView, tag: int, packets: PacketSet) -> PacketSet:
        """Return the packets that a rule applies to, as far as it is understood."""
        for mask, mark, differs in line.tags:
            if (tag & mask == mark) is differs:
                return {}
        if line.own:
            self.own.note(line.own)
        for factor in line.factors:
            value = self.value(factor)
            if value is not None and value is not self.perspective.all:
                packets = meet(packets, value)
                if not packets:
                    return {}
        if line.packets is not None:
            packets = meet(packets, line.packets)
        for test in line.by_tag:
            packets = of_traffic(packets, self.perspective.by_tag(tag, test))
        return packets

    def _act(self, line: RuleView, tag: int, hit: PacketSet, outcome: Outcome, later: States) -> None:
        match line.action:
            case Final("accept"):
                add(outcome.accepted, tag, hit)
            case Final("drop" | "reject") | Unclear():
                if self.readings:
                    outcome.dropped = join(outcome.dropped, hit)
            case Final():
                add(outcome.returned, tag, hit)
            case SetMark() | ConnectionMark() as change:
                add(later, RETAGS[type(change)](change)(tag), hit)
            case NoTrack():
                alone = self.perspective.without_connection(tag)
                add(later, tag | UNTRACKED, of_traffic(hit, alone))
                add(later, tag, of_traffic(hit, self.perspective.space.all & ~alone))
            case Rewrite("source", address):
                add(outcome.accepted, tag | translated(address), hit)
            case Rewrite(_, address, port):
                outcome.move(Moved(address, port, tag), hit)
            case Call(_, goto):
                assert line.target is not None
                inner = self.call(line.target, tag, hit)
                outcome.absorb(inner)
                for found, packets in inner.returned.items():
                    add(outcome.returned if goto else later, found, packets)


class Receivers:
    """Outcomes of receivers' chains for packets forwarded on their node, transposed to the senders' point of view.

    `senders` is the mask of peers on the same node. A receiver's chains are evaluated once for all of them.
    """

    def __init__(self, evaluators: Sequence[Evaluator], senders: int) -> None:
        self._evaluators, self._senders = evaluators, senders
        self.peers = union(evaluator.bit for evaluator in evaluators)
        self._known: dict[tuple[int, int], _Turned] = {}

    def outcome(self, chain: ChainCode, tag: int, sender: int) -> Outcome:
        """Return the outcome for packets of one sender, a mask of one bit, to any of the receivers."""
        key = id(chain), tag
        if key not in self._known:
            self._known[key] = _Turned(self._evaluators, self._senders, chain, tag)
        return self._known[key].outcome(sender.bit_length() - 1)


class _Turned:
    """Outcomes of a chain by the position of the sender."""

    def __init__(self, evaluators: Sequence[Evaluator], senders: int, chain: ChainCode, tag: int) -> None:
        seen = [(evaluator.bit, evaluator.call(chain, tag, evaluator.perspective.all)) for evaluator in evaluators]
        self._doubts = {line: None for _, outcome in seen for line in outcome.doubts}

        def turned(packet_sets: Iterable[tuple[int, PacketSet]]) -> dict[int, PacketSet]:
            return by_sender((bit, of_peers(packets, senders)) for bit, packets in packet_sets)

        def each(pick: Callable[[Outcome], States]) -> dict[int, dict[int, PacketSet]]:
            tags = dict.fromkeys(tag for _, outcome in seen for tag in pick(outcome))
            return {tag: turned((bit, pick(outcome).get(tag, {})) for bit, outcome in seen) for tag in tags}

        self._accepted = each(lambda outcome: outcome.accepted)
        self._returned = each(lambda outcome: outcome.returned)
        self._dropped = turned((bit, outcome.dropped) for bit, outcome in seen)

    def outcome(self, sender: int) -> Outcome:
        return Outcome(
            {tag: packets for tag, packet_sets in self._accepted.items() if (packets := packet_sets.get(sender))},
            {tag: packets for tag, packet_sets in self._returned.items() if (packets := packet_sets.get(sender))},
            self._dropped.get(sender, {}),
            self._doubts,
        )
