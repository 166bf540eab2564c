"""Checks of the ports in rules against those that pods declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from felixpy.errors import Path
from felixpy.linting.finding import Finding, about
from felixpy.linting.subject import Subject, any_of, listed
from felixpy.linting.typos import near
from felixpy.model import Policy, PortRange, Rule
from felixpy.netfilter.numbers import NUMBERS
from felixpy.reports import Level
from felixpy.services.endpoints import ServiceEndpoints


def undeclared_port_names(subject: Subject) -> Iterator[Finding]:
    """FX103. A named port matches the ports of that name of the selected pods; if no pod has one, it matches none."""
    for policy in subject.policies:
        seen: set[tuple[Path, str]] = set()
        for rule, inward in _directed(policy):
            names = [port for port in rule.destination.ports if isinstance(port, str)]
            if not names:
                continue
            if not inward and rule.destination.nets:
                continue
            scope = subject.declared(policy.selector if inward else rule.destination.selector)
            declared = scope.names
            for name in names:
                if scope.endpoints and name not in declared and (rule.path, name) not in seen:
                    seen.add((rule.path, name))
                    whose = "that the policy selects" if inward else "that the rule selects"
                    likely = near(name, declared)
                    yield about(
                        policy,
                        _ports_path(policy, rule),
                        f'port name "{name}" is not declared by {any_of(scope.endpoints, "endpoint")} {whose}',
                        hint=f"did you mean {' or '.join(likely)}?" if likely else _known_names(declared),
                    )


def _known_names(declared: AbstractSet[str]) -> str:
    return f"declared are {listed(sorted(declared), 5)}" if declared else "none of them declares named ports"


def unserved_ports(subject: Subject) -> Iterator[Finding]:
    """FX104. Reported only if every selected pod declares ports, as declaring them is optional."""
    for policy in subject.policies:
        seen: set[tuple[Path, PortRange]] = set()
        for rule, inward in _directed(policy):
            ports = [port for port in rule.destination.ports if isinstance(port, PortRange)]
            if not ports or rule.action != "allow" or (not inward and rule.destination.nets):
                continue
            selector = policy.selector if inward else rule.destination.selector
            found = subject.declared(selector)
            if not found.pods or not found.complete:
                continue
            protocol = NAMES.get(rule.protocol, rule.protocol)
            served = {port for of, port in found.ports if protocol in (None, of)}
            for port in ports:
                if (rule.path, port) in seen or any(port.first <= one <= port.last for one in served):
                    continue
                seen.add((rule.path, port))
                known = listed([str(one) for one in sorted(served)], 5)
                message = f"port {port} is not declared by {any_of(found.pods, 'pod')} that the rule is about"
                hint = f"declared are {known}" if served else ""
                level: Level | None = None
                if translated := _translated(subject, port, protocol, selector):
                    level, hint = "warning", translated
                yield about(policy, _ports_path(policy, rule), message, hint=hint, level=level)


NAMES: Mapping[str | int | None, str] = {NUMBERS[name]: name for name in ("tcp", "udp", "sctp")}
"""Protocols with ports, by number."""


def _translated(subject: Subject, port: PortRange, protocol: str | int | None, selector: str) -> str:
    """A hint if a port is that of a Service for these pods: policies see the target port."""
    if port.first != port.last or not subject.cluster.services:
        return ""
    pods = [subject.thing(number) for number in subject.select(selector, subject.endpoints)]
    endpoints = ServiceEndpoints(subject.cluster)
    for service in subject.cluster.services.values():
        for one in service.ports:
            if one.port == port.first and one.target != one.port and protocol in (None, one.protocol):
                behind = {id(pod) for pod in endpoints.selected(service)}
                if any(id(pod) in behind for pod in pods):
                    name = f"{service.name.namespace}/{service.name.name}"
                    return f"{port} is the port of service {name}; policies see the pods' port, {one.target}"
    return ""


def _directed(policy: Policy) -> Iterator[tuple[Rule, bool]]:
    yield from ((rule, True) for rule in policy.inbound)
    yield from ((rule, False) for rule in policy.outbound)


PORTS = {"KubernetesNetworkPolicy": ("ports",), "StagedKubernetesNetworkPolicy": ("ports",),
         "KubernetesClusterNetworkPolicy": ("protocols",)}  # fmt: skip
"""Where the rules of a kind list ports; Calico's do so in a rule's destination."""


def _ports_path(policy: Policy, rule: Rule) -> Path:
    return (*rule.path, *PORTS.get(policy.key.kind, ("destination", "ports")))
