"""Resolution: which policies, in which order, apply to which endpoint of a node, and which IP sets they need.

`Shared` holds what is the same for every node of a cluster; `resolve` adds what is a node's own.
(felix/calc: active rules calculator, policy sorter, policy resolver)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property

from felixpy.calico_versions import CalicoVersion
from felixpy.config import Config
from felixpy.errors import UsageError, unknown_node
from felixpy.hosts import interfaces_of, owners
from felixpy.ipsets import IPSet, Labelled, Membership, SetOrigin, SetSpec
from felixpy.model import (
    NAMESPACE_LABEL,
    Cluster,
    Host,
    HostEndpoint,
    Node,
    Policy,
    PolicyKey,
    Profile,
    Source,
    Tier,
    Workload,
)
from felixpy.nodesets import Encapsulation, NodeView, encapsulation, node_sets
from felixpy.rules import ActiveRule, activate
from felixpy.selector import canonical, parse


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActivePolicy:
    """A policy that a node has to know, with its rules' sets found and its selector in canonical text."""

    policy: Policy
    selector: str
    inbound: tuple[ActiveRule, ...]
    outbound: tuple[ActiveRule, ...]

    def sets(self) -> Iterator[SetSpec]:
        """The sets that its rules need; one can come twice."""
        return (spec for rule in (*self.inbound, *self.outbound) for spec in rule.all_sets())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActiveProfile:
    """A profile that a local endpoint names; one that does not exist denies everything."""

    name: str
    inbound: tuple[ActiveRule, ...]
    outbound: tuple[ActiveRule, ...]
    profile: Profile | None

    def sets(self) -> Iterator[SetSpec]:
        """The sets that its rules need; one can come twice."""
        return (spec for rule in (*self.inbound, *self.outbound) for spec in rule.all_sets())


@dataclass(frozen=True, slots=True)
class AppliedTier:
    """A tier as one endpoint sees it: its policies for each direction, in order. `passes`: no deny at its end."""

    name: str
    passes: bool
    ingress: tuple[ActivePolicy, ...]
    egress: tuple[ActivePolicy, ...]


