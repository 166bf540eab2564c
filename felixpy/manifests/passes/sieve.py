"""Valid pods with a node, which skip the passes: they need neither messages nor completion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import MsgspecError, ValidationError

from felixpy.manifests.completion.installation import is_calico_node
from felixpy.manifests.completion.owners import Reference
from felixpy.manifests.objects.pod_facts import Placed, SharedByPods, facts
from felixpy.manifests.objects.pod_record import Container, OwnMetadata, OwnSpec, record
from felixpy.manifests.objects.pods import METADATA
from felixpy.manifests.reading.documents import Document, Reading
from felixpy.manifests.reading.streams import GivenUp
from felixpy.manifests.validation.metadata import dns_label, or_empty, subdomain
from felixpy.manifests.validation.shapes import Shape
from felixpy.model import Labels, Source

if TYPE_CHECKING:
    from felixpy.manifests.objects.pod_text import PodTexts

_TRIED = 100
"""Pods whose texts are tried whatever they say."""


class _Unsound(Exception):
    """Raised for a pod that is invalid or needs a remark."""


_FIELDS: Mapping[str, Shape] = METADATA.fields
_labels, _owners, _annotations = (_FIELDS[name].compiled() for name in ("labels", "ownerReferences", "annotations"))


class _SharedBySoundPods(SharedByPods):
    """Shared values of valid pods: each value is validated once. Raises _Unsound."""

    def new_labels(self, given: Labels) -> Labels:
        if not _labels(given):
            raise _Unsound
        return super().new_labels(given)

    def new_owners(self, found: tuple[Reference, ...]) -> tuple[Reference, ...]:
        if not _owners([{"kind": kind or "", "name": name or ""} for kind, name, _ in found]):
            raise _Unsound
        return super().new_owners(found)


def _check_containers(containers: Iterable[Container]) -> None:
    """Raise _Unsound for a pod of calico-node, whose environment also contains settings."""
    for each in containers:
        if is_calico_node(each.name, each.image):
            raise _Unsound


_node, _namespace = or_empty(subdomain), or_empty(dns_label)


def _is_sound(own: OwnMetadata, spec: OwnSpec) -> bool:
    """Whether the shape of pods would report nothing for a pod on a node, apart from values that pods share."""
    return (
        subdomain(own.name) is None
        and _namespace(own.namespace or "") is None
        and _node(spec.node or "") is None
        and (not own.annotations or _annotations(own.annotations))
    )


class PlacedPods:
    """Keeps valid pods that have a node as facts. Those that install Calico stay documents."""

    def __init__(self) -> None:
        self.all: list[Placed] = []
        self._shared = _SharedBySoundPods()
        self._left = 0

    def take(self, data: dict[str, Any], source: Source) -> bool:
        """Keep a pod if possible; return whether it was kept."""
        if data["kind"] != "Pod" or data["apiVersion"] != "v1":
            return False
        try:
            pod = record(data)
            own, spec = pod.metadata, pod.spec
            if not spec or not spec.node or data["metadata"].keys() - _FIELDS.keys() or not _is_sound(own, spec):
                return False
            _check_containers(spec.containers or ())
            self.all.append(Placed(facts(pod, self._shared), source))
        except (ValidationError, _Unsound):
            return False
        return True

    def take_text(self, text: bytes, source: Source) -> bool:
        """Keep a pod by its text if that has only used fields. If most have others, no more texts are tried."""
        if b'"Pod"' not in text or self._left > len(self.all) + _TRIED:
            return False
        try:
            pod = self._texts.read(text)
            if pod and pod.spec.node and _is_sound(pod.metadata, pod.spec):
                self.all.append(Placed(self._texts.facts(pod), source))
                return True
        except (MsgspecError, ValueError, RecursionError, GivenUp, _Unsound):
            pass
        self._left += 1
        return False

    @cached_property
    def _texts(self) -> PodTexts:
        from felixpy.manifests.objects.pod_text import PodTexts

        return PodTexts(self._shared, _check_containers)

    def without_twins(self, reading: Reading) -> list[Document]:
        """The documents, with kept pods whose name occurs more than once: `index` decides which is used.

        These pods are read again in full.
        """
        own = {(pod.namespace, pod.name) for pod, _ in self.all}
        others = list(_pods(reading.documents))
        if len(own) == len(self.all) and own.isdisjoint(others):
            return reading.documents
        names = [(pod.namespace, pod.name) for pod, _ in self.all]
        counts: Counter[object] = Counter([*names, *others])
        twins = [placed for placed in self.all if counts[placed.pod.namespace, placed.pod.name] > 1]
        if not twins:
            return reading.documents
        self.all = [placed for placed in self.all if counts[placed.pod.namespace, placed.pod.name] == 1]
        again = [Document({"apiVersion": "v1", "kind": "Pod"} | data, source) for data, source in reading.again(twins)]
        return sorted([*reading.documents, *again], key=lambda document: reading.order(document.source))

    def mark(self) -> int:
        """The number of pods kept so far."""
        return len(self.all)

    def forget(self, mark: int) -> None:
        """Drop all pods after a mark."""
        del self.all[mark:]


def _pods(documents: Sequence[Document]) -> Iterator[tuple[object, object]]:
    """(namespace, name) of documents that are pods, not validated yet."""
    for data, _ in documents:
        metadata = data.get("metadata")
        if data["kind"] == "Pod" and isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
            namespace = metadata.get("namespace") or "default"
            yield namespace if isinstance(namespace, str) else "default", metadata["name"]
