"""Deployments and other workloads → the pods that a cluster would run for them, with realistic names and labels.

Policies select pods, so without them policies in manifests of workloads would have no effect. The same input gives the
same pods in every run. Pods without node and status, as in hand-written manifests, are placed as well.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from felixpy.errors import Place, Problem
from felixpy.manifests.completion.placement import NoAddressLeft, Placement
from felixpy.manifests.completion.replicas import (
    JOB_NAME,
    KINDS,
    Controller,
    Odd,
    Replica,
    mappings,
    owners,
    parsed,
    replicas,
)
from felixpy.manifests.objects.pod_facts import Placed, PodFacts
from felixpy.manifests.reading.documents import Document, subject
from felixpy.model import Source

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes makes names of: no vowels, so that no words arise. (apimachinery/pkg/util/rand)"""

_LONGEST_BASE = 58
"""A generated name is cut so that five letters still fit a label. (apiserver/pkg/storage/names)"""

MAX_PODS = 100_000
"""Most pods that are assumed in all; the largest clusters run 150,000."""

NOT_RUNNING = frozenset({"Pending", "Failed", "Succeeded", "Completed"})

_TOLD = 10
"""How many objects a summary names."""


def expand(
    documents: list[Document], placed: Sequence[Placed] = (), *, node: str | None
) -> tuple[list[Document], list[Problem]]:
    """The documents with pods added for workloads that have none, and with bare pods placed.

    `placed` are pods that are not documents. `node` is the node of pods that name none. The workloads stay in the list.
    """
    workloads = [document for document in documents if (document.data["apiVersion"], document.data["kind"]) in KINDS]
    if not workloads and not any(is_unplaced(data) for data, _ in documents):
        return documents, []
    expansion = _Expansion(documents, [pod for pod, _ in placed], node)
    expansion.workloads(workloads)
    return expansion.placed(), expansion.problems


def is_unplaced(data: Mapping[str, Any]) -> bool:
    """Whether a document is a pod that needs a node or an address."""
    return _is_bare(data) or _lacks_node(data)


def _is_pod(data: Mapping[str, Any]) -> bool:
    return (data["apiVersion"], data["kind"]) == ("v1", "Pod")


def _is_bare(data: Mapping[str, Any]) -> bool:
    """Whether a pod has never run, as in hand-written manifests. (kubectl prints an empty status before that.)"""
    return _is_pod(data) and not data.get("status") and not (data.get("spec") or {}).get("nodeName")


def _lacks_node(data: Mapping[str, Any]) -> bool:
    """Whether a pod runs but has no nodeName in the input. Pending and finished pods are not endpoints."""
    status = data.get("status")
    if not _is_pod(data) or not isinstance(status, dict) or (data.get("spec") or {}).get("nodeName"):
        return False
    runs = status.get("phase") == "Running" or bool(_own_addresses(status))
    return runs and status.get("phase") not in NOT_RUNNING


def _own_addresses(status: Mapping[str, Any]) -> list[str]:
    given = [item.get("ip") for item in mappings(status.get("podIPs"))] or [status.get("podIP")]
    return [address for address in given if isinstance(address, str) and address]


class _Claim(NamedTuple):
    """A pod that needs a node and an address. The address depends on `identity`, not on the pod's name."""

    identity: str
    data: dict[str, Any]
    source: Source
    node: str = ""


