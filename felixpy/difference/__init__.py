"""Compares two states of a cluster: objects, rules and sets, and their effect on traffic.

    objects   policies, pods and the like
    chains    the rules of one node
    across    the rules of a node whose data plane changes
    sets      the IP sets of one node
    report    all of it as text, Markdown and JSON

Either state is manifests or saved dumps. Changes that are the same on several nodes, or in both families, are reported
once; chains are grouped by the object that they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from felixpy.decode.legend import CHAIN_KINDS, STATIC, ChainSubject, Legend, Owner, chain_prefix
from felixpy.described import Answer
from felixpy.difference.across import ChainKeys, Planes, compare_meanings
from felixpy.difference.chains import OURS, ChainChange, compare_tables
from felixpy.difference.objects import ObjectChange, compare_objects
from felixpy.difference.sets import SetDifference, compare_sets
from felixpy.errors import Place, many
from felixpy.exposure.clients import NO_CHANGES, ServiceChanges, service_changes
from felixpy.exposure.routes import route_changes
from felixpy.flows import Changes, Hands, compare, here
from felixpy.model import DEFAULT_TIER
from felixpy.names import of_any_family
from felixpy.netfilter.rules import Table
from felixpy.topology.nodes import Nodes, SavedRules
from felixpy.workers import Alone, Computed, Lost, Workers

__all__ = ["Difference", "Group", "Spread", "difference"]

RANKS: Mapping[Owner | None, int] = {"policy": 0, "profile": 1, "group": 2, "pod": 3, "host": 4, "mark": 5, None: 6}
"""The order of changes, by the kind of object that the chain belongs to; None for Felix's static chains."""

GROUPS = "groups of policies with one selector"
OWN_CHAINS = "Felix's own chains"
KERNEL_CHAINS = "the kernel's chains"


class Group(NamedTuple):
    """The object that a group of changed chains belongs to."""

    rank: int
    title: str
    place: Place | None = None


class Spread(NamedTuple):
    """The nodes and families in which a change is the same, both sorted."""

    nodes: tuple[str, ...]
    families: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Difference(Answer):
    """Everything that differs. `flows` is None if flows were not compared; `meanings` describe the changed sets.

    `appeared` and `vanished` are nodes that only one of the states has; their rules are not listed.
    """

    objects: tuple[ObjectChange, ...]
    groups: Mapping[Group, Mapping[ChainChange, Spread]]
    sets: Mapping[SetDifference, Spread]
    meanings: Mapping[str, str]
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]
    flows: Changes | None
    services: ServiceChanges = NO_CHANGES
    unknown: tuple[str, ...] = ()
    """A remark for each thing that could not be compared."""
    planes: Mapping[Planes, tuple[str, ...]] = field(default_factory=dict)
    """The nodes whose data plane changes, by (before, after); their rules are compared by meaning."""
    versions: tuple[str, str] | None = None
    """The Calico versions (before, after) if they differ, else None; rules are then compared by meaning."""

    def _lines(self) -> Iterable[str]:
        from felixpy.difference.report import text

        return text(self, verbose=False)

    def _table(self) -> Iterable[Sequence[str]]:
        """The flows that differ."""
        opened = [("opened", flow) for flow in (*self.flows.opened, *self.services.opened)] if self.flows else []
        closed = [("closed", flow) for flow in (*self.flows.closed, *self.services.closed)] if self.flows else []
        if opened or closed:
            yield "change", "from", "to", "traffic"
        for change, flow in (*opened, *closed):
            yield change, str(flow.source), str(flow.destination), str(flow.traffic)

    @property
    def rules_differ(self) -> bool:
        return bool(self.groups or self.sets or self.appeared or self.vanished or self.planes)

    @property
    def flows_differ(self) -> bool:
        return self.flows is not None and not (self.flows.same and self.services == NO_CHANGES)


