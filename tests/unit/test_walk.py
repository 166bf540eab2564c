"""What rules do to packets, on a few lines of rules each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from felixpy.errors import UsageError
from felixpy.iptables.forms import read_dump
from felixpy.walk import Machine, Packet, Walk, Walker

MACHINE = Machine(
    interfaces={"eth0": ("192.0.2.1", "2001:db8::1"), "tunl0": ("10.65.9.9",)},
    routes={"10.65.0.2": "cali2", "fd00:65::2": "cali2"},
)
TO_HOST = Packet(source="198.51.100.7", destination="192.0.2.1", port=80, in_interface="eth0")
TO_HOST_6 = Packet(source="fd00::7", destination="2001:db8::1", port=80, in_interface="eth0")
TO_POD = replace(TO_HOST, destination="10.65.0.2")
FROM_HOST = replace(TO_HOST, source="192.0.2.1", destination="198.51.100.7", in_interface="")
KERNEL = {
    "raw": "PREROUTING OUTPUT",
    "mangle": "PREROUTING INPUT FORWARD OUTPUT POSTROUTING",
    "nat": "PREROUTING INPUT OUTPUT POSTROUTING",
    "filter": "INPUT FORWARD OUTPUT",
}
SETS = """\
create nets hash:net family inet
add nets 10.0.0.0/8
add nets 10.1.0.0/16 nomatch
add nets 198.51.100.7
create one hash:net family inet
add one 198.51.100.0/24
create ports hash:ip,port family inet
add ports 192.0.2.1,tcp:80
add ports 192.0.2.1,icmp:8/0
create triple hash:ip,port,net family inet
add triple 198.51.100.7,tcp:80,192.0.2.0/24
create numbers bitmap:port range 0-65535
add numbers 80
create nobody hash:ip family inet
create odd list:set size 8
create masked hash:ip family inet netmask 24
"""


def walker(*rules: str, sets: str | None = SETS, family: int = 4, machine: Machine = MACHINE) -> Walker:
    """Rules as ``table: rule``; a table's chains are the kernel's and those that its rules stand in."""
    text = ""
    for table, chains in KERNEL.items():
        own = [rule.partition(": ")[2] for rule in rules if rule.startswith(f"{table}: ")]
        policies = dict.fromkeys(chains.split(), "ACCEPT") | {line.split()[1]: "-" for line in own if line[0] == "N"}
        policies |= {line.split()[1]: line.split()[2] for line in own if line[0] == "P"}
        lines = [line for line in own if line.startswith("-A")]
        text += f"*{table}\n" + "".join(f":{name} {policy} [0:0]\n" for name, policy in policies.items())
        text += "".join(f"{line}\n" for line in lines) + "COMMIT\n"
    return Walker(read_dump({family: text}, sets), machine)


def walk(packet: Packet, *rules: str, **more: Any) -> Walk:
    """Both ways of asking give the same answer."""
    found = walker(*rules, **more)
    result = found.walk(packet)
    assert found.allows(packet) is (result.verdict == "accept")
    return result


UDP = replace(TO_HOST, protocol="udp", port=53, source_port=53)
PING = replace(TO_HOST, protocol="icmp")


@pytest.mark.parametrize(
    "match, packet, holds",
    [
        ("", TO_HOST, True),
        ("-s 198.51.100.0/24", TO_HOST, True),
        ("-s 198.51.101.0/24", TO_HOST, False),
        ("! -s 198.51.100.0/255.255.255.0", TO_HOST, False),
        ("-s 10.0.0.1,198.51.100.7", TO_HOST, True),
        ("-d 192.0.2.1", TO_HOST, True),
        ("-d 10.0.0.1,10.0.0.2", TO_HOST, False),
        ("-i eth0", TO_HOST, True),
        ("-i eth", TO_HOST, False),
        ("-i et+", TO_HOST, True),
        ("! -i +", TO_HOST, False),
        ("-o eth0", TO_HOST, False),
        ("! -o eth0", TO_HOST, True),
        ("-p tcp", TO_HOST, True),
        ("-p 6", TO_HOST, True),
        ("! -p tcp", UDP, True),
        ("-p all", UDP, True),
        ("-f", TO_HOST, False),
        ("! -f", TO_HOST, True),
        ("-m comment --comment word", TO_HOST, True),
        ("-m mark --mark 0x10/0x30", replace(TO_HOST, mark=0x50), True),
        ("-m mark --mark 0x10/0x30", replace(TO_HOST, mark=0x30), False),
        ("-m mark ! --mark 0x0/0x30", replace(TO_HOST, mark=0x50), True),
        ("-m mark --mark 0x50", replace(TO_HOST, mark=0x150), False),
        ("-m connmark --mark 0x0", TO_HOST, True),
        ("-m conntrack --ctstate NEW", TO_HOST, True),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", replace(TO_HOST, state="related"), True),
        ("-m conntrack --ctstate INVALID", replace(TO_HOST, state="invalid"), True),
        ("-m conntrack ! --ctstate DNAT", TO_HOST, True),
        ("-m conntrack --ctstate DNAT", replace(TO_HOST, dnat=("192.0.2.1", 8080)), True),
        ("-m state --state UNTRACKED", replace(TO_HOST, state="untracked"), True),
        ("-p tcp -m multiport --dports 443,80", TO_HOST, True),
        ("-p tcp -m multiport --dports 443,70:79", TO_HOST, False),
        ("-p tcp -m multiport --dports 443,70:80", TO_HOST, True),
        ("-p tcp -m multiport ! --dports 80", TO_HOST, False),
        ("-p udp -m multiport --sports 53", UDP, True),
        ("-p tcp -m multiport --ports 49152", TO_HOST, True),
        ("-p tcp -m tcp --dport 80:", TO_HOST, True),
        ("-p tcp -m tcp --dport :79", TO_HOST, False),
        ("-p udp -m udp ! --sport 53 --dport 53", UDP, False),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", TO_HOST, True),
        ("-p tcp -m tcp --syn", replace(TO_HOST, state="established"), False),
        ("-p icmp -m icmp --icmp-type 8", PING, True),
        ("-p icmp -m icmp --icmp-type 8/1", PING, False),
        ("-p icmp -m icmp --icmp-type echo-request", PING, True),
        ("-p icmp -m icmp ! --icmp-type any", PING, False),
        ("-m icmp --icmp-type 8", TO_HOST, False),
        ("-m set --match-set nets src", TO_HOST, True),
        ("-m set --match-set nets src", replace(TO_HOST, source="10.2.0.1"), True),
        ("-m set --match-set nets src", replace(TO_HOST, source="10.1.0.1"), False),
        ("-m set --match-set one dst", TO_HOST, False),
        ("-m set --match-set one src", TO_HOST, True),
        ("-m set ! --match-set nobody src", TO_HOST, True),
        ("-m set --match-set ports dst,dst", TO_HOST, True),
        ("-m set --match-set ports dst,dst", replace(TO_HOST, port=81), False),
        ("-m set --match-set ports dst,dst", UDP, False),
        ("-m set --match-set ports dst,dst", PING, True),
        ("-m set --match-set ports dst", TO_HOST, False),
        ("-m set --match-set ports src,src", TO_HOST, False),
        ("-m set --match-set triple src,dst,dst", TO_HOST, True),
        ("-m set --match-set triple src,src,dst", TO_HOST, False),
        ("-m set --match-set numbers dst", TO_HOST, True),
        ("-m iprange --src-range 198.51.100.1-198.51.100.9", TO_HOST, True),
        ("-m iprange --dst-range 192.0.2.2-192.0.2.9", TO_HOST, False),
        ("-m addrtype --dst-type LOCAL", TO_HOST, True),
        ("-m addrtype ! --src-type LOCAL", TO_HOST, True),
        ("-m addrtype --dst-type LOCAL --limit-iface-in", replace(TO_HOST, destination="10.65.9.9"), False),
        ("-m addrtype --dst-type LOCAL --limit-iface-in", TO_HOST, True),
        ("-m rpfilter --validmark --invert", TO_HOST, False),
        ("-m rpfilter --validmark --invert", replace(TO_HOST, spoofed=True), True),
        ("-m rpfilter", replace(TO_HOST, spoofed=True), False),
        ("-m limit --limit 1/sec --limit-burst 5", TO_HOST, True),
        ("-m hashlimit --hashlimit-upto 1/sec --hashlimit-name x", TO_HOST, True),
        ("-m hashlimit --hashlimit-above 1/sec --hashlimit-name x", TO_HOST, False),
        ("-m connlimit --connlimit-above 5 --connlimit-mask 0 --connlimit-saddr", TO_HOST, False),
        ("-m connlimit --connlimit-upto 5 --connlimit-mask 0", TO_HOST, True),
        ("-m recent --rcheck --seconds 60 --name x", TO_HOST, False),
        ("-m recent --set --name x", TO_HOST, True),
        ("-m ipvs ! --ipvs", TO_HOST, True),
        ("-s 198.51.100.7 -d 192.0.2.1 -p tcp -m mark --mark 0x0", TO_HOST, True),
        ("-s 198.51.100.7 -d 192.0.2.1 -p tcp -m mark --mark 0x1", TO_HOST, False),
    ],
)
def test_matches(match: str, packet: Packet, holds: bool) -> None:
    found = walk(packet, f"filter: -A INPUT {match} -j DROP")
    assert (found.verdict == "drop") is holds
    assert found.certain
    assert not found.unknown


@pytest.mark.parametrize(
    "match, holds",
    [
        ("-s fd00::/16", True),
        ("-d 2001:db8::1", True),
        ("-s fd00::8/125", False),
        ("-m set --match-set six src", True),
        ("-m set --match-set four src", False),
        ("-m set ! --match-set four src", True),
        ("-p ipv6-icmp -m icmp6 --icmpv6-type 128", False),
        ("-m addrtype --dst-type LOCAL", True),
    ],
)
def test_matches_of_ipv6(match: str, holds: bool) -> None:
    sets = "create six hash:net family inet6\nadd six fd00::/64\ncreate four hash:net family inet\nadd four 0.0.0.0/1\n"
    found = walk(TO_HOST_6, f"filter: -A INPUT {match} -j DROP", family=6, sets=sets)
    assert (found.verdict == "drop") is holds


@pytest.mark.parametrize(
    "packet, state",
    [
        (PING, "NEW"),
        (replace(PING, icmp=(0, 0)), "INVALID"),
        (replace(PING, icmp=(3, 1), state="related"), "RELATED"),
        (replace(TO_HOST_6, protocol="icmpv6"), "NEW"),
        (replace(TO_HOST_6, protocol="icmpv6", icmp=(135, 0)), "UNTRACKED"),
        (replace(TO_HOST_6, protocol="icmpv6", icmp=(1, 0)), "INVALID"),
    ],
)
def test_connection_tracking_knows_icmp(packet: Packet, state: str) -> None:
    rule = f"filter: -A INPUT -m conntrack --ctstate {state} -j DROP"
    assert walk(packet, rule, family=6 if ":" in packet.source else 4).verdict == "drop"


def test_no_packet_has_a_connection_in_raw() -> None:
    rules = (
        "raw: -A PREROUTING -m conntrack --ctstate INVALID -j MARK --set-mark 1",
        "mangle: -A PREROUTING -m conntrack --ctstate NEW -j MARK --set-mark 2/2",
    )
    assert walk(TO_HOST, *rules).mark == 3
    untracked = ("raw: -A PREROUTING -j CT --notrack", *(rule.replace("INVALID", "UNTRACKED") for rule in rules))
    assert walk(TO_HOST, *untracked).mark == 1


def test_untracked_packets_have_no_nat() -> None:
    rules = (
        "raw: -A PREROUTING -p tcp -j CT --notrack",
        "nat: -A PREROUTING -j DNAT --to-destination 10.65.0.2",
        "filter: -A INPUT -m conntrack --ctstate UNTRACKED -j DROP",
    )
    assert walk(TO_HOST, *rules).verdict == "drop"
    assert walk(replace(UDP, dnat=("10.65.0.2", 0)), *rules).out_interface == "cali2"
    assert walk(replace(TO_HOST, dnat=("10.65.0.2", 0)), *rules).verdict == "drop"


@pytest.mark.parametrize(
    "mark, target, after",
    [
        (0xF0, "MARK --set-xmark 0x0f/0x30", 0xCF),
        (0xF0, "MARK --set-mark 0x1/0x10", 0xE1),
        (0xF0, "MARK --set-mark 0x1", 0x1),
        (0xF1, "MARK --set-xmark 0x1/0x0", 0xF0),
        (0xF0, "CONNMARK --save-mark --nfmask 0x30 --ctmask 0xffffffff", 0x30),
        (0x0, "CONNMARK --set-xmark 0x7/0xffffffff", 0x7),
    ],
)
def test_marks(mark: int, target: str, after: int) -> None:
    """Connection marks show once they are taken back."""
    restore = ["mangle: -A INPUT -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"]
    rules = [f"mangle: -A PREROUTING -j {target}", *(restore if "CONN" in target else [])]
    assert walk(replace(TO_HOST, mark=mark), *rules).mark == after


def verdict_chain(*chains: str) -> tuple[str, ...]:
    return ("filter: N a", "filter: N b", "filter: N c", *(f"filter: -A {rule}" for rule in chains))


@pytest.mark.parametrize(
    "rules, verdict",
    [
        (("INPUT -j a", "a -j DROP"), "drop"),
        (("INPUT -j a", "a -j ACCEPT", "INPUT -j DROP"), "accept"),
        (("INPUT -j a", "a -j RETURN", "a -j ACCEPT", "INPUT -j DROP"), "drop"),
        (("INPUT -j a", "a -j b", "b -j RETURN", "a -j REJECT", "INPUT -j DROP"), "reject"),
        (("INPUT -j a", "a -g b", "b -j RETURN", "a -j REJECT", "INPUT -j DROP"), "drop"),
        (("INPUT -j a", "a -g b", "b -p tcp", "a -j REJECT", "INPUT -j DROP"), "drop"),
        (("INPUT -g a", "INPUT -j DROP"), "accept"),
        (("INPUT -j a", "a -j b", "b -g c", "c -j MARK --set-mark 1", "a -m mark --mark 1 -j DROP"), "drop"),
        (("INPUT -j a", "INPUT -j DROP"), "drop"),
        (("INPUT -j RETURN", "INPUT -j DROP"), "accept"),
        (("INPUT -j LOG --log-prefix x", "INPUT -j NFLOG --nflog-group 1", "INPUT -j DROP"), "drop"),
        (("INPUT -j REJECT --reject-with icmp-port-unreachable",), "reject"),
    ],
)
def test_chains(rules: tuple[str, ...], verdict: str) -> None:
    assert walk(TO_HOST, *verdict_chain(*rules)).verdict == verdict


def test_chains_in_a_circle() -> None:
    with pytest.raises(UsageError, match="jump in a circle"):
        walk(TO_HOST, *verdict_chain("INPUT -j a", "a -j b", "b -j a"))


@pytest.mark.parametrize(
    "packet, hooks",
    [
        (TO_HOST, "raw PREROUTING, mangle PREROUTING, nat PREROUTING, mangle INPUT, filter INPUT, nat INPUT"),
        (
            TO_POD,
            "raw PREROUTING, mangle PREROUTING, nat PREROUTING, mangle FORWARD, filter FORWARD, "
            "mangle POSTROUTING, nat POSTROUTING",
        ),
        (replace(TO_POD, state="established"),
         "raw PREROUTING, mangle PREROUTING, mangle FORWARD, filter FORWARD, mangle POSTROUTING"),
        (
            FROM_HOST,
            "raw OUTPUT, mangle OUTPUT, nat OUTPUT, filter OUTPUT, mangle POSTROUTING, nat POSTROUTING",
        ),
        (
            replace(FROM_HOST, destination="127.0.0.1"),
            "raw OUTPUT, mangle OUTPUT, nat OUTPUT, filter OUTPUT, mangle POSTROUTING, nat POSTROUTING, "
            "raw PREROUTING, mangle PREROUTING, mangle INPUT, filter INPUT",
        ),
    ],
)  # fmt: skip
def test_order_of_tables(packet: Packet, hooks: str) -> None:
    rules = [f"{table}: -A {chain} -j LOG" for table, chains in KERNEL.items() for chain in chains.split()]
    assert ", ".join(f"{step.table} {step.hook}" for step in walk(packet, *rules).steps) == hooks


@pytest.mark.parametrize(
    "rule, packet, destination, out",
    [
        ("-A PREROUTING -j DNAT --to-destination 10.65.0.2:8080", TO_HOST, "10.65.0.2:8080", "cali2"),
        ("-A PREROUTING -j DNAT --to-destination 10.65.0.2-10.65.0.9", TO_HOST, "10.65.0.2:80", "cali2"),
        ("-A PREROUTING -j REDIRECT --to-ports 15001", TO_POD, "192.0.2.1:15001", ""),
        ("-A OUTPUT -j DNAT --to-destination 10.65.0.2", FROM_HOST, "10.65.0.2:80", "cali2"),
        ("-A OUTPUT -j REDIRECT", FROM_HOST, "127.0.0.1:80", ""),
        ("-A OUTPUT -p udp -j DNAT --to-destination 10.65.0.2", FROM_HOST, "198.51.100.7:80", "eth0"),
    ],
)
def test_rewriting_of_destinations(rule: str, packet: Packet, destination: str, out: str) -> None:
    found = walk(packet, f"nat: {rule}")
    assert (f"{found.destination}:{found.port}", found.out_interface) == (destination, out)


@pytest.mark.parametrize(
    "target, source",
    [
        ("MASQUERADE --random-fully", "the address of eth0"),
        ("SNAT --to-source 192.0.2.9:1-9", "192.0.2.9:1-9"),
        ("RETURN", None),
    ],
)
def test_rewriting_of_sources(target: str, source: str | None) -> None:
    rules = (f"nat: -A POSTROUTING -o eth0 -p tcp -j {target}", "nat: -A POSTROUTING -j SNAT --to-source 192.0.2.8")
    found = walk(replace(TO_POD, destination="203.0.113.9"), *rules)
    assert found.rewritten.get("source", "") == (source or "")


@pytest.mark.parametrize("family, packet, dnat", [(4, TO_HOST, "10.65.0.2"), (6, TO_HOST_6, "fd00:65::2")])
def test_given_rewriting(family: int, packet: Packet, dnat: str) -> None:
    """The destination of the connection is rewritten where no rule did so, established ones without asking NAT."""
    for state in ("new", "established"):
        found = walk(replace(packet, dnat=(dnat, 8080), state=state), family=family)
        assert (found.destination, found.port, found.out_interface) == (dnat, 8080, "cali2")
    rule = f"nat: -A PREROUTING -j DNAT --to-destination {packet.source}"
    assert walk(replace(packet, dnat=(dnat, 8080)), rule, family=family).destination == packet.source


def test_limit_of_the_way_out() -> None:
    """The rule by which Felix masquerades what leaves through a tunnel from another address of the machine."""
    rule = "nat: -A POSTROUTING -o tunl0 -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE"  # noqa: E501
    out = replace(FROM_HOST, out_interface="tunl0")
    assert walk(out, rule).rewritten
    assert not walk(replace(out, source="10.65.9.9"), rule).rewritten
    assert not walk(replace(out, source="203.0.113.5"), rule).rewritten


@pytest.mark.parametrize(
    "rules, verdict, certain, named",
    [
        (("-A INPUT -m owner --uid-owner 0 -j DROP",), "accept", False, ["-m owner"]),
        (("-A INPUT -m owner --uid-owner 0 -j ACCEPT",), "accept", True, ["-m owner"]),
        (("-A INPUT -m owner --uid-owner 0 -j LOG",), "accept", True, ["-m owner"]),
        (("-A INPUT -p udp -m owner --uid-owner 0 -j DROP",), "accept", True, []),
        (("-A INPUT -m tcp --tcp-option 8 -j DROP",), "accept", False, ["-m tcp --tcp-option"]),
        (("-A INPUT -j NFQUEUE --queue-num 0",), "accept", False, ["-j NFQUEUE"]),
        (("-A INPUT -j NFQUEUE --queue-num 0", "-A INPUT -j DROP"), "drop", True, ["-j NFQUEUE"]),
        (("-A INPUT -m set --match-set missing src -j DROP",), "accept", False, ["set missing, which was not given"]),
        (("-A INPUT -m set --match-set odd src -j DROP",), "accept", False, ["list:set"]),
        (("-A INPUT -m set --match-set masked src -j DROP",), "accept", False, ["netmask"]),
        (("-A INPUT -m addrtype --dst-type BROADCAST -j DROP",), "accept", False, ["BROADCAST"]),
        (("-A INPUT -p 6to4 -j DROP",), "accept", False, ["6to4"]),
        (("-A INPUT -s fd00::/8 -j DROP",), "accept", False, ["fd00::/8"]),
        (
            ("-A INPUT -m owner --uid-owner 0 -j ACCEPT", "-A INPUT -m owner --uid-owner 1 -j ACCEPT", "P INPUT DROP"),
            "drop",
            False,
            ["-m owner", "-m owner"],
        ),
        (
            ("N a", "-A INPUT -m owner --uid-owner 0 -j a", "-A a -m owner --uid-owner 1 -j DROP"),
            "accept",
            False,
            ["-m owner"],
        ),
    ],
)
def test_what_is_not_understood(rules: tuple[str, ...], verdict: str, certain: bool, named: list[str]) -> None:
    found = walk(TO_HOST, *(f"filter: {rule}" for rule in rules))
    assert (found.verdict, found.certain) == (verdict, certain)
    assert len(found.unknown) == len(named)
    assert all(words in step.unknown for words, step in zip(named, found.unknown, strict=True))


def test_too_many_readings_are_uncertain() -> None:
    rules = ["filter: -A INPUT -m owner --uid-owner 0 -j MARK --set-mark 1"] * 7
    assert not walk(TO_HOST, *rules).certain
    assert walk(TO_HOST, *rules[:6]).certain


def test_sets_that_nobody_saved() -> None:
    found = walk(TO_HOST, "filter: -A INPUT -m set --match-set nets src -j DROP", sets=None)
    assert not found.certain


def test_what_is_taken_for_granted_is_said() -> None:
    found = walk(TO_HOST, "filter: -A INPUT -m limit --limit 1/sec -j DROP", "filter: -A INPUT -j LOG")
    assert [step.assumption for step in found.steps] == ["within the limit"]


def test_policies_decide_at_the_end() -> None:
    found = walk(TO_POD, "filter: P FORWARD DROP", "filter: -A FORWARD -p udp -j ACCEPT")
    assert (found.verdict, found.decided, found.policy) == ("drop", None, ("filter", "FORWARD"))
    assert walk(TO_HOST, "filter: P FORWARD DROP").policy is None


def test_steps_tell_the_way() -> None:
    marks = ("a -j MARK --set-mark 5", "a -m mark --mark 5 -j DROP")
    found = walk(TO_HOST, *verdict_chain("INPUT -p udp -j ACCEPT", "INPUT -j a", *marks))
    assert [(s.chain, s.rule.number, s.depth, s.applied, s.mark, s.outcome) for s in found.steps] == [
        ("INPUT", 1, 1, False, 0, ""),
        ("INPUT", 2, 1, True, 0, ""),
        ("a", 1, 2, True, 5, ""),
        ("a", 2, 2, True, 5, "drop"),
    ]
    assert found.decided == found.steps[-1]


def test_families_that_are_not_there() -> None:
    with pytest.raises(UsageError, match="no rules for IPv6"):
        walk(TO_HOST_6)
    with pytest.raises(UsageError, match="different IP families"):
        walk(replace(TO_HOST, destination="fd00::1"))
    with pytest.raises(UsageError, match='"nowhere" is not an IP address'):
        walk(replace(TO_HOST, destination="nowhere"))
    with pytest.raises(UsageError, match='"carrier pigeon" is not a protocol'):
        walk(replace(TO_HOST, protocol="carrier pigeon"))


def test_a_table_that_was_not_saved_lets_pass() -> None:
    dump = read_dump({4: "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"})
    assert Walker(dump, MACHINE).allows(TO_HOST)
