"""Converted objects put together to a Cluster, and what only shows when they are together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from felixpy.errors import Path, Place, Problem, sort_problems
from felixpy.manifests.completion.installation import Installed
from felixpy.manifests.kinds import Key
from felixpy.manifests.objects import automatic, calico, networks
from felixpy.manifests.objects.pods import address_path
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
        self._automatic: list[HostEndpoint] = []

    def add(self, key: Key, converted: Any, part: str = "") -> None:
        """`part` is the field of `Cluster`, by default that of the kind."""
        self._pairs[part or key.kind.part].append((key, converted))

    def drop_twins(self) -> Iterator[tuple[Key, Finding]]:
        """Of a pod that the input has as Pod and as WorkloadEndpoint the pod counts, of which more is known."""
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
        """By namespace, name and kind, so that the order of documents does not matter."""
        for pairs in self._pairs.values():
            pairs.sort(key=itemgetter(0))

    def add_automatic(self, nodes: Sequence[tuple[Data, Source]]) -> None:
        """Host endpoints that Calico makes by itself; those that are in the manifests already are left alone."""
        given = {key.name for key, _ in self._pairs["host_endpoints"]}
        for _, wanted in self._pairs["automatic"]:
            made = automatic.host_endpoints(wanted, nodes)
            self._automatic += [endpoint for endpoint in made if endpoint.name not in given]

    def doubts(self, refused_tiers: set[str], objects: Mapping[Key, Document]) -> Iterator[tuple[Key, Finding]]:
        """What is wrong or odd between objects."""
        yield from self._unknown_tiers(refused_tiers)
        yield from self._shared_addresses(objects)
        yield from self._unknown_profiles()
        yield from self._named_ports_at_networks()

    def _unknown_tiers(self, refused: set[str]) -> Iterator[tuple[Key, Finding]]:
        tiers = {*calico.TIERS, *(key.name for key, _ in self._pairs["tiers"])}
        for key, policy in self._pairs["policies"]:
            if policy.tier not in tiers and policy.tier not in refused:
                reason = f"{shown(policy.tier)}: there is no such tier; known are {', '.join(sorted(tiers))}"
                hint = "the CRD alone lets it in; Felix then puts such a tier last, with Deny as its default action"
                yield key, Finding(("spec", "tier"), reason, hint)

    def _shared_addresses(self, objects: Mapping[Key, Document]) -> Iterator[tuple[Key, Finding]]:
        owners: dict[str, Key] = {}
        for key, workload in self._pairs["workloads"]:
            for index, address in enumerate(workload.addresses):
                owner = owners.setdefault(address, key)
                if owner is not key:
                    path = address_path(objects[key].data, index)
                    yield key, Finding(path, f"{address}: also used by {owner}", severity="warning")

    def _unknown_profiles(self) -> Iterator[tuple[Key, Finding]]:
        known = {calico.DEFAULT_ALLOW.name, *(profile.name for _, profile in self._pairs["profiles"])}
        for key, endpoint in self._pairs["host_endpoints"]:
            for index, name in enumerate(endpoint.profiles):
                if name not in known:
                    reason = f"{shown(name)}: there is no such profile; Felix takes one that denies everything"
                    yield key, Finding(("spec", "profiles", index), reason, severity="warning")

    def _named_ports_at_networks(self) -> Iterator[tuple[Key, Finding]]:
        """A port's name is looked up at endpoints; towards networks without one of them it matches nothing.

        (felix/calc: named ports become sets of endpoints' addresses)
        """
        declared: dict[str, set[str]] = defaultdict(set)
        for part in ("workloads", "host_endpoints"):
            for _, endpoint in self._pairs[part]:
                for port in endpoint.ports:
                    declared[port.name].update(endpoint.addresses)
        for key, policy in self._pairs["policies"]:
            for rule in policy.outbound:
                nets = rule.destination.nets
                for port in rule.destination.ports if nets else ():
                    if isinstance(port, str) and not _inside(declared[port], nets):
                        reason = f"port {shown(port)} towards {', '.join(nets)} never matches"
                        hint = "names are looked up at endpoints, and none there declares it; write the number"
                        yield key, Finding(rule.path, reason, hint, "warning")

    def cluster(self, found: Installed, problems: Sequence[Problem], where: Callable[[Source, Path], Place]) -> Cluster:
        def part(name: str) -> Iterator[Any]:
            return (converted for _, converted in self._pairs[name])

        endpoints = sorted((*part("host_endpoints"), *self._automatic), key=lambda endpoint: endpoint.name)
        return Cluster(
            workloads=tuple(part("workloads")),
            host_endpoints=tuple(endpoints),
            network_sets=tuple(part("network_sets")),
            policies=tuple(part("policies")),
            profiles={profile.name: profile for profile in (calico.DEFAULT_ALLOW, *part("profiles"))},
            tiers={**calico.TIERS, **{tier.name: tier for tier in part("tiers")}},
            pools=networks.one_for_each_cidr(tuple(part("pools"))),
            nodes={node.name: node for node in part("nodes")},
            slices=tuple(sorted(part("slices"), key=lambda item: (item.service, item.addresses, item.ports))),
            services={each.name: each for each in mirrored(part("services"), part("endpoints"))},
            host_pods=tuple(part("host_pods")),
            routes=tuple(part("routes")),
            grants=tuple(part("grants")),
            configurations=tuple(part("configurations")),
            cluster_type="".join(part("cluster_type")),
            service_cidrs=tuple(cidr for cidrs in part("service_cidrs") for cidr in cidrs),
            environment=tuple(found.environment),
            operator=tuple(found.operator),
            kube_proxy_mode=found.kube_proxy_mode,
            calico_version=found.calico_version,
            warnings=tuple(sort_problems(problem for problem in problems if problem.severity == "warning")),
            where=where,
        )
