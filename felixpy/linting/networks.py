"""Checks of CIDRs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from felixpy.errors import Path
from felixpy.linting.finding import Finding, about
from felixpy.linting.subject import KUBERNETES_KINDS, Subject
from felixpy.model import Side

Network = IPv4Network | IPv6Network


def host_bits(subject: Subject) -> Iterator[Finding]:
    """FX151. The API server and Calico accept such a network and mask it."""
    for policy in subject.policies:
        for path, given, read in policy.rewritten:
            yield about(policy, path, f"{given} has host bits set: Calico takes it for {read}", hint=f"write {read}")


def overlaps(subject: Subject) -> Iterator[Finding]:
    """FX152."""
    for policy in subject.policies:
        for _, _, _, side, path in subject.sides(policy):
            if len(side.nets) + len(side.not_nets) < 2:
                continue
            block = policy.key.kind in KUBERNETES_KINDS
            nets_path: Path = (*path, "ipBlock", "cidr") if block else (*path, "nets")
            not_nets_path: Path = (*path, "ipBlock", "except") if block else (*path, "notNets")
            for message, is_exception in _messages(side):
                yield about(policy, not_nets_path if is_exception else nets_path, message)


def _messages(side: Side) -> Iterator[tuple[str, bool]]:
    """(message, whether it is about the list of exceptions) for the network lists of one side."""
    nets, exceptions = [ip_network(net) for net in side.nets], [ip_network(net) for net in side.not_nets]
    for listed, is_exception in ((nets, False), (exceptions, True)):
        for inner, outer in _inside(listed):
            again = "is listed twice" if inner == outer else f"is inside {outer} of the same list"
            yield f"{inner} {again}", is_exception
    if nets:
        for exception in exceptions:
            if not any(net.overlaps(exception) for net in nets if net.version == exception.version):
                yield f"{exception} excludes nothing: it is outside of the networks of the rule", True
    for net in nets:
        for exception in exceptions:
            if net.version == exception.version and net.subnet_of(exception):  # type: ignore[arg-type]
                yield f"{net} is excluded again by {exception}", False


def _inside(nets: Sequence[Network]) -> Iterator[tuple[Network, Network]]:
    """Each network that another one of the list contains, with that one. Linear in the sorted list."""
    outer: list[Network] = []
    for net in sorted(nets, key=lambda net: (net.version, int(net.network_address), net.prefixlen)):
        while outer and not (outer[-1].version == net.version and net.subnet_of(outer[-1])):  # type: ignore[arg-type]
            outer.pop()
        if outer:
            yield net, outer[-1]
        outer.append(net)
