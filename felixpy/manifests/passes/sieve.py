"""Pods that run somewhere skip the row of passes: nothing is wrong with them, and nothing has to be made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec import ValidationError

from felixpy.manifests.completion.installation import is_calico_node
from felixpy.manifests.completion.owners import Reference
from felixpy.manifests.objects.pod_facts import Placed, PodFacts, SharedByPods
from felixpy.manifests.objects.pod_record import PodRecord, Spec, record
from felixpy.manifests.objects.pods import METADATA
from felixpy.manifests.reading.documents import Document, Reading
from felixpy.manifests.validation.metadata import dns_label, or_empty, subdomain
from felixpy.manifests.validation.shapes import Shape
from felixpy.model import Labels, Source


class _Unsound(Exception):
    """Something about a pod is wrong, or odd enough for a remark."""


_FIELDS: Mapping[str, Shape] = METADATA.fields
_labels, _owners, _annotations = (_FIELDS[name].compiled() for name in ("labels", "ownerReferences", "annotations"))


class _SharedBySoundPods(SharedByPods):
    """The same of pods that are checked: what many have in common is checked once. Raises _Unsound."""

    def new_labels(self, given: Labels) -> Labels:
        if not _labels(given):
            raise _Unsound
        return super().new_labels(given)

    def new_owners(self, found: tuple[Reference, ...]) -> tuple[Reference, ...]:
        if not _owners([{"kind": kind or "", "name": name or ""} for kind, name, _ in found]):
            raise _Unsound
        return super().new_owners(found)


def _is_placed(spec: Spec | None) -> bool:
    """Whether a pod has a node and does not install Calico there."""
    if not spec or not spec.node:
        return False
    for each in spec.containers or ():  # noqa: SIM110 - a generator takes twice as long, for each pod
        if is_calico_node(each.name, each.image):
            return False
    return True


_node, _namespace = or_empty(subdomain), or_empty(dns_label)


def _is_sound(pod: PodRecord, fields: AbstractSet[str]) -> bool:
    """Whether the shape of pods has nothing to say about a pod, but for its labels and owners."""
    own, spec = pod.metadata, pod.spec
    return (
        fields <= _FIELDS.keys()
        and subdomain(own.name) is None
        and _namespace(own.namespace or "") is None
        and (spec is None or _node(spec.node or "") is None)
        and (not own.annotations or _annotations(own.annotations))
    )


class PlacedPods:
    """Takes sound pods that have a node, as their facts. Those that install Calico stay documents."""

    def __init__(self) -> None:
        self.all: list[Placed] = []
        self._shared = _SharedBySoundPods()

    def take(self, data: dict[str, Any], source: Source) -> bool:
        """Keep a pod, or leave it."""
        if data["kind"] != "Pod" or data["apiVersion"] != "v1":
            return False
        try:
            pod = record(data)
            if not _is_placed(pod.spec) or not _is_sound(pod, data["metadata"].keys()):
                return False
            self.all.append(Placed(PodFacts(pod, self._shared), source))
        except (ValidationError, _Unsound):
            return False
        return True

    def without_twins(self, reading: Reading) -> list[Document]:
        """The documents, and among them pods that have the name of another one: `index` decides which counts.

        They are read again, whole.
        """
        names = [(pod.namespace, pod.name) for pod, _ in self.all]
        others = list(_pods(reading.documents))
        own = set(names)
        if len(own) == len(names) and own.isdisjoint(others):
            return reading.documents
        counts: Counter[object] = Counter([*names, *others])
        twins = [placed for placed in self.all if counts[placed.pod.namespace, placed.pod.name] > 1]
        if not twins:
            return reading.documents
        self.all = [placed for placed in self.all if counts[placed.pod.namespace, placed.pod.name] == 1]
        again = [Document({"apiVersion": "v1", "kind": "Pod"} | data, source) for data, source in reading.again(twins)]
        return sorted([*reading.documents, *again], key=lambda document: reading.order(document.source))

    def mark(self) -> int:
        """How many pods there are."""
        return len(self.all)

    def forget(self, mark: int) -> None:
        """Drop all pods after a mark."""
        del self.all[mark:]


def _pods(documents: Sequence[Document]) -> Iterator[tuple[object, object]]:
    """Namespaces and names of documents that are pods; nothing in them is checked yet."""
    for data, _ in documents:
        metadata = data.get("metadata")
        if data["kind"] == "Pod" and isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
            namespace = metadata.get("namespace") or "default"
            yield namespace if isinstance(namespace, str) else "default", metadata["name"]
