"""Calico's policies, tiers and profiles: their schema, and their conversion as in Calico's update processors.

(libcalico-go/lib/validator/v3; libcalico-go/lib/backend/syncersv1/updateprocessors)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.objects import calico_rules, network_policy
from felixpy.manifests.objects.criteria import SELECTOR, given_twice
from felixpy.manifests.objects.kubernetes import ALLOW_ALL
from felixpy.manifests.objects.labels import policy_selector, side_selector
from felixpy.manifests.validation.findings import Finding, Ignored, shown
from felixpy.manifests.validation.metadata import LABELS, dns_label, document, or_empty, policy_name
from felixpy.manifests.validation.names import labels_to_apply
from felixpy.manifests.validation.shapes import ListOf, Object, Relation, Shape, flag, number, one_of, text
from felixpy.model import DEFAULT_TIER, DEFAULT_TIER_ORDER, Policy, PolicyKey, Profile, Source, Tier

Data = Mapping[str, Any]

IGNORED_POLICY = "nothing that it should deny is denied"
EVERYWHERE = "AssumeNeededOnEveryNode"
STAGED_ACTIONS = one_of("Set", "Delete", "Learn", "Ignore", what="unknown action")
GLOBAL_ONLY = ("namespaceSelector", "doNotTrack", "preDNAT", "applyOnForward")
KUBERNETES_FIELDS = {
    "podSelector": "this is a field of networking.k8s.io/v1; Calico's is selector",
    "policyTypes": "this is a field of networking.k8s.io/v1; Calico's is types",
    "actions": "every rule has its own action",
}


def _host_policies(spec: Data, path: Path) -> Iterator[Finding]:
    """Findings for fields that doNotTrack and preDNAT policies may not have."""
    for name in ("doNotTrack", "preDNAT"):
        if spec.get(name) and not spec.get("applyOnForward"):
            yield Finding((*path, "applyOnForward"), f"must be true when spec.{name} is true")
            break
    if spec.get("preDNAT"):
        if spec.get("doNotTrack"):
            yield Finding((*path, "preDNAT"), "cannot be true together with spec.doNotTrack")
        if spec.get("egress"):
            yield Finding((*path, "egress"), "a preDNAT policy can only have ingress rules")
        if "Egress" in spec.get("types", ()):
            yield Finding((*path, "types"), "a preDNAT policy can only be of type Ingress")


def _nothing_but_deletion(spec: Data, path: Path) -> Iterator[Finding]:
    """Findings for a staged deletion with more than a name and a tier."""
    if spec.get("stagedAction") != "Delete":
        return
    given = [name for name, value in spec.items() if name not in ("tier", "stagedAction")]
    for name in given:
        if spec[name] not in ("", [], {}, False):
            yield Finding((*path, name), "must be empty when spec.stagedAction is Delete")


def _in_no_namespace(data: Data, path: Path) -> Iterator[Finding]:
    """A finding for a cluster-scoped object with a namespace, which the API server silently removes."""
    given = data["metadata"].get("namespace")
    if given:
        reason = f"{shown(given)} is ignored: a global policy selects endpoints of every namespace"
        hint = "NetworkPolicy, or spec.namespaceSelector, was probably meant"
        yield Finding((*path, "metadata", "namespace"), reason, hint, "warning")


def _named_after_its_tier(data: Data, path: Path) -> Iterator[Finding]:
    """A finding for a name whose part before the dot is not the policy's tier, which older releases required."""
    name, tier = data["metadata"]["name"], data.get("spec", {}).get("tier")
    prefix, dot, _ = name.partition(".")
    if dot and tier and prefix != tier and not name.startswith(("knp.default.", "ossg.default.")):
        reason = f"named as a policy of tier {prefix}, but it is in tier {tier}"
        yield Finding((*path, "spec", "tier"), reason, severity="warning")


def _policy_shape(namespaced: bool, staged: bool) -> Object:
    fields: dict[str, Shape] = {
        "tier": text(or_empty(dns_label)),
        "order": number(),
        "selector": SELECTOR,
        "serviceAccountSelector": SELECTOR,
        "types": ListOf(one_of("Ingress", "Egress"), repeated=given_twice),
        "ingress": calico_rules.rules("ingress", namespaced),
        "egress": calico_rules.rules("egress", namespaced),
        "performanceHints": ListOf(one_of(EVERYWHERE), repeated=given_twice),
    }
    elsewhere = dict(KUBERNETES_FIELDS)
    relations: list[Relation] = [_nothing_but_deletion]
    if namespaced:
        elsewhere |= dict.fromkeys(GLOBAL_ONLY, "only global policies have this field")
    else:
        relations.append(_host_policies)
        fields |= {"namespaceSelector": SELECTOR} | {name: flag() for name in GLOBAL_ONLY[1:]}
    if staged:
        fields["stagedAction"] = STAGED_ACTIONS
    spec = Object(fields, relations=relations, elsewhere=elsewhere)
    checks = (_named_after_its_tier,) if namespaced else (_named_after_its_tier, _in_no_namespace)
    return document(spec, naming=policy_name, relations=checks)


POLICIES = {
    "NetworkPolicy": _policy_shape(namespaced=True, staged=False),
    "GlobalNetworkPolicy": _policy_shape(namespaced=False, staged=False),
    "StagedNetworkPolicy": _policy_shape(namespaced=True, staged=True),
    "StagedGlobalNetworkPolicy": _policy_shape(namespaced=False, staged=True),
}
STAGED_KUBERNETES_POLICY = document(
    Object(
        {**network_policy.SPEC.fields, "stagedAction": STAGED_ACTIONS},
        relations=(_nothing_but_deletion,),
        elsewhere=network_policy.SPEC.elsewhere,
    )
)
PROFILE = document(
    Object({
        "ingress": calico_rules.rules("ingress", False),
        "egress": calico_rules.rules("egress", False),
        "labelsToApply": LABELS,
    })
)  # fmt: skip


