"""Services, EndpointSlices, and Endpoints, which Kubernetes mirrors to slices.

(pkg/apis/core/v1/defaults.go, pkg/apis/discovery/v1/defaults.go, pkg/proxy/endpointslicecache.go; for what Felix reads
of slices libcalico-go/lib/backend/k8s/conversion)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from felixpy.errors import Path, Source
from felixpy.frontends import Service, ServiceName, ServicePort, ServiceType, SliceEndpoint, SlicePort, Subset
from felixpy.manifests.validation.addresses import address, network_or_address
from felixpy.manifests.validation.findings import Complaint, Finding, shown
from felixpy.manifests.validation.metadata import metadata, or_empty, subdomain
from felixpy.manifests.validation.shapes import Anything, ListOf, MapOf, Object, flag, integer, one_of, text
from felixpy.model import Slice

Data = Mapping[str, Any]

SERVICE_LABEL = "kubernetes.io/service-name"
PROXY_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS = "None"
TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
POLICIES = one_of("Cluster", "Local", what="unknown policy")
PROTOCOL = one_of("TCP", "UDP", "SCTP")


def _cluster_ip(given: str) -> Complaint | None:
    if given in ("", HEADLESS) or address(given):
        return None
    return Complaint(f"{shown(given)}: neither an address nor None")


def _address(given: str) -> Complaint | None:
    return None if not given or address(given) else Complaint(f"{shown(given)}: not an address")


def _range(given: str) -> Complaint | None:
    return None if network_or_address(given.strip()) else Complaint(f"{shown(given)}: not a CIDR")


class _Target(Anything):
    """The shape of a target port: a number, or a name as the API server accepts it."""

    expects = "a port number or the name of a port"

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield self.mistyped(value, path)
        elif isinstance(value, int) and not 0 <= value <= 65535:
            yield Finding(path, f"{value}: ports are numbers from 1 to 65535")

    def compiled(self) -> Any:
        return lambda value: (type(value) is int and 0 <= value <= 65535) or type(value) is str


SERVICE = Object(
    {
        "metadata": metadata(),
        "spec": Object(
            {
                "type": one_of(*TYPES),
                "clusterIP": text(_cluster_ip),
                "clusterIPs": ListOf(text(_cluster_ip)),
                "externalIPs": ListOf(text(_address)),
                "loadBalancerSourceRanges": ListOf(text(_range)),
                "selector": MapOf(text()),
                "ports": ListOf(
                    Object(
                        {
                            "name": text(),
                            "protocol": PROTOCOL,
                            "port": integer(1, 65535),
                            "targetPort": _Target(),
                            "nodePort": integer(0, 65535),
                        },
                        required=("port",),
                        opened=True,
                    ),
                    "ports",
                ),
                "internalTrafficPolicy": POLICIES,
                "externalTrafficPolicy": POLICIES,
                "sessionAffinity": one_of("None", "ClientIP"),
                "publishNotReadyAddresses": flag(),
                "externalName": text(),
                "ipFamilies": ListOf(one_of("IPv4", "IPv6")),
            },
            opened=True,
        ),
        "status": Object(
            {
                "loadBalancer": Object(
                    {"ingress": ListOf(Object({"ip": text(_address), "ipMode": text()}, opened=True))}, opened=True
                )
            },
            opened=True,
        ),
    },
    required=("metadata",),
    opened=True,
)

_CONDITIONS = Object({"ready": flag(), "serving": flag(), "terminating": flag()}, opened=True)
_TARGET = Object({"kind": text(), "name": text(), "namespace": text()}, opened=True)
_PORTS = ListOf(Object({"name": text(), "port": integer(0, 65535), "protocol": PROTOCOL}, opened=True), "ports")
_NAMED = ListOf(Object({"name": text()}, opened=True))
ENDPOINT_SLICE = Object(
    {
        "metadata": metadata(),
        "addressType": one_of("IPv4", "IPv6", "FQDN"),
        "endpoints": ListOf(
            Object(
                {
                    "addresses": ListOf(text()),
                    "conditions": _CONDITIONS,
                    "nodeName": text(or_empty(subdomain)),
                    "hostname": text(),
                    "targetRef": _TARGET,
                    "hints": Object({"forZones": _NAMED, "forNodes": _NAMED}, opened=True),
                },
                opened=True,
            ),
            "endpoints",
        ),
        "ports": _PORTS,
    },
    required=("metadata",),
    opened=True,
)


def service(data: Data, source: Source) -> Service:
    """The Service, with the API server's defaults."""
    own, spec = data["metadata"], data.get("spec", {})
    addresses = [*spec.get("clusterIPs", ()), spec.get("clusterIP", "")]
    kind: ServiceType = spec.get("type") or "ClusterIP"
    balancers = data.get("status", {}).get("loadBalancer", {}).get("ingress", ()) if kind == "LoadBalancer" else ()
    return Service(
        name=ServiceName(own["namespace"], own["name"]),
        source=source,
        type=kind,
        headless=HEADLESS in addresses,
        selector=spec.get("selector") or None,
        ports=() if kind == "ExternalName" else tuple(map(_port, spec.get("ports", ()))),
        cluster_ips=_canonical(addresses) if kind != "ExternalName" else (),
        external_ips=_canonical(spec.get("externalIPs", ())),
        balancers=_canonical(each.get("ip", "") for each in balancers if each.get("ipMode") != "Proxy"),
        proxies=_canonical(each.get("ip", "") for each in balancers if each.get("ipMode") == "Proxy"),
        source_ranges=tuple(_ranges(spec.get("loadBalancerSourceRanges", ()))),
        families=tuple(int(family.removeprefix("IPv")) for family in spec.get("ipFamilies", ())),
        internal_local=spec.get("internalTrafficPolicy") == "Local",
        external_local=spec.get("externalTrafficPolicy") == "Local",
        sticky=spec.get("sessionAffinity") == "ClientIP",
        publish_not_ready=bool(spec.get("publishNotReadyAddresses")),
        external_name=spec.get("externalName", "") if kind == "ExternalName" else "",
        proxied=PROXY_LABEL not in own.get("labels", {}),
    )


