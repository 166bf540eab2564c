"""Which host endpoint owns which interface of the machine. (felix/dataplane/linux/endpoint_mgr.go)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from felixpy.config import Config
from felixpy.model import Host, HostEndpoint
from felixpy.names import ANY_INTERFACE

ALL_INTERFACES = "*"

LOOPBACK = "lo"
LOOPBACK_ADDRESSES = ("127.0.0.0", "127.0.0.1", "::1")
"""The addresses of the loopback interface for Felix: its local routes, the first in place of 127.0.0.0/8."""


def interfaces_of(host: Host, endpoints: Iterable[HostEndpoint], config: Config) -> Mapping[str, tuple[str, ...]]:
    """The interfaces that can have host endpoints, with their addresses (without prefix length).

    If the machine's interfaces are unknown, those that host endpoints name are assumed to exist. The loopback interface
    always exists.
    """
    given = host.interfaces
    if given is None:
        given = {e.interface: () for e in endpoints if e.interface not in ("", ALL_INTERFACES)}
    everything = {**given, LOOPBACK: (*LOOPBACK_ADDRESSES, *given.get(LOOPBACK, ()))}
    return {
        name: tuple(dict.fromkeys(address.partition("/")[0] for address in addresses))
        for name, addresses in everything.items()
        if not config.excludes(name)
    }


def owners(
    endpoints: Iterable[HostEndpoint], interfaces: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, HostEndpoint]]:
    """(interface, its host endpoint) pairs, the host endpoint for all interfaces first.

    A host endpoint with interfaceName matches by name only, one without by its addresses. Of several that match, the
    one with the smallest name wins.
    """
    by_name = sorted(endpoints, key=lambda endpoint: endpoint.name)
    everywhere = next((endpoint for endpoint in by_name if endpoint.interface == ALL_INTERFACES), None)
    if everywhere:
        yield ANY_INTERFACE, everywhere
    for interface in sorted(interfaces):
        addresses = set(interfaces[interface])
        for endpoint in by_name:
            if endpoint.interface == interface or (not endpoint.interface and addresses & set(endpoint.addresses)):
                yield interface, endpoint
                break
