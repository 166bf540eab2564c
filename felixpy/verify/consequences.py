"""What a difference means for traffic: packets are walked through the right rules and through those with the damage.

A packet that fares otherwise is an example, and shows whether too much is let through or too much is dropped. Where
none does, the difference has no effect as far as was tried; where rules are not understood, it may have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from felixpy.decode.legend import Legend
from felixpy.errors import FelixpyError
from felixpy.iptables.reader import read_rule
from felixpy.netfilter.numbers import parse_address
from felixpy.netfilter.rules import Dump
from felixpy.trace import Leg, Report, Trace
from felixpy.trace.hits import asked
from felixpy.trace.nodes import NodeRules
from felixpy.trace.parties import Directory, Party
from felixpy.trace.reasons import reason
from felixpy.trace.report import flow_words
from felixpy.verify.baseline import Baseline, Damage
from felixpy.verify.finding import HARMLESS, Effect, Example, Severity
from felixpy.verify.naming import Concern
from felixpy.verify.probes import Surroundings, Wishes, packets
from felixpy.walk import Packet, Walker

ENOUGH = 2
"""Examples of each sort."""

AWHILE = 300
MOST_TARGETS = 4
MOST_DOUBTS = 100
"""So many packets are tried in all readings of rules that are not understood."""

FEW = 2
NEAR = 40
"""Rules of a chain that are looked at for what they look for."""


UNKNOWN = Effect(Severity.DROPS, "may drop what should pass: those rules were not given", certain=False)


@dataclass(eq=False)
class Judge:
    """Says what damage means. `right` is the node as it should be; its index knows what each rule stands for."""

    baseline: Baseline
    right: NodeRules
    directory: Directory
    legend: Legend
    _verdicts: dict[Packet, bool] = field(default_factory=dict)

    def effect(self, damage: Damage, concern: Concern) -> Effect:
        """What the damage means for packets from and to some endpoints."""
        if not damage.does_something:
            return HARMLESS
        if damage.unknown:
            return UNKNOWN
        effect = self._compare(damage, concern, self.right)
        if effect.severity is not Severity.NO_EFFECT or not damage.without:
            return effect
        # A denial of others is one wherever it stands.
        right = NodeRules(self.right.name, self.baseline.without(damage), self.right.machine, self.right.index)
        right.walker = Walker(right.dump, right.machine, self.right.walker)
        anyway = self._compare(damage, concern, right)
        if anyway.severity is not Severity.DROPS:
            return effect
        return anyway._replace(words=f"{anyway.words}, as it would below Felix's rules")

    def _compare(self, damage: Damage, concern: Concern, right: NodeRules) -> Effect:
        """Walk packets through the right rules and the wrong ones."""
        wrong = self.baseline.with_damage(damage)
        walker = Walker(wrong, right.machine, self.right.walker)
        sees = _Sees(self, right, walker, wrong, nat=damage.table in ("nat", ""), beside=damage.beside is not None)
        doubtful = self._is_doubtful(damage)
        known = Wishes(damage.family, lambda name: self._members(name, damage))
        known.add(concern.rules)
        around = Surroundings(self.right.machine, self._interfaces, concern.addresses, self._peers)
        for packet in packets(self._wishes(damage, wrong), known, around):
            sees.look(packet, doubtful=doubtful)
            if sees.is_satisfied:
                break
        return sees.effect()

    def allows(self, packet: Packet, right: NodeRules) -> bool:
        """Whether the right rules let a packet through; what those of the whole node say is remembered."""
        if right is not self.right:
            return right.walker.allows(packet)
        if packet not in self._verdicts:
            self._verdicts[packet] = right.walker.allows(packet)
        return self._verdicts[packet]

    def trace(self, packet: Packet, node: NodeRules) -> Trace:
        """The packet's way through some rules of the node, as `felixpy.trace` tells it."""
        family = parse_address(packet.source).family
        walk = node.walker.walk(packet)
        ends = tuple(asked(walk.steps, node, family, self.legend))
        return Trace(
            source=self._party(packet.source),
            destination=self._party(packet.destination),
            packet=packet,
            allowed=walk.verdict == "accept",
            certain=walk.certain,
            legs=(Leg(node, packet, walk, ends),),
            reports=tuple(
                Report(
                    reporter="src" if end.direction == "egress" else "dst",
                    end=end,
                    enforced=tuple(end.hits),
                    pending=tuple(end.hits),
                )
                for end in ends
                if end.hits or end.decided
            ),
        )

    def _party(self, address: str) -> Party:
        for party in self.outside.values():
            if party.address == address:
                return party
        found = self.directory.owner(address)
        return replace(found, name=f"host:{found.name}") if found.kind == "host" else found

    def _wishes(self, damage: Damage, wrong: Dump) -> Wishes:
        """What the rules at fault look for, then those of their chains and of where they lead, then those of sets."""
        wishes = Wishes(damage.family, lambda name: self._members(name, damage), broad=len(damage.rules) > FEW)
        wishes.add(f"-A x -m set --match-set {name} src" for name in damage.sets)
        wishes.add(damage.rules)
        wishes.add(self._neighbours(damage, wrong))
        return wishes

    def _members(self, name: str, damage: Damage) -> Sequence[str]:
        """Members of a set, those first that are in one of both only."""
        sets = self.baseline.dump.sets or {}
        known = sets[name].members if name in sets else ()
        if name not in damage.sets:
            return known
        odd = sorted({*known} ^ {*damage.sets[name].members})
        return [*odd, *(member for member in known if member not in odd)]

    def _neighbours(self, damage: Damage, wrong: Dump) -> Iterator[str]:
        tables = wrong.tables[damage.family]
        table = tables.get(damage.table, {})
        for name in dict.fromkeys((*_targets(damage.rules), *damage.chains)):
            if name in table:
                yield from (line.text for line in table[name].lines[:NEAR])
        for chains in tables.values() if damage.sets else ():
            for chain in chains.values():
                for _, text, _ in chain.lines:
                    if any(f" {name} " in text for name in damage.sets):
                        yield text

    @cached_property
    def _interfaces(self) -> Mapping[str, str]:
        name = self.right.name
        pods = self.legend.cluster.workloads
        return {address: pod.interface for pod in pods if pod.node == name for address in pod.addresses}

    @cached_property
    def _peers(self) -> list[str]:
        """Somebody outside, the node itself, and pods that differ: of each namespace the first, here and elsewhere."""
        chosen: dict[tuple[str, bool], list[str]] = {}
        for pod in self.legend.cluster.workloads:
            chosen.setdefault((pod.namespace, pod.node == self.right.name), list(pod.addresses))
        pods = [address for addresses in list(chosen.values())[:MOST_TARGETS] for address in addresses]
        outside = [party.address for party in self.outside.values()]
        return [*outside, *pods, *self.own_addresses]

    @cached_property
    def outside(self) -> Mapping[int, Party]:
        return {family: self.directory.find("internet", family) for family in (4, 6)}

    @cached_property
    def own_addresses(self) -> list[str]:
        """The node's own address in each family."""
        book = self.directory.book
        return [found for family in (4, 6) if (found := book.address(self.right.name, family))]

    def _is_doubtful(self, damage: Damage) -> bool:
        """Whether something about the damage is beyond what the walk understands."""
        lines = [line for rules in damage.chains.values() for line in rules or ()]
        return damage.whole or bool(damage.sets) or any("cali:" not in line for line in lines)


