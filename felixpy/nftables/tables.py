"""The tables of the nftables data plane: base chains, chains, verdict maps and sets as nft takes and lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct

from felixpy.ipsets import IPSet
from felixpy.nftables.chains import Hook, NftChain, base_chain, nft_chain
from felixpy.nftables.spelling import set_name
from felixpy.ruleset import ARP, TABLES, Chain, Table

FAMILIES: Mapping[int, str] = {4: "ip", 6: "ip6"}


def _filter(name: str, priority: int, listed: str) -> Hook:
    return Hook("filter", name, priority, listed)


HOOKS: Mapping[str, Hook] = {
    **{f"raw-{name}": _filter(name.lower(), -300, "raw") for name in TABLES["raw"]},
    **{f"mangle-{name}": _filter(name.lower(), -150, "mangle") for name in TABLES["mangle"]},
    "mangle-OUTPUT": Hook("route", "output", -150, "mangle"),
    "nat-PREROUTING": Hook("nat", "prerouting", -100, "dstnat"),
    "nat-INPUT": Hook("nat", "input", -100, "-100"),
    "nat-OUTPUT": Hook("nat", "output", 110, "110"),
    "nat-POSTROUTING": Hook("nat", "postrouting", 110, "srcnat + 10"),
    **{f"filter-{name}": _filter(name.lower(), 0, "filter") for name in TABLES["filter"]},
}
"""The base chains of ``calico``. nft lists a priority by the name that it has at the hook. (felix/nftables)"""

ARP_HOOKS: Mapping[str, Hook] = {"filter-OUTPUT": HOOKS["filter-OUTPUT"]}

APPENDED = "*appends*"
"""The suffix of a base chain's name in hashes of rules at its end."""


class VerdictMap(NamedTuple):
    """A verdict map: interface → chain."""

    name: str
    chains: Mapping[str, str]


class NftSet(NamedTuple):
    """An IP set; `written` and `listed` are its members in both syntaxes, in the order of the listing."""

    name: str
    type: str
    interval: bool
    written: tuple[str, ...]
    listed: tuple[str, ...]
    source: IPSet


_ADDRESS_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_LENGTHS = {4: "/32", 6: "/128"}


def nft_set(ipset: IPSet) -> NftSet:
    """Convert a set to nft: members of hash:net have a length, members with a port are concatenations."""
    known: NftSet | None = ipset.members.findings.get("nftables")
    if known is None or known.source.name != ipset.name:
        known = ipset.members.findings["nftables"] = _nft_set(ipset)
    return known._replace(source=ipset)


def _nft_set(ipset: IPSet) -> NftSet:
    address = _ADDRESS_TYPES[ipset.family]
    name = set_name(ipset.name)
    if ipset.type == "hash:ip,port":
        members = tuple(sorted(_with_port(member) for member in ipset.members))
        return NftSet(name, f"{address} . inet_proto . inet_service", False, members, members, ipset)
    if ipset.type == "hash:ip":
        return NftSet(name, address, False, ipset.members, ipset.members, ipset)
    length = _LENGTHS[ipset.family]
    whole = [member if "/" in member else member + length for member in ipset.members]
    written = sorted(whole)
    listed = ipset.members if written == whole else tuple([member.removesuffix(length) for member in written])
    return NftSet(name, address, True, tuple(written), listed, ipset)


def _with_port(member: str) -> str:
    """Return a member with a port in nft's syntax.

    >>> _with_port("10.0.0.5,tcp:8080")
    '10.0.0.5 . tcp . 8080'
    """
    address, _, rest = member.partition(",")
    protocol, _, port = rest.partition(":")
    return f"{address} . {protocol} . {port}"


class NftTable(Struct, frozen=True, eq=False):
    """One table: its sets, verdict maps, base chains in the order of the layers, and chains by name."""

    family: str
    name: str
    sets: tuple[NftSet, ...]
    maps: tuple[VerdictMap, ...]
    chains: tuple[NftChain, ...]

    @property
    def title(self) -> str:
        return f"{self.family} {self.name}"


def _layer(table: Table) -> str:
    """Return the prefix of names in a table; the ARP table has one layer only."""
    return "filter" if table.name == ARP else table.name


def nft_part(table: Table, chain: Chain, family: str) -> NftChain:
    """Convert a chain, or Felix's part of a base chain, in a table of ``ip``, ``ip6`` or ``arp``."""
    ending = APPENDED if table.appended.get(chain.name) is chain else ""
    return nft_chain(chain, _layer(table), family, ending)


def _base_chain(name: str, hook: Hook, layers: Mapping[str, Table], family: str) -> NftChain:
    layer, _, kernel_chain = name.partition("-")
    table = layers.get(layer)
    parts = [part[kernel_chain] for part in (table.inserted, table.appended) if kernel_chain in part] if table else []
    return base_chain(name, hook, [nft_part(table, part, family) for part in parts] if table else [])


def nft_table(family: str, tables: Iterable[Table], sets: Iterable[IPSet]) -> NftTable:
    """Return the table of a family (``ip``, ``ip6``, ``arp``) from the tables of its layers."""
    layers = {_layer(table): table for table in tables}
    hooks = ARP_HOOKS if family == ARP else HOOKS
    base = [_base_chain(name, hook, layers, family) for name, hook in hooks.items()]
    own = [nft_chain(chain, layer, family) for layer, table in layers.items() for chain in table.chains]
    maps = [
        VerdictMap(f"{layer}-{name}", {key: f"{layer}-{chain}" for key, chain in chains.items()})
        for layer, table in layers.items()
        for name, chains in table.maps.items()
    ]
    return NftTable(
        family,
        f"calico-{ARP}" if family == ARP else "calico",
        tuple(sorted((nft_set(one) for one in sets), key=lambda one: one.name)),
        tuple(sorted(maps)),
        (*base, *sorted(own, key=lambda chain: chain.name.encode())),
    )
