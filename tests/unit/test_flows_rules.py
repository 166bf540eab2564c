"""Criteria and targets mean to flows what they mean to a walk: each of them, packet by packet."""

from __future__ import annotations

from itertools import product
from typing import get_args
from unittest.mock import patch

import pytest

from felixpy.compiler import Compiler
from felixpy.flows import Connectivity, survey
from felixpy.iptables.forms import read_dump
from felixpy.iptables.matches import MATCHES
from felixpy.netfilter.actions import Action, Call, Unclear
from felixpy.netfilter.criteria import Criterion, NotUnderstood
from felixpy.tracing import Nodes
from felixpy.walk import Packet, Walker
from felixpy.walk.acts import ACTS
from felixpy.walk.tests import CHECKS
from tests.clusters import cluster, node, pod
from tests.property.test_flows import Shot, covered, listed

POD, OTHER, FAR = (
    pod("one", "10.65.0.1", interface="cali1"),
    pod("two", "10.65.0.2", interface="cali2"),
    pod("far", "10.65.9.9", interface="calif", node="node2"),
)
MACHINE = node("node1", bgp_v4="192.0.2.1/24"), node("node2", bgp_v4="192.0.2.2/24")
ADDRESSES = {
    "10.65.0.1": "default/one",
    "10.65.0.2": "default/two",
    "10.65.9.9": "default/far",
    "192.0.2.1": "host:node1",
    **{text: text for text in ("10.1.0.5", "10.1.1.5", "10.2.0.5", "198.51.100.7")},
}
SETS = """create nets hash:net family inet hashsize 1024 maxelem 65536
add nets 10.0.0.0/8
add nets 10.1.0.0/16 nomatch
add nets 10.1.1.0/24
add nets 10.65.0.0/24 nomatch
add nets 10.65.0.2
create ends hash:ip,port family inet
add ends 10.65.0.1,tcp:80
add ends 10.65.0.1,tcp:40000
add ends 10.1.0.5,tcp:1024
add ends 10.65.0.1,udp:53
add ends 10.1.0.5,tcp:80
add ends 10.65.0.2,icmp:8/0
add ends 198.51.100.7,gre:0
create blocks hash:net,port family inet
add blocks 10.0.0.0/8,tcp:80
add blocks 10.1.0.0/16,tcp:80 nomatch
add blocks 10.1.1.0/24,tcp:80
create pairs hash:net,net family inet
add pairs 10.65.0.0/16,10.0.0.0/8
add pairs 10.65.0.1/32,10.1.0.0/16 nomatch
create triples hash:ip,port,net family inet
add triples 10.65.0.1,tcp:80,10.1.0.0/16
add triples 10.65.0.2,tcp:80,0.0.0.0/1
create ports bitmap:port range 0-65535
add ports 80
create single hash:ip family inet
add single 10.65.0.1
create six hash:net family inet6
add six fd00::/64
add six ::/1
create odd list:set size 8
add odd nets
"""


def surveyed(*rules: str, raw: tuple[str, ...] = (), policy: str = "DROP", nat: tuple[str, ...] = ()) -> Connectivity:
    """A node whose FORWARD chain has these rules, as the last of its pod's chains calls it."""
    tables = {"raw": raw, "nat": nat, "filter": rules}
    text = "".join(
        f"*{name}\n:PREROUTING ACCEPT [0:0]\n:FORWARD {policy} [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        f":POSTROUTING ACCEPT [0:0]\n:inner - [0:0]\n:empty - [0:0]\n" + "".join(f"-A {rule}\n" for rule in found)
        + "COMMIT\n"
        for name, found in tables.items()
    )  # fmt: skip
    compiler = Compiler(cluster(POD, OTHER, FAR, *MACHINE))
    return survey(Nodes(compiler, dumps={"node1": read_dump({4: text}, SETS)}), every_icmp=True)


