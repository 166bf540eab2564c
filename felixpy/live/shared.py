"""What all nodes have in common, updated whenever an object of the cluster changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any, NamedTuple

from felixpy.calico_versions import CalicoVersion
from felixpy.ipsets import IPSet, Labelled
from felixpy.live.members import LiveMembership
from felixpy.model import Cluster, HostEndpoint, NetworkSet, Policy, PolicyKey, Profile, Workload
from felixpy.resolve import ActivePolicy, ActiveProfile, Shared
from felixpy.selector import parse

Identity = tuple[int, str, str]
"""Kind, namespace and name of a thing; things of one kind are in the order of a cluster if sorted by it."""


def identity(thing: Labelled) -> Identity:
    """The identity of a thing, which stays the same when it changes."""
    if isinstance(thing, Workload):
        return 1, thing.namespace, thing.name
    if isinstance(thing, HostEndpoint):
        return 2, "", thing.name
    return 3, thing.namespace, thing.name


MOST_TOUCHED = 10_000


class _Picked(NamedTuple):
    """The local endpoints that a policy selects, and the number of changes that this takes into account."""

    policy: Policy
    local: frozenset[int]
    chosen: AbstractSet[int]
    until: int


class LiveShared(Shared):
    """`Shared` of a cluster that changes. Numbers of things stay as long as the things do."""

    def __init__(
        self, cluster: Cluster, calico_version: CalicoVersion, spoofing: bool, suppress_overlaps: bool
    ) -> None:
        super().__init__(cluster, calico_version, spoofing, suppress_overlaps)
        self._numbers: dict[Identity, int] = {}
        self._next = 0
        self._local_names: dict[str, list[Identity]] = {}
        self.node = ""
        """The node that is being compiled."""
        self._picked: dict[str, dict[PolicyKey, _Picked]] = {}
        """What policies select, by node."""
        self._touched: list[int] = []
        """Endpoints that have come, changed or gone, one after the other, since `_picked` was last emptied."""
        self.dropped: list[ActivePolicy | ActiveProfile] = []
        """Policies and profiles that were forgotten, for those who keep something about them."""
        for thing in self._visible(cluster):
            self._number(thing)
            self._note_local(thing)
        _ = self.membership  # of this cluster, whichever it is at the time of the call

    @cached_property
    def membership(self) -> LiveMembership:
        things = {self._numbers[identity(thing)]: thing for thing in self._visible(self.cluster)}
        return LiveMembership(self.cluster, things, self.suppress_overlaps, self.calico_version.init_ports)

    def _visible(self, cluster: Cluster) -> Iterator[Labelled]:
        yield from (pod for pod in cluster.workloads if self._counts(pod))
        yield from cluster.host_endpoints
        yield from cluster.network_sets

    def _counts(self, thing: Labelled) -> bool:
        """Whether Felix sees a thing: pods allowed to spoof addresses only if WorkloadSourceSpoofing is Any."""
        return self.spoofing or not isinstance(thing, Workload) or not thing.spoofable

    @property
    def local(self) -> Mapping[str, tuple[int, ...]]:
        """Numbers of the workloads and host endpoints of each node, in the order of the cluster."""
        return _Local(self._local_names, self._numbers)

    # --- changes

    def take(self, cluster: Cluster) -> None:
        """Set the cluster; its changes follow in separate calls."""
        if cluster.nodes is not self.cluster.nodes:
            self.__dict__.pop("addresses", None)
        self.cluster = self.membership.cluster = cluster

    def replace(self, old: Labelled | None, new: Labelled | None) -> None:
        """Update a thing that was changed, added (`old` is None) or removed (`new` is None)."""
        old = old if old is not None and self._counts(old) else None
        new = new if new is not None and self._counts(new) else None
        numbers = [self._number(thing) for thing in (old, new) if thing is not None and _node(thing)]
        if old is not None and (new is None or new.__class__ is not old.__class__ or _node(new) != _node(old)):
            self._forget_local(old)
        if new is not None:
            self.membership.put(self._number(new), new)
            if old is None or _node(new) != _node(old):
                self._note_local(new)
        elif old is not None:
            self.membership.put(self._numbers.pop(identity(old)), None)
        self._touched += numbers

    def replace_profile(self, old: Profile | None, new: Profile | None) -> None:
        """Update a profile that was changed, added or removed; the cluster is set already."""
        name = new.name if new else old.name if old else ""
        if active := self._profiles.pop(name, None):
            self.dropped.append(active)
        if (old.labels if old else {}) != (new.labels if new else {}):
            heirs = self.membership.inherit(name)
            self._touched += heirs

    def replace_policy(self, old: Policy | None, new: Policy | None) -> None:
        """Update a policy that was changed, added or removed."""
        self._reorder(old, new)
        for key in {policy.key for policy in (old, new) if policy}:
            for picked in self._picked.values():
                picked.pop(key, None)
            if active := self._policies.pop(key, None):
                self.dropped.append(active)

    def _reorder(self, old: Policy | None, new: Policy | None) -> None:
        """Move a policy to its new position in the sorted tiers, if these have been computed."""
        if "tiers" not in self.__dict__:
            return
        known = {tier.name: policies for tier, policies in self.tiers}
        after: dict[str, list[Policy]] = {}
        if old is not None:
            after[old.tier] = [each for each in known.get(old.tier, ()) if each.key != old.key]
        if new is not None:
            listed = after.setdefault(new.tier, [*known.get(new.tier, ())])
            place = bisect_left(listed, self.place(new), key=self.place)
            if place < len(listed) and self.place(listed[place]) == self.place(new):
                self.replace_tiers()
                return
            listed.insert(place, new)
        if any(bool(listed) != bool(known.get(name)) for name, listed in after.items()):
            self.replace_tiers()
            return
        self.__dict__["tiers"] = tuple((tier, tuple(after.get(tier.name, policies))) for tier, policies in self.tiers)

    def replace_tiers(self) -> None:
        """Drop the sorted tiers: tiers have changed, or policies in them."""
        self.__dict__.pop("tiers", None)

    # --- inputs of a compile

    def selected(self, policy: Policy, local: frozenset[int]) -> AbstractSet[int]:
        """The local endpoints, by number, that a policy selects."""
        picked = self._picked.setdefault(self.node, {})
        known, now = picked.get(policy.key), len(self._touched)
        if known is None or known.policy is not policy:
            chosen = self.membership.index.select(parse(policy.selector), local)
        else:
            changed = {*self._touched[known.until :], *(known.local ^ local)}
            if not changed:
                return known.chosen
            again = self.membership.index.select(parse(policy.selector), local & changed)
            chosen = known.chosen - changed | again
        picked[policy.key] = _Picked(policy, local, chosen, now)
        return chosen

    def keep(self, nodes: Collection[str], used: Collection[str], sets: Iterable[IPSet]) -> None:
        """Drop caches for other nodes than these, and sets whose ids are not in `used`.

        `sets` are all sets of these nodes.
        """
        for gone in self._picked.keys() - nodes:
            del self._picked[gone]
        self.membership.keep(used, sets)

    def settle(self) -> None:
        """Drop the record of changed endpoints if it is long: policies are then evaluated again."""
        if len(self._touched) > MOST_TOUCHED:
            self._touched.clear()
            self._picked.clear()

    # --- numbers

    def _number(self, thing: Labelled) -> int:
        name = identity(thing)
        if name not in self._numbers:
            self._numbers[name] = self._next
            self._next += 1
        return self._numbers[name]

    def _note_local(self, thing: Labelled) -> None:
        if node := _node(thing):
            names = self._local_names.setdefault(node, [])
            names.insert(bisect_left(names, identity(thing)), identity(thing))

    def _forget_local(self, thing: Labelled) -> None:
        if node := _node(thing):
            names = self._local_names[node]
            del names[bisect_left(names, identity(thing))]


def _node(thing: Labelled) -> str:
    """The node whose rules an endpoint is in, "" for network sets."""
    return thing.node if isinstance(thing, Workload | HostEndpoint) else ""


REPLACE: Mapping[type, Callable[[LiveShared, Any, Any], None]] = {
    Profile: LiveShared.replace_profile,
    Policy: LiveShared.replace_policy,
    Workload: LiveShared.replace,
    HostEndpoint: LiveShared.replace,
    NetworkSet: LiveShared.replace,
}
"""What adjusts to a change of an object, in this order: endpoints inherit labels of profiles."""


class _Local(Mapping[str, tuple[int, ...]]):
    """Numbers by node, looked up on access."""

    def __init__(self, names: Mapping[str, list[Identity]], numbers: Mapping[Identity, int]) -> None:
        self._names, self._numbers = names, numbers

    def __getitem__(self, node: str) -> tuple[int, ...]:
        return tuple(self._numbers[name] for name in self._names[node])

    def __iter__(self) -> Iterator[str]:
        return (node for node, names in self._names.items() if names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, node: Hashable) -> bool:
        return bool(self._names.get(str(node)))
