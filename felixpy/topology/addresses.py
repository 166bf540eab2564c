"""The addresses of nodes, with assumed ones for nodes without any in the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from ipaddress import ip_address, ip_interface

from felixpy.model import Cluster, Host

STAND_IN = {4: int(ip_address("198.18.0.1")), 6: int(ip_address("2001:db8:198:18::1"))}
"""The first of the addresses assumed for nodes, from a range reserved for benchmarks."""


class AddressBook:
    """The addresses of nodes. `names` are nodes besides those of the cluster."""

    def __init__(self, cluster: Cluster, hosts: Mapping[str, Host], names: Iterable[str] = ()) -> None:
        self.cluster, self.hosts = cluster, hosts
        self.names = sorted({*cluster.node_names(), *names})

    @cached_property
    def known(self) -> Mapping[str, str]:
        """Nodes by address; a node is reached by its first address."""
        found: dict[str, str] = {}
        for node in self.cluster.nodes.values():
            tunnels = (node.ipip_tunnel, node.vxlan_tunnel_v4, node.vxlan_tunnel_v6)
            for text in (node.bgp_v4, node.bgp_v6, *node.addresses, *tunnels):
                if text:
                    found.setdefault(str(ip_interface(text).ip), node.name)
        for name, host in self.hosts.items():
            for addresses in (host.interfaces or {}).values():
                for text in addresses:
                    found.setdefault(str(ip_interface(text).ip), name)
        for endpoint in self.cluster.host_endpoints:
            for address in endpoint.addresses:
                found.setdefault(address, endpoint.node)
        return found

    @cached_property
    def assumed(self) -> Mapping[str, str]:
        """Nodes by their assumed address, in families in which they have none."""
        have = {(node, ":" in address) for address, node in self.known.items()}
        return {
            str(ip_address(start + number)): name
            for family, start in STAND_IN.items()
            for number, name in enumerate(self.names)
            if (name, family == 6) not in have
        }

    @property
    def only(self) -> str:
        """The node if there is only one, else ""."""
        return self.names[0] if len(self.names) == 1 else ""

    def node(self, address: str) -> str:
        """The node with an address, "" if there is none."""
        return self.known.get(address) or self.assumed.get(address, "")

    def address(self, node: str, family: int) -> str:
        """The address by which a node is reached; "" for an unknown node."""
        return next((text for text in self.of_node(node) if (":" in text) == (family == 6)), "")

    def of_node(self, node: str) -> Sequence[str]:
        """All addresses of a node, known ones before assumed ones."""
        return self._by_node.get(node, ())

    @cached_property
    def _by_node(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for text, name in {**self.known, **self.assumed}.items():
            found.setdefault(name, []).append(text)
        return found