class _Expansion:
    def __init__(self, documents: list[Document], placed: Sequence[PodFacts], node: str | None) -> None:
        self.problems: list[Problem] = []
        self._documents = documents
        self._placement = Placement(documents, placed, node)
        self._claims: list[_Claim] = []
        self._made: Counter[str] = Counter()
        self._bare: list[str] = []
        self._nodeless: list[str] = []
        self._exhausted: set[str] = set()
        self._names = {_key(data) for data, _ in documents if _is_pod(data)}
        self._names.update((pod.namespace, pod.name) for pod in placed)
        self._pods = _Pods((data for data, _ in documents if _is_pod(data)), placed)

    def workloads(self, documents: Iterable[Document]) -> None:
        """Claim the pods of each controller; of two with the same name the later is used, as with kubectl apply."""
        found: dict[tuple[str, str, str], Controller] = {}
        for data, source in documents:
            try:
                controller = parsed(data, source)
            except Odd as wrong:
                self._tell(wrong, subject(data), source)
            else:
                found[controller.namespace, controller.kind, controller.name] = controller
        for controller in found.values():
            made = any((controller.namespace, *owner) in found for owner in controller.owners)
            if made or self._pods.has(controller):
                continue
            try:
                pods = replicas(controller, self._placement.nodes)
            except Odd as wrong:
                self._tell(wrong, controller.identity, controller.source)
                continue
            if len(self._claims) + len(pods) > MAX_PODS:
                many = Odd((), f"more than {MAX_PODS:,} pods would have to be assumed")
                self._tell(many, controller.identity, controller.source)
                return
            for number, replica in enumerate(pods):
                self._claim(controller, replica, number)

    def _tell(self, wrong: Odd, named: str, source: Source) -> None:
        place = Place(source.file, source.line)
        self.problems.append(Problem(place=place, subject=named, path=wrong.path, reason=wrong.reason))

    def _claim(self, controller: Controller, replica: Replica, number: int) -> None:
        template = controller.inside("template", "metadata")
        name = self._unused(controller.namespace, replica, number)
        metadata = {
            "name": name,
            "namespace": controller.namespace,
            "labels": {**(template.get("labels") or {}), **replica.labels},
            "annotations": template.get("annotations") or {},
            "ownerReferences": [{"apiVersion": controller.version, "kind": controller.kind, "name": controller.name}],
        }
        data = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": controller.inside("template", "spec")}
        identity = f"{controller.identity} {replica.node or number}"
        self._claims.append(_Claim(identity, data, controller.source, replica.node))
        self._made[controller.identity] += 1

    def _unused(self, namespace: str, replica: Replica, number: int) -> str:
        """The replica's name, if `generated` with the first five letters that give an unused name."""
        base, attempt = replica.name[:_LONGEST_BASE], 0
        name = replica.name if not replica.generated else base + _letters(f"{namespace}/{base}{number}")
        while replica.generated and (namespace, name) in self._names:
            attempt += 1
            name = base + _letters(f"{namespace}/{base}{number} {attempt}")
        self._names.add((namespace, name))
        return name

    def placed(self) -> list[Document]:
        """All documents, with a pod for each claim. Claims are processed in an order independent of the input's."""
        bare = {id(each): each for each in self._documents if is_unplaced(each.data)}
        claims = [_Claim(f"Pod {'/'.join(_key(document.data))}", *document) for document in bare.values()]
        self._bare = sorted({claim.identity for claim in claims if not _own_addresses(claim.data.get("status") or {})})
        self._nodeless = sorted({claim.identity for claim in claims} - set(self._bare))
        self._claims += claims
        self._claims.sort(key=lambda claim: claim.identity)
        settled = {id(claim.data): self._settled(claim) for claim in self._claims}
        if self._claims:
            self.problems.append(self._summary())
        kept = [settled.pop(id(document.data)) if id(document) in bare else document for document in self._documents]
        return kept + list(settled.values())

    def _settled(self, claim: _Claim) -> Document:
        """The pod of a claim, with node, account, address and status; with hostNetwork it has the node's address."""
        spec = dict(claim.data.get("spec") or {})
        given = claim.data.get("status") or {}
        spec["nodeName"] = claim.node or self._placement.home(given) or self._placement.node(spec)
        spec["serviceAccountName"] = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        status: dict[str, Any] = {**given, "phase": "Running"}
        if not spec.get("hostNetwork") and not _own_addresses(given):
            try:
                addresses = self._placement.addresses(claim.identity)
            except NoAddressLeft as wrong:
                self._tell_exhausted(str(wrong), claim.source)
            else:
                status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
        return Document({**claim.data, "spec": spec, "status": status}, claim.source)

    def _tell_exhausted(self, reason: str, source: Source) -> None:
        if reason not in self._exhausted:
            self._exhausted.add(reason)
            self.problems.append(Problem(place=Place(source.file, source.line), reason=reason))

    def _summary(self) -> Problem:
        first = min(claim.source for claim in self._claims)
        made = [f"{count} for {identity}" for identity, count in sorted(self._made.items())]
        total, told = self._made.total(), []
        if made:
            told.append(f"{total} pod{'s are' if total > 1 else ' is'} assumed: {_listed(made)}")
        if self._bare:
            told.append(f"node and address are assumed for {_listed(self._bare)}")
        if self._nodeless:
            told.append(f"the node is assumed for {_listed(self._nodeless)}")
        addresses = f"addresses from {self._placement.origin}; " if made or self._bare else ""
        return Problem(
            place=Place(first.file, first.line),
            reason="; ".join(told),
            hint=f"{addresses}--no-expand switches this off",
            severity="warning",
        )


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _TOLD} more"] if len(names) > _TOLD else []
    *others, last = [*names[:_TOLD], *more]
    return f"{', '.join(others)} and {last}" if others else last


