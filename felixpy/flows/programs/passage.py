"""The ways of packets through the hooks of one node, row by row: which of them get through."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple, TypeVar

from felixpy.flows.packets.ground import LOOPBACK, LOOPBACKS, VARIANTS, Fates, Row, Signature
from felixpy.flows.packets.packet_sets import PacketSet, join, meet, of_peers, of_traffic, product, traffic_with, union
from felixpy.flows.packets.peers import Layer
from felixpy.flows.packets.tags import DNAT, EARLY, ESTABLISHED, SPOOFED, STATELESS, UNTRACKED, new_source
from felixpy.flows.programs.alike import Own, SharedAnswers
from felixpy.flows.programs.code import NodeProgram
from felixpy.flows.programs.evaluation import ByInterface, Evaluator, Memory, Moved, Site, States, about, add
from felixpy.flows.programs.hooks import Log, through
from felixpy.flows.programs.node import NodeSpace
from felixpy.flows.programs.views import Factor
from felixpy.netfilter.criteria import Interface, Tracked
from felixpy.netfilter.hooks import after_rewriting, before_rewriting, come_back
from felixpy.netfilter.numbers import STATES, WITH_PORTS, Range

Answer = TypeVar("Answer")


class Passage:
    """What programs do to the packets of a space. Outcomes of chains are cached for all programs."""

    def __init__(self, space: NodeSpace) -> None:
        self.space = space
        self._memory = Memory(passes={})
        self._known = SharedAnswers()
        self._addresses: dict[int, Own] = {}
        self._only: dict[str, ByInterface] = {}
        self._evaluators: dict[tuple[str, int, str, str], Evaluator] = {}
        self._sent_by: dict[frozenset[str], Sequence[tuple[str, int]]] = {}
        self._survivors: dict[int, Sequence[Row]] = {}
        self.questions = 0
        """How often the packets of a sender that get through were computed: a measure of work."""

    def leave_by(self, criterion: Interface) -> int:
        """Return the mask of receivers that are reached by an interface."""
        return self._leave.by(criterion) | self._leave_or_loop.by(criterion)

    @cached_property
    def tells_redirected(self) -> bool:
        """Whether a rule tests for rewritten destinations, or marks packets by their first destination."""
        rules = [rule for chain in self.space.library.chains for rule in chain.rules]
        asked = any(isinstance(test.criterion, Tracked) and test.criterion.states & STATES["DNAT"]
                    for rule in rules for test in rule.body.tests)  # fmt: skip
        if asked:
            return True
        program = self.space.programs[0]
        for row in self.space.rows:
            tags = self.before(program, row, {EARLY | self.space.assumed: self.everything(row)}).states
            if len(tags) > 1:
                return True
        return False

    def survivors(self, program: NodeProgram) -> Sequence[Row]:
        """Return spoofed senders with packets that a program does not drop before routing."""
        if id(program) not in self._survivors:
            known = SharedAnswers()
            self._survivors[id(program)] = [
                row for row in self.space.spoofed if self.recall(known, row, partial(self._survives, program, row))
            ]
        return self._survivors[id(program)]

    def _survives(self, program: NodeProgram, row: Row) -> bool:
        tags = {tag | self.space.assumed | SPOOFED | EARLY: self.start(row) for tag in self.space.variants}
        came = self.before(program, row, tags)
        return bool(came.states or came.moved)

    # --- equivalent rows

    def of_sender(self, row: Row, packets: PacketSet, criteria: Iterable[Factor]) -> PacketSet:
        """Return the packets of a row that meet criteria about its address."""
        own = self._own(row)
        for factor in criteria:
            own.note([factor])
            packets = meet(packets, own.value(factor) or {})
        return packets

    def kind(self, row: Row) -> tuple[Hashable, ...]:
        """Return what distinguishes rows, except for criteria about their addresses and packets to themselves."""
        return row.interface, row.spoofed, row.address == LOOPBACKS[self.space.family]

    def recall(self, known: SharedAnswers, row: Row, find: Callable[[], Answer], *question: Hashable) -> Answer:
        """Return the answer to a question about a row, cached for equivalent rows."""
        return known.recall((self.kind(row), *question), self._own(row), find)

    # --- ways

    @cached_property
    def _routes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for address, name in self.space.ground.pods.items():
            found[name] = found.get(name, 0) | self.space.bits[address]
        for name in self.space.receivers.interfaces:
            found[name] = found.get(name, 0) | self.space.receivers.by(name)
        return found

    @cached_property
    def _leave(self) -> ByInterface:
        return ByInterface(self._routes)

    @cached_property
    def _leave_or_loop(self) -> ByInterface:
        """The interfaces by which the node's own packets leave: for the node itself the loopback interface."""
        return ByInterface({**self._routes, LOOPBACK: self.space.own})

    @cached_property
    def _site(self) -> Site:
        local: dict[str, frozenset[int]] = {"": frozenset(self.space.ground.own)}
        for name in {*self.space.ground.own.values()}:
            local[name] = frozenset(address for address, found in self.space.ground.own.items() if found == name)
        peers = {name: union(self.space.bits[address] for address in found) for name, found in local.items()}
        return Site(local, peers)

    def sent_by(self, row: Row, programs: Iterable[NodeProgram]) -> Sequence[tuple[str, int]]:
        """Return interfaces for which packets are routed before destinations are rewritten, with masks of receivers.

        The node's own packets keep that interface for the rest of the hook. Of interfaces that no rule there
        distinguishes one is returned; ("", all receivers) where no interface matters.
        """
        patterns = set() if row.interface else {pattern for program in programs for pattern in _patterns(program)}
        if not patterns:
            return [("", self.space.perspective.everybody)]
        known = self._sent_by.get(frozenset(patterns))
        if known is None:
            groups: dict[tuple[bool, ...], tuple[str, int]] = {}
            for name, peers in self._leave_or_loop.peers.items():
                alike = tuple(Interface(incoming=False, pattern=pattern).fits(name) for pattern in sorted(patterns))
                first, others = groups.get(alike, (name, 0))
                groups[alike] = first, others | peers
            known = self._sent_by[frozenset(patterns)] = list(groups.values())
        return known

    def _evaluator(self, row: Row, where: str, sent_by: str = "") -> Evaluator:
        """Return an evaluator of a row: ``in`` before routing and for the node, ``on`` after it, ``lo`` looped back.

        With `sent_by` all packets leave by that interface.
        """
        key = row.interface, row.address, where, sent_by
        if key not in self._evaluators:
            interface = LOOPBACK if where == "lo" else row.interface
            leaves = self._leave if row.interface else self._leave_or_loop
            if sent_by:
                leaves = self._by(sent_by)
            self._evaluators[key] = Evaluator(
                perspective=self.space.perspective,
                site=self._site,
                own=self._own(row),
                bit=row.bit,
                interface=interface,
                memory=self._memory,
                incoming=self._by(interface),
                outgoing=leaves if where == "on" else self._by(""),
                known=self._known,
            )
        return self._evaluators[key]

    def _by(self, interface: str) -> ByInterface:
        """Return all receivers behind one interface."""
        if interface not in self._only:
            self._only[interface] = ByInterface({interface: self.space.perspective.everybody})
        return self._only[interface]

    def _own(self, row: Row) -> Own:
        address = row.address
        if address not in self._addresses:
            local = self._site.interfaces_of(address)
            self._addresses[address] = Own(self.space.perspective, address, local, noted=True)
        return self._addresses[address]

    def everything(self, row: Row) -> PacketSet:
        """Return all packets that a row may send."""
        return of_peers(self.start(row), ~self.itself(row))

    def start(self, row: Row) -> PacketSet:
        """Return all packets that rows of the same kind may send."""
        loopback = self.space.bits[LOOPBACKS[self.space.family]]
        peers = self.space.own if row.bit == loopback else self.space.everybody & ~loopback
        return of_peers(self.space.perspective.all, peers)

    def itself(self, row: Row) -> int:
        """Return the mask of the row itself if it is a pod, which does not send to itself by its interface."""
        return row.bit if row.interface in self.space.ground.behind else 0

    def before(self, program: NodeProgram, row: Row, states: States) -> Before:
        """Return the packets that are left at routing, and those with a new destination."""
        log = Log()
        hook, where = ("PREROUTING", "in") if row.interface else ("OUTPUT", "on")
        stages = before_rewriting(program.stages(hook))
        return Before(through(program, self._evaluator(row, where), hook, states, log, stages), log.moved)

    def after(self, program: NodeProgram, row: Row, states: States, sent_by: str = "") -> States:
        """Return the packets that pass all hooks after routing.

        `sent_by` is the interface for which the node's own packets were routed first.
        """
        self.questions += 1
        log, evaluator = Log(), self._evaluator(row, "on")
        others = self.space.perspective.everybody & ~self.space.own
        if not row.interface:
            leaving = self._evaluator(row, "on", sent_by)
            states = through(program, leaving, "OUTPUT", states, log, after_rewriting(program.stages("OUTPUT")))
            states = through(program, evaluator, "POSTROUTING", states, log)
            back, come = self._evaluator(row, "lo"), about(states, self.space.own)
            for hook in ("PREROUTING", "INPUT"):
                come = through(program, back, hook, come, log, come_back(program.stages(hook)))
            return _both(about(states, others), come)
        arrived = self._evaluator(row, "in")
        states = through(program, arrived, "PREROUTING", states, log, after_rewriting(program.stages("PREROUTING")))
        ended = through(program, arrived, "INPUT", about(states, self.space.own), log)
        states = through(program, evaluator, "FORWARD", about(states, others), log)
        return _both(ended, through(program, evaluator, "POSTROUTING", states, log))

    # --- packets that get through

    def fates(self, program: NodeProgram, row: Row, tags: Iterable[int], start: PacketSet) -> Fates:
        """Return which of some packets with some tags get through."""
        spoofed = SPOOFED if row.spoofed else 0
        came = self.before(program, row, {tag | spoofed | EARLY: start for tag in tags})
        found: Fates = {}
        for tag, packets in self.after(program, row, came.states).items():
            _join(found, (tag & VARIANTS, Signature(new_source(tag))), packets)
        for target, packets in came.moved.items():
            for interface, peers in self.sent_by(row, [program]):
                if sent := of_peers(packets, peers):
                    self._follow(program, row, target, sent, interface, found)
        return found

    def known_fates(self, program: NodeProgram, row: Row, tags: Sequence[int], start: PacketSet) -> Fates:
        """Return the same as `fates`, cached for equivalent rows."""
        question = "fates", id(program), tuple(tags), *start.items()
        return self.recall(self._known, row, lambda: self.fates(program, row, tags, start), *question)

    def _follow(
        self, program: NodeProgram, row: Row, target: Moved, packets: PacketSet, sent_by: str, found: Fates
    ) -> None:
        """Add to `found` the packets with a new destination that get through with it."""
        to = self._receiver(target.address)
        asked = self._with_port(union(packets), target.port)
        ended = self.after(program, row, {target.tag | DNAT: product(asked, to)}, sent_by)
        for tag, passed in ended.items():
            whole = traffic_with(passed, to)
            kept = of_traffic(packets, self._as_asked(whole, target.port))
            signature = Signature(new_source(tag), (target.address, target.port))
            _join(found, (tag & VARIANTS & ~DNAT, signature), kept)

    def _receiver(self, address: int | None) -> int:
        """Return the mask of the receiver with an address: an endpoint of the node, or others behind the uplink."""
        if address is None:
            return self.space.own & -self.space.own
        if address in self.space.bits:
            return self.space.bits[address]
        classes = self.space.receivers.externals.peers((Layer(Range(address, address)),))
        return classes & -classes

    def _with_port(self, traffic: int, port: int | None) -> int:
        if port is None:
            return traffic
        found = 0
        for block in self.space.traffic.blocks:
            if traffic & block.mask:
                to = self.space.traffic.ports([Range(port, port)], source=False) & block.mask
                found |= to if block.protocol in WITH_PORTS else traffic & block.mask
        return found

    def _as_asked(self, traffic: int, port: int | None) -> int:
        """Return the traffic before a port was rewritten: with a new port, traffic to any port."""
        return traffic if port is None else self.space.traffic.lifted(traffic)

    def redirected(
        self, program: NodeProgram, row: Row, tag: int, packets: PacketSet, to: PacketSet, sent_by: str = ""
    ) -> Fates:
        """Return which packets get through if other programs rewrite their destinations to any in `to`."""
        if tag & (UNTRACKED | STATELESS):
            return {}
        states = {tag | DNAT: self.targets(tag, packets, to)}
        found: Fates = {}
        for end, passed in self.after(program, row, states, sent_by).items():
            _join(found, (end & VARIANTS, Signature(new_source(end))), passed)
        return found

    def targets(self, tag: int, packets: PacketSet, to: PacketSet) -> PacketSet:
        """Return what packets with a tag can become when their destination is rewritten to any in `to`."""
        traffic = self.space.traffic
        tracked = traffic.all & ~traffic.untracked if tag & ESTABLISHED else self.space.perspective.opening(tag)
        return of_traffic(to, traffic.lifted(union(packets)) & tracked)


def _patterns(program: NodeProgram) -> Iterator[str]:
    """Yield the interfaces in rules that see the node's own packets with their new destinations."""
    for stage in after_rewriting(program.stages("OUTPUT")):
        chain = program.chain(stage.table, stage.chain)
        for code in chain.closure if chain else ():
            for rule in code.rules:
                for criterion, _ in rule.body.tests:
                    if isinstance(criterion, Interface) and not criterion.incoming:
                        yield criterion.pattern


class Before(NamedTuple):
    """Packets at routing, and packets with a new destination."""

    states: States
    moved: Mapping[Moved, PacketSet]


def _both(one: States, other: States) -> States:
    found = dict(one)
    for tag, packets in other.items():
        add(found, tag, packets)
    return found


def _join(fates: Fates, key: tuple[int, Signature], packets: PacketSet) -> None:
    if packets:
        fates[key] = join(fates[key], packets) if key in fates else packets
