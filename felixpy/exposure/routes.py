"""What Ingresses and routes open: connections from ingress controllers to the pods behind Services.

A controller that is not in the input is assumed to be a pod without labels in a separate namespace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

from felixpy.compiler import Compiler
from felixpy.exposure.controllers import NAME, NAMESPACE, serving, with_controller
from felixpy.flows.packets.traffic_words import Traffic, TrafficPart
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.reachability.universe import PortChoice
from felixpy.frontends import Backend, Route, Service, ServicePort
from felixpy.model import Cluster, Owner
from felixpy.netfilter.numbers import Range, protocol_number
from felixpy.services import ServiceEndpoint, ServiceEndpoints
from felixpy.topology.endpoints import Directory
from felixpy.tracing import Nodes, Question, Tracer

CONTROLLER = Peer("ingress-controller", "", NAME)
PROTOCOLS: Mapping[str, frozenset[str]] = {"UDPRoute": frozenset({"udp"})}
TCP = frozenset({"tcp"})


class Reached(NamedTuple):
    """A connection that a route needs, to one endpoint. `source` is "" for a controller that is not in the input."""

    route: Route
    service: str
    port: str
    source: str
    endpoint: ServiceEndpoint
    protocol: str
    allowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFlows:
    """What all routes open together. `flows` are those of a controller that is not in the input.

    `remarks` name routes without endpoints, and endpoints that policies do not let them reach.
    """

    reached: tuple[Reached, ...] = ()
    flows: tuple[Flow, ...] = ()
    remarks: tuple[str, ...] = ()


def route_flows(nodes: Nodes, peers: Iterable[Peer], ports: Sequence[PortChoice] = ()) -> RouteFlows:
    """The connections that the routes of a cluster need, and which of them policies allow.

    `peers` are the endpoints as the result names them, `ports` those to look at, by default all. Nothing is returned
    for dumps: saved rules cannot decide about a controller that is not on the node.
    """
    if not nodes.cluster.routes or nodes.dumps:
        return RouteFlows()
    return _Routes(nodes, list(peers), ports).found()


class RouteChanges(NamedTuple):
    """Connections of ingress controllers that only the second input opens, and those that only the first does."""

    opened: tuple[Flow, ...]
    closed: tuple[Flow, ...]


def route_changes(before: Nodes, after: Nodes) -> RouteChanges:
    """What routes open in only one of two inputs; nothing if rules come from dumps."""
    if before.dumps or after.dumps:
        return RouteChanges((), ())
    old, new = (route_flows(nodes, folded(nodes.cluster)).flows for nodes in (before, after))
    return RouteChanges(tuple(beyond(new, old)), tuple(beyond(old, new)))


def beyond(flows: Iterable[Flow], others: Iterable[Flow]) -> Iterator[Flow]:
    """The flows reduced to the ports that no flow between the same two ends in `others` has."""
    known = {_ends(flow): ports_of_traffic(flow.traffic) for flow in others}
    for flow in flows:
        left = ports_of_traffic(flow.traffic) - known.get(_ends(flow), set())
        if left:
            yield flow._replace(traffic=traffic_of(left))


def _ends(flow: Flow) -> tuple[str, str]:
    return str(flow.source), str(flow.destination)


def ports_of_traffic(traffic: Traffic) -> set[tuple[str, int]]:
    """The (protocol, port) pairs of traffic that `traffic_of` made."""
    return {
        (part.protocol.lower(), number)
        for part in traffic.parts
        for numbers in part.numbers
        for number in range(numbers.first, numbers.last + 1)
    }


def folded(cluster: Cluster) -> list[Peer]:
    """The endpoints of a cluster as peers: each workload with its pods, and pods without a workload."""
    members: dict[tuple[str, Owner], list[str]] = defaultdict(list)
    for pod in cluster.workloads:
        if pod.owner:
            members[pod.namespace, pod.owner].append(pod.name)
    alone = [Peer("pod", pod.namespace, pod.name, pods=(pod.name,)) for pod in cluster.workloads if not pod.owner]
    return alone + [
        Peer("workload", space, owner.name, owner.kind, tuple(sorted(names)))
        for (space, owner), names in members.items()
    ]


class _Routes:
    def __init__(self, nodes: Nodes, peers: Sequence[Peer], ports: Sequence[PortChoice]) -> None:
        self.nodes, self.cluster, self.peers, self.asked = nodes, nodes.cluster, peers, ports
        self.endpoints = ServiceEndpoints(nodes.cluster, nodes.book.address)
        self.remarks: list[str] = []

    def found(self) -> RouteFlows:
        reached = [each for route in self.cluster.routes for each in self._route(route)]
        return RouteFlows(
            reached=tuple(reached),
            flows=tuple(self._flows(each for each in reached if each.allowed and not each.source)),
            remarks=tuple(dict.fromkeys([*self.remarks, *_closed(reached)])),
        )

    # --- which endpoints a route leads to

    def _route(self, route: Route) -> Iterator[Reached]:
        pods = serving(self.cluster, route)
        sources = [f"{pod.namespace}/{pod.name}" for pod in pods] or [""]
        for backend in route.backends:
            service = self.cluster.services.get(backend.service)
            if service is None:
                self.remarks.append(f"{route}: there is no service {backend.service} in the input")
                continue
            if not self._granted(route, backend):
                self.remarks.append(f"{route}: no ReferenceGrant lets it use service {backend.service}")
                continue
            ports = [*_ports(route, backend, service)]
            if not ports:
                self.remarks.append(f"{route}: service {backend.service} has no port {backend.port or 'for it'}")
            for port in ports:
                yield from self._port(route, service, port, sources)

    def _port(self, route: Route, service: Service, port: ServicePort, sources: Sequence[str]) -> Iterator[Reached]:
        families = [family for family in (4, 6) if self.endpoints.behind(service, port, family)]
        if not families:
            self.remarks.append(f"{route}: service {service.name} port {port} has no endpoints")
        for family in families[:1]:
            behind = self.endpoints.behind(service, port, family)
            ready = [each for each in behind if each.ready] or [each for each in behind if each.last_resort]
            for source in sources:
                for endpoint in filter(partial(self._is_asked, port.protocol), ready):
                    allowed = self._allowed(source, endpoint, port.protocol, family)
                    yield Reached(route, str(service.name), str(port), source, endpoint, port.protocol, allowed)

    def _is_asked(self, protocol: str, endpoint: ServiceEndpoint) -> bool:
        return not self.asked or any(
            choice.protocol == protocol_number(protocol)
            and (choice.ports is None or choice.ports.first <= endpoint.port <= choice.ports.last)
            for choice in self.asked
        )

    def _granted(self, route: Route, backend: Backend) -> bool:
        if backend.service.namespace == route.namespace:
            return True
        return any(
            grant.namespace == backend.service.namespace
            and (route.kind, route.namespace) in grant.sources
            and (not grant.names or backend.service.name in grant.names)
            for grant in self.cluster.grants
        )

    # --- whether policies let it through

    def _allowed(self, source: str, endpoint: ServiceEndpoint, protocol: str, family: int) -> bool:
        tracer = self._tracer if source else self._augmented
        question = Question(
            source=source or f"{NAMESPACE}/{NAME}", destination=endpoint.address, port=endpoint.port,
            protocol=protocol, family=family,
        )  # fmt: skip
        return tracer.trace(question).allowed

    @cached_property
    def _tracer(self) -> Tracer:
        return Tracer(self.nodes)

    @cached_property
    def _augmented(self) -> Tracer:
        """A tracer for the cluster with an added controller pod, whose address no rule mentions."""
        directory = Directory(self.cluster, self.nodes.book)
        used = {6 if ":" in address else 4 for pod in self.cluster.workloads for address in pod.addresses} or {4}
        addresses = {family: directory.find("internet", family).address for family in sorted(used)}
        cluster, _ = with_controller(self.cluster, addresses)
        compiler = Compiler(cluster, self.nodes.compiler.calico_version, self.nodes.compiler.dataplane)
        return Tracer(Nodes(compiler, hosts=self.nodes.hosts, settings=self.nodes.settings))

    # --- as flows between peers

    def _flows(self, reached: Iterable[Reached]) -> Iterator[Flow]:
        """Flows to peers; the pods of a workload are one peer if all are reached on the same ports."""
        by_peer: dict[Peer, dict[str, set[tuple[str, int]]]] = defaultdict(lambda: defaultdict(set))
        for each in reached:
            peer, member = self._peer(each.endpoint)
            by_peer[peer][member].add((each.protocol, each.endpoint.port))
        for peer in sorted(by_peer, key=str):
            members = by_peer[peer]
            sets = {frozenset(ports) for ports in members.values()}
            if len(sets) == 1 and (len(members) == len(peer.pods) or peer.kind != "workload"):
                yield Flow(CONTROLLER, peer, traffic_of(sets.pop()))
            else:
                for name, ports in sorted(members.items()):
                    yield Flow(CONTROLLER, Peer("pod", peer.space, name, pods=(name,)), traffic_of(ports))

    @cached_property
    def _homes(self) -> Mapping[tuple[str, str], Peer]:
        return {(peer.space, name): peer for peer in self.peers for name in peer.pods}

    @cached_property
    def _owners(self) -> Mapping[str, tuple[str, str]]:
        return {text: (pod.namespace, pod.name) for pod in self.cluster.workloads for text in pod.addresses}

    def _peer(self, endpoint: ServiceEndpoint) -> tuple[Peer, str]:
        """The peer that an endpoint belongs to, and the name of the pod."""
        owner = self._owners.get(endpoint.address)
        if owner:
            return self._homes.get(owner) or Peer("pod", *owner, pods=(owner[1],)), owner[1]
        node = self.nodes.book.node(endpoint.address)
        if node:
            return Peer("host", "", node), node
        length = 128 if ":" in endpoint.address else 32
        words = f"{endpoint.address}/{length}"
        return Peer("external", "", "", ranges=(words,), words=words), words


def _ports(route: Route, backend: Backend, service: Service) -> Iterator[ServicePort]:
    """The ports of a Service that a backend refers to by number or name; a Route may also name the target port."""
    for port in service.ports:
        same = backend.port in (port.port, port.name) or (route.kind == "Route" and backend.port == port.target)
        if port.protocol in PROTOCOLS.get(route.kind, TCP) and (backend.port is None or same):
            yield port


def _closed(reached: Iterable[Reached]) -> Iterator[str]:
    for each in reached:
        if not each.allowed:
            by = f"from {each.source}" if each.source else "from a pod that is not in the input"
            yield f"{each.route}: policies close {each.service} port {each.port} ({each.endpoint.address}) {by}"


def traffic_of(ports: Iterable[tuple[str, int]]) -> Traffic:
    """Traffic of (protocol, port) pairs; adjacent ports become ranges."""
    by_protocol: dict[str, set[int]] = defaultdict(set)
    for protocol, port in ports:
        by_protocol[protocol].add(port)
    return Traffic(
        tuple(
            TrafficPart(protocol.upper(), protocol_number(protocol), "ports", tuple(_ranges(sorted(numbers))))
            for protocol, numbers in sorted(by_protocol.items(), key=lambda item: protocol_number(item[0]))
        )
    )


def _ranges(numbers: Sequence[int]) -> Iterator[Range]:
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield Range(first, last)
            first = number
        last = number
    yield Range(first, last)
