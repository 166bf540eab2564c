"""Destinations that are redirected: a Service by name or address, a NodePort, or a hostPort."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Literal, NamedTuple, cast

from felixpy.errors import UsageError
from felixpy.frontends import Service, ServicePort
from felixpy.netfilter.numbers import PROTOCOLS, WITH_PORTS, protocol_number
from felixpy.services import ServiceDirectory, ServiceEndpoint, Via
from felixpy.services.directory import VIA_WORDS, ports_of
from felixpy.topology.endpoints import NODES, Endpoint
from felixpy.topology.question import Question, is_address
from felixpy.tracing import Tracer

Way = Via | Literal["headless", "hostPort"]
PLAIN = frozenset({"headless", "hostPort"})
"""Ways in which kube-proxy has no part."""

ANY_NODE = "node"
"""The name for a node, no matter which: a NodePort is open on each of them."""


class Called(NamedTuple):
    """The destination of a question: a Service, by one kind of its addresses, or a pod's hostPort on some nodes."""

    service: Service | None
    via: Way
    ports: tuple[ServicePort, ...]
    address: str
    entries: tuple[str, ...]
    """The nodes that could redirect; empty: that of the client."""
    notes: tuple[str, ...] = ()
    behind: ServiceEndpoint | None = None
    """The pod of a hostPort."""
    pod: str = ""
    """The one pod that was named, of those behind a headless Service."""


