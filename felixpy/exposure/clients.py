"""Which clients reach which port of a Service: all of the endpoints that their nodes may choose, or only some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from felixpy.exposure.routes import beyond, traffic_of
from felixpy.flows import Connectivity, PortChoice, survey
from felixpy.flows.packets.packet_sets import PacketSet, bits, traffic_with
from felixpy.flows.packets.peers import Layer
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.reachability.grid import Grid
from felixpy.flows.reachability.pairs import Pairs
from felixpy.frontends import Service, ServicePort
from felixpy.model import Cluster
from felixpy.netfilter.numbers import Range, parse_address, protocol_number, spell_address
from felixpy.services import Client, ServiceEndpoint, ServiceEndpoints, choose
from felixpy.services.proxy import zone_of
from felixpy.tracing import Nodes, Question, Tracer
from felixpy.tracing.service_report import ServiceTrace
from felixpy.tracing.services import ServiceTracer


class Reach(NamedTuple):
    """The endpoints that a client may be given at a port of a Service: how many there are, and how many it reaches."""

    client: Peer
    service: Peer
    port: ServicePort
    reached: int
    total: int

    def __str__(self) -> str:
        """``shop/web => shop/svc/api : TCP 80 (1 of 2 endpoints)``."""
        some = f" ({self.reached} of {self.total} endpoints)" if self.reached < self.total else ""
        return f"{self.client} => {self.service} : {self.port.protocol.upper()} {self.port.port}{some}"

    def json(self) -> dict[str, Any]:
        named = {"portName": self.port.name} if self.port.name else {}
        return {
            "source": self.client.json(),
            "service": {"namespace": self.service.space, "name": self.service.name},
            "protocol": self.port.protocol.upper(),
            "port": self.port.port,
            **named,
            "reached": self.reached,
            "endpoints": self.total,
        }


def target_ports(cluster: Cluster) -> list[PortChoice]:
    """The ports of all endpoints of Services, which a survey has to distinguish."""
    endpoints = ServiceEndpoints(cluster)
    found = {
        (port.protocol, each.port)
        for service in cluster.services.values()
        for port in service.ports
        for family in (4, 6)
        for each in endpoints.behind(service, port, family)
    }
    return [PortChoice(protocol_number(name), Range(number, number)) for name, number in sorted(found)]


def reaches(found: Connectivity, pairs: Pairs) -> list[Reach]:
    """The Services that pods reach. `found` must have been made for `target_ports`; `pairs` name the pods."""
    if not found.side.nodes.cluster.services:
        return []
    return [each for each in _Clients(found, pairs).all() if each.reached]


class _Clients:
    def __init__(self, found: Connectivity, pairs: Pairs) -> None:
        self.found, self.pairs, self.nodes = found, pairs, found.side.nodes
        self.cluster = self.nodes.cluster
        self.endpoints = ServiceEndpoints(self.cluster, self.nodes.book.address)
        self._rows: dict[tuple[int, int], PacketSet] = {}

    def all(self) -> Iterator[Reach]:
        for unit in self.pairs.units:
            if unit.peer.kind not in ("workload", "pod"):
                continue
            members = [*bits(unit.bits)]
            for service in self.cluster.services.values():
                if service.external_name:
                    continue
                to = Peer("service", service.name.namespace, service.name.name)
                for port in service.ports:
                    counts = {position: self._count(position, service, port) for position in members}
                    if len(set(counts.values())) == 1:
                        yield Reach(unit.peer, to, port, *counts[members[0]])
                        continue
                    for position, count in counts.items():
                        name = self.found.endpoints[position].identity.name
                        yield Reach(Peer("pod", unit.peer.space, name, pods=(name,)), to, port, *count)

    def _count(self, position: int, service: Service, port: ServicePort) -> tuple[int, int]:
        """(endpoints that a pod reaches, all endpoints), in the first family that has any."""
        endpoint = self.found.endpoints[position]
        node = self.cluster.nodes.get(endpoint.node)
        zone = zone_of(node.labels) if node else ""
        for family, grid in self.found.grids.items():
            number = endpoint.addresses.get(family)
            behind = self.endpoints.behind(service, port, family)
            if number is None or not behind:
                continue
            own = spell_address(number, family)
            if service.headless:
                chosen: Sequence[ServiceEndpoint] = [each for each in behind if each.ready]
            else:
                chosen = choose(service, behind, "cluster", Client("pod", own), endpoint.node, zone).endpoints
            return sum(self._reaches(position, own, each, port, service, grid) for each in chosen), len(chosen)
        return 0, 0

    def _reaches(
        self, position: int, own: str, endpoint: ServiceEndpoint, port: ServicePort, service: Service, grid: Grid
    ) -> bool:
        family = grid.space.family
        if endpoint.address == own:
            return service.headless or self._reaches_itself(own, service, port, family)
        number = parse_address(endpoint.address).number
        peer = self._owners[family].get(number) or grid.space.externals.peers((Layer(Range(number, number)),))
        wanted = PortChoice(protocol_number(port.protocol), Range(endpoint.port, endpoint.port))
        mask = wanted.mask(grid.space.traffic)
        row = self._rows.setdefault((family, position), grid.row(position))
        return mask & ~traffic_with(row, peer) == 0

    def _reaches_itself(self, own: str, service: Service, port: ServicePort, family: int) -> bool:
        """Whether a pod reaches itself through a Service: the packet goes out and in again, through its policies."""
        name = service.name
        question = Question(
            source=own, destination=f"{name.namespace}/svc/{name.name}", port=port.name or port.port,
            protocol=port.protocol, family=family,
        )  # fmt: skip
        answer = self._tracer.trace(question)
        assert isinstance(answer, ServiceTrace)
        rows = [row for row in answer.rows if row.endpoint and row.endpoint.address == own]
        return any(row.verdict == "allow" for row in rows)

    @cached_property
    def _tracer(self) -> ServiceTracer:
        return ServiceTracer(Tracer(self.nodes))

    @cached_property
    def _owners(self) -> Mapping[int, Mapping[int, int]]:
        """Bits of the survey's endpoints by family and address."""
        found: dict[int, dict[int, int]] = {4: {}, 6: {}}
        for position, endpoint in self.found.endpoints.items():
            for family, address in endpoint.addresses.items():
                found[family].setdefault(address, 1 << position)
        return found


