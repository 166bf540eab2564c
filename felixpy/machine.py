"""The machine felixpy runs on: its network interfaces, read through netlink (``--live``)."""

from __future__ import annotations

import socket

from felixpy.errors import EnvironmentMissing
from felixpy.model import Host

LOOPBACK = "lo"


def read_host() -> Host:
    """Interfaces and addresses of the current network namespace, without loopback.

    Raises EnvironmentMissing without netlink.
    """
    from pyroute2 import IPRoute

    try:
        with IPRoute() as netlink:
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
            addresses: dict[str, list[str]] = {name: [] for name in names.values() if name != LOOPBACK}
            for family in (socket.AF_INET, socket.AF_INET6):
                for found in netlink.get_addr(family=family):
                    name = names.get(found["index"], LOOPBACK)
                    if name != LOOPBACK:
                        address = found.get_attr("IFA_LOCAL") or found.get_attr("IFA_ADDRESS")
                        addresses[name].append(f"{address}/{found['prefixlen']}")
    except OSError as wrong:
        raise EnvironmentMissing(f"the machine's interfaces cannot be read through netlink: {wrong}") from wrong
    return Host(interfaces={name: tuple(addresses[name]) for name in sorted(addresses)})
