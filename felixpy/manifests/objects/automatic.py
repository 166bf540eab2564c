"""Host endpoints that kube-controllers makes of nodes, if KubeControllersConfiguration enables it.

(kube-controllers/pkg/controllers/node/hostendpoints.go)
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.objects.calico import DEFAULT_ALLOW
from felixpy.manifests.objects.criteria import NODE_SELECTOR, cidr
from felixpy.manifests.objects.nodes import BGP_ADDRESSES, PREFIX, TUNNELS, node_labels
from felixpy.manifests.validation.addresses import address, network, network_or_address
from felixpy.manifests.validation.findings import Complaint, Finding, shown
from felixpy.manifests.validation.metadata import LABELS, document, subdomain
from felixpy.manifests.validation.shapes import Anything, ListOf, Object, one_of, text
from felixpy.model import HostEndpoint, Labels, Source
from felixpy.selector import matches, parse

Data = Mapping[str, Any]

CREATED_BY = {"projectcalico.org/created-by": "calico-kube-controllers"}
WIREGUARD = ("IPv4WireguardInterfaceAddr", "IPv6WireguardInterfaceAddr")
ON_OFF = one_of("Enabled", "Disabled")
LONGEST_NAME = 253


def _pattern(given: str) -> Complaint | None:
    try:
        re.compile(given)
    except re.error as wrong:
        return Complaint(f"{shown(given)}: not a regular expression: {wrong}")
    return None


def _picks_something(template: Data, path: Path) -> Iterator[Finding]:
    if not template.get("interfaceCIDRs") and not template.get("interfacePattern"):
        yield Finding(path, "interfaceCIDRs or interfacePattern is needed")


_TEMPLATE = Object(
    {
        "generateName": text(subdomain),
        "interfaceCIDRs": ListOf(text(cidr)),
        "interfacePattern": text(_pattern),
        "labels": LABELS,
        "nodeSelector": NODE_SELECTOR,
    },
    relations=(_picks_something,),
)
_HOST_ENDPOINT = Object(
    {"autoCreate": ON_OFF, "createDefaultHostEndpoint": ON_OFF, "templates": ListOf(_TEMPLATE, "templates")}
)
_NODE = Object(
    {name: Anything() for name in ("reconcilerPeriod", "syncLabels", "leakGracePeriod")}
    | {"hostEndpoint": _HOST_ENDPOINT}
)
_CONTROLLERS = Object(
    {
        name: Anything()
        for name in ("policy", "workloadEndpoint", "serviceAccount", "namespace", "loadBalancer", "policyMigration")
    }
    | {"node": _NODE}
)
_OTHER_FIELDS = (
    "logSeverityScreen", "healthChecks", "etcdV3CompactionPeriod", "prometheusMetricsPort", "debugProfilePort",
)  # fmt: skip
CONTROLLERS_CONFIGURATION = document(
    Object({name: Anything() for name in _OTHER_FIELDS} | {"controllers": _CONTROLLERS})
)


def settings(data: Data) -> Data | None:
    """The autoCreate settings of a KubeControllersConfiguration; None if they are disabled."""
    node: Data = data.get("spec", {}).get("controllers", {}).get("node", {})
    wanted: Data = node.get("hostEndpoint", {})
    return wanted if wanted.get("autoCreate") == "Enabled" else None


def host_endpoints(wanted: Data, nodes: Sequence[tuple[Data, Source]]) -> Iterator[HostEndpoint]:
    """For each node a host endpoint for all its interfaces, and those of the templates."""
    for data, source in nodes:
        name = data["metadata"]["name"]
        labels = node_labels(data)
        addresses = _node_addresses(data)
        if wanted.get("createDefaultHostEndpoint", "Enabled") == "Enabled":
            yield _made(name, name, "*", addresses, labels, source)
        for template in wanted.get("templates", ()):
            if matches(parse(template.get("nodeSelector", "")), labels):
                yield from _templated(template, data, source)


def _templated(template: Data, data: Data, source: Source) -> Iterator[HostEndpoint]:
    """The host endpoints of a template: one for the addresses in its CIDRs, or one for each interface that matches."""
    node = data["metadata"]["name"]
    labels = {**node_labels(data), **template.get("labels", {})}
    nets = [net for net in map(network, template.get("interfaceCIDRs", ())) if net]
    own = [network_or_address(own) for own in _node_addresses(data)]
    picked = tuple(str(net).partition("/")[0] for net in own if net and any(n.contains(net) for n in nets))
    stem = f"{node}-{template['generateName']}" if template.get("generateName") else node
    pattern = template.get("interfacePattern")
    if pattern:
        for interface, addresses in _interfaces(data):
            if re.search(pattern, interface):
                found = tuple(dict.fromkeys((*picked, *addresses)))
                yield _made(f"{stem}-{interface}", node, interface, found, labels, source)
    elif picked:
        yield _made(stem, node, "", picked, labels, source)


def _made(
    stem: str, node: str, interface: str, addresses: tuple[str, ...], labels: Labels, source: Source
) -> HostEndpoint:
    return HostEndpoint(
        name=_name(f"{stem}-auto-hep"),
        node=node,
        interface=interface,
        addresses=addresses,
        labels={**labels, **CREATED_BY},
        profiles=(DEFAULT_ALLOW.name,),
        ports=(),
        source=source,
    )


def _name(name: str) -> str:
    """The name, replaced by its hash if it is too long."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = urlsafe_b64encode(sha256(name.encode()).digest()).decode().rstrip("=")
    return re.sub("[-_.]", "", digest).lower() + "-auto-hep"


def _node_addresses(data: Data) -> tuple[str, ...]:
    """The node's addresses: BGP, tunnels, WireGuard, InternalIP, interfaces; each once."""
    annotations = data["metadata"].get("annotations", {})
    given = [annotations.get(PREFIX + name, "") for name in (*BGP_ADDRESSES, *TUNNELS, *WIREGUARD)]
    status = data.get("status", {}).get("addresses", ())
    given += [entry.get("address", "") for entry in status if entry.get("type") == "InternalIP"]
    on_interfaces = [own for _, addresses in _interfaces(data) for own in addresses]
    return tuple(dict.fromkeys((*_plain(given), *on_interfaces)))


def _interfaces(data: Data) -> list[tuple[str, tuple[str, ...]]]:
    """The node's interfaces with their addresses, from the annotation that calico/node writes."""
    try:
        listed = json.loads(data["metadata"].get("annotations", {}).get(PREFIX + "Interfaces", "[]"))
        return [(str(entry["name"]), _plain(entry["addresses"])) for entry in listed]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _plain(given: Sequence[str]) -> tuple[str, ...]:
    """Addresses without prefix lengths; invalid ones are left out."""
    return tuple(found for item in given if (found := address(item.partition("/")[0])))
