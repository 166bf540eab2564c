"""AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1) → the ClusterNetworkPolicy (v1alpha2) of equal meaning.

Felix v3.32 supports only the latter. Peers without an equivalent are left out and reported: `nodes` and `domainNames`,
which Calico does not support, and the `sameLabels` of early versions.
(network-policy-api apis/v1alpha1, apis/v1alpha2)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.objects.criteria import OUT_OF_RANGE, loose_cidr
from felixpy.manifests.objects.labels import LABEL_SELECTOR
from felixpy.manifests.validation.findings import Finding
from felixpy.manifests.validation.metadata import document
from felixpy.manifests.validation.shapes import Anything, ListOf, Object, Shape, integer, one_of, text

Data = Mapping[str, Any]

GROUP = "policy.networking.k8s.io"
OLD_VERSION = f"{GROUP}/v1alpha1"
NEW_VERSION = f"{GROUP}/v1alpha2"
TIERS = {"AdminNetworkPolicy": "Admin", "BaselineAdminNetworkPolicy": "Baseline"}
ACTIONS = {"Allow": "Accept", "Deny": "Deny", "Pass": "Pass"}
SIDES = {"ingress": "from", "egress": "to"}
BASELINE_PRIORITY = 0
"""There is only one BaselineAdminNetworkPolicy, so any priority keeps its meaning."""

KEPT_METADATA = ("name", "labels", "annotations")
KUBECTL_CONFIG = "kubectl.kubernetes.io/last-applied-configuration"
FOREIGN = {
    "nodes": "Calico does not know peers of kind nodes",
    "domainNames": "Calico does not know peers by domain name",
}
RELATIVE = frozenset({"sameLabels", "notSameLabels"})

_PORT = integer(1, 65535, OUT_OF_RANGE.removesuffix(" from 1 to 65535"))
_PROTOCOL = one_of("TCP", "UDP", "SCTP")


def _one_kind(value: Data, path: Path) -> Iterator[Finding]:
    if len(value) != 1:
        found = f", not {' and '.join(value)}" if value else ""
        yield Finding(path, f"exactly one field is needed{found}")


def _shape(kind: str) -> Object:
    relative: dict[str, Shape] = {name: ListOf(text()) for name in RELATIVE}
    namespaces = Object({**LABEL_SELECTOR.fields, "namespaceSelector": LABEL_SELECTOR, **relative})
    pods = Object({"namespaceSelector": LABEL_SELECTOR, "podSelector": LABEL_SELECTOR, "namespaces": namespaces})
    inside: dict[str, Shape] = {"namespaces": namespaces, "pods": pods}
    outside: dict[str, Shape] = {
        "networks": ListOf(text(loose_cidr)),
        "nodes": LABEL_SELECTOR,
        "domainNames": Anything(),
    }
    span = Object({"protocol": _PROTOCOL, "start": _PORT, "end": _PORT}, required=("start", "end"))
    port = Object(
        {
            "portNumber": Object({"protocol": _PROTOCOL, "port": _PORT}, ("port",)),
            "portRange": span,
            "namedPort": text(),
        },
        relations=(_one_kind,),
    )
    actions = one_of(*(ACTIONS if kind == "AdminNetworkPolicy" else ("Allow", "Deny")), what="unknown action")

    def rules(side: str, peers: dict[str, Shape]) -> ListOf:
        fields = {"name": text(), "action": actions, "ports": ListOf(port, "ports")}
        peer = Object(peers, relations=(_one_kind,))
        return ListOf(Object({**fields, side: ListOf(peer, "peers")}, required=("action", side)), "rules")

    spec: dict[str, Shape] = {
        "subject": Object(inside, relations=(_one_kind,)),
        "ingress": rules("from", inside),
        "egress": rules("to", inside | outside),
    }
    if kind == "AdminNetworkPolicy":
        return document(Object({"priority": integer(0, 1000), **spec}, ("priority", "subject")), required=("spec",))
    return document(Object(spec, ("subject",)), required=("spec",))


SHAPES = {kind: _shape(kind) for kind in TIERS}


def converted(data: Data, losses: list[Finding]) -> dict[str, Any]:
    """The ClusterNetworkPolicy; parts that cannot be converted go to `losses`. `data` is validated, without nulls."""
    spec, kind = data["spec"], data["kind"]
    rules = {
        direction: [
            rule for index, old in enumerate(spec[direction])
            if (rule := _rule(old, side, ("spec", direction, index), losses))
        ]
        for direction, side in SIDES.items()
        if spec.get(direction)
    }  # fmt: skip
    return {
        "apiVersion": NEW_VERSION,
        "kind": "ClusterNetworkPolicy",
        "metadata": _metadata(data["metadata"]),
        "spec": {
            "tier": TIERS[kind],
            "priority": spec.get("priority", BASELINE_PRIORITY),
            "subject": _selected(spec["subject"], ("spec", "subject"), losses) or {"namespaces": {}},
            **{direction: found for direction, found in rules.items() if found},
        },
    }


def _metadata(given: Data) -> dict[str, Any]:
    kept = {key: given[key] for key in KEPT_METADATA if given.get(key)}
    annotations = {key: value for key, value in kept.pop("annotations", {}).items() if key != KUBECTL_CONFIG}
    return kept | ({"annotations": annotations} if annotations else {})


def _rule(old: Data, side: str, path: Path, losses: list[Finding]) -> dict[str, Any] | None:
    """The rule with the peers that can be converted; None if there are none."""
    peers = [
        peer
        for index, each in enumerate(old[side])
        if (peer := _selected(each, (*path, side, index), losses)) is not None
    ]
    if not peers:
        losses.append(Finding(path, f"the rule ({old['action']}) is left out: none of its peers can be carried over"))
        return None
    protocols = [_protocol(port) for port in old.get("ports", ())]
    name = {"name": old["name"]} if old.get("name") else {}
    return {**name, "action": ACTIONS[old["action"]], side: peers, **({"protocols": protocols} if protocols else {})}


def _selected(peer: Data, path: Path, losses: list[Finding]) -> dict[str, Any] | None:
    """A subject or peer, which have the same form in both kinds."""
    (kind,) = peer
    value = peer[kind]
    if kind in FOREIGN:
        losses.append(Finding((*path, kind), FOREIGN[kind]))
        return None
    if kind == "networks":
        return {"networks": list(value)}
    spaces = value if kind == "namespaces" else value.get("namespaces", {})
    relative = sorted(RELATIVE & spaces.keys())
    if relative:
        reason = f"{' and '.join(relative)} of early versions has no equivalent in ClusterNetworkPolicy"
        losses.append(Finding((*path, kind), reason))
        return None
    if kind == "namespaces":
        return {"namespaces": dict(value.get("namespaceSelector", value))}
    selector = value.get("namespaceSelector", spaces.get("namespaceSelector", {}))
    return {"pods": {"namespaceSelector": dict(selector), "podSelector": dict(value.get("podSelector", {}))}}


def _protocol(port: Data) -> dict[str, Any]:
    """A port; TCP where no protocol is given."""
    if "namedPort" in port:
        return {"destinationNamedPort": port["namedPort"]}
    (given,) = port.values()
    protocol = given.get("protocol", "TCP").lower()
    number = (
        {"number": given["port"]} if "portNumber" in port else {"range": {"start": given["start"], "end": given["end"]}}
    )
    return {protocol: {"destinationPort": number}}
