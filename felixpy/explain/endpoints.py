"""What applies to a pod or host endpoint: tiers, policies and profiles in order, and rules that match it as a peer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from felixpy.config import Config
from felixpy.decode.legend import Direction, profile_words
from felixpy.decode.phrases import rule_words
from felixpy.explain.lines import RuleLines, decides_everything
from felixpy.explain.values import EndpointExplanation, EndpointStage, Mention, PolicyLine, ProfileLine, TierLine
from felixpy.ipsets import SetSpec
from felixpy.model import Cluster, HostEndpoint, Policy, Rule, Workload
from felixpy.parameter_types import FailsafePort
from felixpy.plan.endpoints import (
    FROM_HOST,
    FROM_HOST_FORWARD,
    FROM_WORKLOAD,
    TO_HOST,
    TO_HOST_FORWARD,
    TO_WORKLOAD,
)
from felixpy.resolve import AppliedPolicies, AppliedTier, LocalHost, LocalWorkload
from felixpy.rules import activate

OWN_LABELS = "projectcalico.org/"
"""Labels that Calico adds; their values are shown elsewhere."""

DROPPED = "drop what none of them decided"
DECIDED = "nothing gets here, the rules decide everything"
NEXT_TIER = "what none of them decided goes on to the next tier"
STAGED_ONLY = "only staged policies: everything goes on"
GOES_ON = "what none of them decided goes on to ordinary policy"
NO_PROFILE = "drop what no profile allowed"
NO_FORWARD = "let everything pass, as no policy with applyOnForward applies"


class _Way(NamedTuple):
    """A kind of traffic to or from an endpoint, which has its own chain. (felix/rules/endpoints.go)"""

    title: str
    direction: Direction
    prefix: str
    table: str
    policies: str
    """The field of `AppliedPolicies` that is asked."""
    ends: bool = True
    """Whether tiers have an end."""
    profiles: bool = True


WORKLOAD_WAYS = (
    _Way("packets to the pod", "ingress", TO_WORKLOAD, "filter", "normal"),
    _Way("packets from the pod", "egress", FROM_WORKLOAD, "filter", "normal"),
)

HOST_WAYS = (
    _Way("before connection tracking", "ingress", FROM_HOST, "raw", "untracked", ends=False, profiles=False),
    _Way("before connection tracking", "egress", TO_HOST, "raw", "untracked", ends=False, profiles=False),
    _Way("before DNAT", "ingress", FROM_HOST, "mangle", "pre_dnat", ends=False, profiles=False),
    _Way("packets for the node itself", "ingress", FROM_HOST, "filter", "normal"),
    _Way("packets that the node sends", "egress", TO_HOST, "filter", "normal"),
    _Way("forwarded packets that came in", "ingress", FROM_HOST_FORWARD, "filter", "forward", profiles=False),
    _Way("forwarded packets that leave", "egress", TO_HOST_FORWARD, "filter", "forward", profiles=False),
)


class EndpointExplanations:
    """Makes explanations of a cluster's endpoints."""

    def __init__(self, lines: RuleLines) -> None:
        self.lines, self.cluster = lines, lines.cluster

    def workload(self, pod: Workload, local: LocalWorkload | None) -> EndpointExplanation:
        """Explain a pod; `local` is None if Felix does not program it."""
        stages = [self._stage(way, pod.interface, local.policies, pod.profiles) for way in WORKLOAD_WAYS if local]
        remarks = [MAPS] if local and self.lines.names.in_one_table else [] if local else [REFUSED]
        return EndpointExplanation(
            endpoint_type="pod",
            name=f"{pod.namespace}/{pod.name}",
            place=self.lines.place(pod.source),
            node=pod.node,
            interface=pod.interface,
            addresses=pod.addresses,
            labels=_own(pod),
            profiles=tuple(map(profile_words, pod.profiles)),
            ports=tuple(f"{port.name} {port.protocol}/{port.port}" for port in pod.ports if port.name),
            stages=tuple(stages),
            mentions=tuple(self.mentions(pod)) if local else (),
            remarks=tuple(remarks),
        )

    def host(self, endpoint: HostEndpoint, local: LocalHost | None, config: Config) -> EndpointExplanation:
        """Explain a host endpoint; `local` is None if it matches no interface of the machine."""
        stages = [
            self._stage(way, local.interface, local.policies, endpoint.profiles)
            for way in HOST_WAYS
            if local and (way.policies in ("normal", "forward") or getattr(local.policies, way.policies))
        ]
        return EndpointExplanation(
            endpoint_type="host endpoint",
            name=endpoint.name,
            place=self.lines.place(endpoint.source),
            node=endpoint.node,
            interface=endpoint.interface,
            addresses=endpoint.addresses,
            labels=_own(endpoint),
            profiles=tuple(map(profile_words, endpoint.profiles)),
            ports=tuple(f"{port.name} {port.protocol}/{port.port}" for port in endpoint.ports),
            stages=tuple(stages),
            mentions=tuple(self.mentions(endpoint)),
            remarks=() if local else (NO_INTERFACE,),
            failsafes={
                "ingress": tuple(map(_failsafe, config.failsafe_inbound)),
                "egress": tuple(map(_failsafe, config.failsafe_outbound)),
            },
        )

    # --- stages

    def _stage(self, way: _Way, interface: str, policies: AppliedPolicies, profiles: Sequence[str]) -> EndpointStage:
        applied: tuple[AppliedTier, ...] = getattr(policies, way.policies)
        tiers: list[TierLine] = []
        reached = True
        for tier in applied:
            line = self._tier(tier, way, reached=reached)
            if line:
                tiers.append(line)
                reached = reached and (line.end not in (DROPPED, DECIDED) or _passes(tier, way.direction))
        lines, undecided = self._profiles(profiles if way.profiles else (), way.direction)
        end = NO_PROFILE if way.profiles and undecided else ""
        if way.policies == "forward" and not tiers:
            end = NO_FORWARD
        names = self.lines.names
        table, chain = names.place(way.table, names.chain(way.prefix, interface))
        return EndpointStage(
            title=way.title,
            direction=way.direction,
            chain=chain,
            table=table,
            tiers=tuple(tiers),
            profiles=lines,
            profiles_reached=reached or not way.profiles,
            end=end,
        )

    def _tier(self, tier: AppliedTier, way: _Way, *, reached: bool) -> TierLine | None:
        found = tier.ingress if way.direction == "ingress" else tier.egress
        policies = tuple(self._policy(active.policy, way.direction) for active in found)
        if not policies:
            return None
        rules = [rule for active in found if not active.policy.staged for rule in _rules(active.policy, way.direction)]
        if all(policy.staged for policy in policies):
            end = STAGED_ONLY
        elif any(map(decides_everything, rules)):
            end = DECIDED
        elif not way.ends:
            end = GOES_ON
        else:
            end = NEXT_TIER if tier.passes else DROPPED
        return TierLine(name=tier.name, policies=policies, end=end, reached=reached)

    def _policy(self, policy: Policy, direction: Direction) -> PolicyLine:
        return PolicyLine(
            name=str(policy.key),
            place=self.lines.place(policy.source),
            order=policy.order,
            staged=policy.staged,
            rules=self.lines.of(policy, direction),
        )

    def _profiles(self, names: Sequence[str], direction: Direction) -> tuple[tuple[ProfileLine, ...], bool]:
        """The profiles in order, and whether packets can pass all of them undecided."""
        lines: list[ProfileLine] = []
        undecided = True
        for name in names:
            profile = self.cluster.profiles.get(name)
            lines.append(
                ProfileLine(
                    name=profile_words(name),
                    place=self.lines.place(profile.source) if profile else None,
                    rules=self.lines.of(profile, direction) if profile else (),
                    exists=profile is not None,
                    reached=undecided,
                )
            )
            rules = (profile.inbound if direction == "ingress" else profile.outbound) if profile else ()
            undecided = undecided and profile is not None and not any(map(decides_everything, rules))
        return tuple(lines), undecided

    # --- rules that match it as a peer

    def mentions(self, thing: Workload | HostEndpoint) -> Iterator[Mention]:
        """Policy rules that match the endpoint as the other side of a connection; those of its own namespace first."""
        families = sorted({6 if ":" in address else 4 for address in thing.addresses})
        space = getattr(thing, "namespace", "")
        near_first = sorted(self.cluster.policies, key=lambda one: (one.key.namespace != space, _by_name(one)))
        for policy in near_first:
            for direction, rules in _directions(policy):
                for number, rule in enumerate(rules, start=1):
                    active = activate(number, rule)
                    peer = active.source if direction == "ingress" else active.destination
                    specs = [*peer.sets, *peer.port_sets, *peer.service_sets]
                    if not specs or not all(self._is_member(thing, spec) for spec in peer.sets):
                        continue
                    held = [spec for spec in specs if self._is_member(thing, spec)]
                    if held:
                        yield Mention(
                            policy=str(policy.key),
                            staged=policy.staged,
                            direction=direction,
                            number=number,
                            words=rule_words(rule, direction),
                            place=self.lines.place(policy.source, rule.path),
                            sets=tuple(self.lines.names.set(family, spec.id) for spec in held for family in families),
                            selects=self.lines.population.who(policy.selector, sets=False),
                        )

    def _is_member(self, thing: Workload | HostEndpoint, spec: SetSpec) -> bool:
        if spec.service:
            behind = {ip for part in self.cluster.slices if part.service == spec.service for ip in part.addresses}
            return bool(behind.intersection(thing.addresses))
        with_port = not spec.port or any(port.name == spec.port for port in thing.ports)
        return with_port and self.lines.population.selects(spec.selector, thing)


