"""Trace a packet: a walk through the rules of one or two nodes, explained with the objects that they come from.

    hits            the policies that matched, in the form of flow logs
    reasons         what decided, in words
    calls           Services, NodePorts and hostPorts as destinations
    services        traces to them: one for each endpoint that the nodes may choose
    report          a trace as text or JSON
    service_report  the traces to a Service as text or JSON

A packet between pods of one node passes the egress rules of one and the ingress rules of the other in one walk. To
another node it is walked out of the first and into the second. A pod that connects to itself passes no rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from msgspec import structs

from felixpy.decode.legend import Legend
from felixpy.described import Answer
from felixpy.errors import Problem, UsageError
from felixpy.model import STAGED_KINDS, Cluster
from felixpy.netfilter.numbers import ECHO_REQUEST, ICMP, WITH_PORTS, parse_address, protocol_number
from felixpy.topology.endpoints import Directory, Endpoint
from felixpy.topology.nodes import NodeRules, Nodes
from felixpy.topology.question import Question
from felixpy.tracing.hits import PENDING, Asked, Hit, asked
from felixpy.walk import Packet, Walk

__all__ = ["Leg", "Nodes", "Question", "Redirect", "Report", "Trace", "Tracer", "promoted"]

NODE = "node"
"""What ``--snat`` calls the node's own address."""

ELSEWHERE = "elsewhere0"
"""An interface that no endpoint has: by it a packet comes or goes where only one end is to be asked."""

MOST_LEGS = 3
"""A packet from outside may reach one node, be sent on to another, and be for the host there."""


