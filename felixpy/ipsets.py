"""IP sets, made from the selectors, named ports and services of rules, and their members.

Members come from the endpoints, network sets and slices of the whole cluster, whatever node is compiled, so a
`Membership` is made once and shared by all nodes. (felix/labelindex, felix/serviceindex)
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from felixpy.errors import Path
from felixpy.labels import LabelIndex
from felixpy.model import Cluster, HostEndpoint, NamedPort, NetworkSet, ServiceName, Source, Workload
from felixpy.names import set_name
from felixpy.selector import canonical, make_id, parse

SetType = Literal["hash:net", "hash:ip", "hash:ip,port"]

ANY_PROTOCOL = "any"
PORT_PROTOCOLS = {"tcp": "tcp", "udp": "udp", "sctp": "sctp", 6: "tcp", 17: "udp", 132: "sctp"}

Labelled = Workload | HostEndpoint | NetworkSet


class SetOrigin(NamedTuple):
    """The policy or profile, and the path in it, where a set is first used."""

    subject: str
    source: Source
    path: Path


class SetSpec(NamedTuple):
    """What a set holds: a selector's endpoints, those of a named port, or a service's backends.

    `id` is Felix's identifier of the set, the same for every rule with an equivalent selector.
    """

    id: str
    selector: str = ""
    protocol: str = ""
    port: str = ""
    service: ServiceName | None = None

    @property
    def type(self) -> SetType:
        return "hash:ip,port" if self.id.startswith(("n:", "svc:")) else "hash:net"

    def words(self) -> str:
        """A description of the set, as used in comments."""
        if self.service:
            with_ports = "addresses and ports" if self.type == "hash:ip,port" else "addresses"
            return f"{with_ports} behind service {self.service.namespace}/{self.service.name}"
        if self.port:
            return f"port {self.port} ({self.protocol}) of endpoints with {self.selector}"
        return f"addresses of endpoints and network sets with {self.selector}"


def selector_set(selector: str) -> SetSpec:
    text = canonical(selector)
    return SetSpec(make_id("s", text), selector=text)


def named_port_set(selector: str, protocol: str | int | None, port: str) -> SetSpec:
    """The set for a named port of endpoints; protocols without named ports are treated as TCP, as in Felix."""
    text = canonical(selector)
    wanted = ANY_PROTOCOL if protocol is None else PORT_PROTOCOLS.get(protocol, "tcp")
    return SetSpec(make_id("n", f"{make_id('s', text)},{wanted},{port}"), text, wanted, port)


def service_set(service: ServiceName, *, with_ports: bool) -> SetSpec:
    prefix = "svc" if with_ports else "svcnoport"
    return SetSpec(make_id(prefix, f"{service.namespace}/{service.name}"), service=service)


class SetMembers(tuple[str, ...]):  # noqa: SLOT001 - a tuple with slots has no place for what it remembers
    """The sorted members of a set, spelt as ``ipset save`` prints them.

    Sets on many nodes share one value, so results that are computed from the members are cached in it.
    """

    @property
    def findings(self) -> dict[str, Any]:
        """A cache for results computed from the members, by the name of the computation."""
        return self.__dict__

    def lines(self, name: str) -> bytes:
        """The ipset restore lines that add the members to the set of that name."""
        key = f"lines of {name}"
        known: bytes | None = self.findings.get(key)
        if known is None:
            known = self.findings[key] = "".join([f"add {name} {member}\n" for member in self]).encode()
        return known


class IPSet(Struct, frozen=True, kw_only=True):
    """A set as the kernel holds it, in one family."""

    name: str
    type: SetType
    family: int
    members: SetMembers
    max_size: int
    words: str
    origin: SetOrigin | None = None

    def create(self) -> str:
        return (
            f"create {self.name} {self.type} family {'inet6' if self.family == 6 else 'inet'} maxelem {self.max_size}"
        )

    def save(self) -> str:
        """The set as ``ipset save`` prints it, without the options that differ from kernel to kernel."""
        return b"".join(self.pieces()).decode()

    def pieces(self) -> tuple[bytes, bytes]:
        """The bytes of `save` in two parts; the second, large one is shared by all sets with these members."""
        return f"{self.create()}\n".encode(), self.members.lines(self.name)


def family_of(address: str) -> int:
    """The family of a set member: 6 if its address contains a colon.

    >>> family_of("10.0.0.5,tcp:8080"), family_of("fd00::1/128")
    (4, 6)
    """
    return 6 if ":" in address.partition(",")[0] else 4


_BITS = {4: 32, 6: 128}
_SOCKET_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def _as_range(net: str, family: int) -> tuple[int, int]:
    """First address and length of a network, as numbers."""
    address, _, length = net.partition("/")
    first = int.from_bytes(socket.inet_pton(_SOCKET_FAMILIES[family], address), "big")
    return first, int(length) if length else _BITS[family]


def uncovered(nets: Iterable[str], family: int) -> list[str]:
    """The networks that no other one contains.

    Felix keeps only these in a selector set if nftables may be in use. After a network is *removed*, Felix's result
    depends on history; this is the result after a start.

    >>> uncovered(["10.0.0.5", "10.0.0.0/24", "10.0.0.128/25", "10.1.0.0/16"], 4)
    ['10.0.0.0/24', '10.1.0.0/16']
    """
    kept: list[str] = []
    end = -1
    for first, length, net in sorted((*_as_range(net, family), net) for net in set(nets)):
        last = first + (1 << _BITS[family] - length) - 1
        if last > end:
            kept.append(net)
            end = last
    return kept


def shown(net: str) -> str:
    """A network as the kernel prints it: a single address without prefix length."""
    return net.removesuffix("/32") if ":" not in net else net.removesuffix("/128")


@dataclass(eq=False)
class Membership:
    """Computes the members of sets for one cluster. `labelled`: the endpoints and network sets of Felix, by number."""

    cluster: Cluster
    labelled: Mapping[int, Labelled]
    suppress_overlaps: bool
    init_ports: bool = True
    """Whether named ports of init containers count."""
    _known: dict[tuple[str, int], SetMembers] = field(default_factory=dict)
    _built: dict[tuple[str, int, int, SetOrigin | None], IPSet] = field(default_factory=dict)

    @cached_property
    def index(self) -> LabelIndex:
        """The index of endpoints and network sets by label."""
        labels = {name: profile.labels for name, profile in self.cluster.profiles.items()}
        things = {number: (thing.labels, thing.profiles) for number, thing in self.labelled.items()}
        return LabelIndex(things, labels)

    @cached_property
    def _addresses(self) -> dict[int, dict[int, tuple[str, ...]]]:
        """The addresses that each thing adds to sets, by family and number; empty for a family without addresses."""
        four: dict[int, tuple[str, ...]] = {}
        six: dict[int, tuple[str, ...]] = {}
        for number, thing in self.labelled.items():
            nets = tuple(map(shown, thing.nets)) if isinstance(thing, NetworkSet) else thing.addresses
            if len(nets) == 1 and ":" not in nets[0]:
                four[number] = nets
            else:
                four[number] = tuple([net for net in nets if ":" not in net])
                six[number] = tuple([net for net in nets if ":" in net])
        if six:
            six = {number: six.get(number, ()) for number in four}
        return {4: four, 6: six}

    def members(self, spec: SetSpec, family: int) -> SetMembers:
        """The members of one family."""
        known = self._known.get((spec.id, family))
        if known is None:
            known = self._known[spec.id, family] = SetMembers(sorted(self._find(spec, family)))
        return known

    def _find(self, spec: SetSpec, family: int) -> Iterable[str]:
        if spec.service:
            return self._behind(spec.service, family, with_ports=spec.type == "hash:ip,port")
        chosen = self.index.select(parse(spec.selector))
        if spec.port:
            return self._ports(spec, chosen, family)
        addresses = self._addresses[family]
        nets = set(chain.from_iterable(map(addresses.__getitem__, chosen))) if addresses else set()
        if self.suppress_overlaps and any("/" in net for net in nets):
            return uncovered(nets, family)
        return nets

    def _ports(self, spec: SetSpec, chosen: Iterable[int], family: int) -> set[str]:
        addresses = self._addresses[family]
        alike: dict[int, tuple[tuple[NamedPort, ...], list[int]]] = {}
        for number in chosen if addresses else ():
            thing = self.labelled[number]
            if isinstance(thing, NetworkSet) or not thing.ports:
                continue
            known = alike.get(id(thing.ports))
            if known is None:
                alike[id(thing.ports)] = thing.ports, [number]
            else:
                known[1].append(number)
        members: set[str] = set()
        for ports, numbers in alike.values():
            for port in ports:
                if (
                    port.name == spec.port
                    and spec.protocol in (ANY_PROTOCOL, port.protocol)
                    and (self.init_ports or not port.init)
                ):
                    end = f",{port.protocol}:{port.port}"
                    members.update([address + end for number in numbers for address in addresses[number]])
        return members

    @cached_property
    def _slices(self) -> dict[ServiceName, list[int]]:
        by_service: dict[ServiceName, list[int]] = {}
        for number, piece in enumerate(self.cluster.slices):
            by_service.setdefault(piece.service, []).append(number)
        return by_service

    def _behind(self, service: ServiceName, family: int, *, with_ports: bool) -> set[str]:
        members: set[str] = set()
        for number in self._slices.get(service, ()):
            piece = self.cluster.slices[number]
            addresses = [address for address in piece.addresses if family_of(address) == family]
            if with_ports:
                members.update(
                    f"{address},{protocol}:{port}" for address in addresses for protocol, port in piece.ports
                )
            else:
                members.update(addresses)
        return members

    def build(self, spec: SetSpec, family: int, max_size: int, origin: SetOrigin | None) -> IPSet:
        """The set with its members in one family; `origin` may differ between nodes."""
        key = (spec.id, family, max_size, origin)
        if key not in self._built:
            self._built[key] = IPSet(
                name=set_name(family, spec.id),
                type=spec.type,
                family=family,
                members=self.members(spec, family),
                max_size=max_size,
                words=spec.words(),
                origin=origin,
            )
        return self._built[key]
