"""The members of sets, updated whenever an endpoint or a network set changes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from felixpy.ipsets import (
    ANY_PROTOCOL,
    IPSet,
    Labelled,
    Membership,
    SetMembers,
    SetOrigin,
    SetSpec,
    service_set,
    shown,
    uncovered,
)
from felixpy.labels import Pair, Thing
from felixpy.model import Cluster, Labels, NetworkSet, Slice
from felixpy.selector import And, LabelTest, Node, matches, parse

FAMILIES = (4, 6)
FEW_BUILT = 1000


def demanded(node: Node) -> Pair | None:
    """A (label, value) pair that everything selected has; None if the selector requires none.

    >>> demanded(parse("has(x) && app == 'web'")), demanded(parse("app in {'web', 'db'}"))
    (('app', 'web'), None)
    """
    for part in node.operands if isinstance(node, And) else (node,):
        if isinstance(part, LabelTest) and part.operator == "==":
            return part.label, str(part.operand)
    return None


@dataclass(eq=False)
class _Content:
    """One set: the things in it, and for each member the number of things that contribute it."""

    spec: SetSpec
    node: Node
    chosen: set[int]
    counts: dict[int, Counter[str]]
    ordered: dict[int, list[str]]
    """The members of each family, sorted."""
    networks: dict[int, int]
    """How many of them are networks, not single addresses."""
    listed: dict[int, SetMembers] = field(default_factory=dict)
    """Results that were returned before and are still valid."""


class LiveMembership(Membership):
    """A membership whose things can be replaced. The numbers of removed things are reused."""

    def __init__(
        self, cluster: Cluster, labelled: Mapping[int, Labelled], suppress_overlaps: bool, init_ports: bool
    ) -> None:
        self.things = dict(labelled)
        super().__init__(cluster, self.things, suppress_overlaps, init_ports)
        self._contents: dict[str, _Content] = {}
        self._by_pair: dict[Pair | None, dict[str, _Content]] = {}
        self._room = FEW_BUILT
        """So many built sets are kept before those that no node has are looked for."""
        self.changed: set[str] = set()
        """Ids of sets whose members changed since it was last emptied."""

    def put(self, number: int, thing: Labelled | None) -> None:
        """Replace the thing with a number, or remove it."""
        before = self.index.labels(number) if number in self.things else {}
        affected = {content.spec.id: content for content in self._candidates(before)}
        self._leave(number, affected.values())
        if thing is None:
            self.things.pop(number, None)
            self.index.drop(number)
            return
        self.things[number] = thing
        self.index.put(number, _labels(thing))
        labels = self.index.labels(number)
        for content in self._candidates(labels):
            if matches(content.node, labels):
                self._enter(number, content)

    def inherit(self, profile: str) -> list[int]:
        """Update the labels of a profile from the cluster; returns the things that inherit them."""
        heirs = self.index.heirs(profile)
        things = {number: self.things[number] for number in heirs}
        for number in heirs:
            self.put(number, None)
        self.index.inherit(_profile_labels(self.cluster))
        for number, thing in things.items():
            self.put(number, thing)
        return heirs

    def replace_slices(self, before: Iterable[Slice], after: Iterable[Slice]) -> None:
        """Update slices: the sets of their services are computed again."""
        self.__dict__.pop("_slices", None)
        old, new = ({id(each): each for each in slices} for slices in (before, after))
        differing = [*(old[key] for key in old.keys() - new), *(new[key] for key in new.keys() - old)]
        services = {each.service for each in differing}
        gone = {service_set(name, with_ports=ports).id for name in services for ports in (False, True)}
        self._known = {key: members for key, members in self._known.items() if key[0] not in gone}
        self._built = {key: made for key, made in self._built.items() if key[0] not in gone}
        self.changed |= gone

    def keep(self, used: Collection[str], sets: Iterable[IPSet]) -> None:
        """Drop the sets whose ids are not in `used`; `sets` are those that nodes have."""
        for key in [key for key in self._built if key[0] not in used]:
            del self._built[key]
        if len(self._built) > self._room:
            # The same members under names of policies that asked first once.
            there = {id(each) for each in sets}
            self._built = {key: made for key, made in self._built.items() if id(made) in there}
            self._room = 2 * len(self._built) + FEW_BUILT
        for other in [key for key in self._known if key[0] not in used]:
            del self._known[other]
        for identity in self._contents.keys() - used:
            content = self._contents.pop(identity)
            pair = demanded(content.node)
            del self._by_pair[pair][identity]
            if not self._by_pair[pair]:
                del self._by_pair[pair]

    # --- used by compiling

    def members(self, spec: SetSpec, family: int) -> SetMembers:
        """The members of one family."""
        if spec.service:
            return super().members(spec, family)
        content = self._contents.get(spec.id) or self._fill(spec)
        listed = content.listed.get(family)
        if listed is None:
            listed = content.listed[family] = SetMembers(self._sorted(content, family))
        return listed

    def build(self, spec: SetSpec, family: int, max_size: int, origin: SetOrigin | None) -> IPSet:
        """The set with its members in one family; the same object as before if nothing has changed."""
        key = (spec.id, family, max_size, origin)
        known = self._built.get(key)
        if known is not None and known.members is not self.members(spec, family):
            del self._built[key]
        return super().build(spec, family, max_size, origin)

    def _sorted(self, content: _Content, family: int) -> list[str]:
        members = content.ordered[family]
        if self.suppress_overlaps and not content.spec.port and content.networks[family]:
            return sorted(uncovered(members, family))
        return members

    def _fill(self, spec: SetSpec) -> _Content:
        node = parse(spec.selector)
        counts, ordered = {family: Counter[str]() for family in FAMILIES}, {family: list[str]() for family in FAMILIES}
        content = self._contents[spec.id] = _Content(spec, node, set(), counts, ordered, {})
        self._by_pair.setdefault(demanded(node), {})[spec.id] = content
        content.chosen.update(self.index.select(node))
        for number in content.chosen:
            for family, member in self._brought(spec, self.things[number]):
                counts[family][member] += 1
        for family in FAMILIES:
            ordered[family] = sorted(counts[family])
            content.networks[family] = sum("/" in member for member in ordered[family])
        return content

    # --- adjusting

    def _candidates(self, labels: Labels) -> Iterator[_Content]:
        """The sets that a thing with these labels may be in."""
        for pair in (None, *labels.items()):
            yield from self._by_pair.get(pair, {}).values()

    def _enter(self, number: int, content: _Content) -> None:
        content.chosen.add(number)
        for family, member in self._brought(content.spec, self.things[number]):
            counts = content.counts[family]
            counts[member] += 1
            if counts[member] == 1:
                insort(content.ordered[family], member)
                content.networks[family] += "/" in member
                content.listed.pop(family, None)
                self.changed.add(content.spec.id)

    def _leave(self, number: int, contents: Iterable[_Content]) -> None:
        for content in contents:
            if number not in content.chosen:
                continue
            content.chosen.discard(number)
            for family, member in self._brought(content.spec, self.things[number]):
                counts = content.counts[family]
                counts[member] -= 1
                if not counts[member]:
                    del counts[member]
                    del content.ordered[family][bisect_left(content.ordered[family], member)]
                    content.networks[family] -= "/" in member
                    content.listed.pop(family, None)
                    self.changed.add(content.spec.id)

    def _brought(self, spec: SetSpec, thing: Labelled) -> Iterator[tuple[int, str]]:
        """The (family, member) pairs that a thing contributes to a set; a pair can be repeated."""
        nets = thing.nets if isinstance(thing, NetworkSet) else thing.addresses
        if not spec.port:
            yield from ((6 if ":" in net else 4, shown(net)) for net in nets)
        elif not isinstance(thing, NetworkSet):
            for port in thing.ports:
                counts = self.init_ports or not port.init
                if counts and port.name == spec.port and spec.protocol in (ANY_PROTOCOL, port.protocol):
                    yield from ((6 if ":" in net else 4, f"{net},{port.protocol}:{port.port}") for net in nets)


def _labels(thing: Labelled) -> Thing:
    return thing.labels, thing.profiles


def _profile_labels(cluster: Cluster) -> dict[str, Labels]:
    return {name: profile.labels for name, profile in cluster.profiles.items()}