@dataclass(frozen=True, slots=True)
class Leg:
    """The walk through one node, and the endpoints whose chains it passed there."""

    node: NodeRules
    packet: Packet
    walk: Walk
    ends: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    """The NAT of kube-proxy on `node`: another destination, and with `masquerade` the node's address as source."""

    node: str
    address: str
    port: int
    masquerade: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The flow log of one end: `enforced` hits, and `pending` ones, as if staged policies were enforced."""

    reporter: Literal["src", "dst"]
    end: Asked
    enforced: tuple[Hit, ...]
    pending: tuple[Hit, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Trace(Answer):
    """The result of a trace. `missing` are nodes on the way whose rules, and so their verdict, are unknown.

    `answered` is the pod that gets the replies in place of the sender, if NAT makes that pod's address the source: no
    connection comes about then, even if the packet is allowed.
    """

    source: Endpoint
    destination: Endpoint
    packet: Packet
    allowed: bool
    certain: bool
    legs: tuple[Leg, ...]
    reports: tuple[Report, ...]
    missing: tuple[str, ...] = ()
    answered: Endpoint | None = None
    pending_allowed: bool | None = None
    """Whether the packet would be allowed if staged policies were enforced; None without staged policies."""

    def _lines(self) -> Iterable[str]:
        from felixpy.tracing.report import text

        return text(self)

    @property
    def verdict(self) -> Literal["allow", "deny", "undecided"]:
        return "undecided" if self.undecided else "allow" if self.allowed else "deny"

    @property
    def undecided(self) -> bool:
        """Whether all known nodes let the packet pass, and others are unknown."""
        return self.allowed and bool(self.missing)

    @property
    def deciding(self) -> Report | None:
        """The end that decided."""
        return self.reports[-1] if self.reports else None

    @property
    def not_programmed(self) -> Mapping[str, tuple[Problem, ...]]:
        """Nodes on the way that do not get the rules walked, with the errors for rules that no kernel accepts."""
        return {leg.node.name: leg.node.refused for leg in self.legs if leg.node.refused}


class Tracer:
    """Traces packets through a cluster; nodes are compiled once. A `brief` one records no steps."""

    def __init__(self, nodes: Nodes, *, node: str = "", namespace: str = "", brief: bool = False) -> None:
        self.nodes, self.node, self.brief = nodes, node, brief
        self.cluster = nodes.cluster
        self.directory = Directory(nodes.cluster, nodes.book, node, namespace, nodes.dumps.values())
        self.legend = Legend(nodes.cluster, nodes.compiler.calico_version)
        self._staged: Tracer | None = None
        staged = any(policy.staged for policy in self.cluster.policies)
        self._tries_staged = staged and not nodes.dumps and not brief

    def trace(self, question: Question) -> Trace:
        """Trace a packet. Raises UsageError for an unknown end or an impossible packet."""
        return self.follow(question, *self.endpoints(question))

    def follow(
        self,
        question: Question,
        source: Endpoint,
        destination: Endpoint,
        redirect: Redirect | None = None,
        called: Endpoint | None = None,
    ) -> Trace:
        """Trace a packet to `destination`; `called` is the original destination if a node redirects it."""
        packet = self._packet(question, source, called or destination)
        legs: list[Leg] = []
        missing: list[str] = []
        if source.address != packet.destination or source.kind != "pod":
            for leg in self._legs(question, packet, source, destination, redirect):
                if isinstance(leg, str):
                    missing.append(leg)
                else:
                    legs.append(leg)
        if missing and not legs:
            raise UsageError(f"the packet passes {', '.join(missing)}, whose rules were not given")
        reports = tuple(self._reports(packet, legs, source, destination))
        passed = all(leg.walk.verdict == "accept" for leg in legs)
        answered = self._answered(source, legs) if passed and not question.snat else None
        return Trace(
            source=source,
            destination=destination,
            packet=packet,
            allowed=passed,
            certain=all(leg.walk.certain and not leg.node.refused for leg in legs)
            and not (passed and missing)
            and not answered,
            legs=tuple(legs),
            reports=reports,
            missing=tuple(missing),
            answered=answered,
            pending_allowed=self._would_pass(question, source, destination, redirect, called),
        )

    # --- the question

    def endpoints(self, question: Question) -> tuple[Endpoint, Endpoint]:
        """Both ends in one family: that of the question, else IPv4 if both have it."""
        families = [question.family] if question.family else [4, 6]
        wrong: UsageError | None = None
        for family in families:
            try:
                return self.directory.pair(question.source, question.destination, family)
            except UsageError as reason:
                wrong = wrong or reason
        assert wrong
        raise wrong

    def _packet(self, question: Question, source: Endpoint, destination: Endpoint) -> Packet:
        family = parse_address(source.address).family
        number, port = _service(question, destination, family)
        return Packet(
            source=source.address,
            destination=destination.address,
            protocol=number,
            port=port,
            source_port=question.source_port,
            icmp=(question.icmp or (ECHO_REQUEST[family], 0)) if number == ICMP[family] else None,
            state=question.state,
            dnat=self._dnat(question, family),
            spoofed=question.spoofed,
        )

    def _dnat(self, question: Question, family: int) -> tuple[str, int] | None:
        if question.dnat is None:
            return None
        endpoint = self.directory.find(question.dnat.endpoint, family)
        return endpoint.address, _port(question.dnat.port, endpoint)

    # --- the way

    def _legs(
        self, question: Question, packet: Packet, source: Endpoint, destination: Endpoint, redirect: Redirect | None
    ) -> Iterator[Leg | str]:
        """The legs of the way, node by node, until the packet is dropped or arrives; names of unknown nodes."""
        name = self._first(question, source, destination, redirect)
        came_by = question.in_interface
        for number in range(MOST_LEGS):
            node = self.nodes.get(name)
            if node is None:
                yield name
                if number or self.nodes.get(destination.node) is None:
                    return
                # The source's node is unknown; the destination's can be walked nevertheless.
                if redirect and redirect.node == name:
                    packet = replace(packet, destination=redirect.address, port=redirect.port)
                name, came_by = destination.node, ""
                continue
            here = self._arriving(question, packet, node, source, redirect, came_by=came_by, is_first=number == 0)
            walk = node.walker.glance(here) if self.brief else node.walker.walk(here)
            yield Leg(
                node, here, walk, tuple(asked(walk.steps, node, parse_address(packet.source).family, self.legend))
            )
            owner = self.directory.owner(walk.destination)
            if (
                walk.verdict == "accept"
                and self._is_unheard_of(owner, destination, walk)
                and not question.out_interface
            ):
                yield f"the node of {owner.name}"
                return
            if walk.verdict != "accept" or owner.node in ("", name) or question.out_interface:
                return
            masquerade = bool(redirect and redirect.node == name and redirect.masquerade)
            packet = self._sent_on(packet, walk, node, masquerade=masquerade)
            if number == 0 and question.snat:
                own = self._own_address(node, walk)
                packet = replace(packet, source=own if question.snat == NODE else question.snat)
            name, came_by = owner.node, ""

    def _arriving(
        self, question: Question, packet: Packet, node: NodeRules, source: Endpoint, redirect: Redirect | None, *,
        came_by: str, is_first: bool,
    ) -> Packet:  # fmt: skip
        """The packet as it arrives at a node: with its interfaces, and the destination that the node rewrites it to."""
        sends = is_first and source.kind == "host"
        redirects = redirect if redirect and redirect.node == node.name else None
        return replace(
            packet,
            in_interface="" if sends else came_by or self._way_in(node, packet, source),
            out_interface=question.out_interface or None,
            dnat=(redirects.address, redirects.port) if redirects else packet.dnat,
        )

    def _first(self, question: Question, source: Endpoint, destination: Endpoint, redirect: Redirect | None) -> str:
        """The first node on the way. Raises UsageError if it is unknown."""
        family = parse_address(source.address).family
        at = source.node or (redirect.node if redirect else destination.node) or self.node
        if not at and question.dnat:
            at = self.directory.find(question.dnat.endpoint, family).node
        at = at or self.directory.floating.get(destination.address, "") or self.directory.book.only
        if not at:
            raise UsageError(
                f"neither {source.name} nor {destination.name} is on a node of the cluster: "
                "say which node forwards the packet with --node"
            )
        return at

    def _is_unheard_of(self, owner: Endpoint, asked: Endpoint, walk: Walk) -> bool:
        """Whether a packet continues to an unknown address, as there are dumps and no manifests."""
        nothing = bool(self.nodes.dumps) and not self.cluster.workloads and not self.cluster.nodes
        return nothing and owner.kind == "outside" and bool(walk.out_interface) and asked.name != "internet"

    def _way_in(self, node: NodeRules, packet: Packet, source: Endpoint) -> str:
        """The incoming interface: the pod's, else that of the destination address, or of the route to the source."""
        if source.workload and source.node == node.name:
            return source.workload.interface
        machine = node.machine
        own = next((name for name, texts in machine.interfaces.items() if packet.destination in texts), "")
        return own or machine.route(packet.source) or machine.uplink

    def _sent_on(self, packet: Packet, walk: Walk, node: NodeRules, *, masquerade: bool) -> Packet:
        """The packet as it arrives at the next node, with the rewriting of the first one."""
        source = walk.source
        if source == packet.source and (masquerade or "source" in walk.rewritten):
            source = self._own_address(node, walk) or source
        return replace(packet, source=source, destination=walk.destination, port=walk.port, dnat=None)

    def _own_address(self, node: NodeRules, walk: Walk) -> str:
        """The address that masquerading uses: that of the outgoing interface, else the node's."""
        family = parse_address(walk.destination).family
        there = node.machine.interfaces.get(walk.out_interface, ())
        own = (text for text in there if parse_address(text).family == family)
        return next(own, "") or self.nodes.book.address(node.name, family)

    def _answered(self, source: Endpoint, legs: Sequence[Leg]) -> Endpoint | None:
        """The pod whose address NAT makes the source, unless it is on the first node, where NAT reverses replies."""
        if not legs or legs[-1].walk.source == source.address:
            return None
        owner = self.directory.owner(legs[-1].walk.source)
        return owner if owner.kind == "pod" and owner.node != legs[0].node.name else None

    # --- which policies matched

    def _reports(self, packet: Packet, legs: list[Leg], source: Endpoint, destination: Endpoint) -> Iterator[Report]:
        for leg in legs:
            for end in leg.ends:
                if end.hits or end.decided:
                    pending = self._pending(end, leg)
                    yield Report(
                        reporter="src" if end.direction == "egress" else "dst",
                        end=end,
                        enforced=tuple(end.hits),
                        pending=tuple(pending),
                    )

    def _pending(self, end: Asked, leg: Leg) -> list[Hit]:
        """The hits of an end if staged policies were enforced. Flow logs have these for pods only."""
        if not self._tries_staged or end.kind != "pod":
            return end.hits
        there = self._with_staged()
        node = there.nodes.get(leg.node.name)
        assert node
        outward = end.direction == "egress"
        alone = replace(
            leg.packet,
            in_interface=leg.packet.in_interface if outward else ELSEWHERE,
            out_interface=ELSEWHERE if outward else leg.walk.out_interface,
            destination=leg.walk.destination,
            port=leg.walk.port,
            dnat=None,
        )
        walk = node.walker.walk(alone)
        family = parse_address(alone.source).family
        ends = asked(walk.steps, node, family, there.legend)
        return next((found.hits for found in ends if found.chain == end.chain), [])

    def _with_staged(self) -> Tracer:
        if self._staged is None:
            compiler = type(self.nodes.compiler)(promoted(self.cluster), self.nodes.compiler.calico_version)
            nodes = Nodes(compiler, hosts=self.nodes.hosts, settings=self.nodes.settings)
            self._staged = Tracer(nodes, node=self.node, namespace=self.directory.namespace)
        return self._staged

    def _would_pass(
        self,
        question: Question,
        source: Endpoint,
        destination: Endpoint,
        redirect: Redirect | None,
        called: Endpoint | None,
    ) -> bool | None:
        if not self._tries_staged:
            return None
        return self._with_staged().follow(question, source, destination, redirect, called).allowed


