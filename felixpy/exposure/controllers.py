"""The pods that serve Ingresses and routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from felixpy.frontends import Route
from felixpy.model import (
    NAMESPACE_LABEL,
    NAMESPACE_PREFIX,
    ORCHESTRATOR_LABEL,
    Cluster,
    HostPod,
    Labels,
    Profile,
    Rule,
    Source,
    Workload,
)

NAME = "ingress-controller"
"""The peer that represents a controller that is not in the input."""

NAMESPACE = "ingress-controller-ns"
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
"""The label of pods that serve one Gateway. (gateway-api geps/gep-1762)"""

INGRESS, GATEWAY, OPENSHIFT = "Ingress", "Gateway", "Route"


class Known(NamedTuple):
    """A known ingress controller: the labels of its pods in its published manifests, and the kinds that it serves."""

    name: str
    labels: Labels
    serves: frozenset[str]


_BOTH = frozenset({INGRESS, GATEWAY})

KNOWN: tuple[Known, ...] = (
    Known(
        "ingress-nginx",
        {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"},
        frozenset({INGRESS}),
    ),
    Known("nginx-ingress", {"app.kubernetes.io/name": "nginx-ingress"}, frozenset({INGRESS})),
    Known("nginx-ingress", {"app": "nginx-ingress"}, frozenset({INGRESS})),
    Known("traefik", {"app.kubernetes.io/name": "traefik"}, _BOTH),
    Known("haproxy-ingress", {"app.kubernetes.io/name": "haproxy-ingress"}, frozenset({INGRESS})),
    Known("haproxy", {"app.kubernetes.io/name": "kubernetes-ingress"}, frozenset({INGRESS})),
    Known("kong", {"app.kubernetes.io/name": "kong"}, _BOTH),
    Known("contour", {"app.kubernetes.io/name": "contour", "app.kubernetes.io/component": "envoy"}, _BOTH),
    Known("contour", {"app": "envoy", "app.kubernetes.io/name": "contour"}, _BOTH),
    Known("istio", {"istio": "ingressgateway"}, _BOTH),
    Known("emissary", {"app.kubernetes.io/name": "emissary-ingress"}, frozenset({INGRESS})),
    Known(
        "openshift-router",
        {"ingresscontroller.operator.openshift.io/deployment-ingresscontroller": "default"},
        frozenset({INGRESS, OPENSHIFT}),
    ),
)
"""Labels as the manifests and charts of these projects have them."""


def serving(cluster: Cluster, route: Route) -> list[Workload | HostPod]:
    """The pods of the input that serve a route; empty if the input has no such pods."""
    pods: tuple[Workload | HostPod, ...] = (*cluster.workloads, *cluster.host_pods)
    kind = route.kind if route.kind in (INGRESS, OPENSHIFT) else GATEWAY
    if kind == GATEWAY:
        gateways = {name for _, name in route.parents}
        own = [pod for pod in pods if pod.labels.get(GATEWAY_LABEL) in gateways]
        if own:
            return own
    return [pod for pod in pods if any(kind in each.serves and _has(pod.labels, each.labels) for each in KNOWN)]


def _has(labels: Labels, wanted: Mapping[str, str]) -> bool:
    return wanted.items() <= labels.items()


def with_controller(cluster: Cluster, addresses: Mapping[int, str]) -> tuple[Cluster, Workload]:
    """The cluster with an added pod in place of a controller that is not in the input, and that pod.

    It is in a separate namespace, has no labels, and is on no node of the input: what admits it admits any pod.
    """
    source = Source("", 0)
    pod = Workload(
        NAMESPACE, NAME, NAME, "cali00000000000", tuple(addresses.values()),
        {NAMESPACE_LABEL: NAMESPACE, ORCHESTRATOR_LABEL: "k8s"}, (f"kns.{NAMESPACE}",), (), source,
    )  # fmt: skip
    labels = {
        f"{NAMESPACE_PREFIX}{key}": NAMESPACE for key in ("kubernetes.io/metadata.name", "projectcalico.org/name")
    }
    allow = (Rule(action="allow"),)
    profile = Profile(name=f"kns.{NAMESPACE}", inbound=allow, outbound=allow, labels=labels, source=source)
    everybody = (*cluster.workloads, pod)
    return replace(cluster, workloads=everybody, profiles={**cluster.profiles, profile.name: profile}), pod
