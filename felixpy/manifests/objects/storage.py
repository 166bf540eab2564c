"""The two forms of an object: as its author wrote it, and as Calico stores it in Kubernetes.

crd.projectcalico.org/v1: the original name, labels and annotations are JSON in an annotation. A node that
``calicoctl get node -o yaml`` prints is a Kubernetes Node with annotations. (libcalico-go/lib/backend/k8s/resources)
"""

from __future__ import annotations

import json
from typing import Any

from felixpy.model import DEFAULT_TIER

PREFIX = "projectcalico.org/"
METADATA = f"{PREFIX}metadata"
TIERED = frozenset({"GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy", "StagedNetworkPolicy"})
"""Kinds whose stored names carried the tier in front."""


def restored(data: dict[str, Any]) -> dict[str, Any]:
    """The object as its author wrote it.

    Felix uses the stored name of a policy; kube-controllers renames stored policies of the default tier so that both
    names are equal, and that is the name restored here.

    >>> stored = {"kind": "GlobalNetworkPolicy", "metadata": {"name": "default.web", "annotations": {METADATA: "{}"}}}
    >>> restored(stored)["metadata"]["name"]
    'web'
    """
    metadata = data.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    packed = annotations.get(METADATA) if isinstance(annotations, dict) else None
    if not isinstance(packed, str) or not isinstance(metadata, dict) or not isinstance(annotations, dict):
        return data
    given = _unpacked(packed)
    own = dict(metadata)
    own["annotations"] = {key: value for key, value in annotations.items() if key != METADATA}
    for name in ("labels", "annotations"):
        if isinstance(given.get(name), dict) and isinstance(own.get(name) or {}, dict):
            own[name] = {**(own.get(name) or {}), **given[name]}
    own["name"] = given.get("name") or _without_tier(data, str(own.get("name", "")))
    return {**data, "metadata": own}


def _unpacked(packed: str) -> dict[str, Any]:
    try:
        given = json.loads(packed)
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


def _without_tier(data: dict[str, Any], name: str) -> str:
    spec = data.get("spec")
    tier = spec.get("tier") if isinstance(spec, dict) else None
    if data.get("kind") in TIERED and tier in (None, "", DEFAULT_TIER):
        return name.removeprefix("default.")
    return name


NODE_ANNOTATIONS = {
    ("bgp", "ipv4Address"): "IPv4Address",
    ("bgp", "ipv6Address"): "IPv6Address",
    ("bgp", "ipv4IPIPTunnelAddr"): "IPv4IPIPTunnelAddr",
    ("ipv4VXLANTunnelAddr",): "IPv4VXLANTunnelAddr",
    ("ipv6VXLANTunnelAddr",): "IPv6VXLANTunnelAddr",
    ("vxlanTunnelMACAddr",): "VXLANTunnelMACAddr",
    ("vxlanTunnelMACAddrV6",): "VXLANTunnelMACAddrV6",
    ("wireguard", "interfaceIPv4Address"): "IPv4WireguardInterfaceAddr",
    ("wireguard", "interfaceIPv6Address"): "IPv6WireguardInterfaceAddr",
}
"""Fields of a Calico Node's spec, and the annotations of Kubernetes' Node that hold them."""


def kubernetes_node(data: dict[str, Any]) -> dict[str, Any]:
    """A Calico Node as the Kubernetes Node that it is printed from.

    >>> node = {"kind": "Node", "metadata": {"name": "n1"}, "spec": {"bgp": {"ipv4Address": "192.0.2.1/24"}}}
    >>> kubernetes_node(node)["metadata"]["annotations"]
    {'projectcalico.org/IPv4Address': '192.0.2.1/24'}
    """
    metadata = data.get("metadata")
    spec = data.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    annotations: dict[str, Any] = {}
    for path, name in NODE_ANNOTATIONS.items():
        value: Any = spec
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value not in (None, ""):
            annotations[PREFIX + name] = value
    if isinstance(spec.get("interfaces"), list):
        annotations[PREFIX + "Interfaces"] = json.dumps(spec["interfaces"])
    made: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
    if isinstance(metadata, dict):
        given = metadata.get("annotations")
        made["metadata"] = {**metadata, "annotations": {**(given if isinstance(given, dict) else {}), **annotations}}
    listed = spec.get("addresses")
    addresses = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    made["status"] = {"addresses": [{"type": each.get("type"), "address": each.get("address")} for each in addresses]}
    return made


def joined(kubernetes: dict[str, Any], calico: dict[str, Any]) -> dict[str, Any]:
    """A Node that the input has in both forms: Kubernetes' form, with the fields that only Calico's has."""
    own, other = kubernetes["metadata"], calico["metadata"]
    metadata = {
        **own,
        **{name: {**other.get(name, {}), **own.get(name, {})} for name in ("labels", "annotations")},
    }
    status = kubernetes.get("status") or calico.get("status")
    return {**kubernetes, "metadata": metadata, "status": status}
