"""Exposure: workloads that no policy protects, and what is open to pods and addresses that are not in the input.

Only the workload's own policies are evaluated: whether its node lets a connection in, or out. The policies of the other
end are unknown. Strangers (pods that are not in the input) have exactly the labels that are named: one with the labels
of several may do what any of these may, or less where rules deny.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import reduce
from ipaddress import ip_address, ip_network
from itertools import islice
from operator import and_
from typing import Literal, NamedTuple

from felixpy.compiler import Compiler
from felixpy.exposure.strangers import ANYBODY, Stranger, invited, pod_name, strangers
from felixpy.flows import Connectivity, survey
from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.flow import Peer
from felixpy.flows.reachability.pairs import Pairs
from felixpy.labels import LabelIndex
from felixpy.model import Cluster, Policy
from felixpy.selector import parse
from felixpy.tracing import Nodes

Direction = Literal["ingress", "egress"]
DIRECTIONS: tuple[Direction, ...] = ("ingress", "egress")

FIRST = {4: int(ip_address("198.19.128.1")), 6: int(ip_address("2001:db8:198:19:8000::1"))}
"""The first address of strangers; these nets belong to benchmarks and documentation."""


class Open(NamedTuple):
    """The traffic that is open between a workload and a stranger or an address outside (an external `Peer`)."""

    workload: Peer
    direction: Direction
    other: Stranger | Peer
    traffic: Traffic
    family: int


MOST_TRIED = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """`unprotected`: workloads with the directions in which no policy applies to them; `opened`: all that is open.

    Strangers with labels are listed only if what is open to them differs from what is open to any pod.
    """

    workloads: tuple[Peer, ...]
    unprotected: tuple[tuple[Peer, tuple[Direction, ...]], ...]
    opened: tuple[Open, ...]


def exposure(nodes: Nodes, pairs: Pairs) -> Exposure:
    """The exposure of the workloads in `pairs`, the connections of the same input. Raises what compiling raises."""
    return _Analysis(nodes, pairs).found()


class _Analysis:
    def __init__(self, nodes: Nodes, pairs: Pairs) -> None:
        self.cluster, self.pairs = nodes.cluster, pairs
        self.guests = strangers(self.cluster, _selectors(self.cluster.policies))
        more = invited(self.cluster, self.guests, _addresses(self.cluster, len(self.guests)))
        compiler = Compiler(more, nodes.compiler.calico_version, nodes.compiler.dataplane)
        self.survey: Connectivity = survey(Nodes(compiler, hosts=nodes.hosts, settings=nodes.settings))
        self.positions = {
            endpoint.identity[1:]: position
            for position, endpoint in self.survey.endpoints.items()
            if endpoint.identity.kind == "pod"
        }
        spaces = {pod.name: pod.namespace for pod in more.workloads[len(self.cluster.workloads) :]}
        self.strange = [self.positions[spaces[pod_name(n)], pod_name(n)] for n in range(len(self.guests))]

    def found(self) -> Exposure:
        peers = [unit.peer for unit in self.pairs.units if unit.peer.kind in ("workload", "pod")]
        opened = [
            each for peer in peers for direction in DIRECTIONS for family in self.survey.grids
            for each in self._of_peer(peer, direction, family)
        ]  # fmt: skip
        opened += self._outside(set(peers))
        ranks = {(peer.space, name): rank for rank, peer in enumerate(peers) for name in peer.pods}
        opened.sort(key=lambda each: ranks[each.workload.space, each.workload.pods[0]])
        return Exposure(
            workloads=tuple(peers),
            unprotected=tuple(_unprotected(self.cluster, peers)),
            opened=tuple(opened),
        )

    def _of_peer(self, peer: Peer, direction: Direction, family: int) -> Iterator[Open]:
        """What is open to a peer. Its pods are analysed one by one, as they may differ in what strangers may do."""
        told = {name: self._of_pod(peer.space, name, direction, family) for name in peer.pods}
        if len({tuple(each) for each in told.values()}) == 1:
            told = {"": next(iter(told.values()))}
        for name, found in told.items():
            alone = Peer("pod", peer.space, name, pods=(name,)) if name else peer
            yield from (Open(alone, direction, guest, traffic, family) for guest, traffic in found)

    def _of_pod(self, space: str, name: str, direction: Direction, family: int) -> list[tuple[Stranger, Traffic]]:
        grid, position = self.survey.grids[family], self.positions.get((space, name), -1)
        if position not in grid.positions:
            return []
        half = grid.accepts if direction == "ingress" else grid.sends
        whole = [half(position, stranger) if stranger in grid.positions else 0 for stranger in self.strange]
        # What is open to every stranger, whatever its labels, is what is open to any pod.
        anybody = reduce(and_, whole)
        never = grid.never(position) if direction == "egress" else 0
        tell, filled = grid.space.traffic.tell, grid.space.traffic.filled
        found = [(ANYBODY, anybody)] if anybody else []
        found += [(guest, traffic) for guest, traffic in zip(self.guests, whole, strict=True) if traffic & ~anybody]
        return [(guest, tell(filled(traffic, never))) for guest, traffic in found]

    def _outside(self, peers: set[Peer]) -> Iterator[Open]:
        """What is open between workloads and addresses outside, in both directions."""
        for flow in self.pairs.flows():
            if flow.source.kind == "external" and flow.destination in peers:
                yield Open(flow.destination, "ingress", flow.source, flow.traffic, flow.source.lowest[0])
            if flow.destination.kind == "external" and flow.source in peers:
                yield Open(flow.source, "egress", flow.destination, flow.traffic, flow.destination.lowest[0])


def _addresses(cluster: Cluster, number: int) -> Iterator[Mapping[int, str]]:
    """Addresses for strangers: the last unused ones of a pool, or of a network that no rule mentions."""
    used = {text for pod in cluster.workloads for text in pod.addresses}
    families = sorted({6 if ":" in text else 4 for text in used} or {4})
    columns = [islice(_free(cluster, family, used), number) for family in families]
    for row in zip(*columns, strict=True):
        yield dict(zip(families, row, strict=True))


def _free(cluster: Cluster, family: int, used: AbstractSet[str]) -> Iterator[str]:
    pools = (ip_network(pool.cidr) for pool in cluster.pools if pool.workloads)
    for pool in (net for net in pools if net.version == family):
        # The very last address of an IPv4 network is for broadcasts.
        for offset in range(2, min(pool.num_addresses, MOST_TRIED)):
            if (text := str(pool[-offset])) not in used:
                yield text
    yield from (str(ip_address(FIRST[family] + offset)) for offset in range(MOST_TRIED))


def _selectors(policies: Iterable[Policy]) -> Iterator[str]:
    """The selectors with which rules match peers."""
    for policy in policies:
        if policy.staged:
            continue
        for rule in policy.inbound:
            yield from filter(None, (rule.source.selector, rule.source.not_selector))
        for rule in policy.outbound:
            yield from filter(None, (rule.destination.selector, rule.destination.not_selector))


def _unprotected(cluster: Cluster, peers: Sequence[Peer]) -> Iterator[tuple[Peer, tuple[Direction, ...]]]:
    """Workloads with a pod to which no policy applies in some direction, and these directions."""
    labels = {name: profile.labels for name, profile in cluster.profiles.items()}
    index = LabelIndex(dict(enumerate((pod.labels, pod.profiles) for pod in cluster.workloads)), labels)
    numbers = {(pod.namespace, pod.name): number for number, pod in enumerate(cluster.workloads)}
    protected: dict[Direction, set[int]] = {"ingress": set(), "egress": set()}
    for policy in cluster.policies:
        if policy.staged or policy.pre_dnat or policy.do_not_track:
            continue
        selected = index.select(parse(policy.selector))
        if policy.ingress:
            protected["ingress"] |= selected
        if policy.egress:
            protected["egress"] |= selected
    for peer in peers:
        members = {numbers[peer.space, name] for name in peer.pods if (peer.space, name) in numbers}
        missing = tuple(direction for direction in DIRECTIONS if members - protected[direction])
        if missing:
            yield peer, missing
