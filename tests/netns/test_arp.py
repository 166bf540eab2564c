"""Real ARP packets of a host with Felix's ARP table, right and damaged: what `verify` decides is what happens.

The host has two neighbours, behind an interface that the table knows and one that it does not. Both ask the host for
each of its addresses, and the host asks for theirs, in the name of each of its addresses.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import IPv4Address
from itertools import count, product
from pathlib import Path
from typing import NamedTuple

import pytest

from felixpy.kernel import Done, Machine
from felixpy.nftables.reading import ListedTable, read_tables
from felixpy.verification.nftables.arp import ArpPacket, ArpTable, arp_effect
from tests.netns.packets import opened_namespace

pytestmark = pytest.mark.netns

POD, UPLINK = "calipod", "eth7"
NETS = {POD: "10.9", UPLINK: "10.10"}
"""Where the neighbours are; whoever asks has the address .0.9."""

OWN = ("10.244.1.4", "10.244.1.5", "10.244.1.6", "10.244.1.7", "192.0.2.1")
"""The host's addresses, at its loopback interface: it answers for them by whatever interface it is asked."""

QUIET_SECONDS = 0.03
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHER = struct.Struct("!6s6sH")
ETH_P_ARP, BROADCAST = 0x0806, b"\xff" * 6
OPERATIONS = {1: "request", 2: "reply"}


class Seen(NamedTuple):
    """An ARP packet that came to a neighbour: by which of the host's interfaces, what for, and whose address it has."""

    interface: str
    operation: str
    sender: str


EVERYTHING = {Seen(*each) for each in product(NETS, OPERATIONS.values(), OWN)}


class Neighbour:
    """What is behind an interface of the host. It has no address: nothing but the test sends anything there."""

    def __init__(self, machine: Machine, interface: str) -> None:
        self.machine, self.interface = machine, interface
        self.socket = machine.inside(_raw)
        self.mac: bytes = self.socket.getsockname()[4]

    def ask(self, address: str) -> None:
        sender = socket.inet_aton(f"{NETS[self.interface]}.0.9")
        body = _ARP.pack(1, 0x0800, 6, 4, 1, self.mac, sender, bytes(6), socket.inet_aton(address))
        self.socket.send(_ETHER.pack(BROADCAST, self.mac, ETH_P_ARP) + body)

    def seen(self) -> Iterator[Seen]:
        """What has come since it was asked last."""
        while True:
            try:
                frame = self.socket.recv(2048)
            except BlockingIOError:
                return
            _, _, _, _, operation, mac, sender, _, _ = _ARP.unpack_from(frame, _ETHER.size)
            if mac != self.mac:
                yield Seen(self.interface, OPERATIONS[operation], socket.inet_ntoa(sender))


def _raw() -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
    one.bind(("eth0", ETH_P_ARP))
    one.setblocking(False)
    return one


class Host(NamedTuple):
    machine: Machine
    neighbours: tuple[Neighbour, ...]
    numbers: Iterator[int]
    """Of hosts that nobody has asked for yet."""

    def sends(self) -> set[Seen]:
        """The packets that the neighbours get when everybody asks for everybody."""
        for neighbour in self.neighbours:
            list(neighbour.seen())
            for address in OWN:
                neighbour.ask(address)
                number = next(self.numbers)
                unknown = f"{NETS[neighbour.interface]}.{1 + number // 250}.{1 + number % 250}"
                self.machine.inside(partial(_call, address, unknown))
        time.sleep(QUIET_SECONDS)
        return {seen for neighbour in self.neighbours for seen in neighbour.seen() if seen.sender in OWN}

    def table(self) -> ListedTable:
        [table] = read_tables(self.machine.run("nft", "-s", "list", "table", "arp", "calico-arp").output)
        return table