def packets() -> list[Shot]:
    services = [
        *((6, port, source) for port, source in product((79, 80, 81, 443, 8005), (1024, 40000))),
        *((17, port, 1024) for port in (53, 80)),
        (132, 80, 1024), (136, 80, 1024), (47, 0, 0), (50, 0, 0), (1, 8 << 8, 0), (1, 8 << 8 | 1, 0), (1, 13 << 8, 0),
    ]  # fmt: skip
    inside = ("10.65.0.1", "10.65.0.2")
    ends = [pair for pair in product(ADDRESSES, repeat=2) if pair[0] != pair[1] and set(pair) & set(inside)]
    return [Shot(source, target, 4, *service) for source, target in ends for service in services]


PACKETS = packets()


def check(found: Connectivity) -> None:
    """Every packet that node1 forwards fares in the flows as in a walk."""
    nodes = found.side.nodes
    there = nodes.get("node1")
    assert there
    walker: Walker = there.walker
    flows = list(found.flows(fold=False, hosts=True))
    protocols = listed(found, 4)
    for shot in PACKETS:
        machine = there.machine
        comes = machine.route(shot.source) or ("" if shot.source == "192.0.2.1" else machine.uplink)
        walk = walker.walk(
            Packet(
                source=shot.source,
                destination=shot.destination,
                protocol=shot.protocol,
                port=shot.number,
                source_port=shot.source_port,
                icmp=divmod(shot.number, 256) if shot.protocol == 1 else None,
                in_interface=comes,
            )
        )
        named = shot._replace(source=ADDRESSES[shot.source], destination=ADDRESSES[shot.destination])
        expected = walk.verdict == "accept"
        assert covered(flows, named, protocols) is expected, (shot, walk.steps)


CRITERIA = (
    "-s 10.65.0.1/32", "! -s 10.65.0.0/16", "-d 10.1.0.0/16", "! -d 10.1.1.0/24", "-s 10.65.0.1,10.65.0.2",
    "-d 10.1.0.0/255.255.0.0", "-i cali1", "! -i cali+", "-i eth0", "-o cali+", "! -o cali2", "-o eth0", "-p tcp",
    "! -p tcp", "-p 0", "-p gre", "-p 47", "! -f", "-f",
    "-p tcp -m tcp --dport 80", "-p tcp -m tcp --dport 80:", "-p tcp -m tcp ! --dport 80",
    "-p udp -m udp --sport :2000",
    "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", "-p tcp -m tcp --tcp-flags SYN,ACK ACK",
    "-p tcp -m tcp ! --tcp-flags ALL NONE", "-p tcp -m tcp --syn", "-p sctp -m sctp --dport 80",
    "-p udplite -m udplite --dport 80", "-p tcp -m multiport --dports 80,8000:8010", "-m multiport --dports 80",
    "-p tcp -m multiport ! --dports 80,443", "-p tcp -m multiport --sports 40000",
    "-p tcp -m multiport --ports 80,1024",
    "-p icmp -m icmp --icmp-type 8", "-p icmp -m icmp --icmp-type 8/1", "-p icmp -m icmp ! --icmp-type 8/0",
    "-p icmp -m icmp --icmp-type any", "-p icmp -m icmp --icmp-type echo-request",
    "-m set --match-set nets src", "-m set --match-set nets dst", "-m set ! --match-set nets src",
    "-m set ! --match-set nets dst", "-m set --match-set single src", "-m set --match-set ends src,src",
    "-m set --match-set ends dst,dst", "-m set ! --match-set ends dst,dst", "-m set --match-set ends src,dst",
    "-m set --match-set ends dst,src", "-m set --match-set ends src", "-m set --match-set blocks dst,dst",
    "-m set --match-set blocks src,dst", "-m set ! --match-set blocks dst,dst", "-m set --match-set pairs src,dst",
    "-m set --match-set pairs dst,src", "-m set --match-set triples src,dst,dst", "-m set --match-set ports dst",
    "-m set --match-set triples dst,dst,src", "-m set --match-set six src", "-m set ! --match-set six dst",
    "-m iprange --src-range 10.65.0.1-10.65.0.1", "-m iprange ! --dst-range 10.1.0.0-10.1.0.9",
    "-m addrtype --src-type LOCAL", "-m addrtype ! --dst-type LOCAL", "-m addrtype --src-type LOCAL --limit-iface-in",
    "-m addrtype ! --src-type LOCAL --limit-iface-out",
    "-m mark --mark 0x0/0xff", "-m mark ! --mark 0x0", "-m connmark --mark 0x0", "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate INVALID", "-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack ! --ctstate NEW,DNAT",
    "-m state --state NEW", "-m comment --comment \"a b\"", "-m limit --limit 3/sec",
    "-m hashlimit --hashlimit-above 9",
    "-m hashlimit --hashlimit-upto 9", "-m connlimit --connlimit-above 5", "-m connlimit --connlimit-upto 5",
    "-m recent --set", "-m recent --update", "-m ipvs --ipvs", "-m ipvs ! --ipvs", "-m rpfilter",
    "-m rpfilter --invert",
    "-s 10.65.0.1/32 -p tcp -m multiport --dports 80 -m set ! --match-set nets dst",
)  # fmt: skip