class Calls:
    """Finds the Service or port that a question is about, and describes it in words."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.book, self.endpoints = tracer.nodes.book, tracer.directory
        self.directory = ServiceDirectory(tracer.cluster, self.book.address, tracer.directory.namespace)

    def called(self, question: Question, family: int) -> tuple[Called | None, Endpoint | None]:
        """What is called, and the source; None for destinations that are not redirected."""
        called: Called | None
        named = self.directory.named(question.destination)
        if named:
            called = self._by_name(question, *named, family)
        elif question.destination == ANY_NODE and isinstance(question.port, int):
            called = self._on_nodes(question, tuple(self.book.names), "", family)
            if called is None:
                raise UsageError(f"no service has the node port {question.port}/{_protocol(question)}")
        else:
            called = self._by_address(question, family)
        if called is None:
            return None, None
        return called, self.endpoints.find(question.source, family)

    def _by_name(self, question: Question, service: Service, pod: str, family: int) -> Called:
        if service.external_name:
            raise UsageError(f"{service} is another name for {service.external_name} (ExternalName): ask for that")
        if family not in self.directory.families(service):
            raise UsageError(f"{service} has no IPv{family} address")
        ports = self._ports(question, service)
        if service.headless:
            return Called(service, "headless", ports, "", (), pod=pod)
        address, stands = self.directory.cluster_ip(service, family)
        notes = (f"the cluster IP of {service.name} is not known, {address} is used in its place",) if stands else ()
        return Called(service, "cluster", ports, address, (), notes)

    def _ports(self, question: Question, service: Service) -> tuple[ServicePort, ...]:
        asked = question.protocol if isinstance(question.protocol, str) else ""
        if question.icmp or (asked and protocol_number(asked) not in WITH_PORTS):
            raise UsageError(f"{service}: services have TCP, UDP and SCTP ports only; name one of its ports")
        ports = tuple(ports_of(service, question.port, asked))
        # One number may be a port of several protocols, as with DNS; the default is TCP.
        if isinstance(question.port, int) and len({port.protocol for port in ports}) > 1:
            ports = tuple(port for port in ports if port.protocol == "tcp") or ports
        if service.headless and not ports and isinstance(question.port, int):
            return (ServicePort("", asked or "tcp", question.port, question.port),)
        if not ports:
            known = ", ".join(map(_port_words, service.ports))
            port = f"port {question.port}{f'/{asked}' if asked else ''}" if question.port else f"{asked} port"
            raise UsageError(f"{service} has no {port}; it has {known}" if known else f"{service} has no ports")
        return ports

    def _by_address(self, question: Question, family: int) -> Called | None:
        """The Service or node port for an address and port; None if these are not redirected."""
        if not isinstance(question.port, int) or (question.protocol and _number(question) not in WITH_PORTS):
            return None
        at = self.directory.at(question.destination) if is_address(question.destination) else None
        if at:
            if (":" in question.destination) != (family == 6):
                raise UsageError(f"{question.destination} is not an IPv{family} address")
            ports = tuple(ports_of(at.service, question.port, _protocol(question)))
            return Called(at.service, at.via, ports, question.destination, self.entries()) if ports else None
        if not self._means_node(question.destination):
            return None
        _, endpoint = self.endpoints.pair(question.source, question.destination, family)
        return self._on_nodes(question, (endpoint.node,), endpoint.address, family) if endpoint.kind == "host" else None

    def _means_node(self, text: str) -> bool:
        named = text == "host" or text.startswith(("host:", *NODES)) or text in self.book.names
        return named or (is_address(text) and bool(self.book.node(text)))

    def _on_nodes(self, question: Question, nodes: tuple[str, ...], address: str, family: int) -> Called | None:
        """A NodePort on nodes, or a hostPort on one node."""
        assert isinstance(question.port, int)
        protocol = _protocol(question)
        found = self.directory.node_port(protocol, question.port)
        if found:
            service, port = found
            return Called(service, "node", (port,), address, nodes)
        behind = self.directory.host_port(nodes[0], address, protocol, question.port) if len(nodes) == 1 else None
        if not behind:
            return None
        pod, each = behind
        own = next((text for text in pod.addresses if (":" in text) == (family == 6)), "")
        if not own:
            return None
        endpoint = ServiceEndpoint(own, each.target, pod.node, pod=(pod.namespace, pod.name))
        port = ServicePort("", protocol, each.port, each.target)
        return Called(None, "hostPort", (port,), address, nodes, behind=endpoint)

    def entries(self) -> tuple[str, ...]:
        """The nodes that may redirect connections from outside: the given one, else all."""
        return (self.tracer.node,) if self.tracer.node else tuple(self.book.names)

    # --- words

    def words(self, called: Called) -> str:
        """A description such as ``service shop/api port 80 (cluster IP 10.96.0.20)``."""
        if called.service is None:
            port = called.ports[0]
            return f"host port {port} of {called.entries[0]} → port {port.target} of the pod"
        ports = ", ".join(_port_words(port) for port in called.ports)
        if called.via == "headless":
            return f"{called.service} port {ports} (headless: its name means the endpoints themselves)"
        if called.via == "node":
            node = f" of {called.entries[0]}" if len(called.entries) == 1 else ""
            return f"node port {called.ports[0].node_port}{node}: {called.service} port {ports}"
        return f"{called.service} port {ports} ({VIA_WORDS[cast('Via', called.via)]} {called.address})"

    def notes(self, called: Called) -> Iterator[str]:
        service = called.service
        if service is None:
            return
        if service.sticky:
            yield "sessionAffinity ClientIP: a client that got an endpoint keeps it"
        if not service.proxied:
            yield f"{service} has the label service-proxy-name: kube-proxy leaves it to another proxy"
        if not self.directory.endpoints.has_slices(service.name) and service.selector:
            yield "no EndpointSlice is in the input: the endpoints are the pods that the selector selects"

    def mention(self, endpoint: Endpoint, port: int, protocol: str) -> str:
        at = self.directory.at(endpoint.address)
        if at:
            known = ", ".join(map(str, at.service.ports)) or "no port"
            what = f"port {port}/{protocol}" if port else f"{protocol} packets"
            served = list(ports_of(at.service, port, protocol)) if port else []
            reply = "" if served else f": kube-proxy redirects {known}, not {what}"
            return f"{endpoint.address} is the {VIA_WORDS[at.via]} of {at.service}{reply}"
        balanced = self.directory.proxied_balancer(endpoint.address)
        if balanced:
            return (
                f"{endpoint.address} is a load balancer of {balanced} that forwards connections itself (ipMode Proxy)"
            )
        ranges = map(ip_network, self.tracer.cluster.service_cidrs)
        if endpoint.kind == "outside" and any(ip_address(endpoint.address) in net for net in ranges):
            return f"{endpoint.address} is in a range of services, but no Service in the input has it"
        return ""


def _port_words(port: ServicePort) -> str:
    """A description such as ``80`` or ``80/udp (dns)``."""
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{port.port}{protocol}{f' ({port.name})' if port.name else ''}"


def _protocol(question: Question) -> str:
    """The protocol of a question, by default TCP."""
    return PROTOCOLS.get(_number(question), "tcp") if question.protocol else "tcp"


def _number(question: Question) -> int:
    return protocol_number(question.protocol)
