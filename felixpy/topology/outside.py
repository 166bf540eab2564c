"""The address for ``internet``: one that nothing in the input covers, if there is any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple, TypeAlias

from felixpy.model import Cluster
from felixpy.netfilter.criteria import AddressIn
from felixpy.netfilter.numbers import spell_address
from felixpy.netfilter.rules import Dump

INTERNET = ("198.51.100.7", "203.0.113.7", "192.0.2.7", "2001:db8:ffff::7", "2001:db8:fffe::7")
"""Addresses for documentation, which come before all others."""

Network: TypeAlias = IPv4Network | IPv6Network


class Outside(NamedTuple):
    """An address, and the network in the input that covers it, "" if none does."""

    address: str
    covered: str = ""

    @property
    def note(self) -> str:
        if not self.covered:
            return f"internet is {self.address}"
        return f"internet is {self.address}, though {self.covered} of the input covers it: no address is in nothing"


def outside(nets: Iterable[str], family: int) -> Outside:
    """An address of a family in none of the nets, else one in the widest of them only.

    >>> outside(["198.51.100.0/24", "10.0.0.0/8"], 4).address
    '203.0.113.7'
    >>> outside(["0.0.0.0/0"], 4).covered
    '0.0.0.0/0'
    """
    parsed = dict.fromkeys(net for text in dict.fromkeys(nets) for net in _network(text))
    known = sorted((net for net in parsed if net.version == family), key=lambda net: net.prefixlen)
    for widest, narrow in ((None, known), *((known[at], known[at + 1 :]) for at in range(len(known)))):
        found = next((text for text in _candidates(narrow, family) if not _in(text, narrow)), "")
        if found:
            return Outside(found, str(widest) if widest else "")
    raise AssertionError("without any net every address is free")


def _network(text: str) -> Iterator[Network]:
    """The network of a text; nothing for members of saved sets that are not networks."""
    with suppress(ValueError):
        yield ip_network(text, strict=False)


def _candidates(nets: Iterable[Network], family: int) -> Iterator[str]:
    yield from (text for text in INTERNET if ip_address(text).version == family)
    for net in nets:
        for number in (int(net.broadcast_address) + 1, int(net.network_address) - 1):
            if 0 < number < 1 << net.max_prefixlen:
                text = spell_address(number, family)
                if ip_address(text).is_global:
                    yield text


def _in(text: str, nets: Iterable[Network]) -> bool:
    address = ip_address(text)
    return any(address in net for net in nets)


def mentioned(cluster: Cluster) -> Iterator[str]:
    """Nets of pools, network sets, rules and services, and the addresses of endpoints and nodes."""
    yield from (pool.cidr for pool in cluster.pools)
    yield from (net for networks in cluster.network_sets for net in networks.nets)
    yield from cluster.service_cidrs
    for policy in cluster.policies:
        for rule in (*policy.inbound, *policy.outbound):
            for side in (rule.source, rule.destination):
                yield from (*side.nets, *side.not_nets)
    yield from (address for pod in cluster.workloads for address in pod.addresses)
    yield from (address for host in cluster.host_endpoints for address in host.addresses)


def saved(dumps: Iterable[Dump]) -> Iterator[str]:
    """Members of saved sets, and addresses in saved rules."""
    for dump in dumps:
        for found in (dump.sets or {}).values():
            for member in found.members:
                text = member.split(" ")[0].split(",")[0]
                if "." in text or ":" in text:
                    yield text
        for family, _, chain in dump.chains():
            for rule in chain.rules:
                for test in rule.body.tests:
                    if isinstance(test.criterion, AddressIn):
                        yield from (spell_address(part.first, family) for part in test.criterion.ranges)
