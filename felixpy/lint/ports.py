"""Checks of ports that rules name and that pods declare."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from felixpy.errors import Path
from felixpy.lint.finding import Finding, about
from felixpy.lint.subject import Subject, any_of, listed
from felixpy.lint.typos import near
from felixpy.model import Policy, PortRange, Rule, Workload
from felixpy.reports import Level
from felixpy.services.endpoints import Endpoints


def undeclared_port_names(subject: Subject) -> Iterator[Finding]:
    """FX103. A port's name means the ports that the selected pods call so; nobody's means none."""
    for policy in subject.policies:
        seen: set[tuple[Path, str]] = set()
        for rule, inward in _directed(policy):
            names = [port for port in rule.destination.ports if isinstance(port, str)]
            if not names:
                continue
            scope = subject.selected(policy) if inward else _destinations(subject, rule)
            declared = {port.name for number in scope for port in getattr(subject.thing(number), "ports", ())}
            for name in names:
                if scope and name not in declared and (rule.path, name) not in seen:
                    seen.add((rule.path, name))
                    whose = "that the policy selects" if inward else "that the rule selects"
                    likely = near(name, declared)
                    yield about(
                        policy,
                        _ports_path(policy, rule),
                        f'port name "{name}" is not declared by {any_of(len(scope), "endpoint")} {whose}',
                        hint=f"did you mean {' or '.join(likely)}?" if likely else _known_names(declared),
                    )


def _known_names(declared: AbstractSet[str]) -> str:
    return f"declared are {listed(sorted(declared), 5)}" if declared else "none of them declares named ports"


def unserved_ports(subject: Subject) -> Iterator[Finding]:
    """FX104. Told only where every selected pod declares ports, as ports need not be declared."""
    for policy in subject.policies:
        seen: set[tuple[Path, PortRange]] = set()
        for rule, inward in _directed(policy):
            ports = [port for port in rule.destination.ports if isinstance(port, PortRange)]
            if not ports or rule.action != "allow" or (not inward and rule.destination.nets):
                continue
            scope = [subject.thing(n) for n in (subject.selected(policy) if inward else _destinations(subject, rule))]
            pods = [thing for thing in scope if isinstance(thing, Workload)]
            if not pods or len(pods) < len(scope) or not all(pod.serves for pod in pods):
                continue
            served = {port for pod in pods for protocol, port in pod.serves if rule.protocol in (None, protocol)}
            for port in ports:
                if (rule.path, port) in seen or any(port.first <= one <= port.last for one in served):
                    continue
                seen.add((rule.path, port))
                known = listed([str(one) for one in sorted(served)], 5)
                message = f"port {port} is not declared by {any_of(len(pods), 'pod')} that the rule is about"
                hint = f"declared are {known}" if served else ""
                level: Level | None = None
                if translated := _translated(subject, port, rule.protocol, pods):
                    level, hint = "warning", translated
                yield about(policy, _ports_path(policy, rule), message, hint=hint, level=level)


def _translated(subject: Subject, port: PortRange, protocol: str | int | None, pods: list[Workload]) -> str:
    """The port of a Service in front of these pods that was taken for theirs: policies see packets behind it."""
    if port.first != port.last:
        return ""
    endpoints = Endpoints(subject.cluster)
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


def _destinations(subject: Subject, rule: Rule) -> AbstractSet[int]:
    """The endpoints that an egress rule is about; none if it is about addresses."""
    side = rule.destination
    if side.nets:
        return frozenset()
    return subject.select(side.selector, subject.endpoints) if side.selector else subject.endpoints


PORTS = {"KubernetesNetworkPolicy": ("ports",), "StagedKubernetesNetworkPolicy": ("ports",),
         "KubernetesClusterNetworkPolicy": ("protocols",)}  # fmt: skip
"""Where the rules of a kind list ports; Calico's do so in a rule's destination."""


def _ports_path(policy: Policy, rule: Rule) -> Path:
    return (*rule.path, *PORTS.get(policy.key.kind, ("destination", "ports")))
