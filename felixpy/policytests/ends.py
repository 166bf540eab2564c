"""Sources and destinations in expectations, and the names or addresses to try for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from felixpy.errors import UsageError
from felixpy.labels import LabelIndex
from felixpy.model import Cluster, Workload
from felixpy.policytests.files import End, PodChoice
from felixpy.selector import Everything, parse
from felixpy.topology.endpoints import Directory

Network = IPv4Network | IPv6Network

MOST_PIECES = 4096
"""The maximum of addresses to try for one CIDR."""


class Ends:
    """Finds the ends of a cluster's connections."""

    def __init__(self, cluster: Cluster, directory: Directory) -> None:
        self._cluster, self._directory = cluster, directory

    def named(self, end: End) -> list[str]:
        """The endpoints to trace for an end, at least one, as texts. Raises UsageError for an unknown end.

        A workload or a choice gives all of its pods. A CIDR gives one address for each part of it that some rule, set
        or pool distinguishes, without addresses of pods and nodes.
        """
        if isinstance(end, PodChoice):
            return self._chosen(end)
        if (network := _network(end)) is not None:
            return list(self._addresses(network))
        pods = sorted(f"{pod.namespace}/{pod.name}" for pod in self._directory.pods(end))
        return pods or [end]

    def _chosen(self, choice: PodChoice) -> list[str]:
        node = parse(choice.selector) if choice.selector else Everything()
        found = (self._cluster.workloads[number] for number in self._index.select(node))
        names = sorted(f"{pod.namespace}/{pod.name}" for pod in found if choice.namespace in ("", pod.namespace))
        if not names:
            raise UsageError(f"{choice}: there are none")
        return names

    @cached_property
    def _index(self) -> LabelIndex:
        things = {number: (pod.labels, pod.profiles) for number, pod in enumerate(self._cluster.workloads)}
        return LabelIndex(things, {name: profile.labels for name, profile in self._cluster.profiles.items()})

    def _addresses(self, network: Network) -> Iterator[str]:
        """An address for each piece of a network that no rule, set, pool or endpoint cuts further."""
        first, last = int(network.network_address), int(network.broadcast_address)
        starts = {first}
        for net in self._nets:
            if net.version == network.version and net.overlaps(network):
                starts |= {int(net.network_address), int(net.broadcast_address) + 1}
        pieces = sorted(start for start in starts if first <= start <= last)
        if len(pieces) > MOST_PIECES:
            raise UsageError(f"{network}: rules and endpoints tell {len(pieces)} parts of it apart; ask for less")
        addresses = (str(type(network.network_address)(start)) for start in pieces)
        outside = [text for text in addresses if self._directory.owner(text).kind == "outside"]
        if not outside:
            raise UsageError(f"{network}: all of its addresses belong to pods and nodes; name these")
        yield from outside

    @cached_property
    def _nets(self) -> Sequence[Network]:
        texts = dict.fromkeys(_mentioned(self._cluster))
        return [ip_network(text, strict=False) for text in texts]


def _mentioned(cluster: Cluster) -> Iterator[str]:
    """Every network and address in a cluster."""
    yield from (pool.cidr for pool in cluster.pools)
    yield from (net for networks in cluster.network_sets for net in networks.nets)
    endpoints: Iterable[Workload] = cluster.workloads
    yield from (address for endpoint in endpoints for address in endpoint.addresses)
    yield from (address for endpoint in cluster.host_endpoints for address in endpoint.addresses)
    for node in cluster.nodes.values():
        texts = (node.bgp_v4, node.bgp_v6, node.ipip_tunnel, node.vxlan_tunnel_v4, node.vxlan_tunnel_v6)
        yield from (text.partition("/")[0] for text in (*texts, *node.addresses) if text)
    for policy in cluster.policies:
        for rule in (*policy.inbound, *policy.outbound):
            for side in (rule.source, rule.destination):
                yield from (*side.nets, *side.not_nets)


def _network(end: str) -> Network | None:
    """A CIDR; None for everything else, single addresses included.

    >>> _network("10.0.0.0/8"), _network("10.0.0.1"), _network("shop/web")
    (IPv4Network('10.0.0.0/8'), None, None)
    """
    address, slash, _ = end.partition("/")
    try:
        ip_address(address)
        return ip_network(end) if slash else None
    except ValueError:
        if slash and address.replace(".", "").isdigit() and address.count(".") == 3:
            raise UsageError(f"{end}: not a CIDR (address bits below the prefix have to be 0)") from None
        return None
