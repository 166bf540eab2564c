"""Which Deployment or other workload a pod belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from felixpy.manifests.completion.replicas import mappings
from felixpy.manifests.reading.documents import Document
from felixpy.model import Owner

Data = Mapping[str, Any]

TEMPLATE_HASH = "pod-template-hash"
BETWEEN = frozenset({"ReplicaSet", "ReplicationController", "Job"})
"""Kinds that are mostly made by another workload, which is the one that people know."""

NO_WORKLOADS = frozenset({"Node"})
"""What owns pods without being a workload: the kubelet's own pods are owned by their node."""


Reference = tuple[Any, Any, bool]
"""Kind and name of an owner, and whether it says that it is the controller."""


def references(listed: Iterable[Data]) -> tuple[Reference, ...]:
    """ownerReferences as values."""
    return tuple((each.get("kind"), each.get("name"), each.get("controller") is True) for each in listed)


class Owners:
    """Finds owners. `documents` may contain the ReplicaSets and Jobs between a pod and its workload."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self._between: dict[tuple[str, Owner], Owner | None] = {}
        for data, _ in documents:
            metadata = data.get("metadata")
            if data["kind"] in BETWEEN and isinstance(metadata, dict):
                named = Owner(data["kind"], str(metadata.get("name")))
                self._between[metadata.get("namespace") or "default", named] = _direct(metadata)
        self._known: dict[Owner, Owner] = {}

    def anew(self) -> Owners:
        """A copy without cached results."""
        found = Owners()
        found._between = self._between
        return found

    def find(self, namespace: str, references: Iterable[Reference], labels: Mapping[str, Any]) -> Owner | None:
        """The workload that a pod belongs to; None for a pod without one."""
        owner = _chosen(references)
        if owner and owner.kind in BETWEEN:
            owner = self._between.get((namespace, owner)) or _by_name(owner, labels) or owner
        # Many pods have the same owner, which is kept once.
        return self._known.setdefault(owner, owner) if owner else None


def _direct(metadata: Data) -> Owner | None:
    """The owner in an object's ownerReferences: the one marked as controller, else the first."""
    return _chosen(references(mappings(metadata.get("ownerReferences"))))


def _chosen(references: Iterable[Reference]) -> Owner | None:
    complete = [each for each in references if each[0] and each[1] and each[0] not in NO_WORKLOADS]
    for kind, name, _ in (*(each for each in complete if each[2]), *complete):
        return Owner(str(kind), str(name))
    return None


def _by_name(owner: Owner, labels: Mapping[str, Any]) -> Owner | None:
    """The Deployment of a ReplicaSet whose name ends with the pod-template-hash of its pods."""
    end = f"-{labels.get(TEMPLATE_HASH)}"
    if owner.kind == "ReplicaSet" and TEMPLATE_HASH in labels and owner.name.endswith(end):
        return Owner("Deployment", owner.name.removesuffix(end))
    return None
