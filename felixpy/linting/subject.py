"""A cluster, with facts that several checks need, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from felixpy.calico_versions import V3_32, CalicoVersion
from felixpy.config import Config, Setting
from felixpy.effective import configure, data_plane
from felixpy.errors import Path
from felixpy.layouts import NFTABLES
from felixpy.linting.reach import RuleReach
from felixpy.linting.views import Asked, Views
from felixpy.model import (
    NAMESPACE_LABEL,
    Cluster,
    HostEndpoint,
    Policy,
    Rule,
    Side,
    Source,
    Workload,
)
from felixpy.netfilter.numbers import NUMBERS
from felixpy.resolve import Shared
from felixpy.selector import And, LabelTest, Node, parse

DNS_PORTS = (53, 5353)
"""Where resolvers answer: kube-dns on 53, the resolver pods of OpenShift on 5353 (policies see the pod's port)."""

HOST_SERVICES: Mapping[str, tuple[tuple[str, int], ...]] = {
    "ingress": (("SSH", 22), ("the API server", 6443), ("etcd", 2379), ("etcd", 2380)),
    "egress": (("the API server", 6443), ("etcd", 2379)),
}
"""TCP ports without which a node or its cluster cannot be reached or repaired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintOptions:
    """Options of checks. `public_ports` are the ports on which the internet may reach pods."""

    public_ports: tuple[int, ...] = (80, 443)
    system_namespaces: tuple[str, ...] = (
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "calico-system",
        "tigera-operator",
    )


class DeclaredPorts(NamedTuple):
    """The ports of some endpoints: (protocol, port), and names. `complete`: all are pods that declare ports."""

    endpoints: int
    pods: int
    complete: bool
    ports: frozenset[tuple[str, int]]
    names: frozenset[str]


class Subject:
    """The cluster to check, and facts computed from it."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        calico_version: CalicoVersion = V3_32,
        settings: Sequence[Setting] = (),
        options: LintOptions | None = None,
        dataplane: str | None = None,
    ) -> None:
        self.cluster, self.calico_version, self.options = cluster, calico_version, options or LintOptions()
        self._dataplane = dataplane
        self._settings = (*calico_version.parameters, *settings)

    @cached_property
    def configs(self) -> Mapping[str, Config]:
        """The parameters in force on each node."""
        return {node: configure(self.cluster, node, self._settings) for node in self.cluster.node_names()}

    @cached_property
    def default_config(self) -> Config:
        """The parameters of a node without node-specific settings."""
        return configure(self.cluster, "", self._settings)

    @cached_property
    def nftables_nodes(self) -> tuple[str, ...]:
        """The nodes with the nftables data plane, by option or by the input."""
        if self._dataplane:
            return tuple(self.cluster.node_names()) if self._dataplane == NFTABLES.name else ()
        planes = {node: data_plane(self.cluster, node, self._settings) for node in self.cluster.node_names()}
        return tuple(node for node, plane in planes.items() if plane.kind == NFTABLES.name)

    @cached_property
    def shared(self) -> Shared:
        configs = self.configs.values() or [self.default_config]
        spoofing = any(config.source_spoofing == "Any" for config in configs)
        return Shared(self.cluster, self.calico_version, spoofing, next(iter(configs)).suppresses_overlaps)

    @cached_property
    def endpoints(self) -> frozenset[int]:
        """Numbers of pods and host endpoints."""
        return frozenset(number for numbers in self.shared.local.values() for number in numbers)

    @cached_property
    def pods(self) -> frozenset[int]:
        """Numbers of pods."""
        return frozenset(number for number in self.endpoints if isinstance(self.thing(number), Workload))

    @cached_property
    def hosts(self) -> frozenset[int]:
        """Numbers of host endpoints."""
        return self.endpoints - self.pods

    def thing(self, number: int) -> object:
        return self.shared.membership.labelled[number]

    def labels(self, number: int) -> Mapping[str, str]:
        return self.shared.membership.index.labels(number)

    def select(self, selector: str, among: AbstractSet[int] | None = None) -> AbstractSet[int]:
        """Endpoints and network sets that a selector matches, by number."""
        if among is not None:
            return self.shared.membership.index.select(parse(selector), among)
        found = self._by_selector.get(selector)
        if found is None:
            found = self._by_selector[selector] = self.shared.membership.index.select(parse(selector))
        return found

    @cached_property
    def _by_selector(self) -> dict[str, AbstractSet[int]]:
        return {}

    def declared(self, selector: str) -> DeclaredPorts:
        """The ports that the selected endpoints declare."""
        found = self._declared.get(selector)
        if found is None:
            chosen = [self.thing(number) for number in self.select(selector) if number in self.endpoints]
            pods = [thing for thing in chosen if isinstance(thing, Workload)]
            found = self._declared[selector] = DeclaredPorts(
                endpoints=len(chosen),
                pods=len(pods),
                complete=len(pods) == len(chosen) and all(pod.serves for pod in pods),
                ports=frozenset(served for pod in pods for served in pod.serves),
                names=frozenset(port.name for thing in chosen for port in getattr(thing, "ports", ())),
            )
        return found

    @cached_property
    def _declared(self) -> dict[str, DeclaredPorts]:
        return {}

    def selected(self, policy: Policy) -> AbstractSet[int]:
        """The endpoints that a policy applies to."""
        found = self._selected.get(id(policy))
        if found is None:
            found = self._selected[id(policy)] = self.select(policy.selector, self.endpoints)
        return found

    @cached_property
    def _selected(self) -> dict[int, AbstractSet[int]]:
        return {}

    @cached_property
    def policies(self) -> tuple[Policy, ...]:
        return self.cluster.policies

    @cached_property
    def enforced(self) -> tuple[Policy, ...]:
        """Policies that are not staged."""
        return tuple(policy for policy in self.cluster.policies if not policy.staged)

    # --- namespaces

    @cached_property
    def namespaces(self) -> Mapping[str, Mapping[str, str]]:
        """Labels, by name, of namespaces in the input and of those that its objects are in.

        These are the labels that endpoints inherit, and the label with the namespace's name.
        """
        found = {}
        for name, profile in self.cluster.profiles.items():
            if name.startswith("kns."):
                space = name.removeprefix("kns.")
                found[space] = {**profile.labels, NAMESPACE_LABEL: space}
        return found

    @cached_property
    def written_namespaces(self) -> frozenset[str]:
        """Names of the Namespace objects of the input; others were assumed from the objects in them."""
        written = (name for name in self.namespaces if self.cluster.profiles[f"kns.{name}"].source.end)
        return frozenset(written)

    @cached_property
    def by_namespace(self) -> Mapping[str, frozenset[int]]:
        """The numbers of pods by namespace."""
        found: dict[str, set[int]] = {}
        for number in self.pods:
            pod = self.thing(number)
            assert isinstance(pod, Workload)
            found.setdefault(pod.namespace, set()).add(number)
        return {name: frozenset(numbers) for name, numbers in found.items()}

    @cached_property
    def is_whole(self) -> bool:
        """Whether the input looks like a whole cluster: it has pods in the namespace of cluster components."""
        return "kube-system" in self.by_namespace

    # --- rules and their places

    def sides(self, policy: Policy) -> Iterator[tuple[Rule, bool, bool, Side, Path]]:
        """(rule, is ingress, is the other end, side, place) of every side with a condition, each place once."""
        seen: set[tuple[Path, bool]] = set()
        for rules, inward in ((policy.inbound, True), (policy.outbound, False)):
            for rule in rules:
                for side, is_source in ((rule.source, True), (rule.destination, False)):
                    path = side_path(policy, rule, is_source=is_source, inward=inward)
                    if side != Side() and (path, is_source) not in seen:
                        seen.add((path, is_source))
                        yield rule, inward, is_source == inward, side, path

    def is_written(self, source: Source, path: Path) -> bool:
        """Whether the manifest has a value at a path; if not, a place for the path is that of its parent."""
        return bool(source.end) and self.cluster.where(source, path) != self.cluster.where(source, path[:-1])

    # --- packets

    @cached_property
    def asked(self) -> Asked:
        """The ports that views have to distinguish for checks."""
        tcp, udp = NUMBERS["tcp"], NUMBERS["udp"]
        ports = {(protocol, port, False) for protocol in (tcp, udp) for port in DNS_PORTS}
        ports |= {(tcp, port, False) for services in HOST_SERVICES.values() for _, port in services}
        return frozenset(ports | {(tcp, port, False) for port in self.options.public_ports})

    @cached_property
    def views(self) -> Views:
        """The exact analysis of every endpoint's policies."""
        configs = tuple(self.configs.values()) or (self.default_config,)
        families = sorted({family for config in configs for family in config.families})
        safe = (
            *(port for c in configs for port in c.failsafe_inbound),
            *(p for c in configs for p in c.failsafe_outbound),
        )
        return Views(self.shared, families, self.asked, [port.net for port in safe if port.net])

    @cached_property
    def reach(self) -> RuleReach:
        return RuleReach(self.views)


