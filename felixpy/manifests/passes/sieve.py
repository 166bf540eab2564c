"""Pods that run somewhere skip the row of passes: nothing is wrong with them, and nothing has to be made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from felixpy.manifests.completion.installation import is_calico_node
from felixpy.manifests.kinds import known
from felixpy.manifests.objects.pod_facts import Placed, PodFacts, SharedByPods
from felixpy.manifests.reading.documents import Document, Reading
from felixpy.model import Source


class PlacedPods:
    """Takes sound pods that have a node, as their facts. Those that install Calico stay documents."""

    def __init__(self) -> None:
        self.all: list[Placed] = []
        self._clean = known()["v1", "Pod"].clean
        self._shared = SharedByPods()

    def take(self, data: dict[str, Any], source: Source) -> bool:
        """Keep a pod, or leave it."""
        if data["kind"] != "Pod" or data["apiVersion"] != "v1" or not self._clean(data):
            return False
        spec = data.get("spec")
        if not spec or not spec.get("nodeName") or any(map(is_calico_node, spec.get("containers", ()))):
            return False
        self.all.append(Placed(PodFacts(data, self._shared), source))
        return True

    def without_twins(self, reading: Reading) -> list[Document]:
        """The documents, and among them pods that have the name of another one: `index` decides which counts.

        They are read again, whole.
        """
        counts: Counter[object] = Counter((pod.namespace, pod.name) for pod, _ in self.all)
        counts.update(_pods(reading.documents))
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
