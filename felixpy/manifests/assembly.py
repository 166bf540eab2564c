"""Build a Cluster from converted objects, and check references between them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from felixpy.errors import Path, Place, Problem, sort_problems
from felixpy.manifests.completion.installation import Installed
from felixpy.manifests.kinds import Key
from felixpy.manifests.objects import automatic, calico, networks
from felixpy.manifests.objects.services import mirrored
from felixpy.manifests.reading.documents import Document
from felixpy.manifests.validation.addresses import network, network_or_address
from felixpy.manifests.validation.findings import Finding, shown
from felixpy.model import Cluster, HostEndpoint, Source

Data = Mapping[str, Any]


def _inside(addresses: Iterable[str], nets: Sequence[str]) -> bool:
    """Whether one of the addresses is in one of the networks."""
    parsed = [net for net in map(network, nets) if net]
    given = [net for net in map(network_or_address, addresses) if net]
    return any(net.contains(address) for net in parsed for address in given)


class Parts:
    """Converted objects by the field of `Cluster` that they go to, each with its identity."""

    def __init__(self) -> None:
        self._pairs: dict[str, list[tuple[Key, Any]]] = defaultdict(list)
        self._nodes: dict[str, Document] = {}
        self._automatic: dict[str, tuple[HostEndpoint, ...]] = {}
        """Cached by node, dropped with the next change."""

    def add(self, key: Key, converted: Any, part: str = "") -> None:
        """`part` is the field of `Cluster`, by default that of the kind."""
        self._pairs[part or key.kind.part].append((key, converted))

    def drop_twins(self) -> Iterator[tuple[Key, Finding]]:
        """Drop WorkloadEndpoints of pods that the input also has as Pods, which contain more information."""
        if not any(key.kind.name != "Pod" for key, _ in self._pairs["workloads"]):
            return
        pods = {(each.namespace, each.name): each for key, each in self._pairs["workloads"] if key.kind.name == "Pod"}
        kept = []
        for key, each in self._pairs["workloads"]:
            pod = pods.get((each.namespace, each.name))
            if key.kind.name == "Pod" or pod is None:
                kept.append((key, each))
            elif (pod.node, pod.interface, pod.addresses) != (each.node, each.interface, each.addresses):
                reason = "says something else than the Pod of this name about node, interface or addresses"
                yield key, Finding((), reason, "the Pod counts", "warning")
        self._pairs["workloads"] = kept

    def sort(self) -> None:
        """Sort objects by namespace, name and kind, so that the order of documents does not matter."""
        for pairs in self._pairs.values():
            pairs.sort(key=itemgetter(0))

    def replace(self, key: Key, part: str, converted: Any) -> Any:
        """Replace an object in a sorted part (None: remove it); returns the object before, or None."""
        pairs = self._pairs[part]
        position = bisect_left(pairs, key, key=itemgetter(0))
        known = position < len(pairs) and pairs[position][0] == key
        before = pairs[position][1] if known else None
        pairs[position : position + known] = [(key, converted)] if converted is not None else []
        if part == "automatic":
            self._automatic.clear()
        return before

    def put_node(self, name: str, document: Document | None) -> None:
        """Keep the document of a Node (None: drop it), from which Calico makes host endpoints."""
        self._automatic.pop(name, None)
        if document:
            self._nodes[name] = document
        else:
            self._nodes.pop(name, None)

    def endpoints(self) -> tuple[HostEndpoint, ...]:
        """The host endpoints of the manifests, and the automatic ones whose names are not taken."""
        given = [each for _, each in self._pairs["host_endpoints"]]
        wanted = [each for _, each in self._pairs["automatic"]]
        names = {key.name for key, _ in self._pairs["host_endpoints"]}
        made = []
        for name, node in self._nodes.items() if wanted else ():
            if name not in self._automatic:
                self._automatic[name] = tuple(each for one in wanted for each in automatic.host_endpoints(one, [node]))
            made += [each for each in self._automatic[name] if each.name not in names]
        return tuple(sorted((*given, *made), key=lambda endpoint: endpoint.name))

    def doubts(
        self, refused_tiers: set[str], address_path: Callable[[Key, int], Path]
    ) -> Iterator[tuple[Key, Finding]]:
        """Findings about references between objects. `address_path` returns the path of a workload's address."""
        yield from self.unknown_tiers(refused_tiers)
        yield from self._shared_addresses(address_path)
        yield from self._unknown_profiles()
        yield from self._named_ports_at_networks()

    def unknown_tiers(self, refused: Collection[str] = ()) -> Iterator[tuple[Key, Finding]]:
        """Findings for policies in tiers that do not exist."""
        tiers = {*calico.TIERS, *(key.name for key, _ in self._pairs["tiers"])}
        for key, policy in self._pairs["policies"]:
            if policy.tier not in tiers and policy.tier not in refused:
                reason = f"{shown(policy.tier)}: there is no such tier; known are {', '.join(sorted(tiers))}"
                hint = "the CRD alone lets it in; Felix then puts such a tier last, with Deny as its default action"
                yield key, Finding(("spec", "tier"), reason, hint)

    def _shared_addresses(self, path: Callable[[Key, int], Path]) -> Iterator[tuple[Key, Finding]]:
        owners: dict[str, Key] = {}
        addresses = [address for _, workload in self._pairs["workloads"] for address in workload.addresses]
        if len(set(addresses)) == len(addresses):
            return
        for key, workload in self._pairs["workloads"]:
            for index, address in enumerate(workload.addresses):
                owner = owners.setdefault(address, key)
                if owner is not key:
                    yield key, Finding(path(key, index), f"{address}: also used by {owner}", severity="warning")

    def _unknown_profiles(self) -> Iterator[tuple[Key, Finding]]:
        known = {calico.DEFAULT_ALLOW.name, *(profile.name for _, profile in self._pairs["profiles"])}
        for key, endpoint in self._pairs["host_endpoints"]:
            for index, name in enumerate(endpoint.profiles):
                if name not in known:
                    reason = f"{shown(name)}: there is no such profile; Felix takes one that denies everything"
                    yield key, Finding(("spec", "profiles", index), reason, severity="warning")

    def _named_ports_at_networks(self) -> Iterator[tuple[Key, Finding]]:
        """Findings for named ports with networks: the name is looked up at endpoints, so elsewhere it matches nothing.

        (felix/calc: named ports become sets of endpoints' addresses)
        """
        asked = [
            (key, rule, port)
            for key, policy in self._pairs["policies"]
            for rule in policy.outbound
            if rule.destination.nets
            for port in rule.destination.ports
            if isinstance(port, str)
        ]
        declared = self._declared({port for _, _, port in asked})
        for key, rule, port in asked:
            nets = rule.destination.nets
            if not _inside(declared[port], nets):
                reason = f"port {shown(port)} towards {', '.join(nets)} never matches"
                hint = "names are looked up at endpoints, and none there declares it; write the number"
                yield key, Finding(rule.path, reason, hint, "warning")

    def _declared(self, names: Collection[str]) -> Mapping[str, Collection[str]]:
        """The addresses of the endpoints that declare ports of these names."""
        declared: dict[str, set[str]] = {name: set() for name in names}
        endpoints = (each for part in ("workloads", "host_endpoints") for _, each in self._pairs[part] if names)
        for endpoint in endpoints:
            for port in endpoint.ports:
                if port.name in declared:
                    declared[port.name].update(endpoint.addresses)
        return declared

    def cluster(self, found: Installed, problems: Sequence[Problem], where: Callable[[Source, Path], Place]) -> Cluster:
        """The cluster."""
        return Cluster(
            **{field: make(self) for field, (_, make) in FIELDS.items()},
            environment=tuple(found.environment),
            operator=tuple(found.operator),
            kube_proxy_mode=found.kube_proxy_mode,
            calico_version=found.calico_version,
            warnings=tuple(sort_problems(problem for problem in problems if problem.severity == "warning")),
            where=where,
        )

    def fields(self, parts: Collection[str]) -> dict[str, Any]:
        """The fields of a cluster that are made from any of these parts."""
        return {field: make(self) for field, (sources, make) in FIELDS.items() if not sources.isdisjoint(parts)}

    def of(self, part: str) -> Iterator[Any]:
        """The objects of a part."""
        return (converted for _, converted in self._pairs[part])