def difference(
    before: Nodes,
    after: Nodes,
    nodes: Iterable[str] | None = None,
    *,
    rules: bool = True,
    flows: bool = True,
    hands: Workers | None = None,
    flow_hands: Hands = here,
) -> Difference:
    """Return the differences between two states.

    The rules of `nodes` are compared, by default of all; flows are compared on all nodes. `hands` are the workers that
    compare nodes, `flow_hands` those that evaluate flows, by default this process. Raises the errors of compiling.
    """
    old, new = ({*state.dumps, *state.cluster.node_names()} for state in (before, after))
    chosen = {*nodes} if nodes is not None else {*old, *new}
    changes: dict[ChainChange, set[tuple[str, int]]] = {}
    set_changes: dict[SetDifference, set[str]] = {}
    meanings: dict[str, str] = {}
    unknown: list[str] = []
    planes: dict[Planes, list[str]] = {}
    both = sorted(chosen.intersection(old, new))
    hands = hands or Alone()
    flow_changes = _flow_changes(before, after, flow_hands) if flows and not rules else None
    asked = rules or (flow_changes is not None and flow_changes.refused)
    comparison = NodeComparison(before, after, rules, keep=flows and hands.is_here)
    refused: dict[str, tuple[str, ...]] = {}
    for number, found in hands.run(Computed(comparison.compare), both, in_order=True) if asked else ():
        name = both[number]
        if isinstance(found, Lost):
            unknown.append(f"rules of {name}: {found.words}")
            continue
        refused[name] = found.refused
        if found.planes:
            planes.setdefault(found.planes, []).append(name)
        for family, change in found.chains:
            changes.setdefault(change, set()).add((name, family))
        for change_of_set in found.sets:
            set_changes.setdefault(change_of_set, set()).add(name)
        for set_name, words in found.meanings.items():
            meanings.setdefault(set_name, words)
    for name in both:
        unknown.extend((*_missing(name, before, after), *refused.get(name, ())))
    unknown.extend(_not_given(before, after, chosen))
    if flows and flow_changes is None:
        flow_changes = _flow_changes(before, after, flow_hands)
    return Difference(
        unknown=tuple(dict.fromkeys((*unknown, *_unsure(flow_changes)))),
        objects=() if before.dumps or after.dumps else tuple(compare_objects(before.cluster, after.cluster)),
        groups=_grouped(_folded(changes), _Names(before, after)),
        sets={change: Spread(tuple(sorted(names)), (change.family,)) for change, names in set_changes.items()},
        meanings=meanings,
        appeared=tuple(sorted(chosen.intersection(new).difference(old))) if rules else (),
        vanished=tuple(sorted(chosen.intersection(old).difference(new))) if rules else (),
        flows=flow_changes,
        services=service_changes(before, after) if flows else NO_CHANGES,
        planes={change: tuple(names) for change, names in planes.items()},
        versions=versions_of(before, after) if rules else None,
    )


CompareTables = Callable[[Mapping[str, Table], Mapping[str, Table]], Iterator[ChainChange]]


class NodeDifference(NamedTuple):
    """The differences on one node: chains with their families, sets with their descriptions, and unknowns."""

    chains: tuple[tuple[int, ChainChange], ...]
    sets: tuple[SetDifference, ...]
    meanings: Mapping[str, str]
    refused: tuple[str, ...]
    planes: Planes | None = None


@dataclass(frozen=True, slots=True)
class NodeComparison:
    """Compares the rules of nodes in two states, if `rules`, and reports rules and sets that were not given."""

    before: Nodes
    after: Nodes
    rules: bool
    keep: bool
    """Whether the rules are used again in this process."""
    known: dict[Planes, tuple[ChainKeys, ChainKeys]] = field(default_factory=dict, init=False)

    def compare(self, name: str) -> NodeDifference:
        """Return the differences of a node that both states have."""
        one, other = self.before.rules(name, keep=self.keep), self.after.rules(name, keep=self.keep)
        refused = tuple(self._refused(name, one, other))
        if not self.rules:
            return NodeDifference((), (), {}, refused)
        foreign = bool(self.before.dumps) and bool(self.after.dumps)
        planes = Planes(one.dump.dataplane, other.dump.dataplane)
        same = planes.before == planes.after
        compared: CompareTables = partial(compare_tables, foreign=foreign)
        if not same or versions_of(self.before, self.after):
            compared = partial(compare_meanings, keys=self._keys(planes))
        sets = tuple(compare_sets(one.dump.sets, other.dump.sets, options=same))
        return NodeDifference(
            chains=tuple(_chain_changes(one, other, compared)),
            sets=sets,
            meanings={found.name: _meaning(found.name, other) or _meaning(found.name, one) for found in sets},
            refused=refused,
            planes=None if same else planes,
        )

    def _keys(self, planes: Planes) -> tuple[ChainKeys, ChainKeys]:
        if planes not in self.known:
            states = ((self.before, planes.before), (self.after, planes.after))
            first, second = (ChainKeys(nodes.cluster, nodes.compiler.calico_version, plane) for nodes, plane in states)
            self.known[planes] = first, second
        return self.known[planes]

    def _refused(self, name: str, one: SavedRules, other: SavedRules) -> Iterator[str]:
        """Yield a remark for each rule or set that the kernel refuses in one state only: it is not in force there."""
        states = ((self.before, one), (self.after, other))
        old, new = (
            dict.fromkeys(rules.index.ruleset.refused if rules.index and name not in nodes.dumps else ())
            for nodes, rules in states
        )
        yield from (f"not in force before: {problem.sentence}" for problem in old if problem not in new)
        yield from (f"not in force after: {problem.sentence}" for problem in new if problem not in old)


def versions_of(before: Nodes, after: Nodes) -> tuple[str, str] | None:
    """Return the Calico versions of both states, None if they are the same."""
    one, other = before.compiler.calico_version.name, after.compiler.calico_version.name
    return None if one == other else (one, other)


