"""Node → the facts that Felix uses, most of them from annotations that calico/node writes.

(libcalico-go/lib/backend/k8s/resources/node.go)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.validation.addresses import address, network, network_or_address
from felixpy.manifests.validation.findings import Finding, shown
from felixpy.manifests.validation.metadata import metadata
from felixpy.manifests.validation.shapes import ListOf, Object, text
from felixpy.model import Node, Source

Data = Mapping[str, Any]

PREFIX = "projectcalico.org/"
BGP_ADDRESSES = {"IPv4Address": 4, "IPv6Address": 6}
TUNNELS = ("IPv4IPIPTunnelAddr", "IPv4VXLANTunnelAddr", "IPv6VXLANTunnelAddr")


def _readable_annotations(annotations: Mapping[str, str], path: Path) -> Iterator[Finding]:
    for name in (*BGP_ADDRESSES, *TUNNELS):
        given = annotations.get(PREFIX + name, "")
        version = BGP_ADDRESSES.get(name)
        if given and not (_bgp(given, version) if version else _tunnel(given)):
            wanted = f"IPv{version} address" if version else "address"
            yield Finding((*path, PREFIX + name), f"{shown(given)}: no {wanted}; Calico ignores it", severity="warning")


_ADDRESSES = ListOf(Object({"type": text(), "address": text()}, opened=True), "addresses")
NODE = Object(
    {
        "metadata": metadata(annotated=(_readable_annotations,)),
        "status": Object({"addresses": _ADDRESSES}, opened=True),
    },
    required=("metadata",),
    opened=True,
)


def node(data: Data, source: Source) -> Node:
    """The node; annotations that cannot be parsed are treated as absent."""
    own = data["metadata"]
    annotations = own.get("annotations", {})

    def tunnel(name: str) -> str:
        return _tunnel(annotations.get(PREFIX + name, ""))

    return Node(
        name=own["name"],
        labels=node_labels(data),
        source=source,
        bgp_v4=_bgp(annotations.get(PREFIX + "IPv4Address", ""), 4),
        bgp_v6=_bgp(annotations.get(PREFIX + "IPv6Address", ""), 6),
        ipip_tunnel=tunnel("IPv4IPIPTunnelAddr"),
        vxlan_tunnel_v4=tunnel("IPv4VXLANTunnelAddr"),
        vxlan_tunnel_v6=tunnel("IPv6VXLANTunnelAddr"),
        addresses=tuple(_status_addresses(data)),
    )


def _status_addresses(data: Data) -> Iterator[str]:
    """InternalIPs, then ExternalIPs. (libcalico-go/lib/backend/syncersv1/updateprocessors/felixnodeprocessor.go)"""
    listed = data.get("status", {}).get("addresses", ())
    for kind in ("InternalIP", "ExternalIP"):
        given = (entry.get("address", "") for entry in listed if entry.get("type") == kind)
        yield from (found for item in given if (found := address(item)))


def node_labels(data: Data) -> dict[str, str]:
    """The node's labels in Calico: those stored in an annotation, overridden by those of the object."""
    own = data["metadata"]
    return {**_stored_labels(own.get("annotations", {})), **own.get("labels", {})}


def _stored_labels(annotations: Mapping[str, str]) -> dict[str, str]:
    try:
        labels = json.loads(annotations.get(PREFIX + "labels") or "{}")
    except (ValueError, RecursionError):
        return {}
    return labels if isinstance(labels, dict) and all(isinstance(v, str) for v in labels.values()) else {}


def _bgp(given: str, version: int) -> str:
    """A BGP address as written, prefix length included if given, as that decides which sets contain it."""
    net = network_or_address(given)
    return given if net is not None and net.version == version else ""


def _tunnel(given: str) -> str:
    """The address of a tunnel, given as an address or as a CIDR without host bits."""
    net = network(given)
    if net is not None:
        return given.partition("/")[0] if net.masked else ""
    return address(given) or ""
