"""Namespaces and service accounts that must exist because something uses them, though the input lacks them.

Without them Felix would see pods with unknown profiles and deny all their traffic. That does not happen in a real
cluster, where the API server refuses objects in a namespace that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from felixpy.errors import Place, Problem
from felixpy.manifests.completion.owners import NO_WORKLOADS
from felixpy.manifests.completion.replicas import owners
from felixpy.manifests.objects.pod_facts import Placed
from felixpy.manifests.reading.documents import Document
from felixpy.model import Source

_CALICO = ("projectcalico.org/v3", "crd.projectcalico.org/v1")
_NAMESPACED: Mapping[str, tuple[str, ...]] = {
    "Pod": ("v1",),
    "ServiceAccount": ("v1",),
    "NetworkPolicy": ("networking.k8s.io/v1", *_CALICO),
    "StagedNetworkPolicy": _CALICO,
    "StagedKubernetesNetworkPolicy": _CALICO,
    "NetworkSet": _CALICO,
    "WorkloadEndpoint": _CALICO,
}
"""Kinds in namespaces whose meaning depends on the namespace's labels, with their apiVersions."""

NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that Kubernetes gives every namespace."""

DEFAULT_ACCOUNT = "default"
"""Kubernetes makes it in every namespace, without labels: nothing is uncertain about it."""

_TOLD = 10
_USERS_TOLD = 3
"""How many objects a warning names, and how many of what uses one."""


Order = Callable[[Document | Placed], tuple[int, ...]]
"""What is greater for what comes later."""


def _by_start(found: Document | Placed) -> tuple[int, ...]:
    return (found.source.start,)


class _User(NamedTuple):
    name: str
    source: Source


class _Use(NamedTuple):
    namespace: str
    account: str
    user: _User
    by: Document | Placed


def assume(
    documents: list[Document], placed: Sequence[Placed] = (), order: Order = _by_start
) -> tuple[list[Document], list[Problem]]:
    """The documents with missing namespaces and service accounts added, and a warning for each kind.

    `placed` are pods that are not documents; `order` sorts them among the documents.
    """
    core = [data for data, _ in documents if data["apiVersion"] == "v1"]
    known = {data["metadata"]["name"] for data in core if data["kind"] == "Namespace"}
    known_accounts = {_key(data["metadata"]) for data in core if data["kind"] == "ServiceAccount"}
    uses = _in_order(_uses(documents, known, known_accounts), _uses_of_pods(placed, known, known_accounts), order)
    namespaces, accounts = _missing(uses, known, known_accounts)
    added = []
    for name, users in namespaces.items():
        added.append(_document("Namespace", {"name": name, "labels": {NAME_LABEL: name}}, users))
    for (namespace, name), users in accounts.items():
        added.append(_document("ServiceAccount", {"name": name, "namespace": namespace}, users))
    uncertain = {"/".join(key): users for key, users in accounts.items() if key[1] != DEFAULT_ACCOUNT}
    problems = []
    if namespaces:
        problems.append(_warning("namespace", "Namespace", namespaces, known))
    if uncertain:
        given = {f"{namespace}/{name}" for namespace, name in known_accounts}
        problems.append(_warning("service account", "ServiceAccount", uncertain, given))
    return (documents + added if added else documents), problems


def _missing(
    uses: Iterable[_Use], known: Collection[str], known_accounts: Collection[tuple[str, str]]
) -> tuple[dict[str, list[_User]], dict[tuple[str, str], list[_User]]]:
    """The users of namespaces, and of accounts, that are not among the documents."""
    namespaces: dict[str, list[_User]] = {}
    accounts: dict[tuple[str, str], list[_User]] = {}
    for namespace, account, user, _ in uses:
        if namespace not in known:
            namespaces.setdefault(namespace, []).append(user)
        if account and (namespace, account) not in known_accounts:
            accounts.setdefault((namespace, account), []).append(user)
    return namespaces, accounts


def _uses(
    documents: Iterable[Document], known: Collection[str], known_accounts: Collection[tuple[str, str]]
) -> Iterator[_Use]:
    """The uses of missing namespaces and accounts by documents."""
    for document in documents:
        data, source = document
        needed = needs(data)
        if needed is not None and not (needed[0] in known and (not needed[1] or needed in known_accounts)):
            metadata = data["metadata"]
            made_by = () if "uid" in metadata else owners(metadata)
            yield _Use(*needed, _User(_told(data["kind"], needed[0], metadata["name"], made_by), source), document)


def _uses_of_pods(
    placed: Iterable[Placed], known: Collection[str], known_accounts: Collection[tuple[str, str]]
) -> list[_Use]:
    """The uses of missing namespaces and accounts by pods."""
    found = []
    for each in placed:
        pod, source = each
        account = pod.account
        if pod.namespace not in known or (account and (pod.namespace, account) not in known_accounts):
            made_by = () if pod.has_uid else {(str(kind), str(name)) for kind, name, _ in pod.owners if kind and name}
            user = _User(_told("Pod", pod.namespace, pod.name, made_by), source)
            found.append(_Use(pod.namespace, account, user, each))
    return found


def _in_order(uses: Iterable[_Use], of_pods: Sequence[_Use], order: Order) -> Iterable[_Use]:
    return sorted([*uses, *of_pods], key=lambda use: order(use.by)) if of_pods else uses


def needs(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """(namespace, service account or "") that must exist because of an object; None if it needs neither."""
    if data["apiVersion"] not in _NAMESPACED.get(data["kind"], ()):
        return None
    namespace = data["metadata"].get("namespace") or "default"
    return namespace, _account(data) if data["kind"] in ("Pod", "WorkloadEndpoint") else ""


def needed_name(document: Document) -> tuple[str, str]:
    """The name of a namespace as (name, ""), or of a service account as (namespace, name)."""
    metadata = document.data["metadata"]
    return (metadata["name"], "") if document.data["kind"] == "Namespace" else _key(metadata)


def _key(metadata: Mapping[str, Any]) -> tuple[str, str]:
    return metadata.get("namespace") or "default", metadata["name"]


def _told(kind: str, namespace: str, name: str, made_by: Collection[tuple[str, str]]) -> str:
    """An object in words; a pod that was made up (it has no uid) by its Deployment or other workload."""
    workloads = [owner for owner in made_by if owner[0] not in NO_WORKLOADS]
    kind, name = min(workloads) if workloads else (kind, name)
    return f"{kind} {namespace}/{name}"


def _account(pod: Mapping[str, Any]) -> str:
    spec = pod.get("spec") or {}
    return spec.get("serviceAccountName") or spec.get("serviceAccount") or ""


def _document(kind: str, metadata: dict[str, Any], users: Sequence[_User]) -> Document:
    """A made-up document; its place is that of the first object that needs it."""
    source = users[0].source
    return Document({"apiVersion": "v1", "kind": kind, "metadata": metadata}, Source(source.file, source.line))


KNOWN_LABELS = {
    "namespace": f"{{whose}} labels but {NAME_LABEL} are unknown, namespaceSelectors on them cannot match",
    "service account": "{whose} labels are unknown, serviceAccountSelectors cannot match",
}


def _likely(missing: Mapping[str, Sequence[_User]], known: Collection[str]) -> str:
    """A hint for a missing name that is similar to an existing one."""
    near = {name: found[0] for name in missing if (found := get_close_matches(name, known, 1, 0.7))}
    if len(missing) == len(near) == 1:
        return f"{next(iter(near.values()))} was probably meant"
    return ", ".join(f"{name}: {found} was probably meant" for name, found in near.items())


def _warning(noun: str, kind: str, missing: Mapping[str, Sequence[_User]], known: Collection[str]) -> Problem:
    names = sorted(missing)
    users = {name: list(dict.fromkeys(user.name for user in missing[name])) for name in names[:_TOLD]}
    told = [f"{name}, used by {_listed(users[name], _USERS_TOLD)}" for name in users]
    more = [f"{len(names) - _TOLD} more"] if len(names) > _TOLD else []
    single = len(names) == 1
    first = min(user.source for users in missing.values() for user in users)
    return Problem(
        place=Place(first.file, first.line),
        subject=f"{noun if single else noun + 's'} {'; '.join(told + more)}",
        reason=f"there is no {kind} object for it" if single else f"there are no {kind} objects for them",
        hint=_likely(missing, known) or KNOWN_LABELS[noun].format(whose="its" if single else "their"),
        severity="warning",
    )


def _listed(names: Sequence[str], limit: int) -> str:
    """The first of them, and how many more there are.

    >>> _listed(["Pod a", "Pod b", "Pod c"], 2)
    'Pod a, Pod b and 1 more'
    """
    shown = [*names[:limit], *([f"{len(names) - limit} more"] if len(names) > limit else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