def _missing(name: str, before: Nodes, after: Nodes) -> Iterator[str]:
    """Yield a remark for rules and sets of a node that were not given, in either state."""
    families = sorted(before.families(name) ^ after.families(name))
    yield from (f"rules of IPv{family} on {name} were given of one side only" for family in families)
    if not (before.knows_sets(name) and after.knows_sets(name)):
        yield f"sets on {name} were not given"
    dumps = (state.dumps.get(name) for state in (before, after))
    for words in dict.fromkeys(words for dump in dumps if dump for words in dump.open):
        yield f"on {name}: {words}"


def _not_given(before: Nodes, after: Nodes, chosen: Iterable[str]) -> Iterator[str]:
    """Yield a remark for each chosen node without a dump in a state that otherwise consists of dumps."""
    for state, others in ((before, after), (after, before)):
        for name in state.cluster.node_names() if state.dumps else ():
            if name not in state.dumps and name in chosen and name in {*others.dumps, *others.cluster.node_names()}:
                yield f"rules of {name} were not given: it is compiled from the manifests"


def _unsure(changes: Changes | None) -> Iterator[str]:
    """Yield a remark if flows that differ depend on rules that are not understood."""
    if changes and (changes.perhaps_opened or changes.perhaps_closed):
        flows = len(changes.perhaps_opened) + len(changes.perhaps_closed)
        words = dict.fromkeys(doubt.words for doubt in changes.uncertain)
        yield f"{many(flows, 'flow')} may open or close: {'; '.join(words)}"


def _flow_changes(before: Nodes, after: Nodes, hands: Hands) -> Changes:
    """Return the flows that differ, including those of ingress controllers that are not in the input."""
    found, routes = compare(before, after, hands=hands), route_changes(before, after)
    return replace(found, opened=(*found.opened, *routes.opened), closed=(*found.closed, *routes.closed))


def _chain_changes(
    one: SavedRules, other: SavedRules, compare_them: CompareTables
) -> Iterator[tuple[int, ChainChange]]:
    for family in sorted({*one.dump.tables, *other.dump.tables}):
        # A family that was not saved is unknown, not empty.
        if family in one.dump.tables and family in other.dump.tables:
            for change in compare_them(one.dump.tables[family], other.dump.tables[family]):
                yield family, change


def _meaning(name: str, node: SavedRules) -> str:
    found = node.index.sets.get(name) if node.index else None
    return found.words if found else ""


def _folded(changes: Mapping[ChainChange, set[tuple[str, int]]]) -> Iterator[tuple[ChainChange, Spread]]:
    """Yield the changes; one that is the same in both families on the same nodes, except names of sets, only once."""
    twins: dict[ChainChange, dict[int, tuple[ChainChange, tuple[str, ...]]]] = {}
    for change, places in changes.items():
        for family in sorted({family for _, family in places}):
            nodes = tuple(sorted(name for name, found in places if found == family))
            twins.setdefault(_as_ipv6(change), {})[family] = change, nodes
    for by_family in twins.values():
        shown = {nodes for _, nodes in by_family.values()}
        if len(shown) == 1:
            yield by_family[min(by_family)][0], Spread(shown.pop(), tuple(sorted(by_family)))
        else:
            yield from ((change, Spread(nodes, (family,))) for family, (change, nodes) in by_family.items())


def _as_ipv6(change: ChainChange) -> ChainChange:
    rules = (rule._replace(text=of_any_family(rule.text)) for rule in change.rules)
    return change._replace(rules=tuple(rules))


class _Names:
    """Finds the object that a chain belongs to, in either state."""

    def __init__(self, before: Nodes, after: Nodes) -> None:
        self._states = [(nodes, Legend(nodes.cluster, nodes.compiler.calico_version)) for nodes in (after, before)]

    def group(self, chain: str) -> Group:
        prefix = chain_prefix(chain)
        kind = CHAIN_KINDS.get(prefix)
        if kind is None:
            return Group(RANKS[None], OWN_CHAINS if chain.startswith(OURS) or chain in STATIC else KERNEL_CHAINS)
        rank = RANKS[kind.owner]
        if kind.owner == "group":
            return Group(rank, GROUPS)
        for nodes, legend in self._states:
            subject = legend.chain(chain)
            if subject:
                source = subject.source
                place = nodes.cluster.where(source, ()) if source and source.file else None
                return Group(rank, _title(subject), place)
        return Group(rank, f"{kind.owner} of chains …-{chain[len(prefix) :]}")


def _title(subject: ChainSubject) -> str:
    tier = subject.policy.tier if subject.policy else DEFAULT_TIER
    return subject.name if tier == DEFAULT_TIER else f"{subject.name} (tier {tier})"


def _grouped(changes: Iterable[tuple[ChainChange, Spread]], names: _Names) -> dict[Group, dict[ChainChange, Spread]]:
    found: dict[Group, dict[ChainChange, Spread]] = {}
    for change, spread in changes:
        found.setdefault(names.group(change.chain), {})[change] = spread
    return {group: found[group] for group in sorted(found, key=lambda group: group[:2])}
