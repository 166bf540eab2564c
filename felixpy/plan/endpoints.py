"""Endpoint chains: the rules for packets of one workload or host interface. (felix/rules/endpoints.go)"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import count, islice
from types import SimpleNamespace
from typing import NamedTuple, TypedDict

from msgspec import Struct

from felixpy.model import Qos, Source
from felixpy.names import comment, nflog_prefix
from felixpy.parameter_types import LAST_PORT
from felixpy.patterns import hole
from felixpy.plan.facts import NFLOG_GROUPS, RuleContext
from felixpy.plan.policies import PolicyChains
from felixpy.plan.values import ChainPlan, Facts
from felixpy.resolve import AppliedTier, LocalHost, LocalWorkload
from felixpy.ruleset import Origin

TO_WORKLOAD, FROM_WORKLOAD = "cali-tw-", "cali-fw-"
TO_HOST, FROM_HOST = "cali-th-", "cali-fh-"
TO_HOST_FORWARD, FROM_HOST_FORWARD = "cali-thfw-", "cali-fhfw-"
SET_MARK = "cali-sm-"


class TierFacts(NamedTuple):
    """A tier in an endpoint's template: the chains to jump to, and what happens at its end."""

    name: str
    chains: Sequence[str]
    drops: bool
    nflog: str

    def nameless(self) -> tuple[str, int, bool, str]:
        """The fields without the names of chains."""
        return self.name, len(self.chains), self.drops, self.nflog


class UntrackedFacts(Facts, frozen=True, kw_only=True, eq=False):
    """A host endpoint before connection tracking: tiers with doNotTrack policies."""

    mark: SimpleNamespace
    tiers: Sequence[TierFacts]


class TrackedFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Common facts of endpoint chains after connection tracking.

    `allow` and `deny` are targets, `denied` is the word for `deny` in comments; `nflog_options` begin with a space.
    """

    mark: SimpleNamespace
    deny: str
    denied: str
    allow: str
    conntrack_invalid_check: bool
    tiers: Sequence[TierFacts]
    nflog_group: int
    nflog_options: str


class PreDnatFacts(TrackedFacts, frozen=True, kw_only=True, eq=False):
    """Packets to a host endpoint before DNAT."""


class ForwardFacts(TrackedFacts, frozen=True, kw_only=True, eq=False):
    """Packets that a host endpoint forwards; without policies for them they pass."""

    allow_by_default: bool


class HostFacts(TrackedFacts, frozen=True, kw_only=True, eq=False):
    """A host's own packets. `profiles` are chains; `nflog_no_profile` is "" if flows are not logged."""

    profiles: Sequence[str]
    nflog_no_profile: str


class WorkloadFacts(HostFacts, frozen=True, kw_only=True, eq=False):
    """A pod's packets in one direction. Limits are None if the pod does not have them.

    `packet_rate` is per second, `connections` the most at one time.
    """

    direction: str
    packet_rate: int | None
    packet_burst: int | None
    connections: int | None
    vxlan_port: int
    allow_vxlan: bool
    allow_ipip: bool


class _Limits(TypedDict):
    packet_rate: int | None
    packet_burst: int | None
    connections: int | None


class _Common(TypedDict):
    mark: SimpleNamespace
    deny: str
    denied: str
    conntrack_invalid_check: bool
    nflog_group: int
    nflog_options: str


