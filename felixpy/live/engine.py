"""`Live`: the rules of one node, kept in step with a cluster that changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeAlias

from felixpy.compiler import Compiler, assumed_interfaces, only_node
from felixpy.config import Config, Setting
from felixpy.dialects import V3_32, Dialect
from felixpy.layouts import NFTABLES, Layout
from felixpy.live.changes import RulesetChange, difference
from felixpy.live.planning import LivePlanner
from felixpy.live.shared import LiveShared
from felixpy.model import Cluster, Host, HostEndpoint, NetworkSet, Node, Policy, Profile, Tier, Workload
from felixpy.nftables import NftRuleset
from felixpy.plan.facts import RuleContext
from felixpy.refusals import refusals
from felixpy.resolve import ActivePolicy, ActiveProfile, Resolution
from felixpy.ruleset import Ruleset

Object: TypeAlias = Workload | HostEndpoint | NetworkSet | Policy | Profile | Tier | Node


class Change(NamedTuple):
    """An object before and after: `old` is None for one that is new, `new` for one that is gone."""

    old: Object | None
    new: Object | None


class _Part(NamedTuple):
    """The field of `Cluster` that objects of a class go to, and what identifies one; `named` parts are mappings."""

    field: str
    key: Callable[[Any], Hashable]
    named: bool = False


PARTS: Mapping[type, _Part] = {
    Workload: _Part("workloads", lambda each: (each.namespace, each.name)),
    HostEndpoint: _Part("host_endpoints", lambda each: each.name),
    NetworkSet: _Part("network_sets", lambda each: (each.namespace, each.name)),
    Policy: _Part("policies", lambda each: each.key),
    Profile: _Part("profiles", lambda each: each.name, named=True),
    Tier: _Part("tiers", lambda each: each.name, named=True),
    Node: _Part("nodes", lambda each: each.name, named=True),
}


REPLACE: Mapping[type, Callable[[LiveShared, Any, Any], None]] = {
    Profile: LiveShared.replace_profile,
    Policy: LiveShared.replace_policy,
    Workload: LiveShared.replace,
    HostEndpoint: LiveShared.replace,
    NetworkSet: LiveShared.replace,
}
"""What adjusts to a change of an object, in this order: endpoints inherit labels of profiles."""


class Live:
    """A node's rules, and what changes of the cluster do to them.

    Equal to a fresh compile after every step, at the cost of what a change touches. `node`, `dialect`, `dataplane`,
    `host` and `settings` are those of `felixpy.compile`. Raises what that raises; a step that raises leaves the rules
    as they were, and the next one starts from the cluster that could not be compiled.

    >>> from felixpy.model import Source
    >>> live = Live(Cluster(nodes={"n1": Node(name="n1", labels={}, source=Source("", 0))}))
    >>> bool(live.update(live.cluster))
    False
    """

    def __init__(
        self,
        cluster: Cluster,
        node: str | None = None,
        *,
        dialect: Dialect = V3_32,
        dataplane: str | None = None,
        host: Host | None = None,
        settings: Sequence[Setting] = (),
    ) -> None:
        self.node = node or only_node(cluster)
        self._host, self._settings = host or Host(), tuple(settings)
        self._compiler = _Compiler(cluster, dialect, dataplane)
        self._objects = {part.field: _Objects(_keyed(cluster, part)) for part in PARTS.values()}
        self._seen: _Seen | None = None
        self.ruleset: Ruleset = self._compile()

    @property
    def cluster(self) -> Cluster:
        """The cluster after the last change."""
        return self._compiler.cluster

    def apply(self, changes: Iterable[Change]) -> RulesetChange:
        """Take changes of objects, several at once if they belong together; returns what became of the rules."""
        listed = list(changes)
        touched = set()
        for old, new in listed:
            part = PARTS[type(new if new is not None else old)]
            objects = self._objects[part.field]
            touched.add(part)
            if old is not None and (new is None or part.key(old) != part.key(new)):
                objects.drop(part.key(old))
            if new is not None:
                objects.put(part.key(new), new)
        values: dict[str, Any] = {part.field: self._objects[part.field].value(named=part.named) for part in touched}
        return self._advance(replace(self.cluster, **values), listed)

    def update(self, cluster: Cluster) -> RulesetChange:
        """Take another value of the whole cluster, such as one that was read again; what differs is found."""
        changes: list[Change] = []
        for part in PARTS.values():
            before, after = self._objects[part.field].by_key, _keyed(cluster, part)
            self._objects[part.field] = _Objects(after)
            changes += _differing(before, after)
        return self._advance(cluster, changes)

    def _advance(self, cluster: Cluster, changes: Sequence[Change]) -> RulesetChange:
        self._compiler.take(cluster, changes)
        before = self.ruleset
        self.ruleset = self._compile()
        return difference(before, self.ruleset)

    def _compile(self) -> Ruleset:
        """The rules; tables are drawn anew only if something that they depend on has changed."""
        compiler, node = self._compiler, self.node
        resolution = compiler.resolve(node, self._host, self._settings)
        layout = compiler.layout(node, self._settings)
        seen = _Seen.of(resolution, layout)
        if self._seen == seen:
            ruleset = replace(self.ruleset, sets=resolution.sets)
        else:
            ruleset = compiler.draw(resolution, layout)
        refused = () if layout is NFTABLES else tuple(refusals(ruleset, self.cluster))
        assumed = tuple(assumed_interfaces(resolution, self._host))
        self._seen = seen
        compiler.forget(resolution)
        return replace(ruleset, refused=refused, assumed=assumed)


class _Seen(NamedTuple):
    """All of a resolution that chains depend on; policies and profiles count by identity."""

    layout: str
    values: tuple[object, ...]

    @staticmethod
    def of(resolution: Resolution, layout: Layout) -> _Seen:
        skipped = ("sets", "cluster")
        values = [getattr(resolution, each.name) for each in fields(resolution) if each.name not in skipped]
        cluster = resolution.cluster
        return _Seen(layout.name, (*values, cluster.pools, cluster.service_cidrs))


class _Compiler(Compiler):
    """A compiler whose cluster changes."""

    def take(self, cluster: Cluster, changes: Sequence[Change]) -> None:
        """Go on with another cluster; `changes` are all that lies between it and the one before."""
        before, self.cluster = self.cluster, cluster
        for shared in self._live():
            shared.take(cluster)
            for kind, replace_one in REPLACE.items():
                for old, new in changes:
                    if isinstance(new if new is not None else old, kind):
                        replace_one(shared, old, new)
            if cluster.tiers != before.tiers:
                shared.replace_tiers()
            if cluster.slices != before.slices:
                shared.membership.forget_services()
            shared.settle()

    def draw(self, resolution: Resolution, layout: Layout) -> Ruleset:
        """A node's chains, those that are known already taken as they are."""
        plan = self._planner(resolution.config, layout).plan(resolution, self.dialect)
        ruleset = self._renderer(layout).render(plan)
        return NftRuleset.of(ruleset) if layout is NFTABLES else ruleset

    def forget(self, resolution: Resolution) -> None:
        """Drop what no rule uses any more, so that memory does not grow with the number of changes."""
        active: list[ActivePolicy | ActiveProfile] = [*resolution.policies, *resolution.profiles]
        used = {spec.id for each in active for spec in each.sets()}
        for shared in self._live():
            shared.membership.keep(used)
            for gone in shared.dropped:
                for planner in self._planners.values():
                    planner.policies.forget(gone)
            shared.dropped.clear()

    def _live(self) -> Iterator[LiveShared]:
        return (shared for shared in self._shared.values() if isinstance(shared, LiveShared))

    def _shared_for(self, config: Config) -> LiveShared:
        key = (config.source_spoofing == "Any", config.suppresses_overlaps)
        shared = self._shared.get(key)
        if not isinstance(shared, LiveShared):
            shared = LiveShared(self.cluster, self.dialect, *key)
            # One at a time: a configuration that was in force before is made anew should it come back.
            self._shared = {key: shared}
        return shared

    def _planner(self, config: Config, layout: Layout) -> LivePlanner:
        key = (config, layout.name)
        planner = self._planners.get(key)
        if not isinstance(planner, LivePlanner):
            planner = LivePlanner(RuleContext(config, self.dialect, layout))
            self._planners = {key: planner}
        return planner


