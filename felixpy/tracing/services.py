"""Traces to Services and to ports of nodes that lead to Services (NodePort) or pods (hostPort).

A node redirects such a connection to one of several endpoints, chosen at random. So there is one trace for each
endpoint that may be chosen, and for each node that may redirect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import cast

from felixpy.errors import UsageError, many
from felixpy.frontends import ServicePort
from felixpy.netfilter.numbers import PROTOCOLS, protocol_number
from felixpy.services import Choice, Client, ServiceEndpoint, Via, choose
from felixpy.services.proxy import zone_of
from felixpy.topology.endpoints import Endpoint
from felixpy.topology.question import Question
from felixpy.tracing import Redirect, Trace, Tracer
from felixpy.tracing.calls import PLAIN, Called, Calls
from felixpy.tracing.service_report import ServicePath, ServiceTrace

PROXY_CHAIN = "KUBE-SERVICES"
"""Where it is in the rules of a node, they redirect by themselves."""


class ServiceTracer:
    """Traces connections to Services, and passes all others to the tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.cluster, self.book, self.endpoints = tracer.cluster, tracer.nodes.book, tracer.directory
        self.calls = Calls(tracer)
        self.directory = self.calls.directory

    def trace(self, question: Question, *, resolve: bool = True) -> Trace | ServiceTrace:
        """Trace a question. Without `resolve` a Service is only noted. Raises UsageError as `Tracer.trace`."""
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
        called, source = self.calls.called(question, family)
        if called is None or source is None:
            return self._mentioned(self.tracer.trace(question), "")
        if self._redirects_itself(source, called, family):
            port = next(port.node_port if called.via == "node" else port.port for port in called.ports)
            return self.tracer.trace(replace(question, destination=called.address, port=port, family=family))
        return self._answer(question, called, source, family)

    def _redirects_itself(self, source: Endpoint, called: Called, family: int) -> bool:
        """Whether the saved rules of the redirecting node include those of kube-proxy."""
        name = source.node or (called.entries[0] if called.entries else "")
        dump = self.tracer.nodes.dumps.get(name)
        return bool(dump and called.address and PROXY_CHAIN in dump.tables.get(family, {}).get("nat", {}))

    # --- all ways

    def _answer(self, question: Question, called: Called, source: Endpoint, family: int) -> ServiceTrace:
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
            words=self.calls.words(called),
            rows=tuple(rows),
            notes=(*called.notes, *self.calls.notes(called)),
            service=service,
            via=called.via,
        )

    def _host_port_name(self, called: Called) -> str:
        return f"host port of pod {'/'.join((called.behind and called.behind.pod) or ())}"

    def _nodes(self, called: Called, source: Endpoint, port: ServicePort, family: int) -> Sequence[str]:
        """The nodes that may redirect. With traffic policy Local a load balancer avoids nodes without endpoints."""
        if called.via == "headless":
            return [""]
        if called.via in ("node", "hostPort"):
            return called.entries
        if source.node:
            return [source.node]
        entries = called.entries or self.calls.entries()
        if not entries:
            raise UsageError("no node is known that could redirect it")
        service = called.service
        if called.via == "balancer" and service and service.external_local and not self.tracer.node:
            behind = self.directory.endpoints.behind(service, port, family)
            return [name for name in entries if any(each.node == name and each.ready for each in behind)] or entries[:1]
        return entries

    def _rows(
        self, question: Question, called: Called, source: Endpoint, port: ServicePort, node: str, family: int
    ) -> Iterator[ServicePath]:
        number = port.node_port if called.via == "node" else port.port
        address = called.address or (self.book.address(node, family) if node else "")
        asked = replace(question, port=number, protocol=port.protocol)
        words = str(port)
        if called.via == "headless":
            yield from self._headless_rows(question, called, source, port, family)
            return
        owner = self.book.node(address)
        target = Endpoint("host" if owner else "outside", owner or str(called.service), address, owner)
        client = self._client(source, node)
        if called.via in ("node", "hostPort") and source.node and source.node != node:
            before = self.tracer.follow(asked, source, target)
            arrived = next((leg for leg in before.legs if leg.node.name == node), None)
            if arrived is None:
                yield ServicePath(words, node, None, before)
                return
            client = self._client(replace(source, address=arrived.packet.source), node)
        choice = self._choice(called, port, client, node, family)
        if not choice.endpoints:
            yield ServicePath(words, node, None, None, choice.refusal)
        for endpoint in choice.endpoints:
            # A pod that reaches itself through a Service comes from the node's address.
            masquerade = choice.masquerade or endpoint.address == client.address
            redirect = Redirect(node, endpoint.address, endpoint.port, masquerade)
            receiver = self.endpoints.owner(endpoint.address)
            found = self.tracer.follow(asked, source, receiver, redirect, target)
            lost = "" if masquerade else _lost(node, client, source, receiver)
            yield ServicePath(words, node, endpoint, found, name=receiver.name, lost=lost)

    def _choice(self, called: Called, port: ServicePort, client: Client, node: str, family: int) -> Choice:
        via = called.via
        if called.service is None or via in PLAIN:
            return Choice((called.behind,) if called.behind else ())
        behind = self.directory.endpoints.behind(called.service, port, family)
        known = self.cluster.nodes.get(node)
        return choose(called.service, behind, cast("Via", via), client, node, zone_of(known.labels) if known else "")

    def _headless_rows(
        self, question: Question, called: Called, source: Endpoint, port: ServicePort, family: int
    ) -> Iterator[ServicePath]:
        """The paths to a headless Service, whose DNS name has the endpoints' addresses: nothing is redirected.

        A port given by number is used unchanged; a named port is looked up in DNS, which has the endpoint's number.
        """
        assert called.service
        behind = self.directory.endpoints.behind(called.service, port, family)
        if not behind and called.service.ports and port not in called.service.ports:
            behind = self.directory.endpoints.behind(called.service, called.service.ports[0], family)
        ready = [each for each in behind if each.ready and (not called.pod or (each.pod or ("", ""))[1] == called.pod)]
        if not ready:
            whom = f"no pod {called.pod} is among its endpoints" if called.pod else choose_words(behind)
            yield ServicePath(str(port), "", None, None, whom)
        for endpoint in ready:
            number = port.port if isinstance(question.port, int) else endpoint.port
            receiver = self.endpoints.owner(endpoint.address)
            found = self.tracer.follow(replace(question, port=number, protocol=port.protocol), source, receiver)
            yield ServicePath(str(port), "", endpoint._replace(port=number), found, name=receiver.name)

    def _client(self, source: Endpoint, node: str) -> Client:
        if source.kind == "pod" and self._in_pods(source.address):
            return Client("pod", source.address)
        if source.kind == "host" and source.node == node and self.book.node(source.address) == node:
            return Client("local", source.address)
        return Client("pod" if self._in_pods(source.address) else "other", source.address)

    def _in_pods(self, address: str) -> bool:
        """Whether an address is in a pod network, which kube-proxy decides by the cluster CIDR."""
        if self.endpoints.owner(address).kind == "pod":
            return True
        return not self.book.node(address) and any(ip_address(address) in net for net in self._pod_networks)

    @cached_property
    def _pod_networks(self) -> Sequence[IPv4Network | IPv6Network]:
        return [ip_network(pool.cidr) for pool in self.cluster.pools if pool.workloads]

    def _mentioned(self, found: Trace, more: str) -> Trace:
        """The trace to an address of a Service that is not redirected, with a note that says so."""
        protocol = PROTOCOLS.get(protocol_number(found.packet.protocol), "")
        words = self.calls.mention(found.destination, found.packet.port, protocol)
        if not words:
            return found
        note = "; ".join(filter(None, [found.destination.note, words + more]))
        return replace(found, destination=replace(found.destination, note=note))


def _lost(node: str, client: Client, source: Endpoint, endpoint: Endpoint) -> str:
    """A note if replies do not return through the node that redirected, so that no connection comes about; else ""."""
    if not source.node or client.address != source.address or node in (source.node, endpoint.node):
        return ""
    return f"the way back: replies go straight to {source.name} and not by {node}, which redirected the connection"


def choose_words(behind: Sequence[ServiceEndpoint]) -> str:
    return f"none of its {many(len(behind), 'endpoint')} is ready" if behind else "it has no endpoints"