class EndpointChains(Struct, frozen=True):
    """Plans the chains of endpoints; the group chains that they need are collected in `groups`.

    `shared` caches the facts of pods' chains by their content without names.
    """

    context: RuleContext
    policies: PolicyChains
    groups: dict[str, ChainPlan]
    shared: dict[Hashable, WorkloadFacts]

    def workload(self, local: LocalWorkload) -> tuple[ChainPlan, ChainPlan]:
        """The chains cali-tw and cali-fw, the same in both families."""
        workload = local.workload
        words = f"pod {workload.namespace}/{workload.name} (interface {workload.interface})"
        plans = []
        for direction, prefix in (("ingress", TO_WORKLOAD), ("egress", FROM_WORKLOAD)):
            tiers = self._tiers(local.policies.normal, direction)
            profiles = self._profiles(workload.profiles, direction)
            key = (direction, workload.qos, len(profiles), *(tier.nameless() for tier in tiers))
            if key not in self.shared:
                self.shared[key] = self._workload_facts(workload.qos, tiers, len(profiles), direction)
            way = f"packets {'to' if direction == 'ingress' else 'from'} {words}"
            plans.append(
                ChainPlan(
                    name=self.context.chain(prefix, workload.interface),
                    template=f"filter/{prefix.rstrip('-')}",
                    facts=self.shared[key],
                    origin=Origin(words=way, source=workload.source),
                    shared=True,
                    names=(*(chain for tier in tiers for chain in tier.chains), *profiles),
                )
            )
        return plans[0], plans[1]

    def _workload_facts(
        self, qos: Qos | None, tiers: Sequence[TierFacts], profiles: int, direction: str
    ) -> WorkloadFacts:
        """The facts of a pod's chain, with placeholders for the names of chains."""
        config, holes = self.context.config, map(hole, count(1))
        return WorkloadFacts(
            **self._common(direction),
            **_limits(qos, direction),
            allow=config.filter_allow_action,
            tiers=[tier._replace(chains=[*islice(holes, len(tier.chains))]) for tier in tiers],
            profiles=[*islice(holes, profiles)],
            nflog_no_profile=self._nflog_no_profile(direction),
            direction=direction,
            vxlan_port=config.vxlan_port & LAST_PORT,
            allow_vxlan=config.allow_vxlan_from_workloads,
            allow_ipip=config.allow_ipip_from_workloads,
        )

    def host_filter(self, local: LocalHost) -> list[ChainPlan]:
        """The chains cali-th, cali-fh, and those for forwarded packets, in table filter."""
        plans = []
        for direction, prefix, forward in (
            ("egress", TO_HOST, TO_HOST_FORWARD),
            ("ingress", FROM_HOST, FROM_HOST_FORWARD),
        ):
            own = HostFacts(
                **self._common(direction),
                allow=self.context.config.filter_allow_action,
                tiers=self._tiers(local.policies.normal, direction),
                profiles=self._profiles(local.endpoint.profiles, direction),
                nflog_no_profile=self._nflog_no_profile(direction),
            )
            plans.append(self._host(prefix, "filter", local, own, "the host's own packets"))
            forwarded = ForwardFacts(
                **self._common(direction),
                allow=self.context.config.filter_allow_action,
                tiers=self._tiers(local.policies.forward, direction),
                allow_by_default=not local.policies.forward,
            )
            plans.append(self._host(forward, "filter", local, forwarded, "forwarded packets"))
        return plans

    def host_mangle(self, local: LocalHost) -> list[ChainPlan]:
        """The chains cali-th for the host's packets to rewritten addresses, and cali-fh if there is pre-DNAT policy."""
        rewritten = HostFacts(
            **self._common("egress"),
            allow="RETURN",
            tiers=self._tiers(local.policies.normal, "egress"),
            profiles=self._profiles(local.endpoint.profiles, "egress"),
            nflog_no_profile=self._nflog_no_profile("egress"),
        )
        plans = [self._host(TO_HOST, "mangle", local, rewritten, "packets to rewritten addresses")]
        if local.policies.pre_dnat:
            before = PreDnatFacts(
                **self._common("ingress"),
                allow=self.context.config.mangle_allow_action,
                tiers=self._tiers(local.policies.pre_dnat, "ingress", ends=False),
            )
            plans.append(self._host(FROM_HOST, "mangle", local, before, "packets before DNAT"))
        return plans

    def host_raw(self, local: LocalHost) -> list[ChainPlan]:
        """The chains cali-th and cali-fh in table raw, if there is untracked policy."""
        plans = []
        for direction, prefix in (("egress", TO_HOST), ("ingress", FROM_HOST)):
            tiers = self._tiers(local.policies.untracked, direction, ends=False)
            facts = UntrackedFacts(mark=self.context.mark, tiers=tiers)
            plans.append(self._host(prefix, "raw", local, facts, "packets before connection tracking"))
        return plans

    def _host(self, prefix: str, table: str, local: LocalHost, facts: Facts, what: str) -> ChainPlan:
        words = f"{what} {'to' if prefix.startswith('cali-th') else 'from'} HostEndpoint {local.endpoint.name}"
        template = f"{table}/{prefix.rstrip('-')}"
        return self._chain(prefix, local.interface, template, facts, words, local.endpoint.source)

    def _chain(self, prefix: str, interface: str, template: str, facts: Facts, words: str, source: Source) -> ChainPlan:
        return ChainPlan(
            name=self.context.chain(prefix, interface),
            template=template,
            facts=facts,
            origin=Origin(words=words, source=source),
        )

    def _common(self, direction: str) -> _Common:
        context = self.context
        return {
            "mark": context.mark,
            "deny": context.deny,
            "denied": context.denied,
            "conntrack_invalid_check": not context.config.disable_conntrack_invalid_check,
            "nflog_group": NFLOG_GROUPS[direction],
            "nflog_options": context.nflog_options,
        }

    def _nflog_no_profile(self, direction: str) -> str:
        """The NFLOG prefix of packets that no profile accepted."""
        return f"DR{direction[0].upper()}" if self.context.config.flow_logs else ""

    def _profiles(self, names: Sequence[str], direction: str) -> list[str]:
        return [self.policies.profile_name(name, direction) for name in names]

    def _tiers(self, tiers: Sequence[AppliedTier], direction: str, *, ends: bool = True) -> list[TierFacts]:
        """Tiers with policies in this direction. A tier with staged policies only decides nothing."""
        facts = []
        for tier in tiers:
            policies = tier.ingress if direction == "ingress" else tier.egress
            if not policies:
                continue
            chains, groups = self.policies.jumps(policies, direction)
            self.groups.update((group.name, group) for group in groups)
            drops = ends and bool(chains) and not tier.passes
            nflog = ""
            if ends and self.context.config.flow_logs:
                nflog = nflog_prefix(f"{'D' if drops else 'P'}P{direction[0].upper()}|{tier.name}")
            facts.append(TierFacts(comment(tier.name), chains, drops, nflog))
        return facts


def _limits(qos: Qos | None, direction: str) -> _Limits:
    qos = qos or Qos()
    incoming = direction == "ingress"
    return {
        "packet_rate": qos.ingress_packet_rate if incoming else qos.egress_packet_rate,
        "packet_burst": qos.ingress_packet_burst if incoming else qos.egress_packet_burst,
        "connections": qos.ingress_connections if incoming else qos.egress_connections,
    }
