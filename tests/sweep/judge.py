"""What the engine says about damage, and what walks say."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from felixpy.compiler import Compiler
from felixpy.flows.packets.ground import Ground, Row
from felixpy.flows.packets.packet_sets import bits
from felixpy.flows.programs.change import ChangedPart, Comparer, TrafficChange, Verdict
from felixpy.flows.programs.code import of_dump
from felixpy.flows.programs.node import NodeSpace
from felixpy.flows.programs.passage import Passage
from felixpy.iptables.forms import read_dump
from felixpy.model import Cluster, Host
from felixpy.netfilter.rules import Dump
from felixpy.nftables.ruleset import NftRuleset
from felixpy.ruleset import Ruleset
from felixpy.topology.addresses import AddressBook
from felixpy.topology.nodes import machine_of
from felixpy.walk import Machine, Packet, Walker
from tests.conformance.recordings import Case
from tests.sweep import listed
from tests.sweep.damage import Damage, deletions, others

MOST_WALKED = 200
"""Packets walked for one damage, of those that came by the chain in question."""

FROM_EACH = 12
"""Parts of a difference of which a packet is walked."""


class Shot(NamedTuple):
    """A packet of the space, whether the right rules let it through, and the chains that it came by."""

    packet: Packet
    passes: bool
    chains: frozenset[tuple[str, str]]


@dataclass
class RecordedNode:
    """One recorded node in one family, with packets drawn from all that it may see."""

    case: Case
    family: int
    shots: int
    draw: random.Random
    extra: tuple[Dump, ...] = field(default=())

    @cached_property
    def cluster(self) -> Cluster:
        return self.case.load()

    @cached_property
    def host(self) -> Host:
        return self.case.host

    @cached_property
    def ruleset(self) -> Ruleset:
        return Compiler(self.cluster).compile(self.case.node, self.host)

    @cached_property
    def machine(self) -> Machine:
        book = AddressBook(self.cluster, {self.case.node: self.host}, [self.case.node])
        return machine_of(self.cluster, self.case.node, self.host, book)

    @cached_property
    def dump(self) -> Dump:
        return read_dump({self.family: self.ruleset.save(self.family)}, self.ruleset.ipset_save())

    def deletions(self) -> Iterator[Damage]:
        """Every rule of table filter taken out."""
        return deletions(self.dump, self.family)

    def others(self) -> Iterator[Damage]:
        """One of each other kind of damage."""
        return others(self.dump, self.family, self.draw)

    @cached_property
    def passage(self) -> Passage:
        pods = {pod.interface: pod.addresses for pod in self.cluster.workloads if pod.node == self.case.node}
        texts = [of_dump(dump, self.family) for dump in (self.dump, *self.extra)]
        return Passage(NodeSpace(Ground.of(self.machine, pods, self.family), texts, self.family))

    @cached_property
    def walker(self) -> Walker:
        return Walker(self.dump, self.machine)

    @cached_property
    def pool(self) -> list[Shot]:
        """Packets between any two ends by any way, new ones and others."""
        space, draw = self.passage.space, self.draw
        rows: list[Row] = [*space.rows, *draw.sample(space.spoofed, min(len(space.spoofed), len(space.rows) // 3 + 1))]
        traffic = list(bits(space.traffic.all))
        found = []
        for _ in range(self.shots):
            row = draw.choice(rows)
            receivers = [bit for peers in self.passage.everything(row).values() for bit in bits(peers)]
            if receivers:
                variant = draw.choice(space.variants) if draw.random() < 0.5 else 0
                packet = space.packet(row, variant, 1 << draw.choice(traffic), 1 << draw.choice(receivers))
                walk = self.walker.walk(packet)
                chains = frozenset((step.table, step.chain) for step in walk.steps)
                found.append(Shot(packet, walk.verdict == "accept", chains))
        return found

    def judge(self, damage: Damage) -> Iterator[str]:
        """Where the engine and walks do not agree about a damage."""
        verdict = self.verdict(damage)
        walker = Walker(damage.dump, self.machine, self.walker)
        if verdict.conditions:
            return
        opened, closed = self._flips(damage, walker)
        if opened and not verdict.change.opens:
            yield f"{damage.words}: {opened} passes now, and nothing is said to open"
        if closed and not verdict.change.closes:
            yield f"{damage.words}: {closed} is dropped now, and nothing is said to close"
        yield from self._claims(verdict.change, damage, walker)

    def verdict(self, damage: Damage) -> Verdict:
        right, wrong = (of_dump(dump, self.family) for dump in (self.dump, damage.dump))
        return Comparer(self.passage, right, wrong).verdict()

    def _flips(self, damage: Damage, walker: Walker) -> tuple[Packet | None, Packet | None]:
        """A packet that only the wrong rules let through, and one that only the right ones do."""
        concerned = [shot for shot in self.pool if not damage.chain or (damage.table, damage.chain) in shot.chains]
        opened = closed = None
        for shot in self.draw.sample(concerned, min(len(concerned), MOST_WALKED)):
            passes = walker.allows(shot.packet)
            opened = shot.packet if passes and not shot.passes else opened
            closed = shot.packet if shot.passes and not passes else closed
        return opened, closed

    def _claims(self, change: TrafficChange, damage: Damage, walker: Walker) -> Iterator[str]:
        """Packets of the difference that are not treated differently."""
        for parts, expected in ((change.opens, (False, True)), (change.closes, (True, False))):
            for part in self.draw.sample(parts, min(len(parts), FROM_EACH)):
                packet = self._any(part)
                fared = self.walker.allows(packet), walker.allows(packet)
                if fared != expected:
                    yield f"{damage.words}: {packet} is said to be {expected}, and is {fared}"

    def _any(self, part: ChangedPart) -> Packet:
        traffic, peers = self.draw.choice(list(part.packets.items()))
        one, other = (1 << self.draw.choice(list(bits(number))) for number in (traffic, peers))
        return self.passage.space.packet(part.row, part.variant, one, other, part.came)


@dataclass
class RecordedTables(RecordedNode):
    """The same node where Felix programs nftables."""

    @cached_property
    def ruleset(self) -> Ruleset:
        return Compiler(self.cluster, dataplane="nftables").compile(self.case.node, self.host)

    @cached_property
    def listing(self) -> listed.Listing:
        assert isinstance(self.ruleset, NftRuleset)
        return listed.Listing.of(self.ruleset, self.family)

    @cached_property
    def dump(self) -> Dump:
        return self.listing.dump()

    def deletions(self) -> Iterator[Damage]:
        return listed.deletions(self.listing)

    def others(self) -> Iterator[Damage]:
        return listed.others(self.listing, self.draw)


NODES: Mapping[str, type[RecordedNode]] = {"iptables": RecordedNode, "nftables": RecordedTables}
"""How a node is judged in each data plane."""
