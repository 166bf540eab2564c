"""Rules as lines: in words, with their place and the endpoints that they match now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from felixpy.decode.legend import Direction
from felixpy.decode.phrases import rule_words
from felixpy.errors import Path, Place
from felixpy.explain.kernel_names import KernelNames
from felixpy.explain.values import RuleLine, Who
from felixpy.ipsets import SetSpec
from felixpy.labels import LabelIndex
from felixpy.model import ANYONE, Cluster, HostEndpoint, NetworkSet, Policy, Profile, Rule, Source, Workload
from felixpy.rules import ActiveSide, activate
from felixpy.selector import matches, parse

Thing = Workload | HostEndpoint | NetworkSet

FAMILIES = (4, 6)


class Population:
    """Everything in a cluster that a selector can match."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.things: tuple[Thing, ...] = (*cluster.workloads, *cluster.host_endpoints, *cluster.network_sets)
        self._known: dict[tuple[str, bool], tuple[Thing, ...]] = {}
        self._labels: dict[int, Mapping[str, str]] = {}

    @cached_property
    def _index(self) -> LabelIndex:
        labels = {name: profile.labels for name, profile in self.cluster.profiles.items()}
        return LabelIndex({n: (thing.labels, thing.profiles) for n, thing in enumerate(self.things)}, labels)

    def select(self, selector: str, *, sets: bool = True) -> tuple[Thing, ...]:
        """The endpoints that a selector matches, and with `sets` the network sets, which only rules match."""
        key = selector, sets
        if key not in self._known:
            found = [self.things[number] for number in sorted(self._index.select(parse(selector)))]
            self._known[key] = tuple(thing for thing in found if sets or not isinstance(thing, NetworkSet))
        return self._known[key]

    def selects(self, selector: str, thing: Workload | HostEndpoint) -> bool:
        """Whether a selector matches an endpoint."""
        if id(thing) not in self._labels:
            self._labels[id(thing)] = self._index.labels(next(n for n, t in enumerate(self.things) if t is thing))
        return matches(parse(selector), self._labels[id(thing)])

    def who(self, selector: str, *, sets: bool = True) -> Who:
        return named(self.select(selector, sets=sets))

    def has_port(self, spec: SetSpec) -> bool:
        """Whether an endpoint that the set selects has the set's named port."""
        return any(
            port.name == spec.port
            for thing in self.select(spec.selector)
            if not isinstance(thing, NetworkSet)
            for port in thing.ports
        )

    def families(self, spec: SetSpec) -> tuple[int, ...]:
        """The families in which a set can have members."""
        texts = [
            text
            for thing in self.select(spec.selector)
            for text in (thing.nets if isinstance(thing, NetworkSet) else thing.addresses)
        ]
        found = tuple(family for family in FAMILIES if any((":" in text) == (family == 6) for text in texts))
        return found or FAMILIES[:1]


def named(things: Sequence[Thing]) -> Who:
    return Who(
        tuple(f"{thing.namespace}/{thing.name}" for thing in things if isinstance(thing, Workload)),
        tuple(thing.name for thing in things if isinstance(thing, HostEndpoint)),
        tuple(
            f"{thing.namespace}/{thing.name}" if thing.namespace else thing.name
            for thing in things
            if isinstance(thing, NetworkSet)
        ),
    )


class RuleLines:
    """Makes lines of rules; `population` is what they can match, `names` are those of the data plane."""

    def __init__(self, population: Population, names: KernelNames) -> None:
        self.population, self.cluster, self.names = population, population.cluster, names

    def of(self, owner: Policy | Profile, direction: Direction) -> tuple[RuleLine, ...]:
        """The rules of one direction."""
        rules = owner.inbound if direction == "ingress" else owner.outbound
        return tuple(self._lines(owner.source, rules, direction))

    def _lines(self, source: Source, rules: Sequence[Rule], direction: Direction) -> Iterator[RuleLine]:
        final = 0
        for number, rule in enumerate(rules, start=1):
            active = activate(number, rule)
            peer, own = (active.source, active.destination)
            if direction == "egress":
                peer, own = own, peer
            specs = [*peer.sets, *peer.port_sets, *peer.service_sets]
            remarks = list(self._remarks(peer, own))
            if final:
                remarks.insert(0, f"never reached: rule {final} decides everything")
            yield RuleLine(
                number=number,
                words=rule_words(rule, direction),
                place=self.place(source, rule.path),
                path=rule.path,
                peers=self._peers(specs),
                sets=tuple(self.names.set(family, spec.id) for spec in specs for family in self._families(spec)),
                remarks=tuple(remarks),
            )
            if not final and decides_everything(rule):
                final = number

    def place(self, source: Source, path: Path = ()) -> Place | None:
        return self.cluster.where(source, path) if source.file else None

    def _families(self, spec: SetSpec) -> tuple[int, ...]:
        return FAMILIES[:1] if spec.service else self.population.families(spec)

    def _peers(self, specs: Sequence[SetSpec]) -> Who | None:
        """What all selectors of a side match together; None if the side has no selector."""
        selectors = [spec.selector for spec in specs if not spec.service]
        if not selectors:
            return None
        found = [self.population.select(selector) for selector in selectors]
        return named([thing for thing in found[0] if all(thing in others for others in found[1:])])

    def _remarks(self, peer: ActiveSide, own: ActiveSide) -> Iterator[str]:
        for spec in (*peer.port_sets, *own.port_sets):
            if not self.population.has_port(spec):
                yield f"no port of that name today: {spec.port}"
        for spec in peer.sets:
            if not spec.service and not self.population.select(spec.selector):
                yield "no endpoint today"
        for spec in (*peer.service_sets, *peer.sets):
            if spec.service and not any(part.service == spec.service for part in self.cluster.slices):
                yield f"service {spec.service.namespace}/{spec.service.name} has no endpoints today"


def decides_everything(rule: Rule) -> bool:
    """Whether a rule matches every packet and decides it."""
    criteria = (rule.protocol, rule.not_protocol, rule.icmp, rule.not_icmp, rule.ip_version)
    undemanding = all(value is None for value in criteria)
    return undemanding and rule.source == rule.destination == ANYONE and rule.action != "log"
