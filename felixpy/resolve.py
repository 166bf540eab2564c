"""Resolution: which policies, in which order, apply to which endpoint of a node, and which IP sets they need.

`Shared` holds what is the same for every node of a cluster; `resolve` adds what is specific to a node.
(felix/calc: active rules calculator, policy sorter, policy resolver)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property

from msgspec import Struct

from felixpy.calico_versions import CalicoVersion
from felixpy.config import Config
from felixpy.errors import UsageError, unknown_node
from felixpy.hosts import interfaces_of, owners
from felixpy.ipsets import IPSet, Labelled, Membership, SetOrigin, SetSpec
from felixpy.labels import Pair
from felixpy.model import (
    NAMESPACE_LABEL,
    Cluster,
    Host,
    HostEndpoint,
    Node,
    Policy,
    PolicyKey,
    Profile,
    Rule,
    Source,
    Tier,
    Workload,
)
from felixpy.nodesets import Encapsulation, NodeAddresses, NodeView, encapsulation, node_sets
from felixpy.rules import ActiveRule, activate
from felixpy.selector import canonical, parse


class ActivePolicy(Struct, frozen=True, kw_only=True, eq=False):
    """A policy that is active on a node, with the sets of its rules and its selector in canonical text."""

    policy: Policy
    selector: str
    inbound: tuple[ActiveRule, ...]
    outbound: tuple[ActiveRule, ...]
    needs: Mapping[SetSpec, SetOrigin]
    """The sets of its rules, each with the first rule that uses it.

    Rules of a direction that the policy does not have count as well; so do staged policies.
    """

    def sets(self) -> Iterable[SetSpec]:
        """The sets that its rules need."""
        return self.needs


class ActiveProfile(Struct, frozen=True, kw_only=True, eq=False):
    """A profile of a local endpoint; one that does not exist denies everything."""

    name: str
    inbound: tuple[ActiveRule, ...]
    outbound: tuple[ActiveRule, ...]
    needs: Mapping[SetSpec, SetOrigin]
    profile: Profile | None

    def sets(self) -> Iterable[SetSpec]:
        """The sets that its rules need."""
        return self.needs


def _needs(
    subject: str, source: Source, inbound: Iterable[ActiveRule], outbound: Iterable[ActiveRule]
) -> dict[SetSpec, SetOrigin]:
    needs: dict[SetSpec, SetOrigin] = {}
    for rule in (*inbound, *outbound):
        for spec in rule.all_sets():
            needs.setdefault(spec, SetOrigin(subject, source, rule.rule.path))
    return needs


class AppliedTier(Struct, frozen=True):
    """A tier of one endpoint: its policies for each direction, in order. `passes`: no deny at its end."""

    name: str
    passes: bool
    ingress: tuple[ActivePolicy, ...]
    egress: tuple[ActivePolicy, ...]


class AppliedPolicies(Struct, frozen=True):
    """The tiers of one endpoint. Workloads use `normal` only."""

    normal: tuple[AppliedTier, ...] = ()
    forward: tuple[AppliedTier, ...] = ()
    pre_dnat: tuple[AppliedTier, ...] = ()
    untracked: tuple[AppliedTier, ...] = ()


class LocalWorkload(Struct, frozen=True):
    workload: Workload
    policies: AppliedPolicies


class LocalHost(Struct, frozen=True):
    """A host endpoint and the interface that it owns (`names.ANY_INTERFACE` for ``*``)."""

    interface: str
    endpoint: HostEndpoint
    policies: AppliedPolicies


class Resolution(Struct, frozen=True, kw_only=True, eq=False):
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
    """What all nodes of a cluster have in common, computed once and on demand."""

    cluster: Cluster
    calico_version: CalicoVersion
    spoofing: bool
    """Whether WorkloadSourceSpoofing is Any; otherwise Felix refuses pods that may send from other addresses."""
    suppress_overlaps: bool
    _possible: Mapping[Pair | None, Sequence[int]] | None = None
    """The positions of policies by a (label, value) pair that they require; None for those without one."""
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

        A tier that does not exist comes last and denies, as in Felix.
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
        """The sort key of a policy in its tier."""
        return math.inf if policy.order is None else policy.order, self.calico_version.tie_break(policy)

    @cached_property
    def addresses(self) -> NodeAddresses:
        """The addresses of all nodes."""
        return NodeAddresses(self.cluster.nodes)

    @cached_property
    def ordered(self) -> tuple[tuple[Tier, Policy], ...]:
        """All policies in the order in which they apply, each with its tier."""
        return tuple((tier, policy) for tier, policies in self.tiers for policy in policies)

    def prepare(self) -> None:
        """Index policies by labels that they require, so that a node evaluates only those that may apply to it.

        Useful if many nodes are compiled.
        """
        if self._possible is None:
            demands = self.membership.index.demands
            possible: dict[Pair | None, list[int]] = {}
            for place, (_, policy) in enumerate(self.ordered):
                pairs = None if policy.everywhere else demands(parse(policy.selector))
                for pair in {None} if pairs is None else pairs:
                    possible.setdefault(pair, []).append(place)
            self._possible = possible

    def candidates(self, local: frozenset[int]) -> Iterator[tuple[Tier, Policy, frozenset[int]]]:
        """(tier, policy, endpoints that it may select) for policies that may be active on a node, in order.

        `local` are the numbers of the node's endpoints. Policies that are active on every node are included.
        """
        labels = self.membership.index.labels
        if self._possible is None:
            # A namespaced policy's selector requires its namespace's label, so most policies need no evaluation.
            namespaces = {labels(number).get(NAMESPACE_LABEL) for number in local}
            for tier, policies in self.tiers:
                for policy in policies:
                    if not policy.key.namespace or policy.key.namespace in namespaces or policy.everywhere:
                        yield tier, policy, local
            return
        having: dict[Pair | None, set[int]] = {None: set(local)}
        for number in local:
            for pair in labels(number).items():
                having.setdefault(pair, set()).add(number)
        possible: dict[int, set[int]] = {}
        for demanded, numbers in having.items():
            for place in self._possible.get(demanded, ()):
                known = possible.get(place)
                possible[place] = numbers if known is None else known | numbers
        for place in sorted(possible):
            yield *self.ordered[place], frozenset(possible[place])

    def selected(self, policy: Policy, local: frozenset[int]) -> AbstractSet[int]:
        """The local endpoints, by number, that a policy selects."""
        return self.membership.index.select(parse(policy.selector), local)

    def policy(self, policy: Policy) -> ActivePolicy:
        active = self._policies.get(policy.key)
        if active is None:
            inbound, outbound = _activated(policy.inbound), _activated(policy.outbound)
            active = self._policies[policy.key] = ActivePolicy(
                policy=policy,
                selector=canonical(policy.selector),
                inbound=inbound,
                outbound=outbound,
                needs=_needs(str(policy.key), policy.source, inbound, outbound),
            )
        return active

    def profile(self, name: str) -> ActiveProfile:
        active = self._profiles.get(name)
        if active is None:
            profile = self.cluster.profiles.get(name)
            inbound = _activated(profile.inbound if profile else ())
            outbound = _activated(profile.outbound if profile else ())
            source = profile.source if profile else Source("", 0)
            active = self._profiles[name] = ActiveProfile(
                name=name,
                inbound=inbound,
                outbound=outbound,
                needs=_needs(f"Profile {name}", source, inbound, outbound),
                profile=profile,
            )
        return active


def _activated(rules: Iterable[Rule]) -> tuple[ActiveRule, ...]:
    return tuple(activate(number, rule) for number, rule in enumerate(rules))


def resolve(shared: Shared, node: str, config: Config, host: Host, others: Sequence[str] = ()) -> Resolution:
    """Find what is active on `node`, as if the endpoints of the nodes `others` were there, too.

    Raises UsageError for a node that nothing in the cluster names.
    """
    cluster = shared.cluster
    numbers = tuple(number for name in (node, *others) for number in shared.local.get(name, ()))
    # Listing all nodes iterates over all pods, so it is done only if necessary.
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
    view = NodeView(
        shared.membership, shared.addresses, shared.calico_version, node_value, config, encapsulated, host, workloads,
        all_hosts,
    )  # fmt: skip
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
        sets=(*node_sets(view), *_rule_sets(shared.membership, (*applied.active, *profiles), config)),
    )


class _Applied(Struct, frozen=True):
    active: list[ActivePolicy]
    policies: dict[int, AppliedPolicies]


def _apply(shared: Shared, numbers: Sequence[int]) -> _Applied:
    """Evaluate every policy for the local endpoints, tier by tier."""
    labelled = shared.membership.labelled
    local = frozenset(numbers)
    active: list[ActivePolicy] = []
    tiers: dict[int, list[tuple[Tier, list[ActivePolicy]]]] = {number: [] for number in numbers}
    for tier, policy, possible in shared.candidates(local):
        chosen = shared.selected(policy, possible)
        if chosen or policy.everywhere:
            active_policy = shared.policy(policy)
            active.append(active_policy)
            for number in chosen:
                known = tiers[number]
                if not known or known[-1][0] is not tier:
                    known.append((tier, []))
                known[-1][1].append(active_policy)
    return _Applied(
        active,
        {number: _split(tiers[number], host=isinstance(labelled[number], HostEndpoint)) for number in numbers},
    )


def _split(tiers: Iterable[tuple[Tier, list[ActivePolicy]]], *, host: bool) -> AppliedPolicies:
    """Split an endpoint's policies by the four places where they are enforced."""
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


def _rule_sets(
    membership: Membership, active: Iterable[ActivePolicy | ActiveProfile], config: Config
) -> Iterator[IPSet]:
    """The sets that active rules need in each enabled family, each with its first user."""
    specs: dict[SetSpec, SetOrigin] = {}
    for each in active:
        for spec, origin in each.needs.items():
            specs.setdefault(spec, origin)
    for spec, origin in specs.items():
        for family in config.families:
            yield membership.build(spec, family, config.max_ipset_size, origin)