KUBERNETES_KINDS = ("KubernetesNetworkPolicy", "StagedKubernetesNetworkPolicy", "KubernetesClusterNetworkPolicy")
"""Kinds whose rules list peers and ports instead of a source and a destination."""


def side_path(policy: Policy, rule: Rule, *, is_source: bool, inward: bool) -> Path:
    """The path of a side of a rule: a peer, the rule that has the ports, or source or destination."""
    if policy.key.kind in KUBERNETES_KINDS:
        return rule.peer if rule.peer and is_source == inward else rule.path
    return (*rule.path, "source" if is_source else "destination")


def conjuncts(selector: str) -> list[Node]:
    """The conditions of a selector that all have to hold, with nesting removed."""
    found: list[Node] = []
    waiting = [parse(selector)]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, And):
            waiting = [*node.operands, *waiting]
        else:
            found.append(node)
    return found


def name_of(thing: object) -> str:
    """A pod or host endpoint in words."""
    if isinstance(thing, Workload):
        return f"pod {thing.namespace}/{thing.name}"
    assert isinstance(thing, HostEndpoint)
    return f"host endpoint {thing.name}"


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, and how many more there are.

    >>> listed(["a", "b", "c", "d"]), listed(["a", "b"])
    ('a, b, c and 1 more', 'a and b')
    """
    known = list(names)
    shown = known[:most]
    if len(known) > most:
        return f"{', '.join(shown)} and {len(known) - most} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def any_of(number: int, noun: str) -> str:
    """The words for all of some things, after a negation.

    >>> any_of(2, "pod"), any_of(1, "pod")
    ('any of the 2 pods', 'the only pod')
    """
    return f"the only {noun}" if number == 1 else f"any of the {number} {noun}s"


def none_of(number: int, noun: str) -> str:
    """As `any_of`, with the negation.

    >>> none_of(2, "pod"), none_of(1, "pod")
    ('none of the 2 pods', 'not the only pod')
    """
    return f"not the only {noun}" if number == 1 else f"none of the {number} {noun}s"


def tests_of(node: Node) -> list[LabelTest]:
    """The label conditions of a conjunct: the condition itself, or the alternatives of an or."""
    from felixpy.selector import tests

    return list(tests(node))
