"""WorkloadEndpoint, as ``calicoctl get workloadendpoints -o yaml`` prints it: the endpoint itself, not its pod.

(libcalico-go/lib/apis/internalapi; libcalico-go/lib/backend/syncersv1/updateprocessors/workloadendpointprocessor.go)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felixpy.manifests.objects.pod_annotations import LIMITS
from felixpy.manifests.objects.pods import INHERITED
from felixpy.manifests.validation.addresses import address, network, network_or_address
from felixpy.manifests.validation.findings import Complaint, shown
from felixpy.manifests.validation.metadata import document, subdomain
from felixpy.manifests.validation.quantities import dscp
from felixpy.manifests.validation.shapes import Anything, ListOf, Object, Scalar, integer, text
from felixpy.model import (
    NAMESPACE_LABEL,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    Labels,
    NamedPort,
    Qos,
    Source,
    Workload,
)

Data = Mapping[str, Any]

KUBERNETES = "k8s"


def _network(given: str) -> Complaint | None:
    return None if network_or_address(given) else Complaint(f"{shown(given)}: neither a CIDR nor an address")


_IGNORED = ("containerID", "endpoint", "ipv4Gateway", "ipv6Gateway", "mac", "orchestrator", "workload")
_PORT = Object(
    {
        "name": text(),
        "protocol": Scalar("a protocol's name or number", (int, str)),
        "port": integer(0, 65535),
        "hostPort": integer(0, 65535),
        "hostIP": text(),
    }
)
WORKLOAD_ENDPOINT = document(
    Object(
        {name: Anything() for name in _IGNORED}
        | {
            "node": text(subdomain),
            "pod": text(),
            "serviceAccountName": text(),
            "interfaceName": text(),
            "ipNetworks": ListOf(text(_network), "networks"),
            "ipNATs": ListOf(Object({"internalIP": text(), "externalIP": text()}), "mappings"),
            "profiles": ListOf(text(), "profiles"),
            "ports": ListOf(_PORT, "ports"),
            "allowSpoofedSourcePrefixes": ListOf(text(_network), "networks"),
            "qosControls": Object({}, opened=True),
        },
        required=("node", "interfaceName"),
    ),
    required=("spec",),
)


def workload_endpoint(data: Data, source: Source) -> Workload | None:
    """The endpoint; None without addresses, as Felix then ignores it."""
    metadata, spec = data["metadata"], data["spec"]
    addresses = tuple(_addresses(spec.get("ipNetworks", ())))
    if not addresses:
        return None
    ports = [(str(port.get("protocol", "TCP")).lower(), port.get("port", 0), port) for port in spec.get("ports", ())]
    controls = spec.get("qosControls", {})
    value = dscp(str(controls["dscp"])) if controls.get("dscp") is not None else None
    return Workload(
        namespace=metadata["namespace"],
        name=spec.get("pod") or spec.get("workload") or metadata["name"],
        node=spec["node"],
        interface=spec["interfaceName"],
        addresses=addresses,
        labels=_labels(metadata, spec),
        profiles=tuple(spec.get("profiles", ())),
        ports=tuple(NamedPort(port["name"], protocol, number) for protocol, number, port in ports if port.get("name")),
        source=source,
        spoofable=tuple(str(net) for item in spec.get("allowSpoofedSourcePrefixes", ()) if (net := network(item))),
        floating=tuple(_floating(spec.get("ipNATs", ()))),
        qos=_qos(controls),
        dscp=value,
        serves=tuple((protocol, number) for protocol, number, _ in ports if number),
    )


def _addresses(given: list[str]) -> list[str]:
    return [found for item in given if (found := address(item.partition("/")[0]))]


def _labels(metadata: Data, spec: Data) -> Labels:
    labels = {key: value for key, value in metadata.get("labels", {}).items() if not key.startswith(INHERITED)}
    labels.setdefault(NAMESPACE_LABEL, metadata["namespace"])
    labels.setdefault(ORCHESTRATOR_LABEL, spec.get("orchestrator") or KUBERNETES)
    if spec.get("serviceAccountName"):
        labels[SERVICE_ACCOUNT_LABEL] = spec["serviceAccountName"]
    return labels


def _floating(given: list[Data]) -> list[tuple[str, str]]:
    pairs = [(address(item.get("internalIP", "")), address(item.get("externalIP", ""))) for item in given]
    return [(inner, outer) for inner, outer in pairs if inner and outer]


def _qos(controls: Data) -> Qos | None:
    """The limits, which are numbers in this kind, not quantities."""
    names = {limit.field: limit.annotation.rpartition("/")[2] for limit in LIMITS}
    values = {field: controls[name] for field, name in names.items() if isinstance(controls.get(name), int)}
    return Qos(**values) if any(values.values()) else None
