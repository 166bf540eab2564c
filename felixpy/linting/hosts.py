"""Checks of host endpoints and of the policies that apply to them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from felixpy.errors import Path
from felixpy.linting.finding import Finding, about
from felixpy.linting.subject import HOST_SERVICES, Subject, listed
from felixpy.linting.typos import near
from felixpy.linting.views import DIRECTIONS, Direction
from felixpy.model import HostEndpoint, Policy, Rule, Side, Workload
from felixpy.netfilter.numbers import NUMBERS

CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
"""Labels of nodes on which the API server runs."""


def unknown_nodes(subject: Subject) -> Iterator[Finding]:
    """FX141. Nodes are known from Node objects and from pods that run on them."""
    known = set(subject.cluster.nodes) | {pod.node for pod in subject.cluster.workloads}
    if not known:
        return
    for host in subject.cluster.host_endpoints:
        if host.node not in known:
            likely = near(host.node, known)
            hint = f"did you mean {' or '.join(likely)}?" if likely else f"known are {listed(sorted(known), 5)}"
            yield _about(host, ("spec", "node"), f'there is no node "{host.node}" in the input', hint)


def _about(host: HostEndpoint, path: Path, message: str, hint: str = "") -> Finding:
    return Finding(subject=f"HostEndpoint {host.name}", source=host.source, path=path, message=message, hint=hint)


def not_applied_on_forward(subject: Subject) -> Iterator[Finding]:
    """FX142. Without applyOnForward a policy of host endpoints sees what ends at the host or starts there."""
    for policy in subject.enforced:
        selected = subject.selected(policy)
        if not selected or not selected <= subject.hosts or policy.apply_on_forward:
            continue
        addresses = [
            address
            for host in map(subject.thing, selected)
            if isinstance(host, HostEndpoint)
            for address in host.addresses
        ]
        for rules, inward in ((policy.inbound, True), (policy.outbound, False)):
            for rule in rules:
                own, name = (rule.destination, "destination") if inward else (rule.source, "source")
                if _means_pods(subject, own, addresses):
                    message = f"the {name} is pods, but without applyOnForward the policy is about packets of the host"
                    yield about(policy, (*rule.path, name), message, hint="set spec.applyOnForward: true")


def _means_pods(subject: Subject, side: Side, host_addresses: list[str]) -> bool:
    """Whether a rule's side for the host itself can match pods but no host."""
    if side.selector:
        chosen = subject.select(side.selector, subject.endpoints)
        return bool(chosen) and chosen <= subject.pods
    if not side.nets or not host_addresses:
        return False
    nets = [ip_network(net) for net in side.nets]

    def inside(address: str) -> bool:
        return any(ip_address(address) in net for net in nets)

    if any(map(inside, host_addresses)):
        return False
    pods = (thing for thing in map(subject.thing, subject.pods) if isinstance(thing, Workload))
    return any(inside(address) for pod in pods for address in pod.addresses)


def denied_failsafe_ports(subject: Subject) -> Iterator[Finding]:
    """FX144. Failsafe ports are accepted before the policies of a host endpoint are evaluated."""
    for policy in subject.enforced:
        hosts = [
            host for host in map(subject.thing, sorted(subject.selected(policy))) if isinstance(host, HostEndpoint)
        ]
        if not hosts or policy.apply_on_forward or len(hosts) < len(subject.selected(policy)):
            continue
        for rules, inward in ((policy.inbound, True), (policy.outbound, False)):
            for rule in rules:
                kept = _kept_open(subject, rule, hosts, inward=inward) if rule.action == "deny" else {}
                if kept:
                    ports = listed([str(port) for port in sorted(kept)], 5)
                    nodes = listed(sorted({node for those in kept.values() for node in those}))
                    message = f"{str(rule.protocol).upper()} {ports} stays open on {nodes} in spite of this rule"
                    parameter = f"failsafe{'In' if inward else 'Out'}boundHostPorts"
                    hint = f"failsafe ports are accepted before policies are evaluated; see {parameter}"
                    yield about(policy, rule.path, message, hint=hint)


def _kept_open(subject: Subject, rule: Rule, hosts: list[HostEndpoint], *, inward: bool) -> dict[int, list[str]]:
    """The ports of a rule that are failsafe ports for all addresses, with the nodes on which they are."""
    kept: dict[int, list[str]] = {}
    listed_ports = {
        port.first for port in rule.destination.ports if not isinstance(port, str) and port.first == port.last
    }
    for node in {host.node for host in hosts}:
        config = subject.configs.get(node, subject.default_config)
        safe = config.failsafe_inbound if inward else config.failsafe_outbound
        for one in safe:
            if one.protocol == rule.protocol and one.port in listed_ports and (not one.net or one.net.endswith("/0")):
                kept.setdefault(one.port, []).append(node)
    return kept


def locked_out(subject: Subject) -> Iterator[Finding]:
    """FX143. A service counts as lost if no address of any family may use it, failsafe ports excepted."""
    allowed: dict[tuple[int, Direction], set[int]] = {}
    policies: dict[int, dict[str, Policy]] = {}
    for view in subject.views.all:
        if view.section != "normal":
            continue
        ports = {port for _, port in HOST_SERVICES[view.direction]} | {443}
        open_ports = {
            port
            for port in ports
            if port in _asked(subject) and view.chain.allowed & view.pieces.port(NUMBERS["tcp"], port)
        }
        for number in view.endpoints:
            if isinstance(subject.thing(number), HostEndpoint):
                allowed.setdefault((number, view.direction), set()).update(open_ports)
                found = {str(policy.key): policy for tier in view.policies for policy in tier}
                policies.setdefault(number, {}).update(found)
    for number in sorted(subject.hosts):
        host = subject.thing(number)
        assert isinstance(host, HostEndpoint)
        lost = list(_lost(subject, host, {direction: allowed.get((number, direction)) for direction in DIRECTIONS}))
        if lost:
            names = listed(sorted(policies.get(number, {})))
            reason = f"the policies {names} allow none of it" if names else "no policy and no profile allows anything"
            yield _about(
                host, (), f"locks the node out: {listed(lost, 6)}; {reason}", "failsafe ports do not keep it open"
            )


def _asked(subject: Subject) -> set[int]:
    return {port for protocol, port, _ in subject.asked if protocol == NUMBERS["tcp"]}


def _lost(subject: Subject, host: HostEndpoint, allowed: dict[Direction, set[int] | None]) -> Iterator[str]:
    config = subject.configs.get(host.node, subject.default_config)
    node = subject.cluster.nodes.get(host.node)
    leads = node is not None and any(label in node.labels for label in CONTROL_PLANE)
    for direction in DIRECTIONS:
        found = allowed[direction]
        if found is None:
            continue
        safe = config.failsafe_inbound if direction == "ingress" else config.failsafe_outbound
        kept = found | {port.port for port in safe if port.protocol == "tcp"}
        for name, port in HOST_SERVICES[direction]:
            if port in kept or (direction == "ingress" and name != "SSH" and not leads):
                continue
            if direction == "egress" and (name == "etcd" or kept & {443, 6443}):
                continue
            way = "into" if direction == "ingress" else "out of"
            yield f"{name} (TCP {port}) {way} {host.node}"
