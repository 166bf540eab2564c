"""Endpoint chains: what happens to a packet of one workload or host interface. (felix/rules/endpoints.go)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from felixpy.model import Qos, Source
from felixpy.names import comment, nflog_prefix
from felixpy.parameter_types import LAST_PORT
from felixpy.plan.facts import NFLOG_GROUPS, RuleContext
from felixpy.plan.policies import PROFILE_PREFIXES, PolicyChains
from felixpy.plan.values import ChainPlan
from felixpy.resolve import AppliedTier, LocalHost, LocalWorkload
from felixpy.ruleset import Origin

TO_WORKLOAD, FROM_WORKLOAD = "cali-tw-", "cali-fw-"
TO_HOST, FROM_HOST = "cali-th-", "cali-fh-"
TO_HOST_FORWARD, FROM_HOST_FORWARD = "cali-thfw-", "cali-fhfw-"
SET_MARK = "cali-sm-"


class TierFacts(NamedTuple):
    """A tier as an endpoint's template sees it: the chains to try, and what happens at its end."""

    name: str
    chains: Sequence[str]
    drops: bool
    nflog: str


@dataclass(frozen=True)
class EndpointChains:
    """Plans the chains of endpoints; group chains that they need are gathered in `groups`."""

    context: RuleContext
    policies: PolicyChains
    groups: dict[str, ChainPlan]

    def workload(self, local: LocalWorkload) -> tuple[ChainPlan, ChainPlan]:
        """cali-tw and cali-fw, the same in both families."""
        workload = local.workload
        words = f"pod {workload.namespace}/{workload.name} (interface {workload.interface})"
        config = self.context.config
        plans = []
        for direction, prefix in (("ingress", TO_WORKLOAD), ("egress", FROM_WORKLOAD)):
            facts = {
                **self._common(direction),
                **_limits(workload.qos, direction),
                "tiers": self._tiers(local.policies.normal, direction),
                **self._profiles(workload.profiles, direction),
                "direction": direction,
                "vxlan_port": config.vxlan_port & LAST_PORT,
                "allow_vxlan": config.allow_vxlan_from_workloads,
                "allow_ipip": config.allow_ipip_from_workloads,
            }
            way = f"packets {'to' if direction == 'ingress' else 'from'} {words}"
            template = f"filter/{prefix.rstrip('-')}"
            plans.append(self._chain(prefix, workload.interface, template, facts, way, workload.source))
        return plans[0], plans[1]

    def host_filter(self, local: LocalHost) -> list[ChainPlan]:
        """cali-th, cali-fh and their forward twins."""
        plans = []
        for direction, prefix, forward in (
            ("egress", TO_HOST, TO_HOST_FORWARD),
            ("ingress", FROM_HOST, FROM_HOST_FORWARD),
        ):
            facts = {
                **self._common(direction),
                "tiers": self._tiers(local.policies.normal, direction),
                **self._profiles(local.endpoint.profiles, direction),
            }
            plans.append(self._host(prefix, "filter", local, facts, "the host's own packets"))
            facts = {
                **self._common(direction),
                "tiers": self._tiers(local.policies.forward, direction),
                "allow_by_default": not local.policies.forward,
            }
            plans.append(self._host(forward, "filter", local, facts, "forwarded packets"))
        return plans

    def host_mangle(self, local: LocalHost) -> list[ChainPlan]:
        """cali-th for what the host sent to a rewritten address; cali-fh where there is pre-DNAT policy."""
        facts = {
            **self._common("egress"),
            "allow": "RETURN",
            "tiers": self._tiers(local.policies.normal, "egress"),
            **self._profiles(local.endpoint.profiles, "egress"),
        }
        plans = [self._host(TO_HOST, "mangle", local, facts, "packets to rewritten addresses")]
        if local.policies.pre_dnat:
            facts = {
                **self._common("ingress"),
                "allow": self.context.config.mangle_allow_action,
                "tiers": self._tiers(local.policies.pre_dnat, "ingress", ends=False),
            }
            plans.append(self._host(FROM_HOST, "mangle", local, facts, "packets before DNAT"))
        return plans

    def host_raw(self, local: LocalHost) -> list[ChainPlan]:
        """cali-th and cali-fh where there is untracked policy."""
        plans = []
        for direction, prefix in (("egress", TO_HOST), ("ingress", FROM_HOST)):
            facts = {
                "mark": self.context.mark,
                "tiers": self._tiers(local.policies.untracked, direction, ends=False),
            }
            plans.append(self._host(prefix, "raw", local, facts, "packets before connection tracking"))
        return plans

    def _host(self, prefix: str, table: str, local: LocalHost, facts: dict[str, object], what: str) -> ChainPlan:
        words = f"{what} {'to' if prefix.startswith('cali-th') else 'from'} HostEndpoint {local.endpoint.name}"
        template = f"{table}/{prefix.rstrip('-')}"
        return self._chain(prefix, local.interface, template, facts, words, local.endpoint.source)

    def _chain(
        self, prefix: str, interface: str, template: str, facts: dict[str, object], words: str, source: Source
    ) -> ChainPlan:
        return ChainPlan(
            name=self.context.chain(prefix, interface),
            template=template,
            facts=facts,
            origin=Origin(words=words, source=source),
        )

    def _common(self, direction: str) -> dict[str, object]:
        config = self.context.config
        return {
            "mark": self.context.mark,
            **self.context.deny,
            "allow": config.filter_allow_action,
            "conntrack_invalid_check": not config.disable_conntrack_invalid_check,
            "nflog_group": NFLOG_GROUPS[direction],
            "nflog_options": self.context.nflog_options,
            "nflog_no_profile": f"DR{direction[0].upper()}" if config.flow_logs else "",
        }

    def _profiles(self, names: Sequence[str], direction: str) -> dict[str, object]:
        return {"profiles": [self.context.chain(PROFILE_PREFIXES[direction], name) for name in names]}

    def _tiers(self, tiers: Sequence[AppliedTier], direction: str, *, ends: bool = True) -> list[TierFacts]:
        """Tiers with policies in this direction. One whose policies are all staged lets every packet fall through."""
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


def _limits(qos: Qos | None, direction: str) -> dict[str, object]:
    qos = qos or Qos()
    incoming = direction == "ingress"
    return {
        "packet_rate": qos.ingress_packet_rate if incoming else qos.egress_packet_rate,
        "packet_burst": qos.ingress_packet_burst if incoming else qos.egress_packet_burst,
        "connections": qos.ingress_connections if incoming else qos.egress_connections,
    }
