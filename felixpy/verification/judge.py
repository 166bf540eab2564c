"""The effect of a difference on traffic: exactly the packets that are allowed wrongly, and those dropped wrongly.

The wanted rules and those with the damage are compared for all packets that the node sees
(`felixpy.flows.programs.change`). The effect is "none" only if every packet is treated the same; if that depends on
something unknown, such as the members of sets that were not given, the effect is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from felixpy.decode.legend import Legend
from felixpy.flows.packets.ground import Ground
from felixpy.flows.packets.packet_sets import union
from felixpy.flows.programs.change import ChangedPart, Comparer, TrafficChange, Verdict
from felixpy.flows.programs.code import NodeText, of_dump
from felixpy.flows.programs.node import NodeSpace
from felixpy.flows.programs.passage import Passage
from felixpy.netfilter.numbers import parse_address
from felixpy.netfilter.rules import Dump
from felixpy.topology.endpoints import Directory, Endpoint
from felixpy.topology.nodes import NodeRules
from felixpy.topology.outside import INTERNET
from felixpy.tracing import Leg, Report, Trace
from felixpy.tracing.hits import asked
from felixpy.tracing.reasons import reason
from felixpy.tracing.report import flow_words
from felixpy.verification.baseline import Baseline, Damage
from felixpy.verification.changed import Changed, changed_flows
from felixpy.verification.finding import HARMLESS, Effect, EffectKind, Example, Severity
from felixpy.walk import Packet, Walker

SETS = "sets were not given: they are taken to be as the manifests have them"
ADDRESSES = "the node's IPv{} addresses are not known; give them with --interface"
NOT_GIVEN = "those rules were not given"


Assumption: TypeAlias = Literal["as known", "any sets", "any addresses"]
"""What is assumed about a node: the known sets and addresses, or any."""


class Seen(NamedTuple):
    """The effect of a damage in one family, and the packet space in which it was computed."""

    damage: Damage
    space: NodeSpace
    verdict: Verdict
    below: bool = False
    """Whether it would do the same below Felix's rules."""


