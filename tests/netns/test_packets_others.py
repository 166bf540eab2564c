"""Packets through tables of others: a kernel with kube-proxy's and firewalld's rules does what the walk says."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from felixpy.nftables.dumps import dump_of
from felixpy.nftables.reading import read_tables
from felixpy.walk import Machine, Packet, Walker
from tests.netns.namespace import Namespace

pytestmark = pytest.mark.netns

OTHERS = (Path(__file__).parents[2] / "fixtures" / "nftables" / "others.listed").read_text()
KUBE_PROXY = OTHERS[: OTHERS.index("table inet firewalld")]
FIREWALLD = OTHERS[len(KUBE_PROXY) :]

CALICO = """\
table ip calico {
	chain filter-FORWARD {
		type filter hook forward priority filter; policy accept;
		jump filter-cali-FORWARD
	}
	chain filter-cali-FORWARD {
		ip daddr 10.244.1.6 tcp dport 80 ip saddr 198.51.100.66 drop
		ip daddr 10.244.1.5 tcp dport 80 ip saddr 198.51.100.66 drop
		tcp dport 5432 drop
		accept
	}
}
"""
"""A policy behind kube-proxy's rewriting; what it accepts others may still drop."""

PROBE = """\
table ip probe {
	chain in {
		type filter hook input priority 300; policy accept;
		iifname "eth0" counter
	}
	chain out {
		type filter hook postrouting priority 300; policy accept;
		iifname "eth0" counter
	}
}
"""
"""Counts what is left when all other tables have been asked."""

MACHINE = Machine({"eth0": ("192.0.2.1",)}, {"10.244.1.5": "cali5", "10.244.1.6": "cali6"})
LINKS = {"eth0": "192.0.2.1/24", "cali5": "169.254.5.1/32", "cali6": "169.254.6.1/32"}
PROTOCOLS = {"tcp": 6, "udp": 17}


@pytest.fixture
def router(netns: Namespace) -> Namespace:
    """A node with an uplink and two pods; the other ends of the links are wires in the same namespace."""
    lines = ["link set lo up"]
    for name, address in LINKS.items():
        lines += [
            f"link add {name} type veth peer name w{name}",
            f"link set {name} up",
            f"link set w{name} up arp off",
            f"address add {address} dev {name}",
        ]
    lines += ["route add default via 192.0.2.254 dev eth0"]
    neighbours = {"192.0.2.254": "eth0", "10.244.1.5": "cali5", "10.244.1.6": "cali6"}
    lines += [f"route add {a}/32 dev {name}" for a, name in neighbours.items() if name != "eth0"]
    lines += [f"neigh add {a} lladdr 02:00:00:00:00:99 nud permanent dev {name}" for a, name in neighbours.items()]
    done = netns.run("ip", "-batch", "-", text="\n".join(lines))
    assert done.returncode == 0, done.stderr
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for name in ("all", "default", *LINKS):
        Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("0")
    return netns


def checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(packet: Packet, mac: bytes) -> bytes:
    """The first packet of a connection, as it comes over the wire."""
    source, destination = (socket.inet_aton(address) for address in (packet.source, packet.destination))
    number = PROTOCOLS[str(packet.protocol)]
    if number == 6:
        inner = struct.pack("!HHIIBBHHH", packet.source_port, packet.port, 1, 0, 5 << 4, 2, 64240, 0, 0)
        pseudo = source + destination + struct.pack("!BBH", 0, number, len(inner))
        inner = inner[:16] + struct.pack("!H", checksum(pseudo + inner)) + inner[18:]
    else:
        inner = struct.pack("!HHHH", packet.source_port, packet.port, 8, 0)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(inner), 1, 0, 64, number, 0, source, destination)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return mac + b"\x02\0\0\0\0\x98" + b"\x08\0" + head + inner


def hits(router: Namespace) -> int:
    """How many packets came to the end of the way."""
    found = json.loads(router.run("nft", "-j", "list", "table", "ip", "probe").stdout)
    statements = [each for item in found["nftables"] for each in item.get("rule", {}).get("expr", ())]
    return sum(int(each["counter"]["packets"]) for each in statements if "counter" in each)


def sent() -> Iterator[Packet]:
    """To Services, NodePorts, pods and the node, allowed and denied by each of the tables."""
    ports = count(40000)
    for source in ("198.51.100.9", "198.51.100.66", "198.51.100.77"):
        for destination, port, protocol in (
            ("10.96.0.20", 80, "tcp"), ("10.96.0.20", 81, "tcp"), ("10.96.0.30", 80, "tcp"), ("10.96.0.30", 81, "tcp"),
            ("10.96.7.7", 80, "tcp"), ("192.0.2.1", 30080, "tcp"), ("192.0.2.1", 22, "tcp"), ("192.0.2.1", 25, "tcp"),
            ("192.0.2.1", 8443, "tcp"), ("192.0.2.1", 53, "udp"), ("192.0.2.1", 54, "udp"), ("192.0.2.1", 8080, "tcp"),
            ("10.244.1.5", 80, "tcp"), ("10.244.1.6", 5432, "tcp"), ("10.244.1.6", 53, "udp"),
            ("198.51.100.7", 80, "tcp"), ("203.0.113.1", 443, "tcp"),
        ):  # fmt: skip
            yield Packet(
                source=source, destination=destination, protocol=protocol, port=port, source_port=next(ports),
                in_interface="eth0",
            )  # fmt: skip


TABLES = {
    "kube-proxy": KUBE_PROXY,
    "kube-proxy and calico": KUBE_PROXY + CALICO,
    "firewalld": FIREWALLD.replace('iifname { "eth0", "eth1" } goto filter_IN_public', 'iifname "eth1" drop'),
    "firewalld without its last rule": FIREWALLD.replace("\t\tmeta mark set 0x00000007 accept\n", ""),
    "all of them": KUBE_PROXY + CALICO + FIREWALLD,
    "in the other order": FIREWALLD + CALICO + KUBE_PROXY,
}


@pytest.mark.parametrize("tables", TABLES.values(), ids=TABLES)
def test_packets_do_what_the_walk_says(router: Namespace, tables: str) -> None:
    done = router.run("nft", "-f", "-", text=tables + PROBE)
    assert done.returncode == 0, done.stderr
    listed = router.run("nft", "-s", "list", "ruleset").stdout
    walker = Walker(dump_of(read_tables(listed), [4]), MACHINE)
    mac = _mac(router)
    verdicts = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("weth0", 0))
        before = hits(router)
        for packet in sent():
            found = walker.walk(packet)
            wire.send(frame(packet, mac))
            after = hits(router)
            assert found.certain, packet
            assert (after > before) is (found.verdict == "accept"), (packet, found.verdict, found.rewritten)
            before = after
            verdicts.add(found.verdict)
    assert {"accept"} < verdicts


def _mac(router: Namespace) -> bytes:
    (link,) = json.loads(router.run("ip", "-j", "link", "show", "eth0").stdout)
    return bytes.fromhex(link["address"].replace(":", ""))
