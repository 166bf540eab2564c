"""The table of kinds: scope, schema, and conversion of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

from felixpy.manifests.objects import (
    automatic,
    calico,
    configuration,
    kubernetes,
    networks,
    nodes,
    pods,
    routes,
    services,
)
from felixpy.manifests.objects.cluster_policy import CLUSTER_NETWORK_POLICY
from felixpy.manifests.objects.cluster_policy import policy as cluster_policy
from felixpy.manifests.objects.felix_configuration import FELIX_CONFIGURATION, felix_configuration
from felixpy.manifests.objects.host_endpoints import HOST_ENDPOINT, host_endpoint
from felixpy.manifests.objects.network_policy import NETWORK_POLICY, draft, network_policy
from felixpy.manifests.objects.workload_endpoints import WORKLOAD_ENDPOINT, workload_endpoint
from felixpy.manifests.validation.shapes import Anything, Clean, Object, Shape
from felixpy.model import Source

CALICO = "projectcalico.org/v3"
STORED = "crd.projectcalico.org/v1"
"""How Calico stores its objects as custom resources."""

Data = Mapping[str, Any]
Convert = Callable[..., Any]
"""Makes something of an object and its source."""


class Kind:
    """One kind of object. `part` is the field of `Cluster` that it goes to, "" if it has no effect on rules.

    For kinds whose specs repeat from object to object, `draft` converts a spec independently of its object, and
    `convert` gets the result, too.
    """

    def __init__(
        self,
        name: str,
        shape: Shape,
        convert: Convert | None,
        part: str,
        namespaced: bool = False,
        draft: Callable[[Data], Any] | None = None,
    ) -> None:
        self.name, self.shape, self.convert, self.part, self.namespaced = name, shape, convert, part, namespaced
        self.draft = draft
        self.version = CALICO

    def __lt__(self, other: Kind) -> bool:
        return self.title < other.title

    @cached_property
    def clean(self) -> Clean:
        return self.shape.compiled()

    @cached_property
    def clean_frame(self) -> Clean | None:
        """As `clean`, without the spec; None if the spec cannot be checked separately."""
        shape = self.shape
        if not isinstance(shape, Object) or shape.relations or "spec" not in shape.fields:
            return None
        return Object({**shape.fields, "spec": Anything()}, shape.required, opened=shape.opened).compiled()

    @cached_property
    def title(self) -> str:
        """The kind in messages, unambiguous: Kubernetes and Calico both have a NetworkPolicy."""
        return f"{self.name} ({self.version})" if self.version == "networking.k8s.io/v1" else self.name


def _policy(name: str) -> Kind:
    namespaced = not name.endswith("GlobalNetworkPolicy")
    return Kind(name, calico.POLICIES[name], partial(_calico_policy, name), "policies", namespaced=namespaced)


def _calico_policy(kind: str, data: Data, source: Source) -> Any:
    return calico.policy(data, kind, source)


def _only_default(name: str, shape: Shape, convert: Callable[[Data], Any], part: str) -> Kind:
    """A kind that configures Calico as a whole; only the object named ``default`` is used."""

    def converted(data: Data, source: Source) -> Any:
        return convert(data) if data["metadata"]["name"] == "default" else None

    return Kind(name, shape, converted, part)


def _gateway_route(kind: str) -> Kind:
    return Kind(kind, routes.GATEWAY_ROUTE, partial(routes.gateway_route, kind), "routes", namespaced=True)


def _grants() -> Kind:
    return Kind("ReferenceGrant", routes.REFERENCE_GRANT, routes.reference_grant, "grants", namespaced=True)


OLD_INGRESS = ("networking.k8s.io/v1beta1", "extensions/v1beta1")
"""Where Ingress was before; Kubernetes 1.22 removed both, and what they say is the same."""

KUBERNETES: Mapping[str, tuple[Kind, ...]] = {
    "v1": (
        Kind("Pod", pods.POD, None, "workloads", namespaced=True),
        Kind("Namespace", kubernetes.NAMESPACE, kubernetes.namespace, "profiles"),
        Kind("ServiceAccount", kubernetes.SERVICE_ACCOUNT, kubernetes.service_account, "profiles", namespaced=True),
        Kind("Node", nodes.NODE, nodes.node, "nodes"),
        Kind("Service", services.SERVICE, services.service, "services", namespaced=True),
        Kind("Endpoints", services.ENDPOINTS, services.endpoints, "endpoints", namespaced=True),
    ),
    "networking.k8s.io/v1": (
        Kind("NetworkPolicy", NETWORK_POLICY, network_policy, "policies", namespaced=True, draft=draft),
        Kind("Ingress", routes.INGRESS, routes.ingress, "routes", namespaced=True),
    ),
    **{
        version: (Kind("Ingress", routes.INGRESS, routes.ingress, "routes", namespaced=True),)
        for version in OLD_INGRESS
    },
    "policy.networking.k8s.io/v1alpha2": (
        Kind("ClusterNetworkPolicy", CLUSTER_NETWORK_POLICY, cluster_policy, "policies"),
    ),
    "discovery.k8s.io/v1": (
        Kind("EndpointSlice", services.ENDPOINT_SLICE, services.endpoint_slice, "slices", namespaced=True),
    ),
    "gateway.networking.k8s.io/v1": (_gateway_route("HTTPRoute"), _gateway_route("GRPCRoute"), _grants()),
    "gateway.networking.k8s.io/v1beta1": (_gateway_route("HTTPRoute"), _grants()),
    "gateway.networking.k8s.io/v1alpha2": tuple(
        map(_gateway_route, ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute"))
    ),
    "gateway.networking.k8s.io/v1alpha3": (_gateway_route("TLSRoute"),),
    "route.openshift.io/v1": (
        Kind("Route", routes.OPENSHIFT_ROUTE, routes.openshift_route, "routes", namespaced=True),
    ),
}
CALICO_KINDS = (
    *map(_policy, calico.POLICIES),
    Kind(
        "StagedKubernetesNetworkPolicy",
        calico.STAGED_KUBERNETES_POLICY,
        calico.staged_kubernetes_policy,
        "policies",
        namespaced=True,
    ),
    Kind("Tier", calico.TIER, calico.tier, "tiers"),
    Kind("Profile", calico.PROFILE, calico.profile, "profiles"),
    Kind("NetworkSet", networks.NETWORK_SET, networks.network_set, "network_sets", namespaced=True),
    Kind("GlobalNetworkSet", networks.NETWORK_SET, networks.global_network_set, "network_sets"),
    Kind("HostEndpoint", HOST_ENDPOINT, host_endpoint, "host_endpoints"),
    Kind("WorkloadEndpoint", WORKLOAD_ENDPOINT, workload_endpoint, "workloads", namespaced=True),
    Kind("IPPool", networks.POOL, networks.pool, "pools"),
    Kind("FelixConfiguration", FELIX_CONFIGURATION, felix_configuration, "configurations"),
    _only_default("BGPConfiguration", configuration.BGP_CONFIGURATION, configuration.service_networks, "service_cidrs"),
    _only_default("ClusterInformation", configuration.CLUSTER_INFORMATION, configuration.cluster_type, "cluster_type"),
    _only_default("KubeControllersConfiguration", automatic.CONTROLLERS_CONFIGURATION, automatic.settings, "automatic"),
)


@cache
def known() -> Mapping[tuple[str, str], Kind]:
    """All kinds by apiVersion and kind."""
    found = {(version, kind.name): kind for version in (CALICO, STORED) for kind in CALICO_KINDS}
    for version, listed in KUBERNETES.items():
        for kind in listed:
            kind.version = version
            found[version, kind.name] = kind
    return found


class Key(NamedTuple):
    """The identity of an object, which is also its sort key."""

    namespace: str
    name: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind.title} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.title} {self.name}"
