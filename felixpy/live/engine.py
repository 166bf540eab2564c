"""Rules that are updated as a cluster changes: `LiveCluster` for several nodes, `Live` for one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from felixpy.calico_versions import V3_32, CalicoVersion
from felixpy.compiler import Compiler, assumed_interfaces, only_node, refuse, refuser
from felixpy.config import Config, Setting
from felixpy.errors import FelixpyError
from felixpy.ipsets import SetSpec
from felixpy.layouts import NFTABLES, Layout
from felixpy.live.changes import RulesetChange, difference
from felixpy.live.objects import Change, Objects, changes_between
from felixpy.live.planning import LivePlanner
from felixpy.live.shared import REPLACE, LiveShared
from felixpy.model import Cluster, Host, HostEndpoint, Workload
from felixpy.names import set_name
from felixpy.nftables import NftRuleset
from felixpy.nodesets import ISTIO_SET
from felixpy.plan.facts import RuleContext
from felixpy.refusals import is_refused, refusals
from felixpy.remembered import forget_remembered
from felixpy.resolve import ActivePolicy, ActiveProfile, Resolution
from felixpy.ruleset import Ruleset

REMOTE = frozenset({
    "workloads", "host_endpoints", "network_sets", "slices", "services", "host_pods", "routes", "grants",
    "warnings", "texts", "where",
})  # fmt: skip
"""Fields of a cluster that reach a node's rules through members of sets only, unless one of its own endpoints changes.

(felix/calc: endpoints of other nodes go to the label index and nowhere else)
"""


MOST_STEPS = 5_000
"""After so many changes what pure functions remember of objects that may be gone is forgotten."""


class LiveCluster:
    """The rules of nodes of one cluster. What nodes have in common is kept and updated once for all of them.

    `calico_version`, `dataplane` and `settings` are those of `felixpy.compile`. Nodes are added one by one.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        calico_version: CalicoVersion = V3_32,
        dataplane: str | None = None,
        settings: Sequence[Setting] = (),
    ) -> None:
        self._settings = tuple(settings)
        self._compiler = _Compiler(cluster, calico_version, dataplane)
        self._objects: Objects | None = None
        self._nodes: dict[str, _Node] = {}
        self._taken = 0
        """Changes since what is remembered was forgotten."""
        self.failed: dict[str, FelixpyError] = {}
        """Why nodes could not be compiled in the last step; their rules are still those of the step before."""

    @property
    def cluster(self) -> Cluster:
        """The cluster after the last change."""
        return self._compiler.cluster

    @property
    def nodes(self) -> Collection[str]:
        """The nodes whose rules are kept."""
        return self._nodes.keys()

    def ruleset(self, node: str) -> Ruleset:
        """The rules of a node. Raises KeyError for one that was not added."""
        return self._nodes[node].ruleset

    def config(self, node: str) -> Config:
        """The parameters in force on a node. Raises KeyError for one that was not added."""
        return self._nodes[node].config

    def add(self, node: str, host: Host | None = None) -> Ruleset:
        """Keep the rules of one more node; returns them. Raises what `felixpy.compile` raises."""
        self._nodes[node] = self._compiler.compiled(node, host or Host(), self._settings, None)
        self._compiler.forget(self._nodes.values())
        return self._nodes[node].ruleset

    def drop(self, node: str) -> None:
        """Stop keeping the rules of a node."""
        del self._nodes[node]

    def apply(self, changes: Iterable[Change], cluster: Cluster | None = None) -> dict[str, RulesetChange]:
        """Apply changes of objects, several in one step; returns the changes of rules by node.

        `cluster` is the cluster after them, if the caller has it already; the changes must then include all workloads,
        host endpoints, network sets, policies, profiles and slices that differ.
        """
        listed = list(changes)
        if cluster is not None:
            self._objects = None
            return self._advance(cluster, listed)
        if self._objects is None:
            self._objects = Objects(self.cluster)
        return self._advance(self._objects.after(self.cluster, listed), listed)

    def update(self, cluster: Cluster) -> dict[str, RulesetChange]:
        """Take another value of the whole cluster, such as one that was read again; what differs is found."""
        changes = list(changes_between(self.cluster, cluster))
        self._objects = None
        return self._advance(cluster, changes)

    def _advance(self, cluster: Cluster, changes: Sequence[Change]) -> dict[str, RulesetChange]:
        before = self.cluster
        dirty = self._compiler.take(cluster, changes)
        elsewhere = all(getattr(before, each.name) is getattr(cluster, each.name) for each in _OTHER_FIELDS)
        touched = _homes(changes)
        self.failed.clear()
        found = {}
        for name, node in self._nodes.items():
            if elsewhere and node.anchored and not node.stale and name not in touched:
                after = self._compiler.with_members(node, dirty, self._settings)
            else:
                after = self._recompiled(node)
            if after is None:
                continue
            if change := difference(node.ruleset, after.ruleset):
                found[name] = change
            self._nodes[name] = after
        self._compiler.forget(self._nodes.values())
        self._taken += len(changes)
        if self._taken >= MOST_STEPS:
            self._taken = 0
            forget_remembered()
        return found

    def _recompiled(self, node: _Node) -> _Node | None:
        """The node compiled again; None if that fails, in which case the next step retries."""
        try:
            return self._compiler.compiled(node.ruleset.node, node.host, self._settings, node)
        except FelixpyError as wrong:
            self.failed[node.ruleset.node] = wrong
            node.stale = True
            return None


