"""Kinds that configure Calico as a whole, besides FelixConfiguration: BGPConfiguration, ClusterInformation.

(api/pkg/apis/projectcalico/v3)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felixpy.manifests.objects.criteria import cidr
from felixpy.manifests.validation.metadata import document
from felixpy.manifests.validation.shapes import Anything, ListOf, Object, text

Data = Mapping[str, Any]

_NETWORKS = ListOf(Object({"cidr": text(cidr)}), "blocks")
SERVICE_NETWORKS = ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs")
BGP_FIELDS = (
    "logSeverityScreen", "nodeToNodeMeshEnabled", "asNumber", "communities", "prefixAdvertisements", "listenPort",
    "nodeMeshPassword", "nodeMeshMaxRestartTime", "bindMode", "ignoredInterfaces", "ipv4NormalRoutePriority",
    "ipv6NormalRoutePriority", "localWorkloadPeeringIPV4", "localWorkloadPeeringIPV6", "programClusterRoutes",
    "serviceLoadBalancerAggregation",
)  # fmt: skip
BGP_CONFIGURATION = document(
    Object({name: Anything() for name in BGP_FIELDS} | dict.fromkeys(SERVICE_NETWORKS, _NETWORKS))
)
CLUSTER_INFORMATION = document(
    Object({name: Anything() for name in ("clusterGUID", "calicoVersion", "datastoreReady", "variant", "cnxVersion")}
           | {"clusterType": text()})
)  # fmt: skip


def service_networks(data: Data) -> tuple[str, ...]:
    """CIDRs of services in a BGPConfiguration, duplicates included."""
    spec = data.get("spec", {})
    return tuple(entry["cidr"] for name in SERVICE_NETWORKS for entry in spec.get(name, ()) if entry.get("cidr"))


def cluster_type(data: Data) -> str:
    """The kinds of cluster that a ClusterInformation lists, such as ``k8s,bgp,kubeadm``."""
    listed: str = data.get("spec", {}).get("clusterType", "")
    return listed