@pytest.mark.parametrize("criterion", CRITERIA)
def test_criteria(criterion: str) -> None:
    found = surveyed(f"FORWARD {criterion} -j ACCEPT", f"OUTPUT {criterion} -j ACCEPT", "OUTPUT -o cali2 -j DROP")
    assert not found.doubts
    check(found)


def test_every_match_is_tried() -> None:
    text = " ".join(CRITERIA)
    names = {row.name for row in MATCHES.values() if not row.name.startswith("-") and f"-m {row.name}" not in text}
    # What statistic matches is not to be known: its answers are doubts.
    assert names == {"dccp", "icmp6", "statistic"}


def test_walks_answer_every_criterion() -> None:
    assert set(CHECKS) == set(get_args(Criterion)) - {NotUnderstood}
    assert set(ACTS) == set(get_args(Action)) - {Call, Unclear}


PROGRAMS = {
    "marks add up": ("-p tcp -j MARK --set-mark 0x1/0x1", "-i cali1 -j MARK --set-mark 0x2/0x2",
                     "-m mark --mark 0x3/0x3 -j ACCEPT"),
    "marks flip": ("-j MARK --set-xmark 0x1/0x0", "-p tcp -j MARK --set-xmark 0x1/0x0",
                   "-m mark --mark 0x1/0x1 -j ACCEPT"),
    "marks are replaced": ("-j MARK --set-mark 0xff", "-p tcp -j MARK --set-xmark 0x1/0xf",
                           "-m mark --mark 0xf1 -j ACCEPT"),
    "marks of connections": ("-p tcp -j MARK --set-mark 0x5/0xf", "-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xff",
                             "-j MARK --set-mark 0x0", "-m connmark --mark 0x5/0xf -j ACCEPT"),
    "restored marks": ("-p udp -j CONNMARK --set-mark 0x9", "-j CONNMARK --restore-mark",
                       "-m mark --mark 0x9 -j ACCEPT"),
    "the first rule decides": ("-p tcp -j DROP", "-j ACCEPT"),
    "rejecting is dropping": ("-p tcp -j REJECT --reject-with tcp-reset", "-j ACCEPT"),
    "the chain's policy": ("-p tcp -j RETURN", "-j ACCEPT"),
    "harmless targets": ("-j LOG --log-prefix \"x: \"", "-p tcp -j NFLOG", "-p tcp", "-p tcp -j ACCEPT"),
    "an empty chain": ("-j empty", "-p tcp -j ACCEPT"),
    "back from a jump": ("-p tcp -j inner", "-p udp -j ACCEPT"),
    "no way back from a goto": ("-p tcp -g inner", "-j ACCEPT"),
}  # fmt: skip
INNER = ("inner -p tcp -m tcp --dport 80 -j ACCEPT", "inner -p tcp -m tcp --dport 81 -j RETURN",
         "inner -p tcp -m tcp --dport 79 -j DROP")  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("policy", ["DROP", "ACCEPT"])
