"""Pass: valid documents → objects by identity."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from felixpy.errors import Place, Problem
from felixpy.manifests import strangers
from felixpy.manifests.kinds import Key, known
from felixpy.manifests.objects import storage
from felixpy.manifests.objects.pod_facts import Placed
from felixpy.manifests.passes.remarks import Remark
from felixpy.manifests.passes.validate import Sound
from felixpy.manifests.reading.documents import Document
from felixpy.manifests.validation.findings import Finding
from felixpy.model import Source

Object = Document | Placed
"""An object and its source: what its manifest says, or the facts of a pod."""

Starts = Mapping[str, Sequence[int]]
"""Where each document begins, by file name."""


def index(
    sound: Sound,
    starts: Starts,
    placed: Sequence[Placed] = (),
    *,
    used: Collection[int] = (),
    expanded: bool = True,
) -> tuple[dict[Key, Object], list[Remark | Problem]]:
    """Objects of the known kinds. Of several with the same identity the last one is used, as with kubectl apply.

    The identities of `placed` pods are unique. Documents of other kinds are counted in a warning, except those whose
    ids are in `used` and, if `expanded`, workloads.
    """
    table = known()
    objects: dict[Key, Document] = {}
    remarks: list[Remark | Problem] = []
    skipped: dict[tuple[bool, str], list[Source]] = defaultdict(list)
    for document in sound.documents:
        data = document.data
        kind = table.get((data["apiVersion"], data["kind"]))
        if kind is None:
            if not (expanded and data["kind"] in strangers.WORKLOADS) and id(document) not in used:
                harmless = strangers.harmless(data["apiVersion"], data["kind"])
                told = data["kind"] if harmless else f"{data['kind']} ({data['apiVersion']})"
                skipped[harmless, told].append(document.source)
            continue
        metadata = data["metadata"]
        key = Key(metadata["namespace"] if kind.namespaced else "", metadata["name"], kind)
        earlier = objects.get(key)
        printed = document.source in sound.printed
        if earlier is not None and (earlier.source in sound.printed) != printed:
            own, other = (earlier, document) if printed else (document, earlier)
            objects[key] = Document(storage.joined(own.data, other.data), own.source)
            continue
        if earlier is not None and earlier.data != data:
            remarks.append(Remark(document.source, str(key), _given_twice(earlier.source, document.source, starts)))
        objects[key] = document
    kind = table["v1", "Pod"]
    found: dict[Key, Object] = {**objects}
    for pod in placed:
        found[Key(pod.pod.namespace, pod.pod.name, kind)] = pod
    return found, [*remarks, *_skipped(skipped)]


def _given_twice(earlier: Source, later: Source, starts: Starts) -> Finding:
    """A finding for a duplicate object; kubectl apply accepts both, one after the other."""
    first, second = (bisect_right(starts.get(where.file, []), where.start) for where in (earlier, later))
    if earlier.file == later.file and first != second:
        places = f"documents {first} and {second}"
    else:
        places = f"{earlier.file}:{earlier.line} and {later.file}:{later.line}"
    reason = f"is given twice ({places}) with different content"
    return Finding((), reason, "only the last survives on a cluster", "warning")


def _skipped(skipped: Mapping[tuple[bool, str], Sequence[Source]]) -> Iterator[Problem]:
    """Warnings that count skipped objects: of kinds that change no rule, and of unknown kinds."""
    for words, sort in (("without effect on rules", True), ("of kinds that felixpy does not know", False)):
        found = {kind: sources for (harmless, kind), sources in skipped.items() if harmless is sort}
        if found:
            counts = ", ".join(f"{len(sources)} {kind}" for kind, sources in sorted(found.items()))
            first = min(source for sources in found.values() for source in sources)
            yield Problem(place=Place(first.file), reason=f"skipped, {words}: {counts}", severity="warning")
