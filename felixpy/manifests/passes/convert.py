"""Pass: convert objects to the values of the cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from felixpy.errors import Path, Place, Problem
from felixpy.manifests.assembly import Parts
from felixpy.manifests.kinds import Key
from felixpy.manifests.objects.pod_facts import Placed
from felixpy.manifests.objects.pods import Pods
from felixpy.manifests.passes.index import Object
from felixpy.manifests.passes.remarks import Remark
from felixpy.manifests.reading.documents import Document
from felixpy.manifests.validation.findings import Ignored

_TOLD = 3
"""How many pods of one sort a warning names."""


def convert(objects: Mapping[Key, Object], pods: Pods, refused: set[Key]) -> tuple[Parts, list[Remark | Problem]]:
    """The converted objects; those that Calico or Felix would ignore are left out with a remark.

    `pods` converts pods. `refused` are objects that validation dropped: references to them are not reported again.
    """
    parts = Parts()
    remarks: list[Remark | Problem] = []
    absent: dict[str, list[Key]] = defaultdict(list)
    drafts = Drafts()
    for key, document in objects.items():
        if type(document) is Placed and (workload := pods.workload(document)):
            parts.add(key, workload, "workloads")
            continue
        part, converted, remark = convert_object(key, document, pods, drafts)
        if converted is not None:
            parts.add(key, converted, part)
        if remark is not None:
            remarks.append(remark)
        elif key.kind.name == "Pod" and part != "workloads":
            absent[pods.facts(document).absence()].append(key)
    if absent:
        remarks.append(_without_endpoints(absent, objects))
    remarks += [Remark(objects[key].source, str(key), finding) for key, finding in parts.drop_twins()]
    parts.sort()
    nodes = {key: found for key, found in objects.items() if key.kind.part == "nodes" and isinstance(found, Document)}
    for key in sorted(nodes):
        parts.put_node(key.name, nodes[key])
    refused_tiers = {key.name for key in refused if key.kind.part == "tiers"}

    def address_path(key: Key, index: int) -> Path:
        return pods.facts(objects[key]).address_path(index) if key.kind.name == "Pod" else ()

    doubts = parts.doubts(refused_tiers, address_path)
    remarks += [Remark(objects[key].source, str(key), finding) for key, finding in doubts]
    return parts, remarks


class Drafts:
    """Converted specs, independent of their objects. A spec that several objects have is converted once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, draft: Callable[[Any], Any], spec: Any) -> Any:
        known = self._known.get(id(spec))
        if known is None:
            known = self._known[id(spec)] = spec, draft(spec)
        return known[1]


def convert_object(
    key: Key, document: Object, pods: Pods, drafts: Drafts | None = None
) -> tuple[str, Any, Remark | None]:
    """(field of `Cluster`, converted object or None, remark or None).

    The remark says why Calico or Felix would ignore the object.
    """
    source, kind = document.source, key.kind
    try:
        if kind.name == "Pod":
            facts = pods.facts(document)
            converted = pods(facts, source)
            return ("workloads", converted, None) if converted else ("host_pods", pods.on_host(facts, source), None)
        convert = kind.convert
        if not convert or not isinstance(document, Document):
            return kind.part, None, None
        data = document.data
        if kind.draft is None:
            return kind.part, convert(data, source), None
        draft = (drafts or Drafts())(kind.draft, data.get("spec"))
        return kind.part, convert(data, source, draft), None
    except Ignored as why:
        return kind.part, None, Remark(source, str(key), why.finding)


def _without_endpoints(absent: Mapping[str, Sequence[Key]], objects: Mapping[Key, Object]) -> Problem:
    """A warning on pods that are not endpoints, with their numbers by reason."""
    told = []
    for reason, keys in sorted(absent.items()):
        names = [f"{key.namespace}/{key.name}" for key in sorted(keys)[:_TOLD]]
        more = [f"{len(keys) - _TOLD} more"] if len(keys) > _TOLD else []
        told.append(f"{len(keys)} pod{'s' if len(keys) > 1 else ''} {reason} ({', '.join(names + more)})")
    first = min(objects[key].source for keys in absent.values() for key in keys)
    reason = f"no endpoints, so no policy selects them: {'; '.join(told)}"
    return Problem(place=Place(first.file, first.line), reason=reason, severity="warning")
