"""Objects of kinds that are not in the table: kinds of other projects, outdated versions, or mistakes.

An unknown object may be a policy with a misspelt kind. So only kinds that are known to change no rule are skipped as
such; a known kind in a wrong group, an unknown kind in a known group and near misses are errors, as they are for the
API server; the rest is reported as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache

from felixpy.manifests.kinds import CALICO, STORED, known
from felixpy.manifests.validation.findings import Complaint, shown


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


WORKLOADS = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), "apps/v1"),
    **dict.fromkeys(("Job", "CronJob"), "batch/v1"),
    "ReplicationController": "v1",
    "DeploymentConfig": "apps.openshift.io/v1",
}
"""Kinds that become pods, and where they belong."""

_CALICO_KINDS = _words("""
    BFDConfiguration BGPFilter BGPPeer BlockAffinity CalicoNodeStatus IPAMBlock IPAMConfig IPAMConfiguration
    IPAMHandle IPReservation LiveMigration
    AlertException AuthenticationReview AuthorizationReview DeepPacketInspection EgressGatewayPolicy ExternalNetwork
    GlobalAlert GlobalAlertTemplate GlobalReport GlobalReportType GlobalThreatFeed LicenseKey ManagedCluster
    PacketCapture PolicyRecommendationScope RemoteClusterConfiguration SecurityEventWebhook UISettings
    UISettingsGroup
""")
"""Calico's kinds, those of Calico Enterprise last, that change no rule of Felix."""

WITHOUT_EFFECT: Mapping[str, frozenset[str]] = {
    "": _words("""
        Binding ComponentStatus ConfigMap Event LimitRange PersistentVolume PersistentVolumeClaim
        PodTemplate ResourceQuota Secret
    """),
    "networking.k8s.io": _words("IPAddress IngressClass ServiceCIDR"),
    "discovery.k8s.io": frozenset(),
    "policy.networking.k8s.io": frozenset(),
    "projectcalico.org": _CALICO_KINDS,
    "crd.projectcalico.org": _CALICO_KINDS,
    "apps": _words("ControllerRevision"),
    "batch": frozenset(),
    "policy": _words("Eviction PodDisruptionBudget PodSecurityPolicy"),
    "autoscaling": _words("HorizontalPodAutoscaler Scale"),
    "extensions": _words("Ingress PodSecurityPolicy Scale"),
}
"""The groups that felixpy knows in full, and their kinds that change no rule."""

IDLE_GROUPS = _words("""
    acme.cert-manager.io admissionregistration.k8s.io apiextensions.k8s.io apiregistration.k8s.io
    authentication.k8s.io authorization.k8s.io autoscaling.k8s.io bitnami.com cert-manager.io
    certificates.k8s.io config.openshift.io coordination.k8s.io events.k8s.io external-secrets.io
    externaldns.k8s.io flowcontrol.apiserver.k8s.io gateway.networking.k8s.io
    image.openshift.io image.toolkit.fluxcd.io internal.apiserver.k8s.io karpenter.sh
    longhorn.io metallb.io metrics.k8s.io
    networking.istio.io node.k8s.io notification.toolkit.fluxcd.io operator.tigera.io rbac.authorization.k8s.io
    resource.k8s.io route.openshift.io scheduling.k8s.io secrets-store.csi.x-k8s.io security.openshift.io
    snapshot.storage.k8s.io source.toolkit.fluxcd.io storage.k8s.io storagemigration.k8s.io
    traefik.io velero.io tuned.openshift.io whereabouts.cni.cncf.io
    management.cattle.io metrics.istio.io telemetry.istio.io extensions.istio.io
""")
"""Groups of which no kind changes a rule of Felix or becomes a pod, whatever it is called."""

OTHER_ENGINES = {
    "cilium.io": "Cilium",
    "crd.antrea.io": "Antrea",
    "controlplane.antrea.io": "Antrea",
    "security.istio.io": "Istio",
    "policy.linkerd.io": "Linkerd",
    "network.openshift.io": "OpenShift's own network plugin",
    "k8s.ovn.org": "OVN-Kubernetes",
    "kubeovn.io": "Kube-OVN",
    "security.antrea.tanzu.vmware.com": "Antrea",
    "vpcresources.k8s.aws": "Amazon's VPC CNI plugin",
    "networking.k8s.aws": "Amazon's VPC CNI plugin",
}
"""Groups whose policies something else enforces."""

