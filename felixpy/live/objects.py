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


class ClusterField(NamedTuple):
    """The field of `Cluster` with the objects of a class, their key, and whether the field is a mapping by name."""

    name: str
    key: Callable[[Any], Hashable]
    mapping: bool = False


CLUSTER_FIELDS: Mapping[type, ClusterField] = {
    Workload: ClusterField("workloads", lambda each: (each.namespace, each.name)),
    HostEndpoint: ClusterField("host_endpoints", lambda each: each.name),
    NetworkSet: ClusterField("network_sets", lambda each: (each.namespace, each.name)),
    Policy: ClusterField("policies", lambda each: each.key),
    Profile: ClusterField("profiles", lambda each: each.name, mapping=True),
    Tier: ClusterField("tiers", lambda each: each.name, mapping=True),
    Node: ClusterField("nodes", lambda each: each.name, mapping=True),
    Pool: ClusterField("pools", lambda each: each.name),
    Slice: ClusterField("slices", lambda each: (each.service, each.addresses, each.ports, each.source)),
    Service: ClusterField("services", lambda each: each.name, mapping=True),
    HostPod: ClusterField("host_pods", lambda each: (each.namespace, each.name)),
    Route: ClusterField("routes", lambda each: (each.namespace, each.name, each.kind)),
    Grant: ClusterField("grants", lambda each: (each.namespace, each.sources, tuple(sorted(each.names)))),
    Configuration: ClusterField("configurations", lambda each: each.name),
}
"""The field for each class of objects; `Objects.after` keeps the other fields of a cluster as they are."""


class Objects:
    """The objects of a cluster by field, in order, for fields that have changed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: dict[str, _Listed] = {}

    def after(self, cluster: Cluster, changes: Iterable[Change]) -> Cluster:
        """The cluster after these changes, of which `cluster` is the value before."""
        touched = set()
        for old, new in changes:
            field = CLUSTER_FIELDS[type(new if new is not None else old)]
            objects = self._known.get(field.name)
            if objects is None:
                objects = self._known[field.name] = _Listed(keyed(cluster, field))
            touched.add(field)
            if old is not None and (new is None or field.key(old) != field.key(new)):
                objects.drop(field.key(old))
            if new is not None:
                objects.put(field.key(new), new)
        values: dict[str, Any] = {field.name: self._known[field.name].value(mapping=field.mapping) for field in touched}
        return replace(cluster, **values)


def keyed(cluster: Cluster, field: ClusterField) -> dict[Any, Object]:
    """The objects of a field of the cluster, by key."""
    objects = getattr(cluster, field.name)
    return {field.key(each): each for each in (objects.values() if field.mapping else objects)}


def changes_between(before: Cluster, after: Cluster) -> Iterator[Change]:
    """The objects that were added, removed or changed; fields that are the same object are not compared."""
    for field in CLUSTER_FIELDS.values():
        if getattr(before, field.name) is not getattr(after, field.name):
            yield from _differing(keyed(before, field), keyed(after, field))


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

    def value(self, *, mapping: bool) -> Any:
        """The value of the cluster's field: a mapping by key or a tuple."""
        return dict(self._by_key) if mapping else tuple(self._listed)