class Live:
    """A node's rules, and what changes of the cluster do to them.

    The rules equal those of a fresh compile after every step; the cost depends on what a change affects. `node`,
    `calico_version`, `dataplane`, `host` and `settings` are those of `felixpy.compile`. Raises what that raises; a step
    that raises leaves the rules unchanged, and the next one starts from the cluster that could not be compiled.

    >>> from felixpy.model import Node, Source
    >>> live = Live(Cluster(nodes={"n1": Node(name="n1", labels={}, source=Source("", 0))}))
    >>> bool(live.update(live.cluster))
    False
    """

    def __init__(
        self,
        cluster: Cluster,
        node: str | None = None,
        *,
        calico_version: CalicoVersion = V3_32,
        dataplane: str | None = None,
        host: Host | None = None,
        settings: Sequence[Setting] = (),
    ) -> None:
        self.node = node or only_node(cluster)
        self._all = LiveCluster(cluster, calico_version=calico_version, dataplane=dataplane, settings=settings)
        self._all.add(self.node, host)

    @property
    def cluster(self) -> Cluster:
        """The cluster after the last change."""
        return self._all.cluster

    @property
    def ruleset(self) -> Ruleset:
        """The rules after the last change."""
        return self._all.ruleset(self.node)

    def apply(self, changes: Iterable[Change]) -> RulesetChange:
        """Apply changes of objects, several in one step; returns the changes of the rules."""
        return self._outcome(self._all.apply(changes))

    def update(self, cluster: Cluster) -> RulesetChange:
        """Take another value of the whole cluster, such as one that was read again; what differs is found."""
        return self._outcome(self._all.update(cluster))

    def _outcome(self, found: Mapping[str, RulesetChange]) -> RulesetChange:
        for wrong in self._all.failed.values():
            raise wrong
        return found.get(self.node, RulesetChange())


@dataclass(slots=True)
class _Node:
    """The cached results for one node."""

    host: Host
    ruleset: Ruleset
    seen: _Seen
    layout: Layout
    config: Config
    specs: Mapping[str, SetSpec]
    """The sets that its rules ask for, by their ids."""
    places: Mapping[str, int]
    """The position of each set in the ruleset, by name."""
    anchored: bool
    """Whether it is an object or has endpoints of its own; else it may be no node as soon as others are."""
    stale: bool = False
    """Whether the last attempt to compile it failed."""


class _Seen(NamedTuple):
    """The parts of a resolution that chains depend on; policies and profiles are compared by identity."""

    layout: str
    values: tuple[object, ...]

    @staticmethod
    def of(resolution: Resolution, layout: Layout) -> _Seen:
        skipped = ("sets", "cluster")
        values = [getattr(resolution, name) for name in resolution.__struct_fields__ if name not in skipped]
        cluster = resolution.cluster
        return _Seen(layout.name, (*values, cluster.pools, cluster.service_cidrs))


_OTHER_FIELDS = [each for each in fields(Cluster) if each.name not in REMOTE]


def _homes(changes: Iterable[Change]) -> set[str]:
    """The nodes of the endpoints among the changes."""
    ends = (each for change in changes for each in change)
    return {each.node for each in ends if isinstance(each, Workload | HostEndpoint)}


