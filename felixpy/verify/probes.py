"""Packets worth trying where rules or sets are not what they shall be.

What differs names addresses, ports and states; packets that have these, from and to the endpoints concerned, show the
difference if any do. The choice is fixed: equal rules are tried with equal packets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from itertools import islice, product
from typing import NamedTuple

from felixpy.errors import FelixpyError
from felixpy.iptables.matches import ICMP_NAMES
from felixpy.iptables.reader import read_rule
from felixpy.netfilter.numbers import (
    ECHO_REQUEST,
    ICMP,
    NUMBERS,
    STATES,
    State,
    parse_address,
    parse_ranges,
    protocol_number,
)
from felixpy.netfilter.rules import Match, Option
from felixpy.walk import Machine, Packet

MOST_PACKETS = 2000
"""So many packets are tried for one finding; walking one takes some ten microseconds."""

MOST_VALUES = 6
MEMBERS_TRIED = 3


class Service(NamedTuple):
    """What a packet asks for."""

    protocol: int
    port: int = 0
    icmp: tuple[int, int] | None = None


TCP, UDP = NUMBERS["tcp"], NUMBERS["udp"]
ODD_PORT = 9
"""The discard service, which policies hardly name."""

USUAL = (Service(TCP, 80), Service(UDP, 53), Service(TCP, ODD_PORT))

Members = Callable[[str], Sequence[str]]
"""Members of a set by its name, those first that matter most."""


@dataclass
class Wishes:
    """What rules look for, in the order of their appearance."""

    family: int
    members: Members
    addresses: dict[str, None] = field(default_factory=dict)
    services: dict[Service, None] = field(default_factory=dict)
    states: dict[State, None] = field(default_factory=dict)
    devices: dict[str, None] = field(default_factory=dict)
    forged: bool = False
    broad: bool = False
    """Whether so many rules are meant that ordinary packets show most."""

    def add(self, rules: Iterable[str]) -> None:
        """Note what some rules look for; those that cannot be read wish for nothing."""
        for text in rules:
            try:
                rule = read_rule(text)
                protocols = [match.options[0] for match in rule.matches if match.module == "-p"]
                protocol = protocol_number(protocols[0].values[0]) if protocols else 0
                for match in rule.matches:
                    self._match(match, protocol)
                if protocol and not any(match.module in PORTED for match in rule.matches):
                    self._service(Service(protocol, ODD_PORT))
            except (FelixpyError, ValueError, KeyError, IndexError):
                continue

    def _match(self, match: Match, protocol: int) -> None:
        for option in match.options:
            note = NOTES.get(option.name)
            if note:
                note(self, option, protocol)
        self.forged |= match.module == "rpfilter"

    def address_of(self, option: Option, protocol: int) -> None:
        for text in option.values[0].split(","):
            self.addresses[_first_of(text)] = None

    def set_of(self, option: Option, protocol: int) -> None:
        for member in self.members(option.values[0])[:MEMBERS_TRIED]:
            address, _, port = member.partition(" ")[0].partition(",")
            self.addresses[_first_of(address)] = None
            kind, _, number = port.rpartition(":")
            if number.isdecimal():
                self._service(Service(protocol_number(kind or "tcp"), int(number)))

    def ports_of(self, option: Option, protocol: int) -> None:
        for low, high in parse_ranges(option.values[0]):
            for port in dict.fromkeys((low, high)):
                self._service(Service(protocol or TCP, port))

    def icmp_of(self, option: Option, protocol: int) -> None:
        kind, _, code = ICMP_NAMES[self.family].get(option.values[0], option.values[0]).partition("/")
        if kind.isdecimal():
            self._service(Service(ICMP[self.family], 0, (int(kind), int(code or 0))))

    def states_of(self, option: Option, protocol: int) -> None:
        for name in option.values[0].split(","):
            if name in STATES and name.lower() in TRIED_STATES:
                self.states[TRIED_STATES[name.lower()]] = None

    def device_of(self, option: Option, protocol: int) -> None:
        name = option.values[0]
        if not name.startswith("cali"):
            self.devices[f"{name[:-1]}0" if name.endswith("+") else name] = None

    def _service(self, service: Service) -> None:
        if service.protocol == ICMP[self.family] and service.icmp is None:
            service = Service(service.protocol, 0, (ECHO_REQUEST[self.family], 0))
        self.services[service] = None


PORTED = frozenset({"tcp", "udp", "sctp", "multiport", "icmp", "icmp6"})
TRIED_STATES: Mapping[str, State] = {
    "new": "new", "established": "established", "related": "related", "invalid": "invalid", "untracked": "untracked",
}  # fmt: skip

NOTES: Mapping[str, Callable[[Wishes, Option, int], None]] = {
    "-s": Wishes.address_of,
    "-d": Wishes.address_of,
    "-i": Wishes.device_of,
    "--match-set": Wishes.set_of,
    "--dport": Wishes.ports_of,
    "--dports": Wishes.ports_of,
    "--ports": Wishes.ports_of,
    "--icmp-type": Wishes.icmp_of,
    "--icmpv6-type": Wishes.icmp_of,
    "--ctstate": Wishes.states_of,
    "--state": Wishes.states_of,
}
"""Which options say something about packets that they are met by."""


def _first_of(net: str) -> str:
    """An address in a network, behind the network's own where there is room.

    >>> _first_of("10.0.0.0/8"), _first_of("10.1.1.1/32")
    ('10.0.0.1', '10.1.1.1')
    """
    parsed = ip_network(net, strict=False)
    return str(parsed.network_address + (1 if parsed.num_addresses > 2 else 0))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine, the endpoints that a finding is about, and others that they may talk to, all by address."""

    machine: Machine
    interfaces: Mapping[str, str]
    """The interfaces of local pods, by address."""
    targets: Sequence[str]
    peers: Sequence[str]


