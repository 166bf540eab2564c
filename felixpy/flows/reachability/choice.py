"""Parses the selections of ``felixpy matrix``: endpoints, addresses and ports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from ipaddress import ip_network
from typing import NamedTuple

from felixpy.errors import UsageError
from felixpy.flows.packets.packet_sets import union
from felixpy.flows.packets.peers import Layer
from felixpy.flows.presentation.flow import Peer
from felixpy.flows.reachability.pairs import Focus, Pairs
from felixpy.flows.reachability.universe import Nets, PortChoice
from felixpy.netfilter.numbers import WITH_PORTS, Range, protocol_number
from felixpy.topology.endpoints import SHORT

LARGEST_PORT = 65535
INTERNET = "internet"
"""The name of all addresses that belong to no endpoint."""


def parse_ports(text: str) -> list[PortChoice]:
    """Parse ``80,443/tcp,53/udp,8000-8080,icmp``; the default protocol is TCP. Raises UsageError.

    >>> parse_ports("80,53/udp")[1]
    PortChoice(protocol=17, ports=Range(first=53, last=53))
    """
    return [_port(part.strip(), text) for part in text.split(",") if part.strip()]


def _port(part: str, text: str) -> PortChoice:
    numbers, _, name = part.partition("/")
    if not name and not numbers[:1].isdigit():
        numbers, name = "", numbers
    try:
        protocol = protocol_number(name or "tcp")
    except UsageError as wrong:
        raise UsageError(f"--ports {text}: {wrong}") from None
    if not numbers:
        return PortChoice(protocol, None)
    if protocol not in WITH_PORTS:
        raise UsageError(f"--ports {text}: {name} has no ports")
    first, _, last = numbers.partition("-")
    if not first.isdecimal() or not (last or "0").isdecimal():
        raise UsageError(f'--ports {text}: "{numbers}" is no port; write PORT, FIRST-LAST or PORT/PROTOCOL')
    ports = Range(int(first), int(last or first))
    if not 0 < ports.first <= ports.last <= LARGEST_PORT:
        raise UsageError(f"--ports {text}: ports are numbers from 1 to {LARGEST_PORT}, the lower one first")
    return PortChoice(protocol, ports)


class WantedPeers(NamedTuple):
    """The peers that flows must have at one end, as given: names, and nets of each family."""

    names: tuple[str, ...]
    nets: tuple[Nets, ...]


def parse_wanted(texts: Iterable[str]) -> WantedPeers:
    """Parse names, addresses and CIDRs."""
    names: list[str] = []
    nets: list[Nets] = []
    for text in texts:
        try:
            net = ip_network(text, strict=False)
        except ValueError:
            names.append(text)
        else:
            nets.append(Nets(net.version, Range(int(net[0]), int(net[-1]))))
    return WantedPeers(tuple(names), tuple(nets))


def focus_on(pairs: Pairs, wanted: WantedPeers) -> Focus | None:
    """Return the selected endpoints and addresses, None if all are. Raises UsageError for unknown names.

    A name is a namespace, ``NS/NAME``, ``KIND/NAME``, ``NS/KIND/NAME``, a bare name, ``host:NODE`` or ``host`` for all
    nodes, or ``internet``; the name of a pod also selects the workload that it is part of.
    """
    if not wanted.names and not wanted.nets:
        return None
    endpoints = 0
    for name in wanted.names:
        if name == INTERNET:
            continue
        found = [unit.bits for unit in pairs.units if _is_meant(unit.peer, name)]
        if not found:
            raise UsageError(f"--focus {name}: {_unknown(name, [unit.peer for unit in pairs.units])}")
        endpoints |= union(found)
    outside: dict[int, int] = {}
    for sheet in pairs.sheets:
        family = sheet.space.family
        nets = [addresses for version, addresses in wanted.nets if version == family]
        outside[family] = union(sheet.space.externals.peers((Layer(net),)) for net in nets)
        if INTERNET in wanted.names:
            outside[family] = sheet.space.externals.mask
        for position, endpoint in pairs.endpoints.items():
            if any(low <= endpoint.addresses.get(family, -1) <= high for low, high in nets):
                endpoints |= 1 << position
    return Focus(endpoints, outside)


def _is_meant(peer: Peer, text: str) -> bool:
    if text == "host" and peer.kind == "host":
        return True
    if text == str(peer) or (not peer.space and text == f"host:{peer.name}"):
        return True
    names = {peer.name, *peer.pods}
    match text.split("/"):
        case [one]:
            return one == peer.space or (one in names and bool(peer.space))
        case [space, name] if space == peer.space and name in names:
            return True
        case [kind, name]:
            return _is_kind(peer, kind) and name in names
        case [space, kind, name]:
            return space == peer.space and _is_kind(peer, kind) and name in names
        case _:
            return False


def _is_kind(peer: Peer, text: str) -> bool:
    kind = SHORT.get(text.lower(), text.lower().removesuffix("s"))
    return kind == peer.title.lower() or (kind == "pod" and bool(peer.pods))


def _unknown(text: str, peers: Sequence[Peer]) -> str:
    names = dict.fromkeys(name for peer in peers if peer.space for name in (f"{peer.space}/{peer.name}", peer.name))
    close = get_close_matches(text, [*names, *{peer.space for peer in peers}], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"nothing in the input is called so{hint}"
