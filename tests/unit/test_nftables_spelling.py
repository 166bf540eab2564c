"""Rules on their way to nft: from Felix's iptables spelling to what it writes, and to what nft lists."""

from __future__ import annotations

import pytest

from felixpy.nftables.chains import MAX_COMMENT, comment, hashes
from felixpy.nftables.listing import listed
from felixpy.nftables.spelling import Spelt, spelt

WRITTEN = [
    # matches
    ("-m mark --mark 0/0x30000 --jump RETURN", "meta mark & 0x30000 == 0 counter return"),
    ("-m mark ! --mark 0/0x30000 --jump RETURN", "meta mark & 0x30000 != 0 counter return"),
    ("-m mark ! --mark 0x200000/0xffe00000 --jump DROP", "meta mark & 0xffe00000 != 0x200000 counter drop"),
    ("--in-interface eth0 --goto cali-x", "iifname eth0 counter goto filter-cali-x"),
    ("--out-interface cali+ --jump DROP", "oifname cali* counter drop"),
    ("-m rpfilter --invert --validmark --jump DROP", "fib saddr . mark . iif oif 0 counter drop"),
    (
        "-m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL --jump MASQUERADE",
        "fib saddr . oif type != local fib saddr type local counter masquerade",
    ),
    ("-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT", "ct state related,established counter accept"),
    ("-m conntrack ! --ctstate DNAT --jump cali-x", "ct status != dnat counter jump filter-cali-x"),
    ("-p tcp -m multiport ! --source-ports 1,5:6 --jump DROP", "meta l4proto tcp tcp sport != { 1, 5-6 } counter drop"),
    ("-p 132 -m multiport --destination-ports 99 --jump DROP", "meta l4proto 132 sctp dport { 99 } counter drop"),
    ("! -p 6 --source 10.0.0.5/32 --jump DROP", "meta l4proto != 6 ip saddr 10.0.0.5/32 counter drop"),
    (
        "-m set --match-set cali40s:a:b src -m set ! --match-set cali40n:x dst,dst --jump DROP",
        "ip saddr @cali40s-a-b ip daddr . meta l4proto . th dport != @cali40n-x counter drop",
    ),
    ("-p icmp -m icmp ! --icmp-type 3/1 --jump DROP", "meta l4proto icmp icmp type != 3 code != 1 counter drop"),
    ("-m limit --limit 10/minute --jump RETURN", "limit rate 10/minute counter return"),
    # targets
    ("--jump MARK --set-mark 0/0x1b0000", "counter meta mark set mark & 0xffe4ffff"),
    ("--jump MARK --set-mark 0/0xffe00000", "counter meta mark set mark & 0x1fffff"),
    ("--jump MARK --set-mark 0x10000/0x10000", "counter meta mark set mark or 0x10000"),
    ("--jump MARK --set-mark 0x80000/0x180000", "counter meta mark set mark & 0xffe7ffff ^ 0x80000"),
    ("--jump MARK --set-mark 0x0/0x180000", "counter meta mark set mark & 0xffe7ffff ^ 0x0"),
    ('--jump LOG --log-prefix "a b: " --log-level 5', 'counter log prefix "a b: " level info'),
    (
        "--jump NFLOG --nflog-group 1 --nflog-prefix API0|np/a/b --nflog-size 80",
        'counter log prefix "API0|np/a/b" snaplen 80 group 1',
    ),
    ("--jump MASQUERADE --to-ports 1-9 --random-fully", "counter masquerade to :1-9 fully-random"),
    ("--jump SNAT --to-source 192.0.2.1:1-9", "counter snat to 192.0.2.1:1-9"),
    ("--jump DNAT --to-destination 10.0.0.1:80", "counter dnat to 10.0.0.1:80"),
    ("--jump DSCP --set-dscp 46", "counter ip dscp set 46"),
    ("--jump NOTRACK", "counter notrack"),
    # neither
    ("", "continue"),
]


@pytest.mark.parametrize("body, text", WRITTEN)
def test_rules_as_felix_writes_them(body: str, text: str) -> None:
    assert spelt(body, "filter", "ip").written == text


def test_the_family_is_in_the_text() -> None:
    assert spelt("--source fd00::/8 --jump DSCP --set-dscp 1", "mangle", "ip6").written == (
        "ip6 saddr fd00::/8 counter ip6 dscp set 1"
    )


def test_an_interface_filter_of_nat_rules_is_left_as_it_was_written() -> None:
    assert spelt("--out-interface eth+ --jump RETURN", "nat", "ip").written == "oifname eth+ counter return"