@dataclass(eq=False)
class Judge:
    """Computes effects of damage. `right` is the wanted node; its index has the origin of each rule.

    `knows_addresses` are the families in which the node's own addresses are known.
    """

    baseline: Baseline
    right: NodeRules
    directory: Directory
    legend: Legend
    knows_addresses: frozenset[int]
    others: Sequence[Damage] = ()
    """The damages of all findings, so that one packet space distinguishes all of them."""
    _passages: dict[tuple[int, Assumption], tuple[Passage, NodeText]] = field(default_factory=dict)

    def effect(self, damages: Sequence[Damage]) -> Effect:
        """The effect of damage in one or both families."""
        if any(damage.unknown for damage in damages):
            return Effect(Severity.UNKNOWN, f"may drop what should pass: {NOT_GIVEN}", certain=False, kind="unknown")
        seen = [self._see(damage) for damage in damages if damage.does_something]
        return self._told(seen) if seen else HARMLESS

    @property
    def questions(self) -> int:
        """The amount of work so far, as `Passage` counts it."""
        return sum(passage.questions for passage, _ in self._passages.values())

    # --- in packets

    def _see(self, damage: Damage) -> Seen:
        passage, right = self._passage(damage.family, "as known")
        wrong = self.baseline.with_damage(damage)
        verdict = _compared(passage, right, of_dump(wrong, damage.family), beside=_is_beside(damage))
        if damage.without and not verdict.change:
            # A foreign rule that denies has that effect at any position.
            anyway = Comparer(passage, of_dump(self.baseline.without(damage), damage.family),
                              of_dump(wrong, damage.family)).verdict()  # fmt: skip
            if anyway.change.closes and not anyway.change.opens:
                return Seen(damage, passage.space, anyway, below=True)
        if not verdict.change and not verdict.conditions:
            verdict = self._otherwise(damage, wrong, verdict)
        return Seen(damage, passage.space, verdict)

    def _otherwise(self, damage: Damage, wrong: Dump, found: Verdict) -> Verdict:
        """The possible change if members of sets, or the node's addresses, differ from the assumed ones."""
        family = damage.family
        if not self.baseline.observed.has_sets and not damage.sets:
            passage, right = self._passage(family, "any sets")
            worse = of_dump(wrong, family)._replace(sets=None)
            other = _compared(passage, right, worse, beside=_is_beside(damage))
            if other.change or other.conditions:
                return Verdict(found.change, other.change or other.perhaps, (SETS,))
        if family not in self.knows_addresses:
            passage, right = self._passage(family, "any addresses")
            other = _compared(passage, right, of_dump(wrong, family), beside=_is_beside(damage))
            if other.change:
                return Verdict(found.change, other.change, (ADDRESSES.format(family),))
        return found

    def _passage(self, family: int, assumption: Assumption) -> tuple[Passage, NodeText]:
        """The packet space that distinguishes all damage of a family, and the wanted rules in it."""
        if (family, assumption) not in self._passages:
            ground = self._ground(family)
            if assumption == "any addresses":
                known, _ = self._passage(family, "as known")
                anybody = dict.fromkeys(known.space.classes.values(), ground.machine.uplink)
                ground = replace(known.space.ground, own={**known.space.ground.own, **anybody})
            texts = [of_dump(self.baseline.dump, family)]
            observed = self.baseline.observed.dump
            if family in observed.tables:
                sets = {**(self.baseline.dump.sets or {}), **(observed.sets or {})}
                texts.append(of_dump(replace(observed, sets=sets), family))
            texts += [
                of_dump(damage.beside, family) for damage in self.others if damage.beside and damage.family == family
            ]
            if assumption == "any sets":
                texts = [text._replace(sets=None) for text in texts]
            self._passages[family, assumption] = Passage(NodeSpace(ground, texts, family)), texts[0]
        return self._passages[family, assumption]

    def _ground(self, family: int) -> Ground:
        pods = {pod.interface: pod.addresses for pod in self.legend.cluster.workloads if pod.node == self.right.name}
        return Ground.of(self.right.machine, pods, family)

    # --- in words

    def _told(self, seen: Sequence[Seen]) -> Effect:
        opens, closes, rewrites = (any(getattr(each.verdict.change, name) for each in seen)
                                   for name in ("opens", "closes", "rewrites"))  # fmt: skip
        conditions = tuple(dict.fromkeys(words for each in seen for words in each.verdict.conditions))
        flows = tuple(flow for each in seen for flow in self._flows(each, each.verdict.change))
        examples = tuple(example for each in seen for example in self._examples(each, each.verdict.change))
        below = (
            " as it would below Felix's rules"
            if any(each.damage.without for each in seen) and closes and not opens
            else ""
        )
        if opens:
            both = " and drops what should pass" if closes else ""
            kind: EffectKind = "both" if closes else "opens"
            return Effect(
                Severity.LETS_THROUGH, f"lets through what should be dropped{both}", examples, True, kind, flows
            )
        if closes:
            return Effect(
                Severity.DROPS, f"drops what should pass{',' if below else ''}{below}", examples, True, "closes", flows
            )
        if conditions:
            return self._perhaps(seen, conditions)
        if rewrites:
            return Effect(Severity.REWRITES, "packets get other addresses", examples, kind="unknown", flows=flows)
        return Effect(Severity.NO_EFFECT, "no packet is treated differently")

    def _perhaps(self, seen: Sequence[Seen], conditions: Sequence[str]) -> Effect:
        opens = any(each.verdict.perhaps.opens for each in seen)
        closes = any(each.verdict.perhaps.closes for each in seen)
        does = [
            *(["let through what should be dropped"] if opens else []),
            *(["drop what should pass"] if closes else []),
        ]
        words = f"may {' or '.join(does) or 'change addresses'}: {'; '.join(conditions)}"
        flows = tuple(flow for each in seen for flow in self._flows(each, each.verdict.perhaps))
        return Effect(Severity.UNKNOWN, words, (), False, "unknown", flows, tuple(conditions))

    def _flows(self, seen: Seen, change: TrafficChange) -> Iterator[Changed]:
        yield from changed_flows(seen.space, change, self.legend, self.right.name)

    def _examples(self, seen: Seen, change: TrafficChange) -> Iterator[Example]:
        """One packet that is wrongly allowed, one wrongly dropped, and one wrongly rewritten, if there are any."""
        wrong = NodeRules(self.right.name, self.baseline.with_damage(seen.damage), self.right.machine, self.right.index)
        wrong.walker = Walker(wrong.dump, self.right.machine, self.right.walker)
        for parts, words in ((change.opens, OPENS), (change.closes, CLOSES)):
            if parts:
                yield self._example(seen.space, _simplest(seen.space, parts), words, wrong)
        if change.rewrites and not (change.opens or change.closes):
            yield self._rewritten(seen.space, _simplest(seen.space, change.rewrites), wrong)

    def _example(self, space: NodeSpace, part: ChangedPart, words: tuple[str, str], wrong: NodeRules) -> Example:
        """An example packet of a part: what happens to it, what should happen, and why it is dropped."""
        trace = self.trace(packet_of(space, part), self.right if words is OPENS else wrong)
        return Example(flow_words(trace), *words, reason(trace).words)

    def _rewritten(self, space: NodeSpace, part: ChangedPart, wrong: NodeRules) -> Example:
        packet = packet_of(space, part)
        does, should = (dict(node.walker.walk(packet).rewritten) for node in (wrong, self.right))
        return Example(flow_words(self.trace(packet, self.right)), f"is {_rewriting(does)}", f"be {_rewriting(should)}")

    def trace(self, packet: Packet, node: NodeRules) -> Trace:
        """The trace of a packet through rules of the node."""
        family = parse_address(packet.source).family
        walk = node.walker.walk(packet)
        ends = tuple(asked(walk.steps, node, family, self.legend))
        return Trace(
            source=self._endpoint(packet.source),
            destination=self._endpoint(packet.destination),
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

    def _endpoint(self, address: str) -> Endpoint:
        found = self.directory.owner(address)
        if found.kind == "outside" and address in INTERNET:
            return replace(found, name="internet")
        return replace(found, name=f"host:{found.name}") if found.kind == "host" else found


OPENS, CLOSES = ("passes", "be dropped"), ("is dropped", "pass")


def _is_beside(damage: Damage) -> bool:
    """Whether a damage consists only of tables of another backend."""
    return damage.beside is not None and not damage.whole


def _compared(passage: Passage, right: NodeText, wrong: NodeText, *, beside: bool) -> Verdict:
    """The changed packets; with `beside`, tables of another backend, only those that they drop."""
    found = Comparer(passage, right, wrong).verdict()
    if not beside:
        return found
    return Verdict(
        TrafficChange(closes=found.change.closes), TrafficChange(closes=found.perhaps.closes), found.conditions
    )


def packet_of(space: NodeSpace, part: ChangedPart) -> Packet:
    """A packet of a part, to a pod if possible."""
    pods = union(space.bits[address] for address in space.ground.pods)
    traffic, peers = min(part.packets.items(), key=lambda each: (not each[1] & pods, each[0] & -each[0]))
    return space.packet(part.row, part.variant, traffic, peers & pods or peers, part.came)


def _simplest(space: NodeSpace, parts: Sequence[ChangedPart]) -> ChangedPart:
    """The simplest part for an example: first packets, from the expected interface, without NAT."""
    local = space.bits
    return min(
        parts,
        key=lambda part: (part.came is not None, part.row.spoofed, part.variant, part.row.address in local),
    )


def _rewriting(rewritten: Mapping[str, str]) -> str:
    if not rewritten:
        return "not rewritten"
    return ", ".join(f"{end} rewritten to {value}" for end, value in sorted(rewritten.items()))