def _port(data: Data) -> ServicePort:
    return ServicePort(
        name=data.get("name", ""),
        protocol=(data.get("protocol") or "TCP").lower(),
        port=data["port"],
        target=data.get("targetPort") or data["port"],
        node_port=data.get("nodePort", 0),
    )


def _canonical(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(spelling for text in texts if (spelling := address(text)) is not None))


def _ranges(texts: Iterable[str]) -> Iterator[str]:
    for given in texts:
        net = network_or_address(given.strip())
        if net is not None:
            yield str(net)


def endpoint_slice(data: Data, source: Source) -> Slice | None:
    """The addresses and ports of an EndpointSlice. Felix also uses unready endpoints, and ignores host names."""
    own = data["metadata"]
    service_name = own.get("labels", {}).get(SERVICE_LABEL)
    if not service_name:
        return None
    endpoints = tuple(map(_endpoint, data.get("endpoints", ())))
    named = tuple(map(_slice_port, data.get("ports", ())))
    return Slice(
        service=ServiceName(own["namespace"], service_name),
        addresses=tuple(spelling for endpoint in endpoints for spelling in endpoint.addresses),
        ports=tuple((port.protocol, port.number) for port in named if port.number is not None),
        source=source,
        family=6 if data.get("addressType") == "IPv6" else 4,
        endpoints=endpoints if data.get("addressType") != "FQDN" else (),
        named_ports=named,
    )


_ADDRESSES = ListOf(Object({"ip": text(), "nodeName": text(), "hostname": text(), "targetRef": _TARGET}, opened=True))
ENDPOINTS = Object(
    {
        "metadata": metadata(),
        "subsets": ListOf(
            Object({"addresses": _ADDRESSES, "notReadyAddresses": _ADDRESSES, "ports": _PORTS}, opened=True), "subsets"
        ),
    },
    required=("metadata",),
    opened=True,
)


def endpoints(data: Data, source: Source) -> tuple[ServiceName, tuple[Subset, ...]]:
    """The subsets of an Endpoints object; it has the name of its Service. (endpointslicemirroring)"""
    own = data["metadata"]
    subsets = tuple(
        Subset(
            tuple(
                _mirrored(each, ready=ready)
                for field, ready in (("addresses", True), ("notReadyAddresses", False))
                for each in subset.get(field, ())
            ),
            tuple(map(_slice_port, subset.get("ports", ()))),
        )
        for subset in data.get("subsets", ())
    )
    return ServiceName(own["namespace"], own["name"]), subsets


def _mirrored(data: Data, *, ready: bool) -> SliceEndpoint:
    found = _endpoint({**data, "addresses": [data.get("ip", "")]})
    return found._replace(ready=ready, serving=ready)


def mirrored(
    services: Iterable[Service], subsets: Iterable[tuple[ServiceName, tuple[Subset, ...]]]
) -> Iterator[Service]:
    """The Services with the subsets of their Endpoints objects, where they have no selector."""
    known = dict(subsets)
    for each in services:
        yield replace(each, subsets=known[each.name]) if each.selector is None and each.name in known else each


def _slice_port(port: Data) -> SlicePort:
    return SlicePort(port.get("name", ""), (port.get("protocol") or "TCP").lower(), port.get("port"))


def _endpoint(data: Data) -> SliceEndpoint:
    conditions, target, hints = (data.get(name) or {} for name in ("conditions", "targetRef", "hints"))
    is_pod = target.get("kind") == "Pod" and target.get("name")
    return SliceEndpoint(
        addresses=tuple(spelling for text in data.get("addresses", ()) if (spelling := address(text)) is not None),
        ready=conditions.get("ready", True),
        serving=conditions.get("serving", True),
        terminating=conditions.get("terminating", False),
        node=data.get("nodeName", ""),
        pod=(target.get("namespace", ""), target["name"]) if is_pod else None,
        zone_hints=frozenset(each.get("name", "") for each in hints.get("forZones", ())),
        node_hints=frozenset(each.get("name", "") for each in hints.get("forNodes", ())),
    )