class _Pods:
    """The pods of the input that may belong to a controller: those that have run, and those with an owner."""

    def __init__(self, pods: Iterable[Mapping[str, Any]], placed: Iterable[PodFacts]) -> None:
        self._labels: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._owners: set[tuple[str, str, str]] = set()
        for data in pods:
            namespace, metadata = _key(data)[0], data["metadata"]
            self._owners |= {(namespace, *owner) for owner in owners(metadata)}
            if not _is_bare(data):
                self._labels[namespace].append(metadata.get("labels") or {})
        for pod in placed:
            self._owners.update((pod.namespace, str(kind), str(name)) for kind, name, _ in pod.owners if kind and name)
            self._labels[pod.namespace].append(pod.labels)

    def has(self, controller: Controller) -> bool:
        """Whether a pod has the controller as owner, is selected by it or, for a Job, has its template's labels."""
        if (controller.namespace, controller.kind, controller.name) in self._owners:
            return True
        of_job = controller.kind in ("Job", "CronJob")
        mine = _of_job(controller) if of_job else _selected(controller.selector)
        return any(mine(labels) for labels in self._labels[controller.namespace])


def _of_job(controller: Controller) -> Callable[[Mapping[str, Any]], bool]:
    """A predicate on the labels of a Job's pods: those of its template, or a job-name that begins with a CronJob's."""
    wanted = controller.inside("template", "metadata", "labels")
    name = re.compile(re.escape(controller.name) + (r"-\d+" if controller.kind == "CronJob" else ""))

    def mine(labels: Mapping[str, Any]) -> bool:
        job = labels.get(JOB_NAME) or labels.get("job-name")
        return bool(name.fullmatch(str(job)) if job else wanted and _carries(labels, wanted))

    return mine


def _selected(selector: object) -> Callable[[Mapping[str, Any]], bool]:
    """A predicate for a Kubernetes label selector; an empty one, which the API refuses here, selects nothing."""
    given = selector if isinstance(selector, dict) else {}
    wanted = given.get("matchLabels")
    wanted = wanted if isinstance(wanted, dict) else {}
    conditions = mappings(given.get("matchExpressions"))

    def mine(labels: Mapping[str, Any]) -> bool:
        holds = _carries(labels, wanted) and all(_holds(condition, labels) for condition in conditions)
        return holds and bool(wanted or conditions)

    return mine


def _carries(labels: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _holds(condition: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    value, values = labels.get(str(condition.get("key"))), condition.get("values")
    values = values if isinstance(values, list) else []
    outcomes = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return outcomes.get(str(condition.get("operator")), False)


def _key(data: Mapping[str, Any]) -> tuple[str, str]:
    metadata = data["metadata"]
    return metadata.get("namespace") or "default", metadata["name"]


def _letters(text: str) -> str:
    """Five letters computed from a text.

    >>> _letters("shop/web-0")
    'tv89x'
    """
    number = int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    letters = ""
    for _ in range(5):
        number, letter = divmod(number, len(_LETTERS))
        letters += _LETTERS[letter]
    return letters
