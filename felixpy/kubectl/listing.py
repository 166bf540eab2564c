"""List the objects of a cluster that felixpy needs, in pages, several resources in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote

from felixpy.kubectl.answers import LISTS, continuation, decoded
from felixpy.kubectl.client import Absent, Expired, Forbidden, Kubectl, Overloaded, RequestRefused
from felixpy.kubectl.proxy import Proxy
from felixpy.kubectl.resources import CALICO, RESOURCES
from felixpy.kubectl.trim import trimmed

PAGE = 500
"""Objects in a page, as in kubectl."""

PAGES_ALONE = 1
"""The number of pages of a list that are requested by a kubectl each; further ones go through one that stays, whose
start takes no longer than the request of one page.
"""

PARALLEL = 8
RESTARTS = 3
"""How often a list whose pages expired is restarted, before it is requested in one piece."""

Progress = Callable[[str, int], None]
"""Called after every page: the resource, and how many of its objects have arrived."""


class Listed(NamedTuple):
    """The objects of one resource.

    `resource` is its key in `RESOURCES`, `version` the API version that served them, `items` have apiVersion and kind.
    `revision` is the resource version of the list, from which a watch continues, "" for objects read by name.
    """

    resource: str
    version: str
    items: tuple[dict[str, Any], ...]
    revision: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of a cluster by resource, and a sentence for each resource that could not be listed."""

    context: str
    listed: Mapping[str, Listed]
    missing: tuple[str, ...]


def list_cluster(
    kubectl: Kubectl, *, namespace: str = "", page: int = PAGE, progress: Progress | None = None
) -> Listing:
    """List all resources of the table.

    If the user may not list a resource in all namespaces, only `namespace` is listed, and the listing says so.
    Raises Unauthorized and Unreachable, and EnvironmentMissing without kubectl.
    """
    offered = _offered(kubectl)
    missing = []
    served: dict[str, str] = {}
    for key, resource in RESOURCES.items():
        version = next((version for version in resource.versions if (version, resource.plural) in offered.names), "")
        if version:
            served[key] = version
        elif sources := [version for version in resource.versions if version in offered.forbidden]:
            missing.append(f"{resource.plural}: {offered.forbidden[sources[0]]}; {resource.lacking}")
        elif resource.everywhere:
            missing.append(
                f"{resource.plural}: the cluster does not serve them as {resource.versions[0]}; {resource.lacking}"
            )
    if not any(version in CALICO for version in served.values()):
        missing.append("the cluster has no resources of Calico: only policies of Kubernetes are known")
    with Proxy(kubectl) as proxy, ThreadPoolExecutor(PARALLEL) as pool:
        reader = _Reader(kubectl, proxy, namespace, page, progress or _silent)
        results = list(pool.map(reader.read, served, served.values()))
    listed = {each.resource: each for each, _ in results if each}
    return Listing(kubectl.context, listed, (*missing, *(said for _, said in results if said)))


def list_resource(kubectl: Kubectl, resource: str, version: str, *, page: int = PAGE) -> Listed:
    """List one resource in all namespaces. Raises Refused."""
    with Proxy(kubectl) as proxy:
        return _Reader(kubectl, proxy, "", page, _silent).all(resource, version)


def list_named(kubectl: Kubectl, resource: str, version: str) -> Listed:
    """The existing ones of the objects that the resource's row names. Raises Refused."""
    items = []
    for namespace, name in RESOURCES[resource].objects:
        path = RESOURCES[resource].path(version, namespace, name)
        try:
            found = _asked(kubectl, path, RESOURCES[resource].kind)
        except Absent:
            continue
        items.append(kept(found, resource, version))
    return Listed(resource, version, tuple(items), "")


def _silent(resource: str, number: int) -> None:
    pass


class _Offered(NamedTuple):
    """(API version, plural name) of the served resources, and reasons for API versions that could not be discovered."""

    names: frozenset[tuple[str, str]]
    forbidden: Mapping[str, str]


def _asked(kubectl: Kubectl, path: str, kind: str) -> dict[str, Any]:
    return decoded(kubectl.get(path), path, kind)


def _offered(kubectl: Kubectl) -> _Offered:
    """Run discovery. An aggregated API whose server is down is left out, with the reason."""
    versions = sorted({version for resource in RESOURCES.values() for version in resource.versions})
    groups = _asked(kubectl, "/apis", "APIGroupList")
    known = {version["groupVersion"] for group in groups.get("groups", ()) for version in group.get("versions", ())}
    wanted = [version for version in versions if version in known or "/" not in version]

    def ask(version: str) -> tuple[list[tuple[str, str]], str]:
        try:
            found = _asked(kubectl, f"/api/{version}" if "/" not in version else f"/apis/{version}", "APIResourceList")
        except Absent:
            return [], ""
        except (Forbidden, Overloaded) as wrong:
            return [], str(wrong)
        return [(version, each["name"]) for each in found.get("resources", ())], ""

    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(ask, wanted))
    names = frozenset(name for found, _ in answers for name in found)
    return _Offered(names, {version: said for version, (_, said) in zip(wanted, answers, strict=True) if said})