def _keyed(cluster: Cluster, part: _Part) -> dict[Any, Object]:
    objects = getattr(cluster, part.field)
    return {part.key(each): each for each in (objects.values() if part.named else objects)}


class _Objects:
    """The objects of one field, in order."""

    def __init__(self, by_key: dict[Any, Object]) -> None:
        self.by_key = by_key
        self._keys: list[Any] = sorted(by_key)
        self._listed = [by_key[key] for key in self._keys]

    def put(self, key: Any, each: Object) -> None:
        position = bisect_left(self._keys, key)
        if key in self.by_key:
            self._listed[position] = each
        else:
            self._keys.insert(position, key)
            self._listed.insert(position, each)
        self.by_key[key] = each

    def drop(self, key: Any) -> None:
        position = bisect_left(self._keys, key)
        del self.by_key[key], self._keys[position], self._listed[position]

    def value(self, *, named: bool) -> Any:
        """The value of the cluster's field."""
        return dict(self.by_key) if named else tuple(self._listed)


def _differing(before: Mapping[Hashable, Object], after: Mapping[Hashable, Object]) -> Iterator[Change]:
    for key, old in before.items():
        new = after.get(key)
        if new is not old and new != old:
            yield Change(old, new)
    for key in after.keys() - before.keys():
        yield Change(None, after[key])
