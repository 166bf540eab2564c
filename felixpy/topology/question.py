"""The packet to trace, and parsing it from text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from felixpy.errors import UsageError
from felixpy.netfilter.numbers import WITH_PORTS, State, protocol_number

LARGEST_PORT = 65535
LARGEST_ICMP = 255

PINGS = frozenset({"icmp", "icmpv6", "ping"})
"""The words for an echo request in place of a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The ends, as users name them, and the packet. Without port and ICMP type it is an echo request.

    A port may be a named port of the destination. `dnat` is an endpoint with a port that replaces the destination,
    `snat` the source that the first node substitutes ("node": its own address). Interfaces are given if they cannot be
    derived.
    """

    source: str
    destination: str
    protocol: str | int = ""
    port: int | str | None = None
    source_port: int = 49152
    icmp: tuple[int, int] | None = None
    state: State = "new"
    dnat: Target | None = None
    snat: str = ""
    spoofed: bool = False
    family: int | None = None
    in_interface: str = ""
    out_interface: str = ""


class Target(NamedTuple):
    """An endpoint with port and protocol, as far as they are given."""

    endpoint: str
    port: int | str | None = None
    protocol: str = ""


_SERVICE = re.compile(r"(?P<port>\d+|[A-Za-z][\w-]*)(?:/(?P<protocol>\w+))?")


def parse_target(text: str) -> Target:
    """Parse ``ENDPOINT[:PORT[/PROTOCOL]]``; an IPv6 address with a port is in brackets.

    >>> parse_target("shop/db:5432"), parse_target("host:node1:22").endpoint
    (Target(endpoint='shop/db', port=5432, protocol=''), 'host:node1')
    >>> parse_target("[fd00::1]:53/udp")
    Target(endpoint='fd00::1', port=53, protocol='udp')
    """
    if text.startswith("["):
        endpoint, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"{text}: write [ADDRESS]:PORT")
        return _with_service(endpoint, rest[1:], text)
    if is_address(text):
        return Target(text)
    head = "host:" if text.startswith("host:") and not _SERVICE_OF_HOST.fullmatch(text) else ""
    endpoint, _, service = text[len(head) :].partition(":")
    return _with_service(head + endpoint, service, text)


_SERVICE_OF_HOST = re.compile(r"host:\d+(?:/\w+)?")
"""``host:22`` is a port of the only node, not a node called 22."""


def _with_service(endpoint: str, service: str, text: str) -> Target:
    if not service:
        return Target(endpoint)
    if service in PINGS:
        return Target(endpoint, None, "icmp")
    found = _SERVICE.fullmatch(service)
    if not found:
        raise UsageError(f'{text}: "{service}" is not a PORT or PORT/PROTOCOL')
    protocol = found["protocol"] or ""
    if protocol and protocol_number(protocol) not in WITH_PORTS:
        raise UsageError(f"{text}: {protocol} has no ports")
    if not found["port"].isdecimal():
        return Target(endpoint, found["port"], protocol)
    port = int(found["port"])
    if not 0 < port <= LARGEST_PORT:
        raise UsageError(f"{text}: ports are numbers from 1 to {LARGEST_PORT}")
    return Target(endpoint, port, protocol)


def question_of(source: str, destination: str, *, protocol: str = "", icmp: str = "") -> Question:
    """The question whether `source` reaches `destination`, both as text.

    `protocol` overrides a protocol in the destination. Raises UsageError.
    """
    target = parse_target(destination)
    return Question(
        source=source,
        destination=target.endpoint,
        protocol=protocol or target.protocol,
        port=target.port,
        icmp=parse_icmp(icmp) if icmp else None,
    )


ICMP_TYPES: Mapping[str, tuple[int, int]] = {"echo-reply": (0, 0), "unreachable": (3, 0), "time-exceeded": (11, 0)}
"""A few types by name; without ``--icmp`` an echo request is meant."""


def parse_icmp(text: str) -> tuple[int, int]:
    """Parse ``TYPE`` or ``TYPE/CODE``.

    >>> parse_icmp("3/1"), parse_icmp("8")
    ((3, 1), (8, 0))
    """
    if text in ICMP_TYPES:
        return ICMP_TYPES[text]
    kind, _, code = text.partition("/")
    if not kind.isdecimal() or not (code or "0").isdecimal():
        raise UsageError(f"--icmp {text}: write TYPE or TYPE/CODE")
    numbers = int(kind), int(code or 0)
    if max(numbers) > LARGEST_ICMP:
        raise UsageError(f"--icmp {text}: types and codes go up to {LARGEST_ICMP}")
    return numbers


def parse_snat(text: str) -> str:
    """Check the value of --snat: an address, or ``node``. Raises UsageError for anything else."""
    if text not in ("", "node") and not is_address(text):
        raise UsageError(f"--snat {text}: write an IP address, or node for the address of the node")
    return text


def is_address(text: str) -> bool:
    """Whether a text is an IP address of either family."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
