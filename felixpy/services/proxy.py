"""The endpoints that a node may choose for a connection to a Service, as kube-proxy's rules do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Literal, NamedTuple

from felixpy.frontends import Service
from felixpy.services.endpoints import ServiceEndpoint

Via = Literal["cluster", "external", "balancer", "node"]
"""What the client called: a cluster IP, an external IP, an address of a load balancer, or a port of a node."""

ZONE_LABEL = "topology.kubernetes.io/zone"


class Client(NamedTuple):
    """The client of a connection, as the node that redirects it sees it.

    `kind` is pod for addresses of pods, local for the node itself, other for all others.
    """

    kind: Literal["pod", "local", "other"]
    address: str


class Choice(NamedTuple):
    """The endpoints, any of which may be chosen. `masquerade`: the source is replaced by an address of the node.

    Without endpoints `refusal` is the reason, and `dropped` whether packets are dropped, not rejected.
    """

    endpoints: tuple[ServiceEndpoint, ...]
    masquerade: bool = False
    refusal: str = ""
    dropped: bool = False


def choose(
    service: Service, endpoints: Sequence[ServiceEndpoint], via: Via, client: Client, node: str, zone: str = ""
) -> Choice:
    """The choice of kube-proxy's rules on `node` for a connection. `endpoints` are all of the port, in one family.

    (pkg/proxy/iptables/proxier.go, syncProxyRules)
    """
    everywhere = cluster_endpoints(endpoints, node, zone)
    here = local_endpoints(endpoints, node)
    if not everywhere:
        return Choice((), refusal=_nobody(endpoints))
    if via == "cluster":
        chosen = here if service.internal_local else everywhere
        return _of(chosen, masquerade=client.kind != "pod", policy="internalTrafficPolicy", node=node)
    if via == "balancer" and not _admitted(service, client):
        reason = f"{client.address} is outside loadBalancerSourceRanges ({', '.join(service.source_ranges)})"
        return Choice((), refusal=reason, dropped=True)
    if not service.external_local:
        return Choice(everywhere, masquerade=True)
    # Connections of pods and of the node itself are treated as if they came back from a load balancer.
    if client.kind != "other":
        return Choice(everywhere, masquerade=client.kind == "local")
    return _of(here, masquerade=False, policy="externalTrafficPolicy", node=node)


def _of(chosen: tuple[ServiceEndpoint, ...], *, masquerade: bool, policy: str, node: str) -> Choice:
    if chosen:
        return Choice(chosen, masquerade)
    return Choice((), refusal=f"{node} has no endpoint of its own, and {policy} is Local", dropped=True)


def _nobody(endpoints: Sequence[ServiceEndpoint]) -> str:
    if not endpoints:
        return "it has no endpoints"
    return f"none of its {len(endpoints)} endpoints is ready" if len(endpoints) > 1 else "its one endpoint is not ready"


def _admitted(service: Service, client: Client) -> bool:
    source = ip_address(client.address)
    ranges = [net for each in service.source_ranges if (net := ip_network(each)).version == source.version]
    # Ranges of the other family only leave this one open.
    return not ranges or any(source in net for net in ranges)


def cluster_endpoints(endpoints: Sequence[ServiceEndpoint], node: str, zone: str) -> tuple[ServiceEndpoint, ...]:
    """The endpoints for traffic policy Cluster: ready ones that hints allow for this node, else those still serving.

    (pkg/proxy/topology.go, CategorizeEndpoints)
    """
    hinted = HINTS[_hints(endpoints, node, zone)]
    ready = tuple(each for each in endpoints if each.ready and hinted(each, node, zone))
    return ready or tuple(each for each in endpoints if each.last_resort)


def local_endpoints(endpoints: Sequence[ServiceEndpoint], node: str) -> tuple[ServiceEndpoint, ...]:
    """The endpoints for traffic policy Local: ready ones of this node, else those of it still serving."""
    here = [each for each in endpoints if each.node == node]
    ready = tuple(each for each in here if each.ready)
    return ready or tuple(each for each in here if not each.ready and each.last_resort)


HINTS: Mapping[str, Callable[[ServiceEndpoint, str, str], bool]] = {
    "": lambda each, node, zone: True,
    "node": lambda each, node, zone: node in each.node_hints,
    "zone": lambda each, node, zone: zone in each.zone_hints,
}


def _hints(endpoints: Sequence[ServiceEndpoint], node: str, zone: str) -> str:
    """The kind of hints to use: one that every ready endpoint has, and of which one is for this node; else ""."""
    ready = [each for each in endpoints if each.ready]
    if ready and all(each.node_hints for each in ready) and any(node in each.node_hints for each in ready):
        return "node"
    if ready and all(each.zone_hints for each in ready) and any(zone in each.zone_hints for each in ready):
        return "zone"
    return ""


def zone_of(labels: Mapping[str, str]) -> str:
    """The zone in a node's labels, "" if there is none."""
    return labels.get(ZONE_LABEL, "")
