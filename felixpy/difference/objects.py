"""Compares the objects of two clusters, regardless of file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from felixpy.decode.legend import host_words, profile_words
from felixpy.difference.chains import Kind
from felixpy.errors import Place
from felixpy.model import Cluster, Rule, Source

NOWHERE = Source("", 0)


class ObjectChange(NamedTuple):
    """An object that was added, removed or changed; its place is the new one, or the old one if it was removed."""

    kind: Kind
    name: str
    place: Place | None


def compare_objects(before: Cluster, after: Cluster) -> Iterator[ObjectChange]:
    """Yield the changes of policies, profiles, tiers, network sets, pods and host endpoints, in this order, by name.

    Only what Felix uses is compared: a comment or another order of documents is not a difference.
    """
    for old, new in zip(_named(before), _named(after), strict=True):
        for name in sorted({*old, *new}):
            was, is_now = old.get(name), new.get(name)
            if is_now is None:
                yield ObjectChange("removed", name, _place(before, was))
            elif was is None:
                yield ObjectChange("added", name, _place(after, is_now))
            elif _meaning(was) != _meaning(is_now):
                yield ObjectChange("changed", name, _place(after, is_now))


def _named(cluster: Cluster) -> Iterator[Mapping[str, Any]]:
    yield {str(policy.key): policy for policy in cluster.policies}
    yield {profile_words(name): profile for name, profile in cluster.profiles.items()}
    yield {f"Tier {name}": tier for name, tier in cluster.tiers.items()}
    yield {_set_name(found.namespace, found.name): found for found in cluster.network_sets}
    yield {f"pod {pod.namespace}/{pod.name}": pod for pod in cluster.workloads}
    yield {host_words(host): host for host in cluster.host_endpoints}
    yield {f"IPPool {pool.name}": pool for pool in cluster.pools}
    yield {f"FelixConfiguration {found.name}": found for found in cluster.configurations}


def _set_name(namespace: str, name: str) -> str:
    return f"NetworkSet {namespace}/{name}" if namespace else f"GlobalNetworkSet {name}"


def _place(cluster: Cluster, found: Any) -> Place | None:
    source = getattr(found, "source", NOWHERE)
    return cluster.where(source, ()) if source.file else None


def _meaning(found: Any) -> Any:
    """Return the object without its place and those of its rules, to be compared."""
    changes: dict[str, Any] = {"source": NOWHERE} if hasattr(found, "source") else {}
    if hasattr(found, "rewritten"):
        changes["rewritten"] = ()
    for field in ("inbound", "outbound"):
        if hasattr(found, field):
            changes[field] = _rules(getattr(found, field))
    return replace(found, **changes) if changes else found


def _rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(replace(rule, path=(), peer=()) for rule in rules)
