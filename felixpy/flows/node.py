"""Every packet that one node sees: what its rules do to all of them, exactly.

Packets come from pods of the node, by any interface from others, or from the node itself; they go to pods, to the node,
or on by any interface; of every state of connections, with and without a rewritten destination. Senders are rows: one
for each address of the node and its pods, and one for each class of other addresses that no rule tells apart with each
interface that they may come by. What a row may send is a region of traffic and receivers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

from felixpy.flows.hooks import Log, through
from felixpy.flows.lens import Factor, Lens
from felixpy.flows.peers import Directory, Externals, Layer, Layers
from felixpy.flows.programs import Library, NodeText, Program, Question
from felixpy.flows.regions import Region, bits, join, of_peers, of_traffic, product, sum_of, traffic_with
from felixpy.flows.scene import Memory, Moved, Scene, Site, States, Way, add
from felixpy.flows.tags import (
    DNAT,
    EARLY,
    ESTABLISHED,
    INVALID,
    QUESTIONS,
    RELATED,
    SPOOFED,
    STATELESS,
    UNTRACKED,
    new_source,
)
from felixpy.flows.traffic import Mentions, TrafficSpace
from felixpy.flows.universe import Mentioned
from felixpy.netfilter.criteria import Interface, Marked, Tracked
from felixpy.netfilter.numbers import ICMP, STATES, WITH_PORTS, Range, State, parse_address, spell_address
from felixpy.walk import TRACKING, Machine, Packet

LOOPBACK = "lo"
LOOPBACKS = {4: 127 << 24 | 1, 6: 1}
NEVER_SENT = {4: Range(127 << 24, (128 << 24) - 1), 6: Range(0, 1)}
"""Addresses that never leave a machine."""

BEFORE_NAT, AFTER_NAT = ("raw", TRACKING, "mangle", "nat"), ("filter", "security")
"""The tables at the hook of the node's own packets, before and after their destination may be rewritten."""

VARIANTS = ESTABLISHED | RELATED | INVALID | STATELESS | DNAT | SPOOFED
"""What a tag says about a packet from the beginning to the end."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known about a node in one family: the interfaces of its pods and itself, by address.

    `behind` are all interfaces of pods, also of those without an address of the family: they have no packets but with
    addresses that are not theirs.
    """

    machine: Machine
    pods: Mapping[int, str]
    own: Mapping[int, str]
    behind: frozenset[str]

    @classmethod
    def of(cls, machine: Machine, pods: Mapping[str, Sequence[str]], family: int) -> Ground:
        """`pods` are addresses by interface."""
        behind = {text: name for name, texts in pods.items() for text in texts}
        own = {text: name for name, texts in machine.interfaces.items() for text in texts}
        loopback = {LOOPBACKS[family]: LOOPBACK}
        here, there = ({a.number: name for text, name in found.items() if (a := parse_address(text)).family == family}
                       for found in (own, behind))  # fmt: skip
        return cls(machine, there, {**loopback, **here}, frozenset(pods))


class Row(NamedTuple):
    """Senders that no rule tells apart: by which interface their packets come ("" for the node's own), and one of their
    addresses. `bit` is theirs among the receivers; `spoofed` packets do not come the way that leads back to them.
    """

    interface: str
    address: int
    bit: int
    spoofed: bool = False


class Signature(NamedTuple):
    """What NAT made of packets that get through: the new source (-1 for one of the node's own) and destination."""

    source: int | None = None
    destination: tuple[int | None, int | None] | None = None


Fates: TypeAlias = dict[tuple[int, Signature], Region]
"""What gets through, by variant of the packet and what NAT made of it."""


@dataclass(frozen=True, slots=True)
class Receivers:
    """Who may be a receiver: each address of the node and its pods, and classes of others by each interface."""

    locals: Directory
    externals: Externals
    interfaces: tuple[str, ...]

    @property
    def count(self) -> int:
        return self.externals.count

    @property
    def offset(self) -> int:
        return self.externals.offset

    @property
    def mask(self) -> int:
        return self.copies(self.externals.mask)

    def peers(self, layers: Layers) -> int:
        """Others that are inside, by whatever interface."""
        return self.copies(self.externals.peers(layers))

    def by(self, interface: str) -> int:
        """Everybody else who is reached by an interface."""
        return self.externals.mask << self.interfaces.index(interface) * self.count

    def copies(self, peers: int) -> int:
        """Classes by every interface."""
        return sum_of(peers << at * self.count for at in range(len(self.interfaces)))

    def tell(self, bit: int) -> tuple[str, int]:
        """The interface and the class, as a bit of the classes, of a receiver that is no endpoint of the node."""
        at, position = divmod(bit.bit_length() - 1 - self.offset, self.count)
        return self.interfaces[at], 1 << self.offset + position


