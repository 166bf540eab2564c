"""The objects of a changing cluster: their fields in `Cluster`, and the changes between two clusters."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from felixpy.frontends import Grant, Route, Service
from felixpy.model import (
    Cluster,
    Configuration,
    HostEndpoint,
    HostPod,
    NetworkSet,
    Node,
    Policy,
    Pool,
    Profile,
    Slice,
    Tier,
    Workload,
)

Object: TypeAlias = (
    Workload | HostEndpoint | NetworkSet | Policy | Profile | Tier | Node
    | Pool | Slice | Service | HostPod | Route | Grant | Configuration
)  # fmt: skip


class Change(NamedTuple):
    """An object before and after: `old` is None for an added one, `new` for a removed one."""

    old: Object | None
    new: Object | None


class Part(NamedTuple):
    """The field of `Cluster` for objects of a class, and their key; `named` parts are mappings."""

    field: str
    key: Callable[[Any], Hashable]
    named: bool = False


PARTS: Mapping[type, Part] = {
    Workload: Part("workloads", lambda each: (each.namespace, each.name)),
    HostEndpoint: Part("host_endpoints", lambda each: each.name),
    NetworkSet: Part("network_sets", lambda each: (each.namespace, each.name)),
    Policy: Part("policies", lambda each: each.key),
    Profile: Part("profiles", lambda each: each.name, named=True),
    Tier: Part("tiers", lambda each: each.name, named=True),
    Node: Part("nodes", lambda each: each.name, named=True),
    Pool: Part("pools", lambda each: each.name),
    Slice: Part("slices", lambda each: (each.service, each.addresses, each.ports, each.source)),
    Service: Part("services", lambda each: each.name, named=True),
    HostPod: Part("host_pods", lambda each: (each.namespace, each.name)),
    Route: Part("routes", lambda each: (each.namespace, each.name, each.kind)),
    Grant: Part("grants", lambda each: (each.namespace, each.sources, tuple(sorted(each.names)))),
    Configuration: Part("configurations", lambda each: each.name),
}
"""Where objects of each class are; whatever else a cluster says, `update` takes along."""


class Objects:
    """The objects of a cluster by field, in order, for fields that have changed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[str, _Listed] = {}

    def after(self, cluster: Cluster, changes: Iterable[Change]) -> Cluster:
        """The cluster after these changes, of which `cluster` is the value before."""
        touched = set()
        for old, new in changes:
            part = PARTS[type(new if new is not None else old)]
            objects = self._known.get(part.field)
            if objects is None:
                objects = self._known[part.field] = _Listed(keyed(cluster, part))
            touched.add(part)
            if old is not None and (new is None or part.key(old) != part.key(new)):
                objects.drop(part.key(old))
            if new is not None:
                objects.put(part.key(new), new)
        values: dict[str, Any] = {part.field: self._known[part.field].value(named=part.named) for part in touched}
        return replace(cluster, **values)


def keyed(cluster: Cluster, part: Part) -> dict[Any, Object]:
    """The objects of a part by key."""
    objects = getattr(cluster, part.field)
    return {part.key(each): each for each in (objects.values() if part.named else objects)}


def changes_between(before: Cluster, after: Cluster) -> Iterator[Change]:
    """The objects that were added, removed or changed; fields that are the same object are not compared."""
    for part in PARTS.values():
        if getattr(before, part.field) is not getattr(after, part.field):
            yield from _differing(keyed(before, part), keyed(after, part))


def _differing(before: Mapping[Hashable, Object], after: Mapping[Hashable, Object]) -> Iterator[Change]:
    for key, old in before.items():
        new = after.get(key)
        if new is not old and new != old:
            yield Change(old, new)
    for key in after.keys() - before.keys():
        yield Change(None, after[key])


class _Listed:
    """The objects of one field, in order."""

    def __init__(self, by_key: dict[Any, Object]) -> None:
        self._by_key = by_key
        self._keys: list[Any] = sorted(by_key)
        self._listed = [by_key[key] for key in self._keys]

    def put(self, key: Any, each: Object) -> None:
        position = bisect_left(self._keys, key)
        if key in self._by_key:
            self._listed[position] = each
        else:
            self._keys.insert(position, key)
            self._listed.insert(position, each)
        self._by_key[key] = each

    def drop(self, key: Any) -> None:
        position = bisect_left(self._keys, key)
        del self._by_key[key], self._keys[position], self._listed[position]

    def value(self, *, named: bool) -> Any:
        """The value of the cluster's field."""
        return dict(self._by_key) if named else tuple(self._listed)