def test_programs(name: str, policy: str) -> None:
    found = surveyed(*INNER, *(f"FORWARD {rule}" for rule in PROGRAMS[name]), policy=policy)
    assert not found.doubts
    check(found)


DISPATCH = (
    "FORWARD -j inner", "FORWARD -m mark --mark 0x1/0x1 -j ACCEPT",
    "inner -p udp -m udp --dport 53 -j MARK --set-mark 0x1/0x1",
    "inner -i cali1 -p tcp -j MARK --set-mark 0x1/0x1",
    "inner -s 10.1.0.0/16 -j RETURN",
    "inner -o cali2 -p tcp -m tcp --dport 443 -j RETURN",
    "inner -o cali2 -g empty",
    "inner -o cali1 -m set --match-set ends src,dst -j MARK --set-mark 0x1/0x1",
    "inner -p icmp -j MARK --set-mark 0x1/0x1",
    "empty -p tcp -m tcp --dport 80 -j MARK --set-mark 0x1/0x1", "empty -p sctp -j DROP",
)  # fmt: skip
SORTING = tuple(rule for rule in DISPATCH if "inner -i" not in rule)
"""Rules that ask only where packets go: gone through by the receivers of a node once for all senders."""


@pytest.mark.parametrize("rules", [DISPATCH, SORTING], ids=["both ways", "by receiver"])
@pytest.mark.parametrize("most", [0, 1, 16])
def test_dispatch_to_many_interfaces(rules: tuple[str, ...], most: int) -> None:
    """However chains are gone through, for each end or remembered, the answer is the same."""
    with patch("felixpy.flows.programs.views.MOST_FACTORS", most):
        check(surveyed(*rules))


def test_before_tracking_every_packet_is_invalid() -> None:
    check(surveyed("FORWARD -j ACCEPT", raw=("PREROUTING -p tcp -m conntrack --ctstate INVALID -j DROP",)))
    check(surveyed("FORWARD -j ACCEPT", raw=("PREROUTING -p tcp -m conntrack --ctstate NEW -j DROP",)))


def test_packets_that_are_not_tracked() -> None:
    untracked = ("PREROUTING -p tcp -m tcp --dport 80 -j NOTRACK", "PREROUTING -p udp -j CT --notrack")
    check(surveyed("FORWARD -m conntrack --ctstate UNTRACKED -j ACCEPT", raw=untracked))
    check(surveyed("FORWARD ! -p tcp -m conntrack ! --ctstate UNTRACKED -j ACCEPT", raw=untracked))
    for state in ("UNTRACKED", "INVALID"):
        asked = f"PREROUTING -m conntrack --ctstate {state} -j DROP"
        check(surveyed("FORWARD -j ACCEPT", raw=(*untracked, asked)))


def test_a_new_source_given_at_the_end_keeps_nobody_from_getting_there() -> None:
    masquerading = ("POSTROUTING -p tcp -j MASQUERADE", "POSTROUTING -p udp -j SNAT --to-source 198.51.100.7")
    check(surveyed("FORWARD -p tcp -j ACCEPT", "FORWARD -p udp -m udp --dport 53 -j ACCEPT", nat=masquerading))


def test_packets_with_a_new_destination_are_for_others() -> None:
    """The address of a service is nobody's; what is sent to a pod and rewritten does not reach that pod."""
    rewriting = ("PREROUTING -d 10.1.0.5/32 -p tcp -j DNAT --to-destination 10.65.0.2:80",
                 "PREROUTING -d 10.65.0.1/32 -p udp -j REDIRECT --to-ports 53")  # fmt: skip
    found = surveyed("FORWARD -j ACCEPT", nat=rewriting)
    flows = list(found.flows(fold=False, hosts=True))
    protocols = listed(found, 4)

    def reaches(destination: str, protocol: int) -> bool:
        return covered(flows, Shot("default/two", destination, 4, protocol, 80, 1024), protocols)

    assert [reaches("default/one", 6), reaches("default/one", 17), reaches("10.1.0.5", 6)] == [True, False, True]
    assert "10.1.0.5" not in str([flow.destination.ranges for flow in flows])