class NodeSpace:
    """Numbers for all packets that the rules of some texts tell apart, and what programs do to them.

    Texts that are mixtures of those given are understood as well: they tell nothing else apart.
    """

    def __init__(self, ground: Ground, texts: Sequence[NodeText], family: int, extra: Iterable[str] = ()) -> None:
        self.ground, self.family = ground, family
        self.library = Library(family)
        self._programs: dict[int, tuple[NodeText, Program]] = {}
        self.programs = [self.program(text) for text in texts]
        mentioned = Mentioned(Mentions(family))
        for chain in self.library.chains:
            for rule in chain.rules:
                mentioned.note(rule)
        self.traffic = TrafficSpace(mentioned.mentions, single=True)
        addresses = sorted({*ground.pods, *ground.own})
        self.bits = {address: 1 << at for at, address in enumerate(addresses)}
        externals = Externals(family, mentioned.layers, addresses, len(addresses))
        interfaces = tuple(dict.fromkeys((*self._interfaces(), *extra)))
        self.receivers = Receivers(Directory(self.bits), externals, interfaces)
        self.questions = {question: 1 << QUESTIONS + at for at, question in enumerate(self._questions())}
        self.lens = Lens(self.traffic, self.receivers.locals, self.receivers, "egress", self.questions)
        self._memory: Memory = {}
        self._own_values: dict[int, dict[Factor, Region]] = {}
        self._scenes: dict[tuple[Row, str], Scene] = {}
        self._survivors: dict[tuple[int, Row], bool] = {}

    def program(self, text: NodeText) -> Program:
        """A mixture of the texts, made ready."""
        if id(text) not in self._programs:
            made = Program(text, self.library)
            made.load()
            self._programs[id(text)] = text, made
        return self._programs[id(text)][1]

    # --- what there is

    def _interfaces(self) -> Iterator[str]:
        """Interfaces behind which others are: the machine's, and those that rules name."""
        machine, behind = self.ground.machine, self.ground.behind
        yield machine.uplink
        yield from (name for name in machine.interfaces if name != LOOPBACK)
        yield from sorted({*machine.routes.values()} - behind)
        named = {
            test.criterion.pattern
            for chain in self.library.chains
            for rule in chain.rules
            for test in rule.body.tests
            if isinstance(test.criterion, Interface) and not test.criterion.pattern.endswith("+")
        }
        yield from sorted(named - behind - {LOOPBACK, ""})

    def _questions(self) -> Iterator[Question]:
        rules = (rule for chain in self.library.chains for rule in chain.rules)
        return iter(dict.fromkeys(question for rule in rules for question in rule.questions()))

    @cached_property
    def assumed(self) -> int:
        """The answers that are taken for granted."""
        return sum_of(bit for question, bit in self.questions.items() if question.holds)

    @cached_property
    def everybody(self) -> int:
        """All receivers; of some classes every address is an endpoint's."""
        some = sum_of(self._classes)
        return self.lens.everybody & (sum_of(self.bits.values()) | self.receivers.copies(some))

    @cached_property
    def own(self) -> int:
        """The node's addresses as receivers."""
        return sum_of(self.bits[address] for address in self.ground.own)

    @cached_property
    def variants(self) -> tuple[int, ...]:
        """States of connections that some rule tells apart, without those of rewritten destinations."""
        named = {test.criterion.states for chain in self.library.chains for rule in chain.rules
                 for test in rule.body.tests if isinstance(test.criterion, Tracked)}  # fmt: skip
        states = {0: "NEW", ESTABLISHED: "ESTABLISHED", RELATED: "RELATED", INVALID: "INVALID", STATELESS: "UNTRACKED"}
        alike: dict[tuple[object, ...], int] = {}
        for tag, name in states.items():
            # NAT asks about new connections only.
            alike.setdefault((not tag, *(bool(found & STATES[name]) for found in sorted(named))), tag)
        return tuple(alike.values())

    @cached_property
    def marks(self) -> tuple[int, ...]:
        """Bits of marks that some rule looks at, and all of them together."""
        masks = {test.criterion.mask for chain in self.library.chains for rule in chain.rules
                 for test in rule.body.tests if isinstance(test.criterion, Marked)}  # fmt: skip
        single = [1 << at for at in bits(sum_of(masks))]
        return (*single, sum_of(single)) if len(single) > 1 else tuple(single)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Senders whose packets come the way that leads back to them."""
        pods = [Row(name, address, self.bits[address]) for address, name in self.ground.pods.items()]
        own = [Row("", address, self.bits[address]) for address in self.ground.own]
        others = [
            Row(interface, address, bit << at * self.receivers.count)
            for at, interface in enumerate(self.receivers.interfaces)
            for bit, address in self._classes.items()
        ]
        return (*pods, *own, *others)

    @cached_property
    def spoofed(self) -> tuple[Row, ...]:
        """Senders with addresses that do not belong where their packets come from."""
        interfaces = (*sorted(self.ground.behind), *self.receivers.interfaces)
        addresses = {**self._classes.inverse, **self.bits}
        return tuple(
            Row(interface, address, bit, spoofed=True)
            for interface in interfaces
            for address, bit in addresses.items()
            if self.ground.pods.get(address) != interface and address != LOOPBACKS[self.family]
        )

    @cached_property
    def _classes(self) -> _Classes:
        """An address of each class of others."""
        found = _Classes()
        externals = self.receivers.externals
        for position in range(externals.count):
            bit = 1 << externals.offset + position
            never = NEVER_SENT[self.family]
            parts = (part for part in externals.ranges(bit) if part.first < never.first or part.last > never.last)
            address = next((free for part in parts for free in externals.free(part)
                            if not never.first <= free <= never.last), None)  # fmt: skip
            if address is not None:
                found[bit] = address
        return found

    def address_of(self, bit: int) -> tuple[int, str]:
        """An address of a receiver, and the interface that it is reached by ("" for the node)."""
        if bit >> self.receivers.offset:
            interface, one = self.receivers.tell(bit)
            return self._classes[one], interface
        address = next(address for address, found in self.bits.items() if found == bit)
        return address, self.ground.pods.get(address, "")

    @cached_property
    def named(self) -> frozenset[str]:
        """Every interface that packets come by."""
        return self.ground.behind.union(self.receivers.interfaces)

    def leave_by(self, criterion: Interface) -> int:
        """Who is reached by an interface."""
        return self._leave.by(criterion) | self._leave_or_loop.by(criterion)

    @cached_property
    def tells_redirected(self) -> bool:
        """Whether some rule asks for rewritten destinations, or packets are marked by their first destination."""
        rules = [rule for chain in self.library.chains for rule in chain.rules]
        asked = any(isinstance(test.criterion, Tracked) and test.criterion.states & STATES["DNAT"]
                    for rule in rules for test in rule.body.tests)  # fmt: skip
        if asked:
            return True
        program = self.programs[0]
        for row in self.rows:
            tags = self.before(program, row, {EARLY | self.assumed: self.everything(row)}).states
            if len(tags) > 1:
                return True
        return False

    def survives(self, program: Program, row: Row) -> bool:
        """Whether any packet of a row is left when it is sent on, under one program among several."""
        key = id(program), row
        if key not in self._survivors:
            tags = {tag | self.assumed | SPOOFED | EARLY: self.everything(row) for tag in self.variants}
            came = self.before(program, row, tags)
            self._survivors[key] = bool(came.states or came.moved)
        return self._survivors[key]

    def packet(self, row: Row, variant: int, traffic: int, receiver: int, came: Region | None = None) -> Packet:
        """One packet of a row, of the lowest traffic and receiver among those given.

        Where its destination is rewritten, `came` is what it was sent for; one with the same protocol is taken.
        """
        address, interface = self.address_of(receiver & -receiver)
        protocol, number, source_port = self.traffic.sample(traffic)
        icmp = divmod(number, 256) if protocol == ICMP[self.family] else None
        sent_to, port = address, 0 if icmp else number
        dnat = None
        if variant & DNAT and came:
            asked = next((t & self.lifted(traffic & -traffic), peers) for t, peers in came.items()
                         if t & self.lifted(traffic & -traffic))  # fmt: skip
            sent_to, _ = self.address_of(asked[1] & -asked[1])
            dnat = spell_address(address, self.family), port
            port = port if icmp else self.traffic.sample(asked[0])[1]
        states: Mapping[int, State] = {
            ESTABLISHED: "established", RELATED: "related", INVALID: "invalid", STATELESS: "untracked",
        }  # fmt: skip
        return Packet(
            source=spell_address(row.address, self.family),
            destination=spell_address(sent_to, self.family),
            protocol=protocol,
            port=port,
            source_port=source_port or 49152,
            icmp=icmp,
            in_interface=row.interface,
            out_interface=interface if receiver & -receiver >= 1 << self.receivers.offset else None,
            state=next((name for bit, name in states.items() if variant & bit), "new"),
            dnat=dnat,
            forged=row.spoofed,
        )

    # --- ways

    @cached_property
    def _routes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for address, name in self.ground.pods.items():
            found[name] = found.get(name, 0) | self.bits[address]
        for name in self.receivers.interfaces:
            found[name] = found.get(name, 0) | self.receivers.by(name)
        return found

    @cached_property
    def _leave(self) -> Way:
        return Way(self._routes)

    @cached_property
    def _leave_or_loop(self) -> Way:
        """Where the node's own packets go; to itself they go by the loopback interface."""
        return Way({**self._routes, LOOPBACK: self.own})

    @cached_property
    def _site(self) -> Site:
        local: dict[str, frozenset[int]] = {"": frozenset(self.ground.own)}
        for name in {*self.ground.own.values()}:
            local[name] = frozenset(address for address, found in self.ground.own.items() if found == name)
        peers = {name: sum_of(self.bits[address] for address in found) for name, found in local.items()}
        return Site(local, peers)

    def _scene(self, row: Row, where: str) -> Scene:
        """A row at one point of the way: ``in`` before routing and for the node, ``on`` behind it, ``lo`` come back."""
        key = row, where
        if key not in self._scenes:
            incoming = Way({LOOPBACK if where == "lo" else row.interface: self.lens.everybody})
            leaves = self._leave if row.interface else self._leave_or_loop
            self._scenes[key] = Scene(
                lens=self.lens,
                site=self._site,
                own=row.address,
                bit=row.bit,
                interface=LOOPBACK if where == "lo" else row.interface,
                memory=self._memory,
                own_values=self._own_values.setdefault(row.address, {}),
                incoming=incoming,
                outgoing=leaves if where == "on" else Way({"": self.lens.everybody}),
            )
        return self._scenes[key]

    def everything(self, row: Row) -> Region:
        """All that a row may send; pods do not send to themselves by their interface."""
        itself = row.bit if row.interface in self.ground.behind else 0
        loopback = self.bits[LOOPBACKS[self.family]]
        if row.bit == loopback:
            return of_peers(self.lens.all, self.own)
        return of_peers(self.lens.all, self.everybody & ~itself & ~loopback)

    def before(self, program: Program, row: Row, states: States) -> Before:
        """What is left before packets are sent on, and what has a new destination."""
        log = Log()
        if row.interface:
            return Before(through(program, self._scene(row, "in"), "PREROUTING", states, log), log.moved)
        return Before(through(program, self._scene(row, "on"), "OUTPUT", states, log, BEFORE_NAT), log.moved)

    def after(self, program: Program, row: Row, states: States) -> States:
        """What gets through in the end."""
        log, scene = Log(), self._scene(row, "on")
        if not row.interface:
            states = through(program, scene, "OUTPUT", states, log, AFTER_NAT)
            states = through(program, scene, "POSTROUTING", states, log)
            ended = _about(states, self.lens.everybody & ~self.own)
            back, come = self._scene(row, "lo"), _about(states, self.own)
            come = through(program, back, "PREROUTING", come, log, ("raw", "mangle"))
            return _both(ended, through(program, back, "INPUT", come, log, ("mangle", "filter", "security")))
        ended = through(program, self._scene(row, "in"), "INPUT", _about(states, self.own), log)
        states = through(program, scene, "FORWARD", _about(states, self.lens.everybody & ~self.own), log)
        return _both(ended, through(program, scene, "POSTROUTING", states, log))

    # --- what gets through

    def fates(self, program: Program, row: Row, tags: Iterable[int], start: Region) -> Fates:
        """What gets through of some packets with some tags."""
        spoofed = SPOOFED if row.spoofed else 0
        came = self.before(program, row, {tag | spoofed | EARLY: start for tag in tags})
        found: Fates = {}
        for tag, region in self.after(program, row, came.states).items():
            _join(found, (tag & VARIANTS, Signature(new_source(tag))), region)
        for target, region in came.moved.items():
            self._follow(program, row, target, region, found)
        return found

    def _follow(self, program: Program, row: Row, target: Moved, region: Region, found: Fates) -> None:
        """What becomes of packets with a new destination: those count whose new form gets through."""
        to = self._receiver(target.address)
        asked = self._with_port(sum_of(region), target.port)
        ended = self.after(program, row, {target.tag | DNAT: product(asked, to)})
        for tag, passed in ended.items():
            whole = traffic_with(passed, to)
            kept = of_traffic(region, self._as_asked(whole, target.port))
            signature = Signature(new_source(tag), (target.address, target.port))
            _join(found, (tag & VARIANTS & ~DNAT, signature), kept)

    def _receiver(self, address: int | None) -> int:
        """Who has an address: an endpoint of the node, or others behind the uplink."""
        if address is None:
            return self.own & -self.own
        if address in self.bits:
            return self.bits[address]
        classes = self.receivers.externals.peers((Layer(Range(address, address)),))
        return classes & -classes

    def _with_port(self, traffic: int, port: int | None) -> int:
        if port is None:
            return traffic
        found = 0
        for block in self.traffic.blocks:
            if traffic & block.mask:
                to = self.traffic.ports([Range(port, port)], source=False) & block.mask
                found |= to if block.protocol in WITH_PORTS else traffic & block.mask
        return found

    def _as_asked(self, traffic: int, port: int | None) -> int:
        """The traffic that became what got through: with a new port it may have been to any."""
        return traffic if port is None else self.lifted(traffic)

    def lifted(self, traffic: int) -> int:
        """The same protocols from the same ports to any; types of ICMP stay what they are."""
        found = traffic
        for block in self.traffic.blocks:
            if block.protocol in WITH_PORTS and traffic & block.mask:
                width = len(block.numbers)
                for at, (_, numbers) in enumerate(block.rows(traffic)):
                    if numbers:
                        found |= (1 << width) - 1 << block.offset + at * width
        return found

    def redirected(self, program: Program, row: Row, tag: int, region: Region, to: Region) -> Fates:
        """What gets through of packets with a tag whose destination somebody else rewrites to any in `to`."""
        tracked = self.lens.opening(tag) if not tag & ESTABLISHED else self.traffic.all & ~self.traffic.untracked
        if tag & (UNTRACKED | STATELESS):
            return {}
        states = {tag | DNAT: of_traffic(to, self.lifted(sum_of(region)) & tracked)}
        found: Fates = {}
        for end, passed in self.after(program, row, states).items():
            _join(found, (end & VARIANTS, Signature(new_source(end))), passed)
        return found


class Before(NamedTuple):
    """Packets about to be sent on, and those with a new destination."""

    states: States
    moved: Mapping[Moved, Region]


class _Classes(dict[int, int]):
    """Addresses by the bit of their class."""

    @property
    def inverse(self) -> dict[int, int]:
        return {address: bit for bit, address in self.items()}


def _about(states: States, peers: int) -> States:
    return {tag: some for tag, region in states.items() if (some := of_peers(region, peers))}


def _both(one: States, other: States) -> States:
    found = dict(one)
    for tag, region in other.items():
        add(found, tag, region)
    return found


def _join(fates: Fates, key: tuple[int, Signature], region: Region) -> None:
    if region:
        fates[key] = join(fates[key], region) if key in fates else region