def policy(data: Data, kind: str, source: Source) -> Policy | None:
    """A Calico policy, staged ones included; None for a staged deletion, which Felix never sees.

    Raises Ignored when Felix could not read the merged selectors and would drop the policy.
    """
    metadata, spec = data["metadata"], data.get("spec", {})
    if spec.get("stagedAction") == "Delete":
        return None
    namespace = metadata["namespace"] if not kind.endswith("GlobalNetworkPolicy") else ""
    order = spec.get("order")
    types = spec.get("types") or default_types(data)
    _refuse_blank_selectors(spec, namespace)
    return Policy(
        key=PolicyKey(kind, namespace, metadata["name"]),
        tier=spec.get("tier") or DEFAULT_TIER,
        order=None if order is None else float(order),
        selector=policy_selector(spec, namespace),
        ingress="Ingress" in types,
        egress="Egress" in types,
        inbound=calico_rules.convert(spec, "ingress", namespace),
        outbound=calico_rules.convert(spec, "egress", namespace),
        source=source,
        do_not_track=spec.get("doNotTrack", False),
        pre_dnat=spec.get("preDNAT", False),
        apply_on_forward=spec.get("applyOnForward", False),
        everywhere=EVERYWHERE in spec.get("performanceHints", ()),
    )


def _refuse_blank_selectors(spec: Data, namespace: str) -> None:
    """Raise Ignored for a blank selector: it is valid alone, but not in the parentheses of a merged selector."""
    sides: list[tuple[Path, Data]] = [
        (("spec", direction, index, side), rule.get(side, {}))
        for direction in ("ingress", "egress")
        for index, rule in enumerate(spec.get(direction, ()))
        for side in calico_rules.SIDES
    ]
    for path, owner in [(("spec",), spec), *sides]:
        given = owner.get("selector", "")
        if given and not given.strip(" \t"):
            merge = policy_selector if owner is spec else side_selector
            if merge(owner, namespace) != given:
                reason = "contains only blanks; Felix cannot read it and ignores the whole policy"
                raise Ignored((*path, "selector"), reason, IGNORED_POLICY)


def default_types(data: Data) -> Sequence[str]:
    """The directions of a policy without types.

    Calico's API server and calicoctl set them from the rules that are present. Objects of crd.projectcalico.org have
    not passed either of these, and Felix treats no types as both.
    """
    spec = data.get("spec", {})
    if data["apiVersion"].startswith("crd."):
        return ("Ingress", "Egress")
    if not spec.get("egress"):
        return ("Ingress",)
    return ("Ingress", "Egress") if spec.get("ingress") else ("Egress",)


def staged_kubernetes_policy(data: Data, source: Source) -> Policy | None:
    """A staged NetworkPolicy: without policyTypes it is Ingress only, as no API server fills them in."""
    spec = data.get("spec", {})
    if spec.get("stagedAction") == "Delete":
        return None
    drafted = network_policy.draft(spec, ("Ingress",))
    return network_policy.policy(data, "StagedKubernetesNetworkPolicy", drafted, source)


def profile(data: Data, source: Source) -> Profile:
    """A Profile object, not one made from a namespace or service account; its selectors match in all namespaces."""
    spec = data.get("spec", {})
    return Profile(
        name=data["metadata"]["name"],
        inbound=calico_rules.convert(spec, "ingress", ""),
        outbound=calico_rules.convert(spec, "egress", ""),
        labels=labels_to_apply(spec.get("labelsToApply", {})),
        source=source,
    )


NOWHERE = Source("", 0)

DEFAULT_ALLOW = Profile(
    name="projectcalico-default-allow", inbound=ALLOW_ALL, outbound=ALLOW_ALL, labels={}, source=NOWHERE
)
"""The profile that is always there, for host endpoints that name it."""

TIERS = {
    name: Tier(name=name, order=order, passes=passes)
    for name, order, passes in (
        ("kube-admin", 1_000.0, True),
        (DEFAULT_TIER, DEFAULT_TIER_ORDER, False),
        ("kube-baseline", 10_000_000.0, True),
    )
}
"""Tiers that Calico creates when it starts, unless they exist."""


def _built_in_stays(data: Data, path: Path) -> Iterator[Finding]:
    """Findings for a changed order or default action of Calico's predefined tiers."""
    built_in = TIERS.get(data["metadata"]["name"])
    spec = data.get("spec", {})
    if built_in is None:
        return
    if spec.get("order", built_in.order) != built_in.order:
        reason = f"{shown(spec['order'])}: the order of this tier is fixed at {built_in.order:.0f}"
        yield Finding((*path, "spec", "order"), reason)
    action = "Pass" if built_in.passes else "Deny"
    if spec.get("defaultAction", action) != action:
        reason = f"{shown(spec['defaultAction'])}: the default action of this tier is fixed to {action}"
        yield Finding((*path, "spec", "defaultAction"), reason)


TIER = document(
    Object({"order": number(), "defaultAction": one_of("Deny", "Pass")}), naming=dns_label, relations=(_built_in_stays,)
)


def tier(data: Data, source: Source) -> Tier:
    """A tier; one without order sorts with the default tier, by name."""
    spec = data.get("spec", {})
    order = spec.get("order")
    return Tier(
        name=data["metadata"]["name"],
        order=DEFAULT_TIER_ORDER if order is None else float(order),
        passes=spec.get("defaultAction") == "Pass",
    )