class _Compiler(Compiler):
    """A compiler whose cluster changes."""

    _wrong: FelixpyError | None = None
    """Why the Calico version cannot express the cluster."""

    def take(self, cluster: Cluster, changes: Sequence[Change]) -> set[str]:
        """Replace the cluster; `changes` are all differences from the one before.

        Returns the ids of the sets whose members may have changed.
        """
        before, self.cluster = self.cluster, cluster
        if self._wrong or cluster.policies is not before.policies or cluster.tiers is not before.tiers:
            self._wrong = _refused(cluster, self.calico_version)
        dirty: set[str] = set()
        for shared in self._live():
            shared.take(cluster)
            for kind, replace_one in REPLACE.items():
                for old, new in changes:
                    if isinstance(new if new is not None else old, kind):
                        replace_one(shared, old, new)
            if cluster.tiers is not before.tiers:
                shared.replace_tiers()
            if cluster.slices is not before.slices:
                shared.membership.replace_slices(before.slices, cluster.slices)
            shared.settle()
            dirty |= shared.membership.changed
            shared.membership.changed.clear()
        return dirty

    def compiled(self, name: str, host: Host, settings: Sequence[Setting], before: _Node | None) -> _Node:
        """A node's rules; tables are rendered again only if something that they depend on has changed."""
        if self._wrong:
            raise self._wrong
        self._shared_for(self.config(name, settings)).node = name
        resolution = self.resolve(name, host, settings)
        layout = self.layout(name, settings)
        seen = _Seen.of(resolution, layout)
        if before and before.seen == seen:
            ruleset = replace(before.ruleset, sets=resolution.sets)
        else:
            ruleset = self._draw(resolution, layout)
        active: list[ActivePolicy | ActiveProfile] = [*resolution.policies, *resolution.profiles]
        return _Node(
            host=host,
            ruleset=replace(
                ruleset,
                refused=tuple(refusals(ruleset, self.cluster, refuser(layout))),
                assumed=tuple(assumed_interfaces(resolution, host)),
            ),
            seen=seen,
            layout=layout,
            config=resolution.config,
            specs={spec.id: spec for each in active for spec in each.sets()},
            places={each.name: place for place, each in enumerate(resolution.sets)},
            anchored=name in self.cluster.nodes or bool(resolution.workloads or resolution.all_hosts),
        )

    def with_members(self, node: _Node, dirty: Collection[str], settings: Sequence[Setting]) -> _Node | None:
        """The node with the current members of the `dirty` sets; None if it has none of these sets."""
        config = node.config
        if ISTIO_SET.id in dirty and config.istio_ambient == "Enabled":
            return self.compiled(node.ruleset.node, node.host, settings, node)
        asked = [node.specs[identity] for identity in dirty if identity in node.specs]
        if not asked:
            return None
        membership = self._shared_for(config).membership
        sets, odd, refusing = list(node.ruleset.sets), False, refuser(node.layout)
        for spec in asked:
            for family in config.families:
                place = node.places[set_name(family, spec.id)]
                before = sets[place]
                sets[place] = membership.build(spec, family, config.max_ipset_size, before.origin)
                odd = odd or is_refused(before, refusing) or is_refused(sets[place], refusing)
        ruleset = replace(node.ruleset, sets=tuple(sets))
        if odd:
            ruleset = replace(ruleset, refused=tuple(refusals(ruleset, self.cluster, refusing)))
        return replace(node, ruleset=ruleset)

    def _draw(self, resolution: Resolution, layout: Layout) -> Ruleset:
        """Render a node's chains, reusing those that are unchanged."""
        plan = self._planner(resolution.config, layout).plan(resolution, self.calico_version)
        ruleset = self._renderer(layout).render(plan)
        return NftRuleset.of(ruleset) if layout is NFTABLES else ruleset

    def forget(self, nodes: Collection[_Node]) -> None:
        """Drop caches that no rule of these nodes uses, so that memory does not grow with the number of changes."""
        used = {identity for node in nodes for identity in node.specs}
        used.add(ISTIO_SET.id)
        configs = {(node.config, node.layout.name) for node in nodes}
        names = {node.ruleset.node for node in nodes}
        wanted = {_shared_key(node.config) for node in nodes}
        self._planners = {key: planner for key, planner in self._planners.items() if key in configs}
        self._shared = {key: shared for key, shared in self._shared.items() if key in wanted}
        for planner in self._planners.values():
            assert isinstance(planner, LivePlanner)
            planner.keep(names)
        for shared in self._live():
            shared.keep(names, used, (ipset for node in nodes for ipset in node.ruleset.sets))
            for gone in shared.dropped:
                for planner in self._planners.values():
                    planner.policies.forget(gone)
            shared.dropped.clear()

    def _live(self) -> Iterator[LiveShared]:
        return (shared for shared in self._shared.values() if isinstance(shared, LiveShared))

    def _shared_for(self, config: Config) -> LiveShared:
        key = _shared_key(config)
        shared = self._shared.get(key)
        if not isinstance(shared, LiveShared):
            shared = self._shared[key] = LiveShared(self.cluster, self.calico_version, *key)
        return shared

    def _planner(self, config: Config, layout: Layout) -> LivePlanner:
        key = (config, layout.name)
        planner = self._planners.get(key)
        if not isinstance(planner, LivePlanner):
            planner = self._planners[key] = LivePlanner(RuleContext(config, self.calico_version, layout))
        return planner


def _shared_key(config: Config) -> tuple[bool, bool]:
    return config.source_spoofing == "Any", config.suppresses_overlaps


def _refused(cluster: Cluster, calico_version: CalicoVersion) -> FelixpyError | None:
    try:
        refuse(cluster, calico_version)
    except FelixpyError as wrong:
        return wrong
    return None