def packets(wishes: Wishes, known: Wishes, around: Surroundings) -> Iterator[Packet]:
    """The packets to try: first those that have what the rules look for, then those that policies `known` name."""
    yield from islice(dict.fromkeys(_packets(wishes, known, around)), MOST_PACKETS)


def _packets(wishes: Wishes, known: Wishes, around: Surroundings) -> Iterator[Packet]:
    family = wishes.family
    wanted = _of_family([*islice(wishes.addresses, MOST_VALUES)], family)
    targets, peers = (_of_family(addresses, family) for addresses in (around.targets, around.peers))
    peers = list(dict.fromkeys((*peers, *_of_family([*islice(known.addresses, MOST_VALUES)], family))))
    ping = Service(ICMP[family], 0, (ECHO_REQUEST[family], 0))
    asked, usual = [*islice(wishes.services, MOST_VALUES)], [*islice(known.services, MOST_VALUES), *USUAL, ping]
    services = list(dict.fromkeys((*usual, *asked) if wishes.broad else (*asked, *usual)))
    states = [state for state in TRIED_STATES.values() if state in wishes.states or state == "new"]
    states.sort(key=lambda state: (state == "new") is not wishes.broad)
    ends = [(one, other) for one, other in product(targets, dict.fromkeys((*wanted, *peers))) if one != other]
    ends += [(one, other) for one, other in product(wanted, (*wanted, *peers)) if one != other and one not in targets]
    forged = (False, True) if wishes.forged else (False,)
    for state, service, (target, peer), odd in product(states, services, ends, forged):
        for source, destination in ((peer, target), (target, peer)):
            for device in _ways_in(source, wishes, around):
                yield Packet(
                    source=source,
                    destination=destination,
                    protocol=service.protocol,
                    port=service.port,
                    icmp=service.icmp,
                    in_interface=device,
                    state=state,
                    forged=odd and bool(device),
                )


def _of_family(addresses: Sequence[str], family: int) -> list[str]:
    return [address for address in addresses if (":" in address) == (family == 6)]


def _ways_in(source: str, wishes: Wishes, around: Surroundings) -> Iterator[str]:
    """By a pod's own interface; the machine's packets come from nowhere; others by the way back to them."""
    if source in around.interfaces:
        yield around.interfaces[source]
    elif parse_address(source) and not around.machine.route(source):
        yield ""
    else:
        yield from dict.fromkeys((around.machine.route(source) or around.machine.uplink, *wishes.devices))