@dataclass
class _Sees:
    """Packets that fare otherwise through rules with damage."""

    judge: Judge
    right: NodeRules
    walker: Walker
    dump: Dump
    nat: bool
    beside: bool
    """Whether a packet has to get through both, and not instead."""
    tried: int = 0
    let_through: list[Example] = field(default_factory=list)
    dropped: list[Example] = field(default_factory=list)
    rewritten: list[Example] = field(default_factory=list)
    perhaps: dict[Severity, Packet] = field(default_factory=dict)

    @property
    def is_satisfied(self) -> bool:
        """Enough of both sorts, or enough of the worse one and nothing of the other for a while."""
        if len(self.let_through) < ENOUGH:
            return False
        return len(self.dropped) >= ENOUGH or self.tried > AWHILE

    def look(self, packet: Packet, *, doubtful: bool) -> None:
        """Try one packet; where rules are in doubt, also what would be if they were read the other way."""
        self.tried += 1
        should = self.judge.allows(packet, self.right)
        does = self.walker.allows(packet) and (should or not self.beside)
        if should != does:
            found = self.let_through if does else self.dropped
            if len(found) < ENOUGH:
                found.append(self._example(packet, does))
        elif doubtful and self.tried <= MOST_DOUBTS and not self.walker.walk(packet).certain:
            self.perhaps.setdefault(Severity.DROPS if should else Severity.LETS_THROUGH, packet)
        elif self.nat and should and len(self.rewritten) < ENOUGH:
            self._compare_rewriting(packet)

    def _compare_rewriting(self, packet: Packet) -> None:
        should, does = (dict(walker.walk(packet).rewritten) for walker in (self.right.walker, self.walker))
        if should != does:
            trace = self.judge.trace(packet, self.right)
            self.rewritten.append(Example(flow_words(trace), f"is {_rewriting(does)}", f"be {_rewriting(should)}"))

    def _example(self, packet: Packet, does: bool) -> Example:
        """The packet, what happens to it, what should, and the reason of whoever drops it."""
        right = self.right
        wrong = NodeRules(right.name, self.dump, right.machine, right.index)
        wrong.walker = self.walker
        trace = self.judge.trace(packet, right if does else wrong)
        there, wanted = ("passes", "be dropped") if does else ("is dropped", "pass")
        return Example(flow_words(trace), there, wanted, reason(trace).words)

    def effect(self) -> Effect:
        examples = (*self.let_through, *self.dropped, *self.rewritten)
        if self.let_through:
            both = " and drops what should pass" if self.dropped else ""
            return Effect(Severity.LETS_THROUGH, f"lets through what should be dropped{both}", examples)
        if self.dropped:
            return Effect(Severity.DROPS, "drops what should pass", examples)
        if self.perhaps:
            worst = min(self.perhaps)
            does = "let through what should be dropped" if worst is Severity.LETS_THROUGH else "drop what should pass"
            return Effect(worst, f"may {does}: it depends on criteria that are not understood", certain=False)
        if self.rewritten:
            return Effect(Severity.REWRITES, "packets get other addresses", examples)
        return Effect(Severity.NO_EFFECT, f"none of {self.tried} packets that were tried fares otherwise")


def _rewriting(rewritten: Mapping[str, str]) -> str:
    if not rewritten:
        return "not rewritten"
    return ", ".join(f"{end} rewritten to {value}" for end, value in sorted(rewritten.items()))


def _targets(rules: Sequence[str]) -> Iterator[str]:
    for text in rules:
        try:
            yield read_rule(text).target
        except FelixpyError:
            continue
