"""What decided about a packet, in words."""

from __future__ import annotations

import re
from typing import NamedTuple

from felixpy.decode.legend import STATIC, profile_words
from felixpy.errors import Path, Place
from felixpy.names import LAYERS
from felixpy.tracing import Leg, Trace
from felixpy.tracing.hits import END_OF_TIER, PROFILE, Asked, Hit
from felixpy.walk import Step


class Reason(NamedTuple):
    """Why a packet is allowed or denied: in words, the place of the deciding policy rule, and the deciding step."""

    words: str
    place: Place | None = None
    path: Path = ()
    leg: Leg | None = None
    step: Step | None = None
    hit: Hit | None = None


def hit_words(hit: Hit, end: Asked, *, brief: bool = False) -> str:
    """A hit in words, with the rule's number from 1; with `brief` without the last policy of a tier."""
    if hit.owner.kind == END_OF_TIER:
        if hit.action == "Deny":
            last = "" if brief or not hit.trigger else f" (asked last: {hit.trigger})"
            return f"the end of tier {hit.tier}, where no policy allows it{last}"
        return f"the end of tier {hit.tier}, where no policy decided"
    rule = f" rule {hit.rule + 1}" if hit.rule is not None and hit.rule >= 0 else ""
    if hit.owner.kind == PROFILE and not hit.owner.name:
        return "having no profile that allows it"
    if hit.owner.kind == PROFILE:
        return f"the profile of {profile_words(hit.owner.name)}, {end.direction}{rule}"
    tier = f" (tier {hit.tier})" if hit.tier else ""
    return f"{hit.owner}{tier}, {end.direction}{rule}"


def reason(trace: Trace) -> Reason:
    """The deciding reason: the denial, else the last hit that allowed."""
    if not trace.legs:
        return Reason(f"{trace.source.name} calls itself, and such packets never leave the pod")
    leg = trace.legs[-1]
    if leg.walk.verdict != "accept":
        return _denial(leg)
    for report in reversed(trace.reports):
        end_leg = next(leg for leg in trace.legs if any(end is report.end for end in leg.ends))
        return _consent(end_leg, report.end)
    return _unasked(trace, leg)


def _consent(leg: Leg, end: Asked) -> Reason:
    hit = end.hits[-1] if end.hits else None
    if hit and hit.action == "Allow":
        return Reason(hit_words(hit, end), hit.place, hit.path, leg, hit.step, hit)
    return _silent(leg, end)


def _silent(leg: Leg, end: Asked) -> Reason:
    """Why an endpoint's chain accepted a packet before any policy."""
    if leg.packet.state in ("established", "related"):
        return Reason(f"being part of a connection that was allowed before ({leg.packet.state})", leg=leg)
    failsafe = next((step for step in leg.walk.steps if step.chain.startswith(FAILSAFE) and step.outcome), None)
    if failsafe:
        return Reason("a failsafe port, which no policy closes", leg=leg, step=failsafe)
    return Reason(f"{end.name}, which has no policy for such packets", leg=leg)


FAILSAFE = "cali-failsafe"


def _unasked(trace: Trace, leg: Leg) -> Reason:
    """Why no policy was evaluated: a foreign rule came first, or no policy applies."""
    if trace.source.kind == "host" and trace.destination.kind == "pod" and trace.source.node == trace.destination.node:
        return Reason("the node itself, which always reaches its own pods", leg=leg)
    final = [step for step in leg.walk.steps if step.outcome and step.table == "filter" and not step.rule.identity]
    if final:
        words = f"a rule that is not Felix's, in chain {final[-1].chain}: no pod and no host endpoint is asked"
        return Reason(words, leg=leg, step=final[-1])
    return Reason(f"default: no pod and no host endpoint on {leg.node.name} is asked about it", leg=leg)


def _denial(leg: Leg) -> Reason:
    """The rule that dropped the packet, with its policy or with its purpose in Felix."""
    step = leg.walk.decided
    if step is None:
        table, chain = leg.walk.policy or ("", "")
        if leg.node.dump.dataplane == "nftables":
            where = f"{table}-{chain} of table calico" if table in LAYERS else f"{chain} of table {table}"
            return Reason(f"the policy of base chain {where}, which is to drop", leg=leg)
        return Reason(f"the policy of the kernel's chain {chain} in table {table}, which is to drop", leg=leg)
    for end in leg.ends:
        for hit in end.hits:
            if hit.step is step:
                return Reason(hit_words(hit, end), hit.place, hit.path, leg, step, hit)
    return Reason(_felix_words(step, leg), leg=leg, step=step)


DENIALS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Unknown (?:interface|endpoint)"), "Felix, which knows no pod behind the packet's interface"),
    (re.compile(r"Configured Default.*"), "DefaultEndpointToHostAction, which closes nodes to their own pods"),
    (re.compile(r"\w+ VXLAN encapped .*"), "Felix: pods may not send VXLAN packets (AllowVXLANPacketsFromWorkloads)"),
    (re.compile(r"\w+ IPinIP encapped .*"), "Felix: pods may not send IPIP packets (AllowIPIPPacketsFromWorkloads)"),
    (re.compile(r"\w+ (?:IPIP|IPv\d VXLAN) packets from non-.*"), "Felix: tunnel packets come from nodes only"),
    (re.compile(r"Endpoint admin disabled"), "Felix: the endpoint is switched off"),
    (re.compile(r"\w+ (?:packets|connections) over .*"), "the limit of the pod"),
)
"""What Felix's comments on denying rules mean."""


def _felix_words(step: Step, leg: Leg) -> str:
    words = next((text for text in step.rule.comments if not text.startswith("cali:")), "")
    for pattern, meaning in DENIALS:
        if pattern.fullmatch(words):
            return meaning
    modules = {match.module: match for match in step.rule.matches}
    if "rpfilter" in modules:
        return f"the source address: packets from {leg.packet.source} do not belong on {leg.packet.in_interface}"
    states = modules.get("conntrack")
    if states and states.options[0].values == ("INVALID",):
        return "connection tracking: the packet opens no connection and belongs to none (invalid)"
    if step.chain == "cali-cidr-block":
        return "ServiceLoopPrevention: it is a service's address, and nothing on this node answers for it"
    if not step.rule.identity:
        return f"a rule that is not Felix's, in chain {step.chain}"
    return f"Felix's chain {step.chain}" + (f" ({STATIC[step.chain]})" if step.chain in STATIC else "")
