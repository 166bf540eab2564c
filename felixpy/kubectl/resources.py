"""The resources that felixpy lists in a cluster: a row for each, with what is unknown without it.

Secrets are never requested. Of ConfigMaps, DaemonSets and Installations only the named objects are.
"""

from __future__ import annotations

from typing import NamedTuple

CALICO = ("projectcalico.org/v3", "crd.projectcalico.org/v1")
"""Calico's API in the order of preference: served or native custom resources, and what KDD stores."""


BUILT_IN = frozenset({"v1", "apps/v1", "discovery.k8s.io/v1", "networking.k8s.io/v1"})
"""API versions that every API server has since Kubernetes 1.21; missing resources in them are reported."""


class Resource(NamedTuple):
    """A resource: plural name and kind, the API versions that may serve it (the first that does is asked), what an
    answer lacks without it, and whether its objects live in namespaces. `objects` are (namespace, name) of the only
    objects that are requested; without any, all are listed.
    """

    plural: str
    kind: str
    versions: tuple[str, ...]
    lacking: str
    namespaced: bool = False
    objects: tuple[tuple[str, str], ...] = ()

    @property
    def everywhere(self) -> bool:
        """Whether every cluster has the resource."""
        return not BUILT_IN.isdisjoint(self.versions)

    def path(self, version: str, namespace: str = "", name: str = "") -> str:
        """The URL path of a list or of an object.

        >>> RESOURCES["pods"].path("v1")
        '/api/v1/pods'
        >>> RESOURCES["networkpolicies"].path("networking.k8s.io/v1", "shop")
        '/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies'
        """
        root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")


def _calico(plural: str, kind: str, lacking: str, *, namespaced: bool = False) -> tuple[str, Resource]:
    return f"calico/{plural}", Resource(plural, kind, CALICO, lacking, namespaced)


RESOURCES: dict[str, Resource] = {
    "namespaces": Resource("namespaces", "Namespace", ("v1",), "namespace selectors match by name only"),
    "pods": Resource("pods", "Pod", ("v1",), "there are no workload endpoints", namespaced=True),
    "serviceaccounts": Resource(
        "serviceaccounts", "ServiceAccount", ("v1",), "service account selectors match by name only", namespaced=True
    ),
    "nodes": Resource("nodes", "Node", ("v1",), "nodes have no addresses, and there are no automatic host endpoints"),
    "services": Resource("services", "Service", ("v1",), "rules and questions about services lack them", True),
    "endpointslices": Resource(
        "endpointslices", "EndpointSlice", ("discovery.k8s.io/v1",), "services have the pods that they select", True
    ),
    "networkpolicies": Resource(
        "networkpolicies", "NetworkPolicy", ("networking.k8s.io/v1",), "Kubernetes policies are missing", True
    ),
    "clusternetworkpolicies": Resource(
        "clusternetworkpolicies", "ClusterNetworkPolicy", ("policy.networking.k8s.io/v1alpha2",),
        "cluster network policies are missing",
    ),
    "ingresses": Resource("ingresses", "Ingress", ("networking.k8s.io/v1",), "ingresses are missing", namespaced=True),
    **dict([
        _calico("networkpolicies", "NetworkPolicy", "Calico's network policies are missing", namespaced=True),
        _calico("globalnetworkpolicies", "GlobalNetworkPolicy", "global network policies are missing"),
        _calico("stagednetworkpolicies", "StagedNetworkPolicy", "staged policies are missing", namespaced=True),
        _calico("stagedglobalnetworkpolicies", "StagedGlobalNetworkPolicy", "staged policies are missing"),
        _calico(
            "stagedkubernetesnetworkpolicies", "StagedKubernetesNetworkPolicy", "staged policies are missing",
            namespaced=True,
        ),
        _calico("tiers", "Tier", "the order of tiers is not known"),
        _calico("networksets", "NetworkSet", "selectors match no network sets", namespaced=True),
        _calico("globalnetworksets", "GlobalNetworkSet", "selectors match no global network sets"),
        _calico("hostendpoints", "HostEndpoint", "host endpoints are missing"),
        _calico("ippools", "IPPool", "NAT and encapsulation of pools are not known"),
        _calico("felixconfigurations", "FelixConfiguration", "Felix has its default parameters"),
        _calico("bgpconfigurations", "BGPConfiguration", "the CIDRs of services are not known"),
        _calico("clusterinformations", "ClusterInformation", "the version of Calico is not known from there"),
        _calico("kubecontrollersconfigurations", "KubeControllersConfiguration", "host endpoints are not automatic"),
    ]),
    "installations": Resource(
        "installations", "Installation", ("operator.tigera.io/v1",), "the operator's settings are not known"
    ),
    "daemonsets": Resource(
        "daemonsets", "DaemonSet", ("apps/v1",), "Felix's environment variables are not known", True,
        objects=(("calico-system", "calico-node"), ("kube-system", "calico-node")),
    ),
    "configmaps": Resource(
        "configmaps", "ConfigMap", ("v1",), "kube-proxy's mode is not known", True,
        objects=(("kube-system", "kube-proxy"), ("kube-system", "calico-config")),
    ),
}  # fmt: skip


def of_lists(version: str) -> str:
    """A regular expression for the paths of all lists that felixpy requests from an API version.

    >>> of_lists("apps/v1"), of_lists("discovery.k8s.io/v1")
    ('', '^/apis/discovery[.]k8s[.]io/v1/(namespaces/[^/]+/)?(endpointslices)$')
    """
    plurals = [each.plural for each in RESOURCES.values() if version in each.versions and not each.objects]
    root = Resource("", "", (), "").path(version).replace(".", "[.]")
    return f"^{root}(namespaces/[^/]+/)?({'|'.join(plurals)})$" if plurals else ""