OLD: Mapping[tuple[str, str], str] = {
    **{(f"batch/{version}", "CronJob"): "batch/v1" for version in ("v1beta1", "v2alpha1")},
    **{("apps/v1beta1", kind): "apps/v1" for kind in ("Deployment", "StatefulSet")},
    **{("apps/v1beta2", kind): "apps/v1" for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")},
    **{("extensions/v1beta1", kind): "apps/v1" for kind in ("Deployment", "DaemonSet", "ReplicaSet")},
    ("discovery.k8s.io/v1beta1", "EndpointSlice"): "discovery.k8s.io/v1",
}
"""Objects under an API version that Kubernetes serves no more, and the version that says the same."""

REPLACED = {
    "AdminNetworkPolicy": "tier: Admin and the same priority",
    "BaselineAdminNetworkPolicy": "tier: Baseline and some priority",
}
"""Kinds that Calico read before ClusterNetworkPolicy, and what says the same there."""

OLD_CALICO = _words("bgpPeer hostEndpoint ipPool node policy profile tier workloadEndpoint")
"""Kinds of the API of calicoctl v1, all of them under apiVersion v1."""

SHORT = {
    "np": "NetworkPolicy", "netpol": "NetworkPolicy", "netpolicy": "NetworkPolicy", "gnp": "GlobalNetworkPolicy",
    "snp": "StagedNetworkPolicy", "gns": "GlobalNetworkSet", "hep": "HostEndpoint", "wep": "WorkloadEndpoint",
    "cnp": "ClusterNetworkPolicy", "po": "Pod", "ns": "Namespace", "sa": "ServiceAccount", "svc": "Service",
    "deploy": "Deployment", "sts": "StatefulSet", "ds": "DaemonSet", "felixconfig": "FelixConfiguration",
}  # fmt: skip
"""What kubectl and calicoctl also call kinds."""

GENERIC = (
    _words("Pod Namespace ServiceAccount Node Service Profile Tier IPPool")
    | _words("Ingress Route HTTPRoute GRPCRoute TCPRoute TLSRoute UDPRoute ReferenceGrant")
    | frozenset(WORKLOADS)
)
"""Kinds whose names many projects use for kinds of their own."""

NEAR = 0.6
SURELY = 0.8
"""How much alike two words are for a hint, and for a mistake in a group that is not known."""


def _group(version: str) -> str:
    return version.rpartition("/")[0]


def judge(version: str, kind: str) -> Complaint | None:
    """The complaint on an apiVersion and kind that are not in the table; None if the object may be skipped."""
    group = _group(version)
    return (
        _special(version, kind, group)
        or (None if harmless(version, kind) else _misplaced(version, kind, group))
        or (_no_such_kind(version, kind, group) if group in WITHOUT_EFFECT else _near_miss(version, kind, group))
    )


def harmless(version: str, kind: str) -> bool:
    """Whether the kind is known to change no rule."""
    group = _group(version)
    return kind in WITHOUT_EFFECT.get(group, ()) or group in IDLE_GROUPS or WORKLOADS.get(kind) == version


def _special(version: str, kind: str, group: str) -> Complaint | None:
    """Complaints on kinds with a specific explanation."""
    if group == "policy.networking.k8s.io" and kind in REPLACED:
        translation = f"ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with {REPLACED[kind]}"
        hint = f'"felixpy convert PATH" writes it as {translation}; with --all it prints all that Felix reads'
        return Complaint(f"Calico v3.32 does not read {kind} any more", hint)
    if version == "v1" and kind in OLD_CALICO:
        hint = 'let "calicoctl convert -f FILE" write it as projectcalico.org/v3'
        return Complaint(f"apiVersion v1, kind {kind}: the API of calicoctl v1, which Felix does not read", hint)
    if group == "kustomize.config.k8s.io":
        hint = 'felixpy reads what it makes: "kubectl kustomize FOLDER | felixpy ... -"'
        return Complaint(f"a {kind} of kustomize is not applied, only the files beside it are read", hint, "warning")
    if version == "v1" and kind == "Config":
        hint = 'felixpy reads objects, such as those of "kubectl get pods,netpol -A -o yaml"'
        return Complaint("a kubeconfig is not a manifest; skipped", hint, "warning")
    if version == "v1" and kind == "Status":
        return Complaint("an answer of an API server, not a manifest", "the command that wrote it has failed")
    if group in OTHER_ENGINES and group not in IDLE_GROUPS:
        reason = f"{kind}: enforced by {OTHER_ENGINES[group]}, not by Felix; what it allows or denies is not shown"
        return Complaint(reason, severity="warning")
    return None


def _misplaced(version: str, kind: str, group: str) -> Complaint | None:
    """The complaint on a kind that exists in another group or version."""
    right = _versions(kind, group)
    if not right:
        return None
    if group in WITHOUT_EFFECT and group not in map(_group, right):
        return Complaint(f"there is no kind {kind} in {version}", f"it belongs to {right[0]}")
    if group in map(_group, right) or kind not in GENERIC or _near_group(group):
        return Complaint(f"apiVersion {shown(version)} is not known", f"{right[0]} was probably meant")
    return None


def _no_such_kind(version: str, kind: str, group: str) -> Complaint | None:
    """The complaint on an unknown kind of a group whose kinds are all known."""
    if harmless(version, kind):
        return None
    own = _kinds(group)
    near = _nearest(kind, own, NEAR) or _nearest(kind, _all_kinds(), SURELY)
    home = "" if near in own else f" of {_versions(near, group)[0]}" if near and _versions(near, group) else ""
    return Complaint(f"there is no kind {kind} in {version}", f"{near}{home} was probably meant" if near else "")


def _near_miss(version: str, kind: str, group: str) -> Complaint | None:
    """The complaint on a misspelt kind in a misspelt group, such as NetPol of networking/v1."""
    if group in IDLE_GROUPS or group in OTHER_ENGINES:
        return None
    near, home = _nearest(kind, _all_kinds(), SURELY), _near_group(group)
    if kind.lower() in (name.lower() for name in _all_kinds() - GENERIC) or (near and home):
        right = _versions(near or kind, home or group)
        hint = f"{near} of {right[0]} was probably meant" if right else f"{near} was probably meant"
        return Complaint(f"there is no kind {kind} in {version}", hint)
    if home:
        return Complaint(f"apiVersion {shown(version)} is not known", f"the group {home} was probably meant")
    return None


def _versions(kind: str, group: str) -> list[str]:
    """The apiVersions of a kind, those of this group first, then Kubernetes'."""
    if kind in WORKLOADS:
        return [WORKLOADS[kind]]
    found = (version for version, name in known() if name == kind and version != STORED)
    return sorted(found, key=lambda version: (_group(version) != group, version == CALICO))


def _kinds(group: str) -> frozenset[str]:
    """The kinds of a group whose kinds are all known; else an empty set."""
    workloads = {kind for kind, version in WORKLOADS.items() if _group(version) == group}
    return WITHOUT_EFFECT[group] | {name for version, name in known() if _group(version) == group} | workloads


@cache
def _all_kinds() -> frozenset[str]:
    return frozenset(WORKLOADS) | {name for _, name in known()}


def _nearest(kind: str, kinds: frozenset[str], cutoff: float) -> str:
    """The nearest kind, "" if none is near; case, plurals and short names are equivalent."""
    by_case = {name.lower(): name for name in kinds}
    plain = kind.lower()
    for spelling in _singulars(plain):
        if spelling in by_case:
            return by_case[spelling]
        if SHORT.get(spelling) in kinds:
            return SHORT[spelling]
    near = get_close_matches(plain, by_case, 1, cutoff)
    return by_case[near[0]] if near else ""


def _singulars(word: str) -> Iterator[str]:
    yield word
    if word.endswith("ies"):
        yield f"{word[:-3]}y"
    if word.endswith("s"):
        yield word[:-1]


def _near_group(group: str) -> str:
    """The known group nearest to a misspelt one; "" for groups of other projects."""
    if group in WITHOUT_EFFECT:
        return group
    plain = group.lower()
    for name in filter(None, WITHOUT_EFFECT):
        if plain in (name, name.partition(".")[0]) or (name.startswith("project") and "calico" in plain):
            return name
    near = get_close_matches(plain, filter(None, WITHOUT_EFFECT), 1, SURELY)
    return near[0] if near else ""
