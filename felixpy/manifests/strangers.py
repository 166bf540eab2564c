"""Objects of kinds that are not in the table: skipped when they are somebody else's business, errors when misspelt."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from felixpy.manifests.findings import Complaint
from felixpy.manifests.kinds import CALICO, KUBERNETES, STORED, known

WITHOUT_EFFECT = {
    "v1": (
        "Binding", "ComponentStatus", "ConfigMap", "Endpoints", "Event", "LimitRange", "PersistentVolume",
        "PersistentVolumeClaim", "PodTemplate", "ResourceQuota", "Secret",
    ),
    "networking.k8s.io/v1": ("IPAddress", "Ingress", "IngressClass", "ServiceCIDR"),
    "discovery.k8s.io/v1": (),
    "policy.networking.k8s.io/v1alpha2": (),
    "projectcalico.org/v3": (
        "BGPFilter", "BGPPeer", "BlockAffinity", "CalicoNodeStatus", "IPAMBlock", "IPAMConfig", "IPAMConfiguration",
        "IPAMHandle", "IPReservation", "LiveMigration", "Node", "WorkloadEndpoint",
    ),
}  # fmt: skip
"""Kinds of the groups that matter which have no effect on rules."""

WORKLOADS = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), "apps/v1"),
    **dict.fromkeys(("Job", "CronJob"), "batch/v1"),
    "ReplicationController": "v1",
    "DeploymentConfig": "apps.openshift.io/v1",
}
"""Kinds that become pods, and where they belong."""

BUILT_IN = frozenset({"apps", "batch", "extensions", "policy", "autoscaling"})
"""Groups of Kubernetes itself, besides those that end with .k8s.io."""

REPLACED = {
    "AdminNetworkPolicy": "tier: Admin and the same priority",
    "BaselineAdminNetworkPolicy": "tier: Baseline and some priority",
}
"""Kinds that Calico read before ClusterNetworkPolicy, and what says the same there."""


def _group(version: str) -> str:
    return version.rpartition("/")[0]


GROUPS = {_group(version) for version in (*KUBERNETES, *WITHOUT_EFFECT, STORED)}


def judge(version: str, kind: str) -> Complaint | None:
    """What is wrong with an object of this apiVersion and kind; None when it may be skipped."""
    group = _group(version)
    if kind in REPLACED and group == "policy.networking.k8s.io":
        translation = f"ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with {REPLACED[kind]}"
        hint = f"write it as {translation}; action Allow becomes Accept, ports become protocols"
        return Complaint(f"Calico v3.32 does not read {kind} any more", hint)
    ours = group in GROUPS
    if kind in WITHOUT_EFFECT.get(version, ()) or not (ours or group in BUILT_IN or group.endswith(".k8s.io")):
        return None
    right = _versions(kind, group)
    if right and version in WITHOUT_EFFECT and group not in map(_group, right):
        return Complaint(f"there is no kind {kind} in {version}", f"it belongs to {right[0]}")
    if right and version not in right:
        return Complaint(f'apiVersion "{version}" is not known', f"{right[0]} was probably meant")
    near = get_close_matches(kind, _kinds(version), 1, 0.8) if ours and not right else ()
    return Complaint(f"there is no kind {kind} in {version}", f"{near[0]} was probably meant") if near else None


def _versions(kind: str, group: str) -> list[str]:
    """The apiVersions under which a kind matters, those of this group first and then Kubernetes' own."""
    if kind in WORKLOADS:
        return [WORKLOADS[kind]]
    found = (version for version, name in known() if name == kind and version != STORED)
    return sorted(found, key=lambda version: (_group(version) != group, version == CALICO))


def _kinds(version: str) -> Collection[str]:
    return [name for other, name in known() if other == version]
