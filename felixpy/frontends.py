"""Services, and the Ingresses and routes that lead to Services, as frozen values.

`felixpy.services` decides which endpoints a client of a Service reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec import Struct

from felixpy.errors import Source


class ServiceName(NamedTuple):
    """The namespace and name of a Service. Felix looks up the EndpointSlices of those that rules refer to."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ServicePort(NamedTuple):
    """A port of a Service. `protocol` is in lower case, `target` a number or the name that pods give the port."""

    name: str
    protocol: str
    port: int
    target: int | str
    node_port: int = 0

    def __str__(self) -> str:
        return f"{self.port}/{self.protocol}"


class SliceEndpoint(NamedTuple):
    """An endpoint of an EndpointSlice; conditions that are not given count as in the API: ready, not terminating."""

    addresses: tuple[str, ...]
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    pod: tuple[str, str] | None = None
    """Namespace and name of the pod behind it (targetRef)."""
    zone_hints: frozenset[str] = frozenset()
    node_hints: frozenset[str] = frozenset()


class SlicePort(NamedTuple):
    """A port of an EndpointSlice; `number` None means any port, which kube-proxy skips."""

    name: str
    protocol: str
    number: int | None


class Subset(NamedTuple):
    """A part of an Endpoints object: endpoints that have the same ports."""

    endpoints: tuple[SliceEndpoint, ...]
    ports: tuple[SlicePort, ...]


ServiceType = Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]


class Service(Struct, frozen=True, kw_only=True):
    """A Service as it is stored. Addresses are in canonical spelling, `source_ranges` masked CIDRs.

    `selector` is None if endpoints are written by hand or by a controller. `balancers` are load balancer addresses that
    kube-proxy handles, `proxies` those of balancers that forward connections themselves (ipMode Proxy).
    """

    name: ServiceName
    source: Source
    type: ServiceType = "ClusterIP"
    headless: bool = False
    selector: Mapping[str, str] | None = None
    ports: tuple[ServicePort, ...] = ()
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    balancers: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    families: tuple[int, ...] = ()
    """IP families, if the Service says so; else those of its addresses or endpoints count."""
    internal_local: bool = False
    external_local: bool = False
    sticky: bool = False
    """sessionAffinity ClientIP: a client's connections go to the same endpoint."""
    publish_not_ready: bool = False
    external_name: str = ""
    proxied: bool = True
    """False with the label service.kubernetes.io/service-proxy-name: kube-proxy ignores the Service."""
    subsets: tuple[Subset, ...] = ()
    """The Endpoints object, from which Kubernetes makes EndpointSlices for a Service without selector."""

    def __str__(self) -> str:
        return f"service {self.name}"


class Backend(NamedTuple):
    """A Service that a route sends requests to; `port` is its number or name, None for all of them."""

    service: ServiceName
    port: int | str | None


class Route(Struct, frozen=True, kw_only=True):
    """An Ingress, a Gateway API route or an OpenShift Route.

    `parents` are the Gateways (namespace, name) that a Gateway API route is attached to, `controller` the class that an
    Ingress names.
    """

    kind: str
    namespace: str
    name: str
    backends: tuple[Backend, ...]
    source: Source
    hosts: tuple[str, ...] = ()
    parents: tuple[tuple[str, str], ...] = ()
    controller: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Grant(NamedTuple):
    """A ReferenceGrant: which routes of other namespaces may use Services of this one; no `names` are all Services."""

    namespace: str
    sources: tuple[tuple[str, str], ...]
    """(kind, namespace) of the routes."""
    names: frozenset[str]