MAPS = (
    "packets find its chains by their interface in the verdict maps filter-cali-from-wl-dispatch and "
    "filter-cali-to-wl-dispatch"
)
REFUSED = "Felix knows nothing of it: it asks to send from other addresses, which WorkloadSourceSpoofing does not allow"
NO_INTERFACE = "no interface of the machine is its own, so it has no chains; --interface or --live tell what there is"


def _failsafe(port: FailsafePort) -> str:
    return f"{port.protocol}/{port.port}{f' with {port.net}' if port.net else ''}"


def _own(thing: Workload | HostEndpoint) -> dict[str, str]:
    return {key: value for key, value in sorted(thing.labels.items()) if not key.startswith(OWN_LABELS)}


def _passes(tier: AppliedTier, direction: Direction) -> bool:
    """Whether a rule of the tier can pass packets to the next tier."""
    policies = [active.policy for active in (tier.ingress if direction == "ingress" else tier.egress)]
    rules = (rule for policy in policies if not policy.staged for rule in _rules(policy, direction))
    return any(rule.action in ("pass", "next-tier") for rule in rules)


def _rules(policy: Policy, direction: Direction) -> tuple[Rule, ...]:
    return policy.inbound if direction == "ingress" else policy.outbound


def _by_name(policy: Policy) -> tuple[str, str, str]:
    return policy.key.namespace, policy.key.name, policy.key.kind


def _directions(policy: Policy) -> Iterator[tuple[Direction, tuple[Rule, ...]]]:
    """The directions in which a policy applies, each with its rules."""
    if policy.ingress:
        yield "ingress", policy.inbound
    if policy.egress:
        yield "egress", policy.outbound


def local_workload(locals_: Sequence[LocalWorkload], pod: Workload) -> LocalWorkload | None:
    return next((local for local in locals_ if local.workload is pod), None)


def local_host(locals_: Sequence[LocalHost], endpoint: HostEndpoint) -> LocalHost | None:
    return next((local for local in locals_ if local.endpoint is endpoint), None)


def hosts_of(cluster: Cluster, name: str) -> list[HostEndpoint]:
    return [endpoint for endpoint in cluster.host_endpoints if endpoint.name == name]