def test_comments_are_no_part_of_the_text() -> None:
    body = '-m comment --comment "owner=a b" -m comment --comment "Profile x ingress" --jump cali-y'
    shown = "counter jump raw-cali-y"
    assert spelt(body, "raw", "ip") == Spelt(shown, shown, ("owner=a b", "Profile x ingress"))


def test_a_rule_that_iptables_has_no_words_for_is_taken_as_it_is() -> None:
    body = 'counter ct count over 20 reject with tcp reset comment "too many"'
    assert spelt(body, "filter", "ip") == Spelt(
        "counter ct count over 20 reject with tcp reset",
        "meta l4proto tcp counter ct count over 20 reject with tcp reset",
        ("too many",),
    )


LISTED = [
    ("meta mark & 0xffe00000 == 0xcbc00000", "meta mark 0xcbc00000/11"),
    ("meta mark & 0xffe00000 != 0x200000", "meta mark != 0x00200000/11"),
    ("meta mark & 0x10000 == 0", "meta mark & 0x00010000 == 0x00000000"),
    ("meta mark set mark & 0xffe7ffff ^ 0x0", "meta mark set meta mark & 0xffe7ffff"),
    ("meta mark set mark & 0xffe7ffff ^ 0x80000", "meta mark set meta mark & 0xffefffff | 0x00080000"),
    ("meta l4proto 4", "meta l4proto ipencap"),
    ("meta l4proto icmpv6", "meta l4proto ipv6-icmp"),
    ("meta l4proto 200", "meta l4proto 200"),
    ("meta l4proto tcp ct state new", "meta l4proto tcp ct state new"),
    ("meta l4proto != udp udp dport { 53 }", "meta l4proto != udp udp dport 53"),
    ("ip saddr 10.1.2.3/8 ip daddr 10.0.0.1/32", "ip saddr 10.0.0.0/8 ip daddr 10.0.0.1"),
    ("ip6 saddr FD00::0:5/128", "ip6 saddr fd00::5"),
    ("meta l4proto 58 icmpv6 type 135", "icmpv6 type nd-neighbor-solicit"),
    ("meta l4proto icmp icmp type 200", "icmp type 200"),
    ("ip dscp set 23", "ip dscp set 0x17"),
    ("ip dscp set 46", "ip dscp set ef"),
    ("limit rate 50/minute burst 5 packets", "limit rate 50/minute"),
    ("limit rate over 20/second burst 40 packets drop", "limit rate over 20/second burst 40 packets drop"),
    ("tcp dport { 80-90, 91, 443 }", "tcp dport { 80-91, 443 }"),
    ("tcp dport { 80, 80 }", "tcp dport { 80 }"),
    ('log prefix "x" snaplen 80 group 2', 'log prefix "x" group 2 snaplen 80'),
]


@pytest.mark.parametrize("written, text", LISTED)
def test_rules_as_nft_lists_them(written: str, text: str) -> None:
    assert listed(written) == text


PORT_SETS = {
    "tcp": "tcp dport", "17": "udp dport", "icmp": "icmp checksum", "igmp": "igmp checksum",
    "58": "icmpv6 checksum", "ah": "ah reserved", "ipcomp": "comp cpi", "esp": "th dport", "dccp": "dccp dport",
}  # fmt: skip


@pytest.mark.parametrize("protocol, field", PORT_SETS.items())
def test_a_set_of_ports_is_listed_with_the_field_at_their_place(protocol: str, field: str) -> None:
    """As nft 1.0.6 lists it; of a protocol without known header it lists nothing and breaks off."""
    text = f"meta l4proto {protocol} ip daddr . meta l4proto . th dport @s counter accept"
    assert listed(text) == f"ip daddr . meta l4proto . {field} @s counter accept"


def test_a_set_of_ports_without_protocol_stays_general() -> None:
    text = "ip saddr . meta l4proto . th sport != @s counter accept"
    assert listed(text) == text


def test_hashes_seal_the_rules_above() -> None:
    """Golden values of a recorded Felix. The comment is not part of the text that is hashed."""
    rules = ["meta mark & 0x10000 == 0x10000 counter accept", "counter meta mark set mark or 0x10000"]
    assert [*hashes("filter-FORWARD*appends*", rules)] == ["yp7iNUYNEhDmKF6E", "fXaqbwKfGHq5dvHP"]


@pytest.mark.parametrize("number, room", [(1, 105), (2, 53), (3, 35)])
def test_comments_are_cut_to_what_the_kernel_keeps(number: int, room: int) -> None:
    text = comment("H" * 16, ("x" * 300,) * number)
    assert len(text) <= MAX_COMMENT
    assert len(text.split(" ")[1]) == room
    assert comment("H" * 16, ()) == f"cali:{'H' * 16};"