def _service(question: Question, destination: Endpoint, family: int) -> tuple[int, int]:
    """Protocol and port. A named port also determines the protocol; without port it is ICMP."""
    protocol: str | int = question.protocol
    if isinstance(question.port, str) and not protocol and destination.workload:
        named = [port for port in destination.workload.ports if port.name == question.port]
        protocol = named[0].protocol if named else ""
    number = protocol_number(protocol or ("icmp" if question.port is None else "tcp"))
    if number == ICMP[4]:
        number = ICMP[family]
    if number in WITH_PORTS and question.port is None:
        raise UsageError(f"a {protocol} packet needs a port: write {question.destination}:PORT")
    return number, _port(question.port, destination)


def _port(port: int | str | None, endpoint: Endpoint) -> int:
    """The number of a port, which may be a named port of the pod."""
    if isinstance(port, str):
        names = {named.name: named.port for named in endpoint.workload.ports} if endpoint.workload else {}
        if port not in names:
            known = f"; it has {', '.join(names)}" if names else ""
            raise UsageError(f"{endpoint.name} has no port called {port}{known}")
        return names[port]
    return port or 0


def promoted(cluster: Cluster) -> Cluster:
    """The cluster with staged policies as enforced ones, in addition to those of the same name.

    Their kind begins with "Pending", which sorts among the other kinds as "Staged" does, so ties are broken as before.
    """
    policies = tuple(
        structs.replace(policy, key=policy.key._replace(kind=policy.key.kind.replace("Staged", PENDING)))
        if policy.key.kind in STAGED_KINDS
        else policy
        for policy in cluster.policies
    )
    return replace(cluster, policies=policies)