@dataclass(frozen=True, slots=True)
class AppliedPolicies:
    """The tiers of one endpoint. Workloads use `normal` only."""

    normal: tuple[AppliedTier, ...] = ()
    forward: tuple[AppliedTier, ...] = ()
    pre_dnat: tuple[AppliedTier, ...] = ()
    untracked: tuple[AppliedTier, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalWorkload:
    workload: Workload
    policies: AppliedPolicies


@dataclass(frozen=True, slots=True)
class LocalHost:
    """A host endpoint and the interface that it owns (`names.ANY_INTERFACE` for ``*``)."""

    interface: str
    endpoint: HostEndpoint
    policies: AppliedPolicies


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resolution:
    """Everything that one node's rules depend on."""

    cluster: Cluster
    node: Node
    config: Config
    encapsulation: Encapsulation
    ipvs: bool
    workloads: tuple[LocalWorkload, ...]
    hosts: tuple[LocalHost, ...]
    all_hosts: tuple[HostEndpoint, ...]
    """Host endpoints of the node, with or without an interface."""
    policies: tuple[ActivePolicy, ...]
    profiles: tuple[ActiveProfile, ...]
    sets: tuple[IPSet, ...]

    @property
    def families(self) -> tuple[int, ...]:
        return self.config.families


@dataclass(eq=False)
class Shared:
    """What all nodes of a cluster have in common, found out once and only as far as somebody asks."""

    cluster: Cluster
    calico_version: CalicoVersion
    spoofing: bool
    """Whether WorkloadSourceSpoofing is Any; otherwise Felix refuses pods that may send from other addresses."""
    suppress_overlaps: bool
    _selected: dict[PolicyKey, AbstractSet[int]] | None = None
    _policies: dict[PolicyKey, ActivePolicy] = field(default_factory=dict)
    _profiles: dict[str, ActiveProfile] = field(default_factory=dict)

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        if self.spoofing:
            return self.cluster.workloads
        return tuple(workload for workload in self.cluster.workloads if not workload.spoofable)

    @cached_property
    def membership(self) -> Membership:
        labelled: tuple[Labelled, ...] = (
            *self.workloads,
            *self.cluster.host_endpoints,
            *self.cluster.network_sets,
        )
        return Membership(
            self.cluster, dict(enumerate(labelled)), self.suppress_overlaps, self.calico_version.init_ports
        )

    @cached_property
    def local(self) -> Mapping[str, tuple[int, ...]]:
        """Numbers of the workloads and host endpoints of each node."""
        numbers: dict[str, list[int]] = {}
        endpoints: tuple[Workload | HostEndpoint, ...] = (*self.workloads, *self.cluster.host_endpoints)
        for number, endpoint in enumerate(endpoints):
            numbers.setdefault(endpoint.node, []).append(number)
        return {node: tuple(members) for node, members in numbers.items()}

    @cached_property
    def tiers(self) -> tuple[tuple[Tier, tuple[Policy, ...]], ...]:
        """Tiers that have policies, in order, each with its policies in order.

        A tier that does not exist comes last and denies, as Felix treats it.
        """
        by_tier: dict[str, list[Policy]] = {}
        for policy in self.cluster.policies:
            by_tier.setdefault(policy.tier, []).append(policy)
        missing = {name: Tier(name=name, order=math.inf, passes=False) for name in by_tier}
        tiers = missing | dict(self.cluster.tiers)

        def tier_key(name: str) -> tuple[bool, float, str]:
            return name not in self.cluster.tiers, tiers[name].order, name

        return tuple(
            (tiers[name], tuple(sorted(by_tier[name], key=self.place))) for name in sorted(by_tier, key=tier_key)
        )

    def place(self, policy: Policy) -> tuple[float, str]:
        """What decides where in its tier a policy stands."""
        return math.inf if policy.order is None else policy.order, self.calico_version.tie_break(policy)

    def prepare(self) -> None:
        """Match every policy with the endpoints of the whole cluster: worth it when many nodes are compiled."""
        if self._selected is None:
            select = self.membership.index.select
            endpoints = frozenset(number for numbers in self.local.values() for number in numbers)
            self._selected = {p.key: select(parse(p.selector), endpoints) for p in self.cluster.policies}

    def selected(self, policy: Policy, local: frozenset[int]) -> AbstractSet[int]:
        """The local endpoints, by number, that a policy selects."""
        if self._selected is not None:
            return local & self._selected[policy.key]
        return self.membership.index.select(parse(policy.selector), local)

    def policy(self, policy: Policy) -> ActivePolicy:
        active = self._policies.get(policy.key)
        if active is None:
            active = self._policies[policy.key] = ActivePolicy(
                policy=policy,
                selector=canonical(policy.selector),
                inbound=tuple(activate(number, rule) for number, rule in enumerate(policy.inbound)),
                outbound=tuple(activate(number, rule) for number, rule in enumerate(policy.outbound)),
            )
        return active

    def profile(self, name: str) -> ActiveProfile:
        active = self._profiles.get(name)
        if active is None:
            profile = self.cluster.profiles.get(name)
            active = self._profiles[name] = ActiveProfile(
                name=name,
                inbound=tuple(activate(number, rule) for number, rule in enumerate(profile.inbound if profile else ())),
                outbound=tuple(
                    activate(number, rule) for number, rule in enumerate(profile.outbound if profile else ())
                ),
                profile=profile,
            )
        return active


def resolve(shared: Shared, node: str, config: Config, host: Host, others: Sequence[str] = ()) -> Resolution:
    """Find what is active on `node`, as if the endpoints of `others` were there, too.

    Raises UsageError for a node that nothing in the cluster names.
    """
    cluster = shared.cluster
    numbers = tuple(number for name in (node, *others) for number in shared.local.get(name, ()))
    # Naming all nodes means going over all pods, so it is left to those cases that need it.
    if not numbers and node not in cluster.nodes and (names := cluster.node_names()) and node not in names:
        raise UsageError(unknown_node(node, names))
    labelled = shared.membership.labelled
    applied = _apply(shared, numbers)
    workloads = [item for number in numbers if isinstance(item := labelled[number], Workload)]
    all_hosts = [item for number in numbers if isinstance(item := labelled[number], HostEndpoint)]
    by_endpoint = {id(labelled[number]): applied.policies[number] for number in numbers}
    interfaces = interfaces_of(host, all_hosts, config)
    endpoints: list[Workload | HostEndpoint] = [*workloads, *all_hosts]
    profiles = [shared.profile(name) for name in dict.fromkeys(name for e in endpoints for name in e.profiles)]
    node_value = cluster.nodes.get(node) or Node(name=node, labels={}, source=Source("", 0))
    encapsulated = encapsulation(cluster, config)
    specs = _set_specs(applied.active, profiles)
    return Resolution(
        cluster=cluster,
        node=node_value,
        config=config,
        encapsulation=encapsulated,
        ipvs="kube-ipvs0" in (host.interfaces or {}),
        workloads=tuple(LocalWorkload(w, by_endpoint[id(w)]) for w in sorted(workloads, key=lambda w: w.interface)),
        hosts=tuple(
            LocalHost(interface, endpoint, by_endpoint[id(endpoint)])
            for interface, endpoint in owners(all_hosts, interfaces)
        ),
        all_hosts=tuple(all_hosts),
        policies=tuple(applied.active),
        profiles=tuple(profiles),
        sets=(
            *node_sets(
                NodeView(
                    shared.membership,
                    shared.calico_version,
                    node_value,
                    config,
                    encapsulated,
                    host,
                    workloads,
                    all_hosts,
                )
            ),
            *(
                shared.membership.build(spec, family, config.max_ipset_size, origin)
                for spec, origin in specs.items()
                for family in config.families
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Applied:
    active: list[ActivePolicy]
    policies: dict[int, AppliedPolicies]


def _apply(shared: Shared, numbers: Sequence[int]) -> _Applied:
    """Match every policy with the local endpoints, tier by tier."""
    index, labelled = shared.membership.index, shared.membership.labelled
    local = frozenset(numbers)
    # A namespaced policy's selector demands its namespace's label, so most policies need no evaluation at all.
    namespaces = {index.labels(number).get(NAMESPACE_LABEL) for number in local}
    active: list[ActivePolicy] = []
    tiers: dict[int, list[tuple[Tier, list[ActivePolicy]]]] = {number: [] for number in numbers}
    for tier, policies in shared.tiers:
        matching: dict[int, list[ActivePolicy]] = {}
        for policy in policies:
            if policy.key.namespace and policy.key.namespace not in namespaces and not policy.everywhere:
                continue
            chosen = shared.selected(policy, local)
            if chosen or policy.everywhere:
                active_policy = shared.policy(policy)
                active.append(active_policy)
                for number in chosen:
                    matching.setdefault(number, []).append(active_policy)
        for number, chosen_policies in matching.items():
            tiers[number].append((tier, chosen_policies))
    return _Applied(
        active,
        {number: _split(tiers[number], host=isinstance(labelled[number], HostEndpoint)) for number in numbers},
    )


def _split(tiers: Iterable[tuple[Tier, list[ActivePolicy]]], *, host: bool) -> AppliedPolicies:
    """Sort an endpoint's policies into the lists for the four places where they are enforced."""
    normal: list[AppliedTier] = []
    forward: list[AppliedTier] = []
    pre_dnat: list[AppliedTier] = []
    untracked: list[AppliedTier] = []
    for tier, policies in tiers:
        ordinary = [p for p in policies if not p.policy.do_not_track and not p.policy.pre_dnat]
        _append(normal, tier.name, tier.passes, ordinary)
        if host:
            _append(forward, tier.name, tier.passes, [p for p in ordinary if p.policy.apply_on_forward])
            _append(untracked, tier.name, True, [p for p in policies if p.policy.do_not_track])
            early = [p for p in policies if p.policy.pre_dnat and not p.policy.do_not_track]
            _append(pre_dnat, tier.name, True, early, egress=False)
    return AppliedPolicies(tuple(normal), tuple(forward), tuple(pre_dnat), tuple(untracked))


def _append(
    tiers: list[AppliedTier], name: str, passes: bool, policies: Sequence[ActivePolicy], *, egress: bool = True
) -> None:
    incoming = tuple(p for p in policies if p.policy.ingress)
    outgoing = tuple(p for p in policies if p.policy.egress and egress)
    if incoming or outgoing:
        tiers.append(AppliedTier(name, passes, incoming, outgoing))


def _set_specs(policies: Iterable[ActivePolicy], profiles: Iterable[ActiveProfile]) -> dict[SetSpec, SetOrigin]:
    """The sets that active rules need, each with the first place that asks for it.

    Rules of a direction that the policy does not have count as well; so do staged policies.
    """
    specs: dict[SetSpec, SetOrigin] = {}
    for active in policies:
        for rule in (*active.inbound, *active.outbound):
            for spec in rule.all_sets():
                specs.setdefault(spec, SetOrigin(str(active.policy.key), active.policy.source, rule.rule.path))
    for used in profiles:
        for rule in (*used.inbound, *used.outbound):
            for spec in rule.all_sets():
                source = used.profile.source if used.profile else Source("", 0)
                specs.setdefault(spec, SetOrigin(f"Profile {used.name}", source, rule.rule.path))
    return specs
