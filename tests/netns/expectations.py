"""What comes of a connection in a lab if the rules do what a walk says they do.

It is answered if its first packet gets through, if the answer to that gets through as well, and if those who send them
on find each other's hardware addresses. The last two are not to be taken for granted: some rules drop packets of
connections that were let in, or IPv6 neighbour discovery.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import NamedTuple

from felixpy.compiler import Compiler
from felixpy.lab.layout import LabLayout, LabNode, family_of
from felixpy.model import Cluster, Host
from felixpy.netfilter.numbers import ICMP, State
from felixpy.topology.nodes import NodeRules
from felixpy.tracing import Leg, Nodes, Question, Trace, Tracer
from felixpy.tracing.reasons import reason
from felixpy.walk import Machine, Packet
from tests.netns.packet_cases import Drawn

CLIENT_PORT = 49152
ECHO_REPLY = {4: 0, 6: 129}
SOLICITATION, ADVERTISEMENT = (135, 0), (136, 0)
POLICY_CHAINS = ("cali-pi-", "cali-po-")
ROUTER, NEIGHBOUR, EVERYBODY = "fe80::1", "fe80::2", "ff02::1:ff00:1"

Spot = tuple[str, str, str, int]
"""A rule: node, table, chain and number."""


class Expected(NamedTuple):
    """Whether a connection is answered and why; `met` are the rules of policies that applied to its first packet."""

    allowed: bool
    words: str
    met: frozenset[Spot]


class LeftOut(NamedTuple):
    """Why nobody can say whether a connection is answered, in a word or two."""

    reason: str


SOURCE_PORT = re.compile(r"--sport| sport ")
"""A match for it, in both spellings."""

LIMITED = LeftOut("limits of packets or connections")
UNCERTAIN = LeftOut("rules that are not understood")
BY_SOURCE_PORT = LeftOut("rules about source ports, which are as they come")
HALF_TRACKED = LeftOut("tracked by one node and not by the other")
HALF_DEAF = LeftOut("some of neighbour discovery gets through")
AWAY = LeftOut("a source rewritten to a fixed address, which may be another machine's")


class Expectations:
    """Asks a tracer about connections in a lab. `families` are those that the rules of all nodes are about."""

    def __init__(self, cluster: Cluster, layout: LabLayout, dataplane: str = "iptables") -> None:
        self.layout = layout
        hosts = {node.name: Host(interfaces=dict(_interfaces(node))) for node in layout.built_nodes}
        self.nodes = Nodes(Compiler(cluster, dataplane=dataplane), hosts=hosts)
        self.rules = {node.name: self._as_wired(node) for node in layout.built_nodes}
        self.families = set.intersection(*(set(rules.dump.tables) for rules in self.rules.values()))
        self.tracer = Tracer(self.nodes)
        self.tracer._tries_staged = False  # what would be with staged policies is not asked, and takes as long again
        self._deaf: dict[tuple[str, str], bool | None] = {}

    def _as_wired(self, node: LabNode) -> NodeRules:
        """A lab has no tunnels: pods of other nodes are behind the uplink."""
        rules = self.nodes.get(node.name)
        assert rules
        own = {text: pod.interface for pod in self.layout.built_pods if pod.node == node.name for text in pod.addresses}
        rules.machine = Machine(rules.machine.interfaces, own, node.uplink)
        return rules

    def of(self, packet: Drawn) -> Expected | LeftOut:
        """What comes of it, or why that is not known."""
        there = self.tracer.trace(_question(packet))
        if not there.certain:
            return UNCERTAIN
        if any(endpoint.workload and endpoint.workload.qos for endpoint in (there.source, there.destination)):
            return LIMITED
        if any(SOURCE_PORT.search(step.rule.text) for leg in there.legs for step in leg.walk.steps):
            return BY_SOURCE_PORT
        said = Expected(there.allowed, reason(there).words, _met(there))
        if not there.allowed:
            return said
        if any(leg.walk.source != leg.packet.source for leg in there.legs):
            return AWAY
        state = _state_of_answer(packet, there)
        if state is None:
            return HALF_TRACKED
        back = self.tracer.trace(_answer(packet, state))
        if not back.allowed:
            return said._replace(allowed=False, words=f"the answer is stopped by {reason(back).words}")
        return self._if_found(said, (*there.legs, *back.legs), family_of(packet.source))

    # --- neighbours

    def _if_found(self, said: Expected, legs: tuple[Leg, ...], family: int) -> Expected | LeftOut:
        """What was said, if those at both ends of each wire between nodes and the rest of the world find each other."""
        wires = {(leg.node.name, name) for leg in legs for name in _wires(leg)} if family == 6 else set()
        finds = {self._finds(*wire) for wire in wires}
        if None in finds:
            return HALF_DEAF
        if False in finds:
            return said._replace(allowed=False, words="neighbour discovery gets through in no direction")
        return said

    def _finds(self, name: str, interface: str) -> bool | None:
        """Whether all of neighbour discovery gets through on an interface, None for some of it."""
        key = name, interface
        if key not in self._deaf:
            rules = self.rules[name]
            own = [text for text in rules.machine.interfaces[interface] if family_of(text) == 6]
            found = {rules.walker.allows(packet) for packet in _discovery(interface, [NEIGHBOUR, *own])}
            self._deaf[key] = found.pop() if len(found) == 1 else None
        return self._deaf[key]


def _interfaces(node: LabNode) -> Iterator[tuple[str, tuple[str, ...]]]:
    """With masks, the uplink first: that is where a machine is reached."""
    for name, texts in sorted(node.interfaces, key=lambda pair: pair[0] != node.uplink):
        yield name, tuple(f"{text}/{ip_address(text).max_prefixlen}" for text in texts)


def _question(packet: Drawn) -> Question:
    return Question(
        source=packet.source, destination=packet.destination, protocol=packet.protocol, port=packet.port or None
    )


def _answer(packet: Drawn, state: State) -> Question:
    """What the destination says to the first packet."""
    family = family_of(packet.source)
    return Question(
        source=packet.destination,
        destination=packet.source,
        protocol=packet.protocol,
        port=CLIENT_PORT if packet.port else None,
        source_port=packet.port,
        icmp=None if packet.port else (ECHO_REPLY[family], 0),
        state=state,
    )


def _state_of_answer(packet: Drawn, there: Trace) -> State | None:
    """What connection tracking makes of an answer.

    If it has not seen the first packet, the answer opens a connection of UDP, and for all other protocols none.
    """
    untracked = {
        any(step.applied and "notrack" in step.rule.text.lower() for step in leg.walk.steps) for leg in there.legs
    }
    if untracked <= {False}:
        return "established"
    if False in untracked:
        return None
    return "new" if packet.protocol == "udp" else "invalid"


def _met(trace: Trace) -> frozenset[Spot]:
    return frozenset(
        (leg.node.name, step.table, step.chain, step.rule.number)
        for leg in trace.legs
        for step in leg.walk.steps
        if step.applied and step.chain.startswith(POLICY_CHAINS)
    )


def _wires(leg: Leg) -> Iterator[str]:
    """The interfaces of a way that lead to other machines; those of pods are not among a machine's own."""
    for name in (leg.packet.in_interface, leg.walk.out_interface):
        if name in leg.node.machine.interfaces:
            yield name


def _discovery(interface: str, own: list[str]) -> Iterator[Packet]:
    """Who asks whom, and who answers; what a machine asks may come from any of its addresses."""
    sent = Packet(source="", destination="", protocol=ICMP[6], state="untracked", out_interface=interface)
    received = replace(sent, source=ROUTER, in_interface=interface, out_interface="")
    for address in own:
        yield replace(sent, source=address, destination=EVERYBODY, icmp=SOLICITATION)
        yield replace(received, destination=address, icmp=ADVERTISEMENT)
        yield replace(received, destination=EVERYBODY, icmp=SOLICITATION)
        yield replace(sent, source=address, destination=ROUTER, icmp=ADVERTISEMENT)