class _Field(NamedTuple):
    """The parts that a field of `Cluster` is made from, and the function that makes it."""

    parts: frozenset[str]
    make: Callable[[Parts], Any]


def _listed(part: str) -> _Field:
    return _Field(frozenset({part}), lambda parts: tuple(parts.of(part)))


FIELDS: Mapping[str, _Field] = {
    **{
        part: _listed(part)
        for part in ("workloads", "network_sets", "policies", "host_pods", "routes", "grants", "configurations")
    },
    "host_endpoints": _Field(frozenset({"host_endpoints", "automatic", "nodes"}), Parts.endpoints),
    "profiles": _Field(
        frozenset({"profiles"}),
        lambda parts: {each.name: each for each in (calico.DEFAULT_ALLOW, *parts.of("profiles"))},
    ),
    "tiers": _Field(
        frozenset({"tiers"}), lambda parts: {**calico.TIERS, **{tier.name: tier for tier in parts.of("tiers")}}
    ),
    "pools": _Field(frozenset({"pools"}), lambda parts: networks.one_for_each_cidr(tuple(parts.of("pools")))),
    "nodes": _Field(frozenset({"nodes"}), lambda parts: {node.name: node for node in parts.of("nodes")}),
    "slices": _Field(
        frozenset({"slices"}),
        lambda parts: tuple(sorted(parts.of("slices"), key=lambda each: (each.service, each.addresses, each.ports))),
    ),
    "services": _Field(
        frozenset({"services", "endpoints"}),
        lambda parts: {each.name: each for each in mirrored(parts.of("services"), parts.of("endpoints"))},
    ),
    "cluster_type": _Field(frozenset({"cluster_type"}), lambda parts: "".join(parts.of("cluster_type"))),
    "service_cidrs": _Field(
        frozenset({"service_cidrs"}), lambda parts: tuple(cidr for cidrs in parts.of("service_cidrs") for cidr in cidrs)
    ),
}
"""The fields of `Cluster` that objects become."""
