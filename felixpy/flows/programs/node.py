"""All packets that one node sees, and what its rules do to them, exactly.

Packets come from pods of the node, from others by any interface, or from the node itself; they go to pods, to the node,
or to others by any interface; in every state of connections, with and without a rewritten destination. Senders are
rows: one for each address of the node and its pods, and for each class of other addresses that no rule distinguishes
one for each interface by which they may arrive. What a row may send is a packet set of traffic and receivers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product

from felixpy.flows.packets.ground import LOOPBACK, LOOPBACKS, NEVER_SENT, Classes, Ground, Receivers, Row
from felixpy.flows.packets.packet_sets import PacketSet, bits, union
from felixpy.flows.packets.peers import AddressOwners, Externals, Layer
from felixpy.flows.packets.tags import DNAT, ESTABLISHED, INVALID, QUESTIONS, RELATED, STATELESS
from felixpy.flows.packets.traffic import Mentions, TrafficSpace
from felixpy.flows.programs.code import Library, NodeProgram, NodeText, OpenQuestion
from felixpy.flows.programs.perspective import Perspective
from felixpy.flows.reachability.universe import Mentioned
from felixpy.netfilter.criteria import Interface, Marked, Tracked
from felixpy.netfilter.numbers import ICMP, STATES, Range, State, parse_address, spell_address
from felixpy.topology.outside import INTERNET
from felixpy.walk import Packet


class NodeSpace:
    """Numbers for all packets that the rules of some texts distinguish, and what programs do to them.

    Texts that are mixtures of those given can be evaluated as well, as they distinguish nothing else.
    """

    def __init__(self, ground: Ground, texts: Sequence[NodeText], family: int, extra: Iterable[str] = ()) -> None:
        self.ground, self.family = ground, family
        self.library = Library(family)
        self._programs: dict[int, tuple[NodeText, NodeProgram]] = {}
        self.programs = [self.program(text) for text in texts]
        self._load_mixtures(texts)
        mentioned = Mentioned(Mentions(family))
        for chain in self.library.chains:
            for rule in chain.rules:
                mentioned.note(rule)
        self.traffic = TrafficSpace(mentioned.mentions, single=True)
        addresses = sorted({*ground.pods, *ground.own})
        self.bits = {address: 1 << at for at, address in enumerate(addresses)}
        externals = Externals(family, mentioned.layers, addresses, len(addresses))
        interfaces = tuple(dict.fromkeys((*self._interfaces(), *extra)))
        self.receivers = Receivers(AddressOwners(self.bits), externals, interfaces)
        self.questions = {question: 1 << QUESTIONS + at for at, question in enumerate(self._questions())}
        self.perspective = Perspective(self.traffic, self.receivers.locals, self.receivers, "egress", self.questions)

    def _load_mixtures(self, texts: Sequence[NodeText]) -> None:
        """Prepare every chain with every text's sets: a mixture may call chains that its texts do not reach."""
        for text, other in product(texts, texts):
            mixture = NodeProgram(text._replace(sets=other.sets), self.library)
            for table, chains in text.tables.items():
                for name in chains:
                    mixture.chain(table, name)

    def program(self, text: NodeText) -> NodeProgram:
        """Return a mixture of the texts, prepared for evaluation."""
        if id(text) not in self._programs:
            made = NodeProgram(text, self.library)
            made.load()
            self._programs[id(text)] = text, made
        return self._programs[id(text)][1]

    # --- interfaces, senders and receivers

    def _interfaces(self) -> Iterator[str]:
        """Yield the interfaces behind which others are: those of the machine, and those that rules name."""
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

    def _questions(self) -> Iterator[OpenQuestion]:
        rules = (rule for chain in self.library.chains for rule in chain.rules)
        return iter(dict.fromkeys(question for rule in rules for question in rule.questions()))

    @cached_property
    def assumed(self) -> int:
        """The assumed answers, as bits of a tag."""
        return union(bit for question, bit in self.questions.items() if question.holds)

    @cached_property
    def everybody(self) -> int:
        """The mask of all receivers, without classes whose addresses all belong to endpoints."""
        some = union(self.classes)
        return self.perspective.everybody & (union(self.bits.values()) | self.receivers.copies(some))

    @cached_property
    def own(self) -> int:
        """The mask of the node's addresses as receivers."""
        return union(self.bits[address] for address in self.ground.own)

    @cached_property
    def variants(self) -> tuple[int, ...]:
        """Bits of tags for states of connections that rules distinguish, without those of rewritten destinations."""
        named = {test.criterion.states for chain in self.library.chains for rule in chain.rules
                 for test in rule.body.tests if isinstance(test.criterion, Tracked)}  # fmt: skip
        states = {0: "NEW", ESTABLISHED: "ESTABLISHED", RELATED: "RELATED", INVALID: "INVALID", STATELESS: "UNTRACKED"}
        alike: dict[tuple[object, ...], int] = {}
        for tag, name in states.items():
            # NAT chains see new connections only.
            alike.setdefault((not tag, *(bool(found & STATES[name]) for found in sorted(named))), tag)
        return tuple(alike.values())

    @cached_property
    def marks(self) -> tuple[int, ...]:
        """Each bit of marks that a rule tests, and all of them together."""
        masks = {test.criterion.mask for chain in self.library.chains for rule in chain.rules
                 for test in rule.body.tests if isinstance(test.criterion, Marked)}  # fmt: skip
        single = [1 << at for at in bits(union(masks))]
        return (*single, union(single)) if len(single) > 1 else tuple(single)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Senders whose packets arrive by the interface that leads back to them."""
        pods = [Row(name, address, self.bits[address]) for address, name in self.ground.pods.items()]
        own = [Row("", address, self.bits[address]) for address in self.ground.own]
        others = [
            Row(interface, address, bit << at * self.receivers.count)
            for at, interface in enumerate(self.receivers.interfaces)
            for bit, address in self.classes.items()
        ]
        return (*pods, *own, *others)

    @cached_property
    def spoofed(self) -> tuple[Row, ...]:
        """Senders whose packets arrive by an interface that does not lead to their address."""
        interfaces = (*sorted(self.ground.behind), *self.receivers.interfaces)
        addresses = {**self.classes.inverse, **self.bits}
        return tuple(
            Row(interface, address, bit, spoofed=True)
            for interface in interfaces
            for address, bit in addresses.items()
            if self.ground.pods.get(address) != interface and address != LOOPBACKS[self.family]
        )

    @cached_property
    def classes(self) -> Classes:
        """An address of each class of other addresses."""
        found = Classes()
        externals = self.receivers.externals
        for position in range(externals.count):
            bit = 1 << externals.offset + position
            address = self._representative(externals.ranges(bit))
            if address is not None:
                found[bit] = address
        return found

    def _representative(self, parts: Sequence[Range]) -> int | None:
        """Return an unused address of some ranges, preferably the one for the internet; None if all are in use."""
        never, have = NEVER_SENT[self.family], self.bits
        usual = [a.number for text in INTERNET if (a := parse_address(text)).family == self.family]
        edges = (edge for part in parts for edge in (part.first + 1, part.first, *self.receivers.externals.free(part)))
        return next(
            (
                address
                for address in (*usual, *edges)
                if address not in have
                and not never.first <= address <= never.last
                and any(part.first <= address <= part.last for part in parts)
            ),
            None,
        )

    def class_of(self, row: Row) -> int:
        """Return the class of a row's address, as a mask of one bit."""
        address = row.address
        return self.receivers.externals.peers((Layer(Range(address, address)),))

    def address_of(self, bit: int) -> tuple[int, str]:
        """Return an address of a receiver, and the interface by which it is reached ("" for the node)."""
        if bit >> self.receivers.offset:
            interface, one = self.receivers.tell(bit)
            return self.classes[one], interface
        address = next(address for address, found in self.bits.items() if found == bit)
        return address, self.ground.pods.get(address, "")

    @cached_property
    def named(self) -> frozenset[str]:
        """The interfaces by which packets arrive."""
        return self.ground.behind.union(self.receivers.interfaces)

    def packet(self, row: Row, variant: int, traffic: int, receiver: int, came: PacketSet | None = None) -> Packet:
        """Return one packet of a row, with the lowest traffic and receiver in the masks given.

        Where its destination is rewritten, `came` is what it was sent for; one with the same protocol is taken.
        """
        address, interface = self.address_of(receiver & -receiver)
        protocol, number, source_port = self.traffic.sample(traffic)
        icmp = divmod(number, 256) if protocol == ICMP[self.family] else None
        sent_to, port = address, 0 if icmp else number
        dnat: tuple[str, int] | None = None
        sent_by: str | None = None
        if variant & DNAT and came:
            asked = next((t & self.traffic.lifted(traffic & -traffic), peers) for t, peers in came.items()
                         if t & self.traffic.lifted(traffic & -traffic))  # fmt: skip
            sent_to, sent_by = self.address_of(asked[1] & -asked[1])
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
            spoofed=row.spoofed,
            sent_by=sent_by,
        )