def as_flows(found: Iterable[Reach]) -> Iterator[Flow]:
    """A flow for each Service that a client reaches at every endpoint that it may be given."""
    ports: dict[tuple[Peer, Peer], set[tuple[str, int]]] = defaultdict(set)
    for each in found:
        if each.reached == each.total:
            ports[each.client, each.service].add((each.port.protocol, each.port.port))
    yield from (Flow(client, service, traffic_of(numbers)) for (client, service), numbers in ports.items())


class ServiceChanges(NamedTuple):
    """Services that clients reach in the second of two inputs only, and those that they reach in the first only."""

    opened: tuple[Flow, ...] = ()
    closed: tuple[Flow, ...] = ()

    def json(self) -> dict[str, Any]:
        return {"opened": [flow.json() for flow in self.opened], "closed": [flow.json() for flow in self.closed]}


NO_CHANGES = ServiceChanges()


def service_changes(before: Nodes, after: Nodes) -> ServiceChanges:
    """The Services that clients reach in only one of two inputs; none if rules come from dumps."""
    if before.dumps or after.dumps or not (before.cluster.services or after.cluster.services):
        return NO_CHANGES
    old, new = (list(as_flows(_surveyed(nodes))) for nodes in (before, after))
    return ServiceChanges(tuple(beyond(new, old)), tuple(beyond(old, new)))


def _surveyed(nodes: Nodes) -> list[Reach]:
    if not nodes.cluster.services:
        return []
    found = survey(nodes, ports=target_ports(nodes.cluster))
    return reaches(found, found.pairs(external=False))
