"""Traces to Services and to ports of nodes that lead to Services (NodePort) or pods (hostPort).

A node redirects such a connection to one of several endpoints, and nobody knows beforehand to which. So there is one
trace for each endpoint that could be chosen, and for each node that could do it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal, NamedTuple, cast

from felixpy.canonical import PROTOCOLS
from felixpy.errors import UsageError, many
from felixpy.frontends import Service, ServicePort
from felixpy.services import Choice, Client, Endpoint, ServiceDirectory, Via, choose
from felixpy.services.directory import VIA_WORDS, ports_of
from felixpy.services.proxy import zone_of
from felixpy.trace import Redirect, Trace, Tracer
from felixpy.trace.parties import NODES, Party
from felixpy.trace.question import Question
from felixpy.walk.packet import WITH_PORTS, protocol_number

Way = Via | Literal["headless", "hostPort"]
PLAIN = frozenset({"headless", "hostPort"})
"""Ways in which kube-proxy has no part."""

Verdict = Literal["allow", "deny", "mixed", "no-endpoints"]

ANY_NODE = "node"
"""The name for a node, no matter which: a NodePort is open on each of them."""

PROXY_CHAIN = "KUBE-SERVICES"
"""Where it is in the rules of a node, they redirect by themselves."""


class Row(NamedTuple):
    """One way that the connection could take: the node that redirects it, and the endpoint.

    Without an endpoint `refusal` says why nobody answers, or the trace tells why the packet does not even arrive.
    """

    port: str
    node: str
    endpoint: Endpoint | None
    trace: Trace | None
    refusal: str = ""
    name: str = ""
    """Whom the endpoint belongs to, in words."""

    @property
    def verdict(self) -> Verdict:
        if self.trace is None:
            return "no-endpoints"
        return "allow" if self.trace.allowed else "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTrace:
    """The answer about a Service, NodePort or hostPort. `words` say what was called, `notes` what else to know."""

    source: Party
    name: str
    called: str
    protocol: str
    words: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    service: Service | None = None
    via: Way = "cluster"

    @property
    def verdict(self) -> Verdict:
        """What all ways agree on. Where nobody answers on some ways only, that is no agreement either."""
        found = {row.verdict for row in self.rows}
        return found.pop() if len(found) == 1 else "mixed"

    @property
    def allowed(self) -> bool:
        return self.verdict == "allow"

    @property
    def certain(self) -> bool:
        return all(row.trace.certain for row in self.rows if row.trace)


class _Called(NamedTuple):
    """What a question calls: a Service in one of its ways, or the hostPort of a pod, on some nodes."""

    service: Service | None
    via: Way
    ports: tuple[ServicePort, ...]
    address: str
    entries: tuple[str, ...]
    """The nodes that could redirect; empty: that of the client."""
    notes: tuple[str, ...] = ()
    behind: Endpoint | None = None
    """The pod of a hostPort."""
    pod: str = ""
    """The one pod that was named, of those behind a headless Service."""


class ServiceTracer:
    """Answers questions about Services, and hands all others to the tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.cluster, self.book, self.parties = tracer.cluster, tracer.nodes.book, tracer.directory
        self.directory = ServiceDirectory(tracer.cluster, self.book.address, tracer.directory.namespace)

    def trace(self, question: Question, *, resolve: bool = True) -> Trace | ServiceTrace:
        """Raises UsageError for questions without an answer. Without `resolve` Services are only mentioned."""
        if question.dnat is not None or not resolve:
            found = self.tracer.trace(question)
            return found if question.dnat is not None else self._mentioned(found, "; --no-services: not redirected")
        wrong: list[UsageError] = []
        for family in [question.family] if question.family else [4, 6]:
            try:
                return self._in_family(question, family)
            except UsageError as reason:
                wrong.append(reason)
        raise wrong[0]

    def _in_family(self, question: Question, family: int) -> Trace | ServiceTrace:
        called, source = self._called(question, family)
        if called is None or source is None:
            return self._mentioned(self.tracer.trace(question), "")
        if self._redirects_itself(source, called, family):
            port = next(port.node_port if called.via == "node" else port.port for port in called.ports)
            return self.tracer.trace(replace(question, destination=called.address, port=port, family=family))
        return self._answer(question, called, source, family)

    # --- what is called

    def _called(self, question: Question, family: int) -> tuple[_Called | None, Party | None]:
        """What is called, and by whom; None for what is no Service and no port of a node that leads elsewhere."""
        called: _Called | None
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
        return called, self.parties.find(question.source, family)

    def _by_name(self, question: Question, service: Service, pod: str, family: int) -> _Called:
        if service.external_name:
            raise UsageError(f"{service} is another name for {service.external_name} (ExternalName): ask for that")
        if family not in self.directory.families(service):
            raise UsageError(f"{service} has no IPv{family} address")
        ports = self._ports(question, service)
        if service.headless:
            return _Called(service, "headless", ports, "", (), pod=pod)
        address, stands = self.directory.cluster_ip(service, family)
        notes = (f"the cluster IP of {service.name} is not known, {address} stands for it",) if stands else ()
        return _Called(service, "cluster", ports, address, (), notes)

    def _ports(self, question: Question, service: Service) -> tuple[ServicePort, ...]:
        asked = question.protocol if isinstance(question.protocol, str) else ""
        if question.icmp or (asked and protocol_number(asked) not in WITH_PORTS):
            raise UsageError(f"{service}: services have TCP, UDP and SCTP ports only; name one of its ports")
        ports = tuple(ports_of(service, question.port, asked))
        # One number may be a port of several protocols, as with DNS; TCP is meant as everywhere.
        if isinstance(question.port, int) and len({port.protocol for port in ports}) > 1:
            ports = tuple(port for port in ports if port.protocol == "tcp") or ports
        if service.headless and not ports and isinstance(question.port, int):
            return (ServicePort("", asked or "tcp", question.port, question.port),)
        if not ports:
            known = ", ".join(map(_port_words, service.ports))
            port = f"port {question.port}{f'/{asked}' if asked else ''}" if question.port else f"{asked} port"
            raise UsageError(f"{service} has no {port}; it has {known}" if known else f"{service} has no ports")
        return ports

    def _by_address(self, question: Question, family: int) -> _Called | None:
        """An address of a Service, or a port of a node, with a port that is redirected."""
        if not isinstance(question.port, int) or (question.protocol and _number(question) not in WITH_PORTS):
            return None
        at = self.directory.at(question.destination) if _is_address(question.destination) else None
        if at:
            if (":" in question.destination) != (family == 6):
                raise UsageError(f"{question.destination} is no IPv{family} address")
            ports = tuple(ports_of(at.service, question.port, _protocol(question)))
            return _Called(at.service, at.via, ports, question.destination, self._entries()) if ports else None
        if not self._means_node(question.destination):
            return None
        _, party = self.parties.pair(question.source, question.destination, family)
        return self._on_nodes(question, (party.node,), party.address, family) if party.kind == "host" else None

    def _means_node(self, text: str) -> bool:
        named = text == "host" or text.startswith(("host:", *NODES)) or text in self.book.names
        return named or (_is_address(text) and bool(self.book.node(text)))

    def _on_nodes(self, question: Question, nodes: tuple[str, ...], address: str, family: int) -> _Called | None:
        """A NodePort of nodes or, of one node, a hostPort."""
        assert isinstance(question.port, int)
        protocol = _protocol(question)
        found = self.directory.node_port(protocol, question.port)
        if found:
            service, port = found
            return _Called(service, "node", (port,), address, nodes)
        behind = self.directory.host_port(nodes[0], address, protocol, question.port) if len(nodes) == 1 else None
        if not behind:
            return None
        pod, each = behind
        own = next((text for text in pod.addresses if (":" in text) == (family == 6)), "")
        if not own:
            return None
        endpoint = Endpoint(own, each.target, pod.node, pod=(pod.namespace, pod.name))
        port = ServicePort("", protocol, each.port, each.target)
        return _Called(None, "hostPort", (port,), address, nodes, behind=endpoint)

    def _entries(self) -> tuple[str, ...]:
        """The nodes that could redirect what comes from outside: the one that was named, else all."""
        return (self.tracer.node,) if self.tracer.node else tuple(self.book.names)

    def _redirects_itself(self, source: Party, called: _Called, family: int) -> bool:
        """Whether the rules of the node that would redirect were given, with those of kube-proxy among them."""
        name = source.node or (called.entries[0] if called.entries else "")
        dump = self.tracer.nodes.dumps.get(name)
        return bool(dump and called.address and PROXY_CHAIN in dump.tables.get(family, {}).get("nat", {}))

    # --- all ways

    def _answer(self, question: Question, called: _Called, source: Party, family: int) -> ServiceTrace:
        rows = [
            row for port in called.ports for node in self._nodes(called, source, port, family)
            for row in self._rows(question, called, source, port, node, family)
        ]  # fmt: skip
        ports = ",".join(str(port.node_port if called.via == "node" else port.port) for port in called.ports)
        protocols = "/".join(dict.fromkeys(port.protocol for port in called.ports))
        service = called.service
        return ServiceTrace(
            source=source,
            name=str(service) if service else self._host_port_name(called),
            called=f"{called.address}:{ports}" if called.address else ports,
            protocol=f"{protocols}/{ports}",
            words=self._words(called),
            rows=tuple(rows),
            notes=(*called.notes, *self._notes(called)),
            service=service,
            via=called.via,
        )

    def _host_port_name(self, called: _Called) -> str:
        return f"host port of pod {'/'.join((called.behind and called.behind.pod) or ())}"

    def _nodes(self, called: _Called, source: Party, port: ServicePort, family: int) -> Sequence[str]:
        """The nodes that could redirect. Where nodes keep to their endpoints, a balancer spares those without any."""
        if called.via == "headless":
            return [""]
        if called.via in ("node", "hostPort"):
            return called.entries
        if source.node:
            return [source.node]
        entries = called.entries or self._entries()
        if not entries:
            raise UsageError("no node is known that could redirect it")
        service = called.service
        if called.via == "balancer" and service and service.external_local and not self.tracer.node:
            behind = self.directory.endpoints.behind(service, port, family)
            return [name for name in entries if any(each.node == name and each.ready for each in behind)] or entries[:1]
        return entries

    def _rows(
        self, question: Question, called: _Called, source: Party, port: ServicePort, node: str, family: int
    ) -> Iterator[Row]:
        number = port.node_port if called.via == "node" else port.port
        address = called.address or (self.book.address(node, family) if node else "")
        asked = replace(question, port=number, protocol=port.protocol)
        words = str(port)
        if called.via == "headless":
            yield from self._headless_rows(question, called, source, port, family)
            return
        owner = self.book.node(address)
        target = Party("host" if owner else "outside", owner or str(called.service), address, owner)
        client = self._client(source, node)
        if called.via in ("node", "hostPort") and source.node and source.node != node:
            before = self.tracer.follow(asked, source, target)
            arrived = next((leg for leg in before.legs if leg.node.name == node), None)
            if arrived is None:
                yield Row(words, node, None, before)
                return
            client = self._client(replace(source, address=arrived.packet.source), node)
        choice = self._choice(called, port, client, node, family)
        if not choice.endpoints:
            yield Row(words, node, None, None, choice.refusal)
        for endpoint in choice.endpoints:
            # A pod that reaches itself through a Service comes from the node's address.
            masquerade = choice.masquerade or endpoint.address == client.address
            redirect = Redirect(node, endpoint.address, endpoint.port, masquerade)
            party = self.parties.owner(endpoint.address)
            found = self.tracer.follow(asked, source, party, redirect, target)
            yield Row(words, node, endpoint, found, name=party.name)

    def _choice(self, called: _Called, port: ServicePort, client: Client, node: str, family: int) -> Choice:
        via = called.via
        if called.service is None or via in PLAIN:
            return Choice((called.behind,) if called.behind else ())
        behind = self.directory.endpoints.behind(called.service, port, family)
        known = self.cluster.nodes.get(node)
        return choose(called.service, behind, cast("Via", via), client, node, zone_of(known.labels) if known else "")

    def _headless_rows(
        self, question: Question, called: _Called, source: Party, port: ServicePort, family: int
    ) -> Iterator[Row]:
        """DNS names the endpoints themselves: nothing is redirected.

        A client that knows the port uses it as it is; one that asks DNS for a port by name learns the endpoint's.
        """
        assert called.service
        behind = self.directory.endpoints.behind(called.service, port, family)
        if not behind and called.service.ports and port not in called.service.ports:
            behind = self.directory.endpoints.behind(called.service, called.service.ports[0], family)
        ready = [each for each in behind if each.ready and (not called.pod or (each.pod or ("", ""))[1] == called.pod)]
        if not ready:
            whom = f"no pod {called.pod} is among its endpoints" if called.pod else choose_words(behind)
            yield Row(str(port), "", None, None, whom)
        for endpoint in ready:
            number = port.port if isinstance(question.port, int) else endpoint.port
            party = self.parties.owner(endpoint.address)
            found = self.tracer.follow(replace(question, port=number, protocol=port.protocol), source, party)
            yield Row(str(port), "", endpoint._replace(port=number), found, name=party.name)

    def _client(self, source: Party, node: str) -> Client:
        if source.kind == "pod" and self._in_pods(source.address):
            return Client("pod", source.address)
        if source.kind == "host" and source.node == node and self.book.node(source.address) == node:
            return Client("local", source.address)
        return Client("pod" if self._in_pods(source.address) else "other", source.address)

    def _in_pods(self, address: str) -> bool:
        """Whether an address is one of pods: kube-proxy goes by the cluster's CIDR."""
        if self.parties.owner(address).kind == "pod":
            return True
        return not self.book.node(address) and any(ip_address(address) in net for net in self._pod_networks)

    @cached_property
    def _pod_networks(self) -> Sequence[IPv4Network | IPv6Network]:
        return [ip_network(pool.cidr) for pool in self.cluster.pools if pool.workloads]

    # --- words

    def _words(self, called: _Called) -> str:
        """What was called: ``service shop/api port 80 (cluster IP 10.96.0.20)``."""
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

    def _notes(self, called: _Called) -> Iterator[str]:
        service = called.service
        if service is None:
            return
        if service.sticky:
            yield "sessionAffinity ClientIP: a client that got an endpoint keeps it"
        if not service.proxied:
            yield f"{service} has the label service-proxy-name: kube-proxy leaves it to another proxy"
        if not self.directory.endpoints.has_slices(service.name) and service.selector:
            yield "no EndpointSlice is in the input: the endpoints are the pods that the selector selects"

    def _mentioned(self, found: Trace, more: str) -> Trace:
        """The trace of an address that belongs to a Service which has no part in it, with a note that says so."""
        protocol = PROTOCOLS.get(protocol_number(found.packet.protocol), "")
        words = self._mention(found.destination, found.packet.port, protocol)
        if not words:
            return found
        note = "; ".join(filter(None, [found.destination.note, words + more]))
        return replace(found, destination=replace(found.destination, note=note))

    def _mention(self, party: Party, port: int, protocol: str) -> str:
        at = self.directory.at(party.address)
        if at:
            known = ", ".join(map(str, at.service.ports)) or "no port"
            what = f"port {port}/{protocol}" if port else f"{protocol} packets"
            served = list(ports_of(at.service, port, protocol)) if port else []
            reply = "" if served else f": kube-proxy redirects {known}, not {what}"
            return f"{party.address} is the {VIA_WORDS[at.via]} of {at.service}{reply}"
        balanced = self.directory.proxied_balancer(party.address)
        if balanced:
            return f"{party.address} is a load balancer of {balanced} that forwards connections itself (ipMode Proxy)"
        ranges = map(ip_network, self.cluster.service_cidrs)
        if party.kind == "outside" and any(ip_address(party.address) in net for net in ranges):
            return f"{party.address} is in a range of services, but no Service in the input has it"
        return ""


def choose_words(behind: Sequence[Endpoint]) -> str:
    return f"none of its {many(len(behind), 'endpoint')} is ready" if behind else "it has no endpoints"


def _port_words(port: ServicePort) -> str:
    """``80``, or ``80/udp (dns)``."""
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{port.port}{protocol}{f' ({port.name})' if port.name else ''}"


def _protocol(question: Question) -> str:
    """TCP unless something else is asked for."""
    return PROTOCOLS.get(_number(question), "tcp") if question.protocol else "tcp"


def _number(question: Question) -> int:
    return protocol_number(question.protocol)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