def _call(source: str, destination: str) -> None:
    """Make the host look for a neighbour, in the name of one of its addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((source, 0))
        one.sendto(b"", (destination, 9))


@contextmanager
def _machine() -> Iterator[tuple[Machine, int]]:
    with ThreadPoolExecutor(1) as pool:
        file = pool.submit(opened_namespace).result()
    machine = Machine(file)
    try:
        yield machine, file
    finally:
        machine.close()
        os.close(file)


def _quiet() -> None:
    """Whoever asks is answered, by whatever way they are reached; and nobody is asked twice."""
    for name in ("all", "default", *NETS):
        for setting, value in (("rp_filter", 0), ("arp_ignore", 0), ("arp_announce", 0)):
            Path(f"/proc/sys/net/ipv4/conf/{name}/{setting}").write_text(str(value))
    for name in NETS:
        Path(f"/proc/sys/net/ipv4/neigh/{name}/mcast_solicit").write_text("1")


@pytest.fixture(scope="module")
def host(kernel: None) -> Iterator[Host]:
    with ExitStack() as held:
        machine, _ = held.enter_context(_machine())
        lines, neighbours = ["link set lo up", *(f"addr add {address}/32 dev lo" for address in OWN)], []
        for interface, net in NETS.items():
            other, file = held.enter_context(_machine())
            peer = f"/proc/{os.getpid()}/fd/{file}"
            lines += [f"link add {interface} type veth peer name eth0 netns {peer}", f"link set {interface} up"]
            lines += [f"route add {net}.0.0/16 dev {interface}"]
            neighbours.append((other, interface))
        assert machine.run("ip", "-batch", "-", text="".join(f"{line}\n" for line in lines)) == Done(0)
        for other, _ in neighbours:
            assert other.run("ip", "link", "set", "eth0", "up") == Done(0)
        machine.inside(_quiet)
        made = tuple(Neighbour(other, interface) for other, interface in neighbours)
        yield Host(machine, made, count())
        for neighbour in made:
            neighbour.socket.close()


FELIX = f"""\
add table arp calico-arp
delete table arp calico-arp
add table arp calico-arp
add map arp calico-arp filter-cali-arp-dispatch {{ type ifname : verdict ; }}
add chain arp calico-arp filter-OUTPUT {{ type filter hook output priority 0 ; }}
add chain arp calico-arp filter-cali-arp-dispatch
add chain arp calico-arp filter-cali-arp-{POD}
add rule arp calico-arp filter-OUTPUT counter jump filter-cali-arp-dispatch comment "cali:M5ZyLTwdpKLA5dzX;"
add rule arp calico-arp filter-cali-arp-dispatch oifname vmap @filter-cali-arp-dispatch comment "cali:mNoxCVnxd-GKMMeq;"
add rule arp calico-arp filter-cali-arp-{POD} oifname {POD} arp operation reply arp saddr ip 10.244.1.5 counter drop
add rule arp calico-arp filter-cali-arp-{POD} oifname {POD} arp operation reply arp saddr ip 10.244.1.6 counter drop
add element arp calico-arp filter-cali-arp-dispatch {{ {POD} : goto filter-cali-arp-{POD} }}
"""

AT = "arp calico-arp"
OUTPUT, DISPATCH, CHAIN = "filter-OUTPUT", "filter-cali-arp-dispatch", f"filter-cali-arp-{POD}"
THEIRS = f"add chain {AT} theirs\n"
DAMAGES: dict[str, str] = {
    "none": "",
    "accept on top": f"insert rule {AT} {OUTPUT} accept",
    "drop on top": f"insert rule {AT} {OUTPUT} counter drop",
    "drop of requests": f"insert rule {AT} {CHAIN} arp operation request drop",
    "drop of an address": f"add rule {AT} {OUTPUT} arp saddr ip 192.0.2.1 drop",
    "drop of a net": f"add rule {AT} {DISPATCH} arp saddr ip 10.244.1.4/31 drop",
    "drop of all but an address": f"add rule {AT} {OUTPUT} arp saddr ip != 192.0.2.1 drop",
    "drop by another interface": f'add rule {AT} {OUTPUT} oifname != "{POD}" arp operation reply drop',
    "accept by interfaces with a beginning": f'insert rule {AT} {OUTPUT} oifname "cali*" accept',
    "rules gone": f"flush chain {AT} {CHAIN}",
    "policy drop": f"add chain {AT} {OUTPUT} {{ policy drop ; }}",
    "policy drop, and an accept": f"add chain {AT} {OUTPUT} {{ policy drop ; }}\n"
    f"add rule {AT} {OUTPUT} arp operation request accept",
    "jump to a chain that accepts": f"{THEIRS}add rule {AT} theirs arp saddr ip 10.244.1.5 accept\n"
    f"insert rule {AT} {OUTPUT} jump theirs",
    "jump to a chain that returns": f"{THEIRS}add rule {AT} theirs return\nadd rule {AT} theirs drop\n"
    f"insert rule {AT} {OUTPUT} jump theirs",
    "goto a chain that ends": f"{THEIRS}add rule {AT} theirs arp saddr ip 10.244.1.7 drop\n"
    f"insert rule {AT} {OUTPUT} goto theirs",
    "goto within a jump": f"{THEIRS}insert rule {AT} {DISPATCH} goto theirs",
    "return on top": f"insert rule {AT} {OUTPUT} return",
    "element gone": f"delete element {AT} {DISPATCH} {{ {POD} }}",
    "element drops": f"add element {AT} {DISPATCH} {{ {UPLINK} : drop }}",
    "element leads to the other's chain": f"add element {AT} {DISPATCH} {{ {UPLINK} : goto {CHAIN} }}",
    "asleep": f"add table {AT} {{ flags dormant ; }}",
    "a base chain before": f"add chain {AT} theirs {{ type filter hook output priority -5 ; }}\n"
    f"add rule {AT} theirs accept",
    "a base chain behind": f"add chain {AT} theirs {{ type filter hook output priority 5 ; policy drop ; }}\n"
    f'add rule {AT} theirs oifname "{POD}" accept',
    "a base chain for what comes": f"add chain {AT} theirs {{ type filter hook input priority 0 ; }}\n"
    f'add rule {AT} theirs iifname "{UPLINK}" arp operation request drop',
    "a base chain for what comes, by the sender": f"add chain {AT} theirs {{ type filter hook input priority 0 ; }}\n"
    f"add rule {AT} theirs arp saddr ip 10.9.0.0/16 drop",
    "a base chain for what comes, with a policy": (
        f"add chain {AT} theirs {{ type filter hook input priority 0 ; policy drop ; }}"
    ),
    "a base chain for what comes, that asks where it goes": (
        f"add chain {AT} theirs {{ type filter hook input priority 0 ; }}\n"
        f'add rule {AT} theirs oifname "{POD}" drop\n'
        f'add rule {AT} theirs oifname != "{UPLINK}" arp saddr ip 10.10.0.9 drop'
    ),
}


def decided(table: ListedTable) -> set[Seen]:
    """What `verify` thinks that the neighbours get: an answer needs a question that the host takes."""
    arp = ArpTable(table)

    def passes(seen: Seen) -> bool:
        asked = ArpPacket(seen.interface, "request", int(IPv4Address(f"{NETS[seen.interface]}.0.9")), "input")
        out = arp.passes(ArpPacket(seen.interface, seen.operation, int(IPv4Address(seen.sender))))
        return out and (seen.operation == "request" or arp.passes(asked))

    return {seen for seen in EVERYTHING if passes(seen)}


def changed(before: set[Seen], after: set[Seen]) -> str:
    opened, closed = bool(after - before), bool(before - after)
    return "both" if opened and closed else "opens" if opened else "closes" if closed else "none"


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_decided_is_what_happens(damage: str, host: Host) -> None:
    load: Callable[[str], Done] = lambda text: host.machine.run("nft", "-f", "-", text=text)  # noqa: E731
    assert load(FELIX) == Done(0)
    right, before = host.table(), host.sends()
    assert before == decided(right) == EVERYTHING - {
        Seen(POD, "reply", "10.244.1.5"), Seen(POD, "reply", "10.244.1.6"),
    }  # fmt: skip
    assert load(f"{FELIX}{DAMAGES[damage]}\n") == Done(0)
    there, after = host.table(), host.sends()
    assert after == decided(there)
    effect = arp_effect(right, there)
    assert (effect.kind, effect.certain) == (changed(before, after), True)


def test_without_the_table_everything_gets_out(host: Host) -> None:
    host.machine.run("nft", "delete", "table", "arp", "calico-arp")
    assert host.sends() == EVERYTHING
