"""Connections to try in a lab: from the names that users give to addresses and namespaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from felixpy.errors import UsageError
from felixpy.lab.layout import FAMILIES, LabLayout, family_of
from felixpy.topology.endpoints import Directory, Endpoint
from felixpy.topology.question import Target, parse_target

PROTOCOLS = ("tcp", "udp", "sctp", "icmp")
DEFAULT_PROTOCOL = "tcp"


class LabFlow(NamedTuple):
    """One connection to try, from one namespace to another. ICMP has port 0."""

    source: Endpoint
    destination: Endpoint
    source_netns: str
    destination_netns: str
    protocol: str
    port: int = 0

    @property
    def family(self) -> int:
        return family_of(self.destination.address)

    @property
    def service(self) -> str:
        return service_words(self.protocol, self.port)


def service_words(protocol: str, port: int) -> str:
    """Protocol and port as text, which `parse_service` reads.

    >>> service_words("tcp", 80), service_words("icmp", 0)
    ('tcp/80', 'icmp')
    """
    return f"{protocol}/{port}" if port else protocol


def flow_of(
    layout: LabLayout, source: str, target: str | Target, *, family: int | None = None, namespace: str = ""
) -> LabFlow:
    """The flow between two endpoints given by name. A target without port is sent an ICMP echo request.

    Without `family` it is IPv4 if both ends have that; bare names are looked up in `namespace`. Raises UsageError for
    unknown names.
    """
    target = parse_target(target) if isinstance(target, str) else target
    directory = layout.directory_in(namespace)

    def ends(family: int) -> tuple[Endpoint, Endpoint]:
        return _pair(layout, directory, source, target.endpoint, family)

    source_endpoint, destination = _in_some_family(ends, family)
    return between(layout, source_endpoint, destination, *_service(target, destination))


def between(layout: LabLayout, source: Endpoint, destination: Endpoint, protocol: str, port: int) -> LabFlow:
    """A flow between two endpoints."""
    if protocol not in PROTOCOLS:
        raise UsageError(f"a lab has no answer to {protocol}; it knows {', '.join(PROTOCOLS)}")
    return LabFlow(source, destination, layout.space(source), layout.space(destination), protocol, port)


def endpoint_of(layout: LabLayout, text: str, *, family: int | None = None, namespace: str = "") -> Endpoint:
    """One endpoint by name. Raises UsageError as `flow_of`."""
    directory = layout.directory_in(namespace)
    return _in_some_family(lambda each: _internet(layout, text, each) or directory.find(text, each), family)


Answer = TypeVar("Answer")


def _in_some_family(ask: Callable[[int], Answer], family: int | None) -> Answer:
    """The result of `ask` for a family; without one, for the first family that has a result."""
    if family:
        return ask(family)
    try:
        return ask(FAMILIES[0])
    except UsageError as wrong:
        try:
            return ask(FAMILIES[1])
        except UsageError:
            raise wrong from None


def _pair(
    layout: LabLayout, directory: Directory, source: str, destination: str, family: int
) -> tuple[Endpoint, Endpoint]:
    """Both ends; the address of ``internet`` is fixed by the lab's layout."""
    known = [_internet(layout, text, family) for text in (source, destination)]
    names = [
        endpoint.address if endpoint else text for endpoint, text in zip(known, (source, destination), strict=True)
    ]
    found = directory.pair(names[0], names[1], family)
    return known[0] or found[0], known[1] or found[1]


def _internet(layout: LabLayout, text: str, family: int) -> Endpoint | None:
    if text != "internet":
        return None
    return Endpoint("outside", text, next(address for address in layout.internet if family_of(address) == family))


def _service(target: Target, destination: Endpoint) -> tuple[str, int]:
    """Protocol and port; a named port of the destination also determines the protocol."""
    if isinstance(target.port, str):
        named = {port.name: port for port in destination.workload.ports} if destination.workload else {}
        if target.port not in named:
            known = f"; it has {', '.join(named)}" if named else ""
            raise UsageError(f"{destination.name} has no port called {target.port}{known}")
        port = named[target.port]
        return target.protocol or port.protocol, port.port
    if target.port is None:
        return target.protocol or "icmp", 0
    return (target.protocol or DEFAULT_PROTOCOL).lower(), target.port


def parse_service(text: str) -> tuple[str, int]:
    """``PORT[/PROTOCOL]`` or ``icmp``.

    >>> parse_service("53/udp"), parse_service("80"), parse_service("icmp")
    (('udp', 53), ('tcp', 80), ('icmp', 0))
    """
    wrong = UsageError(f"--port {text}: write PORT[/PROTOCOL] with a number, or icmp")
    try:
        target = parse_target(f"x:{text}")
    except UsageError:
        raise wrong from None
    if isinstance(target.port, str) or not (target.port or target.protocol):
        raise wrong
    return _service(target, Endpoint("outside", "", ""))
