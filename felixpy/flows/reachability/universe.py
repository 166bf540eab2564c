"""Numbers for everything that rules distinguish, so that two inputs can be compared bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from felixpy.flows.packets.peers import Externals, Layer, Layers
from felixpy.flows.packets.traffic import Mentions, TrafficSpace
from felixpy.flows.programs.code import Library, RuleCode, SetCode
from felixpy.flows.programs.perspective import member_range
from felixpy.flows.reachability.classes import Identity
from felixpy.flows.reachability.sides import InputSide
from felixpy.netfilter.actions import Rewrite
from felixpy.netfilter.criteria import AddressIn, IcmpTypes, InSet, Ports, Protocol, Test
from felixpy.netfilter.numbers import ICMP, WITH_PORTS, Range


class PortChoice(NamedTuple):
    """A selection of ports of a protocol; None is all of it. ICMP is that of either family."""

    protocol: int
    ports: Range | None

    def mask(self, traffic: TrafficSpace) -> int:
        """Return the mask of the selected traffic."""
        number = ICMP[traffic.family] if self.protocol in ICMP.values() else self.protocol
        whole = traffic.protocol(number)
        return whole & traffic.ports([self.ports], source=False) if self.ports else whole


class Nets(NamedTuple):
    """A selection of addresses of a family."""

    family: int
    addresses: Range


@dataclass(frozen=True, slots=True)
class FamilySpace:
    """The numbers of one family: its traffic, and the classes of addresses that belong to no endpoint."""

    family: int
    library: Library
    traffic: TrafficSpace
    externals: Externals


class Told(NamedTuple):
    """What rules of a family distinguish: numbers, nets, and addresses that NAT rewrites to others."""

    mentions: Mentions
    layers: frozenset[Layers]
    rewritten: frozenset[int]

    def with_(self, other: Told) -> Told:
        """Return what either distinguishes."""
        mentions = self.mentions.with_(other.mentions)
        return Told(mentions, self.layers | other.layers, self.rewritten | other.rewritten)


class Universe:
    """Common numbers for some sides. The bit position of an endpoint is its index in `identities`.

    `renamed` are by number of the side the common identities of endpoints, where those of the input differ. Selected
    `ports` and `nets` are distinguished as if rules mentioned them; `every_icmp` includes ICMP types that open no
    connection.
    """

    def __init__(
        self,
        sides: Sequence[InputSide],
        *,
        renamed: Mapping[int, Mapping[Identity, Identity]] | None = None,
        ports: Iterable[PortChoice] = (),
        nets: Iterable[Nets] = (),
        every_icmp: bool = False,
        only: Sequence[int] | None = None,
    ) -> None:
        """`only` are the numbers of the sides whose rules are included; of others only the endpoints are."""
        self.sides = tuple(sides)
        self._read = self.sides if only is None else tuple(self.sides[number] for number in only)
        self._only = only
        self._renamed = renamed or {}
        names = {name for number, side in enumerate(sides) for name in self._names(number, side)}
        self.identities = tuple(sorted(names))
        self.positions = {name: position for position, name in enumerate(self.identities)}
        self._ports, self._nets, self._every_icmp = tuple(ports), tuple(nets), every_icmp
        self.mentioned: dict[int, Told] = {}
        self.families = {library.family: self._space(library) for library in self._libraries()}

    def __reduce__(self) -> tuple[Callable[..., Universe], tuple[object, ...]]:
        """Pickle the inputs only: other processes compile them again."""
        return _again, (self.sides, self._renamed, self._ports, self._nets, self._every_icmp, self._only)

    def position(self, side: InputSide, identity: Identity) -> int:
        """Return the bit position of an endpoint of one of the sides."""
        return self.positions[self._renamed.get(self.sides.index(side), {}).get(identity, identity)]

    def _names(self, number: int, side: InputSide) -> Iterator[Identity]:
        renamed = self._renamed.get(number, {})
        return (renamed.get(endpoint.identity, endpoint.identity) for endpoint in side.endpoints)

    def _libraries(self) -> list[Library]:
        """Return the rules of each family; classes are split until the rules treat their members the same."""
        while True:
            found = [Library(family) for family in sorted({family for side in self._read for family in side.families})]
            for library in found:
                for side in self._read:
                    side.load(library)
            refined = [side.refine(found) for side in self._read]
            if not any(refined):
                return found

    def _space(self, library: Library) -> FamilySpace:
        family = library.family
        mentioned = Mentioned(Mentions(family))
        for chain in library.chains:
            for rule in chain.rules:
                mentioned.note(rule)
        rewritten = frozenset(mentioned.rewritten(library))
        mentioned.layers.update((Layer(net.addresses),) for net in self._nets if net.family == family)
        for protocol, ports in self._ports:
            if ports:
                mentioned.mentions.ports([protocol], [ports], source=False)
            elif protocol not in ICMP.values():
                mentioned.mentions.protocols.add(protocol)
        self.mentioned[family] = Told(mentioned.mentions, frozenset(mentioned.layers), rewritten)
        return self.space_of(family, self.mentioned[family], library)

    def space_of(self, family: int, told: Told, library: Library) -> FamilySpace:
        """Return numbers for what rules distinguish."""
        known = set(told.rewritten)
        for side in self.sides:
            known.update(side.known(family))
        traffic = TrafficSpace(told.mentions, every_icmp=self._every_icmp)
        return FamilySpace(family, library, traffic, Externals(family, told.layers, known, len(self.identities)))


def _again(
    sides: Sequence[InputSide],
    renamed: Mapping[int, Mapping[Identity, Identity]],
    ports: Sequence[PortChoice],
    nets: Sequence[Nets],
    every_icmp: bool,
    only: Sequence[int] | None,
) -> Universe:
    return Universe(sides, renamed=renamed, ports=ports, nets=nets, every_icmp=every_icmp, only=only)


@dataclass(slots=True)
class Mentioned:
    """Collects what rules mention: protocols, ports and ICMP types, nets and sets."""

    mentions: Mentions
    layers: set[Layers] = field(default_factory=set)
    _noted: set[tuple[SetCode, tuple[str, ...]]] = field(default_factory=set)

    def note(self, rule: RuleCode) -> None:
        if isinstance(rule.action, Rewrite) and rule.action.side == "source" and rule.action.address is not None:
            self.layers.add((Layer(Range(rule.action.address, rule.action.address)),))
        tests = rule.body.tests
        protocols = [test.criterion.number for test in tests if isinstance(test.criterion, Protocol)]
        self.mentions.protocols.update(protocols)
        for test in tests:
            match test.criterion:
                case Ports(sides, ranges):
                    for side in sides:
                        self.mentions.ports(protocols, ranges, source=side == "source")
                case IcmpTypes(types):
                    self.mentions.icmp([types])
                case AddressIn(_, ranges):
                    self.layers.add(tuple(map(Layer, ranges)))
                case InSet(name, sides) if (code := rule.sets[name]) and len(code.dimensions) <= len(sides):
                    self._note_set(code, sides)
                case _:
                    pass

    def _note_set(self, code: SetCode, sides: tuple[str, ...]) -> None:
        if (code, sides) in self._noted:
            return
        self._noted.add((code, sides))
        if len(code.dimensions) == 1 and code.dimensions[0] != "port":
            self.layers.add(code.layers)
            return
        for row in code.rows:
            lengths = iter(row.lengths)
            for side, value in zip(sides, row.values, strict=False):
                if isinstance(value, int):
                    self.layers.add((Layer(member_range(value, next(lengths), code.family)),))
                else:
                    assert isinstance(value, tuple)
                    self._note_port(*value, source=side == "src")

    def _note_port(self, protocol: int, number: int, *, source: bool) -> None:
        numbers = [Range(number, number)]
        if protocol == ICMP[self.mentions.family]:
            self.mentions.icmp(numbers)
        elif protocol in WITH_PORTS:
            self.mentions.ports([protocol], numbers, source=source)
        else:
            self.mentions.protocols.add(protocol)

    def rewritten(self, library: Library) -> Iterator[int]:
        """Yield the addresses that NAT rewrites to others, such as those of Services: they belong to no peer."""
        rewriting = {id(chain) for chain in library.chains if any(_rewrites(rule) for rule in chain.rules)}
        if not rewriting:
            return
        for chain in library.chains:
            for rule in chain.rules:
                targets = rule.target.closure if rule.target else ()
                if _rewrites(rule) or any(id(target) in rewriting for target in targets):
                    yield from _single_destinations(rule.body.tests)


def _rewrites(rule: RuleCode) -> bool:
    return isinstance(rule.action, Rewrite) and rule.action.side == "destination"


def _single_destinations(tests: Iterable[Test]) -> Iterator[int]:
    for criterion, negated in tests:
        if isinstance(criterion, AddressIn) and criterion.side == "destination" and not negated:
            yield from (first for first, last in criterion.ranges if first == last)