class _Reader:
    """Reads resources; failures become sentences of the listing."""

    def __init__(self, kubectl: Kubectl, proxy: Proxy, namespace: str, page: int, progress: Progress) -> None:
        self._kubectl, self._proxy, self._namespace = kubectl, proxy, namespace
        self._page, self._progress = page, progress

    def read(self, key: str, version: str) -> tuple[Listed | None, str]:
        """The listed objects, and a sentence on what is missing, "" if nothing is."""
        resource = RESOURCES[key]
        try:
            if resource.objects:
                return list_named(self._kubectl, key, version), ""
            return self._list(key, version, resource.path(version)), ""
        except Absent as wrong:
            return None, f"{wrong}; {resource.lacking}"
        except Forbidden as wrong:
            return self._within(key, version, wrong)

    def all(self, key: str, version: str) -> Listed:
        """The objects of all namespaces. Raises Refused."""
        return self._list(key, version, RESOURCES[key].path(version))

    def _within(self, key: str, version: str, wrong: RequestRefused) -> tuple[Listed | None, str]:
        """As `read`, for a user who may list the resource in one namespace only."""
        resource = RESOURCES[key]
        if not (self._namespace and resource.namespaced) or resource.objects:
            return None, f"{wrong}; {resource.lacking}"
        try:
            listed = self._list(key, version, resource.path(version, self._namespace))
        except RequestRefused:
            return None, f"{wrong}; {resource.lacking}"
        return listed, f"{resource.plural}: only those of namespace {self._namespace} may be read"

    def _page_at(self, path: str, number: int) -> bytes:
        return (self._kubectl if number < PAGES_ALONE else self._proxy).get(path)

    def _list(self, key: str, version: str, path: str) -> Listed:
        for _ in range(RESTARTS):
            try:
                return self._pages(key, version, path, self._page)
            except Expired:
                continue
        return self._pages(key, version, path, 0)

    def _pages(self, key: str, version: str, path: str, size: int) -> Listed:
        """All pages of a list; with `size` 0 it is one page. Raises Expired if the list expires between pages."""
        items: list[dict[str, Any]] = []
        revision = ""
        for found in pages(self._page_at, path, size):
            revision = found["metadata"].get("resourceVersion", "")
            items += [kept(item, key, version) for item in found.get("items") or ()]
            self._progress(RESOURCES[key].plural, len(items))
        return Listed(key, version, tuple(items), revision)


def pages(ask: Callable[[str, int], bytes], path: str, size: int = PAGE) -> Iterator[dict[str, Any]]:
    """The pages of a list, each requested while the one before is processed; with `size` 0 it is one page.

    `ask` gets the path of a page, and the number of pages before it.
    """

    def query(following: str) -> str:
        parts = [f"limit={size}"] * bool(size) + [f"continue={quote(following)}"] * bool(following)
        return f"{path}{'&' if '?' in path else '?'}{'&'.join(parts)}" if parts else path

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(ask, query(""), 0)
        for number in count(1):
            answer = coming.result()
            following = continuation(answer, path)
            if following:
                coming = pool.submit(ask, query(following), number)
            yield decoded(answer, path, LISTS)
            if not following:
                return


def kept(item: dict[str, Any], resource: str, version: str) -> dict[str, Any]:
    """An object with the fields that felixpy keeps, and the apiVersion and kind that items of lists lack.

    >>> kept({"metadata": {"name": "shop", "managedFields": []}}, "namespaces", "v1")
    {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': 'shop'}}
    """
    kind = RESOURCES[resource].kind
    return {"apiVersion": version, "kind": kind, **trimmed(item, kind)}


def groups(listing: Listing) -> Sequence[tuple[str, Sequence[dict[str, Any]]]]:
    """(name, objects) of each resource that has objects: ``production/pods``."""
    return [(group(listing, key), each.items) for key, each in listing.listed.items() if each.items]


def group(listing: Listing, resource: str) -> str:
    """The name of a resource in messages. Calico's and Kubernetes' policies have the same plural.

    >>> group(Listing("production", {}, ()), "calico/networkpolicies")
    'production/calico/networkpolicies'
    """
    return f"{listing.context}/{resource}"
