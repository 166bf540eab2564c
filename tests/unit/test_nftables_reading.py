"""Listings of nft as values: other people's tables and rules, handles, counters, what is cut off or not understood."""

from __future__ import annotations

import pytest

from felixpy.errors import InputError
from felixpy.iptables.reader import read_body
from felixpy.netfilter.actions import Unclear
from felixpy.netfilter.rules import Rule
from felixpy.nftables.dumps import read_listing
from felixpy.nftables.reading import looks_listed, read_tables
from felixpy.nftables.translation import translated
from felixpy.walk import Packet, Walker

LISTING = """\
table inet firewalld { # handle 3
	ct helper helper-ftp {
		type "ftp" protocol tcp
		l3proto inet
	}
	chain filter_INPUT { # handle 4
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept # handle 5
	}
}
table ip calico { # handle 7
	set cali40s-a-b { # handle 8
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 192.0.2.1,
				198.51.100.0/24 }
	}
	set cali40n-x {
		type ipv4_addr . inet_proto . inet_service
		elements = { 10.0.0.5 . tcp . 80 }
	}
	map filter-cali-to-wl-dispatch {
		type ifname : verdict
		elements = { "cali1" : goto filter-cali-tw-cali1,
				"cali2" : goto filter-cali-tw-cali2 }
	}
	chain filter-FORWARD { # handle 20
		type filter hook forward priority filter; policy drop;
		oifname "cali*" counter packets 7 bytes 420 jump filter-cali-to-wl-dispatch comment "cali:AAAAAAAAAAAAAAAA;" # handle 41
	}
	chain filter-cali-to-wl-dispatch {
		oifname vmap @filter-cali-to-wl-dispatch comment "cali:BBBBBBBBBBBBBBBB;"
		counter packets 0 bytes 0 drop comment "cali:CCCCCCCCCCCCCCCC; Unknown interface"
	}
	chain filter-cali-tw-cali1 {
		ip saddr @cali40s-a-b counter packets 1 bytes 60 accept
	}
	chain filter-cali-tw-cali2 {
		meta cgroup 5 drop
	}
}
"""  # noqa: E501 - nft lists a rule on one line


@pytest.fixture(scope="module")
def rules() -> dict[str, tuple[Rule, ...]]:
    return {name: chain.rules for name, chain in read_listing(LISTING).tables[4]["filter"].items()}


def test_base_chains_are_the_chains_of_the_kernel(rules: dict[str, tuple[Rule, ...]]) -> None:
    dump = read_listing(LISTING)
    assert (dump.dataplane, dump.tables[4]["filter"]["FORWARD"].policy) == ("nftables", "DROP")
    (rule,) = rules["FORWARD"]
    assert (rule.identity, rule.target, rule.counters) == ("AAAAAAAAAAAAAAAA", "cali-to-wl-dispatch", (7, 420))
    assert "# handle" not in rule.text


def test_a_rule_with_a_verdict_map_is_one_rule_for_each_element(rules: dict[str, tuple[Rule, ...]]) -> None:
    first, second, last = rules["cali-to-wl-dispatch"]
    assert [(r.number, r.target, r.goto) for r in (first, second)] == [
        (1, "cali-tw-cali1", True),
        (1, "cali-tw-cali2", True),
    ]
    assert first.body.text != second.body.text
    assert (last.number, last.comments, last.identity) == (2, ("Unknown interface",), "CCCCCCCCCCCCCCCC")


def test_sets_are_those_of_ipset() -> None:
    sets = read_listing(LISTING).sets
    assert sets is not None
    assert {each.name: (each.type, each.members) for each in sets.values()} == {
        "cali40s:a-b": ("hash:net", ("10.0.0.0/8", "192.0.2.1", "198.51.100.0/24")),
        "cali40n:x": ("hash:ip,port", ("10.0.0.5,tcp:80",)),
    }


def test_tables_that_are_not_walked_are_named() -> None:
    bridge = "table bridge lan {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n"
    assert read_listing(LISTING).open == ()
    words = "chain in of table bridge lan sees packets at hook input; it is not walked"
    assert read_listing(bridge + LISTING).open == (words,)
    (policy,) = read_listing(LISTING).remarks
    assert policy.startswith("chain filter-FORWARD has policy drop, which Felix never sets")


def test_packets_are_walked_through_maps_and_sets() -> None:
    walker = Walker(read_listing(LISTING))

    def verdict(source: str, to: str) -> tuple[str, bool]:
        found = walker.walk(Packet(source=source, destination="10.9.9.9", in_interface="eth0", out_interface=to))
        return found.verdict, found.certain

    assert verdict("192.0.2.1", "cali1") == ("accept", True)
    assert verdict("192.0.2.2", "cali1") == ("drop", True)  # the policy of the base chain
    assert verdict("192.0.2.1", "cali3") == ("drop", True)  # unknown interface
    assert verdict("192.0.2.1", "eth1") == ("drop", True)
    assert verdict("192.0.2.1", "cali2") == ("drop", True)  # both readings end there


def test_a_rule_that_is_not_understood_stays_a_text(rules: dict[str, tuple[Rule, ...]]) -> None:
    (rule,) = rules["cali-tw-cali2"]
    assert rule.body.unclear == ("not understood: meta cgroup 5 drop",)
    assert isinstance(rule.body.action, Unclear)


EMPTY = "table ip calico {\n}\n"


@pytest.mark.parametrize(
    "text, words",
    [
        (EMPTY, "table ip calico is empty: every packet passes"),
        (LISTING.replace("priority filter; policy drop", "priority filter + 5; policy drop"),
         "chain filter-FORWARD has priority filter + 5, not filter"),
    ],
)  # fmt: skip
def test_what_is_odd_is_told(text: str, words: str) -> None:
    assert any(words in each for each in read_listing(text).remarks)


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_a_listing_that_is_cut_off_is_told(cut: int) -> None:
    with pytest.raises(InputError, match="the listing is cut off"):
        read_listing("".join(LISTING.splitlines(keepends=True)[:-cut]))


def test_a_listing_without_calico_is_told() -> None:
    with pytest.raises(InputError, match=r"no table ip calico or ip6 calico in it \(tables: ip nat\)"):
        read_listing("table ip nat {\n}\n")


def test_forms_are_told_apart() -> None:
    assert looks_listed(LISTING)
    assert not looks_listed("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
    assert [table.title for table in read_tables(LISTING)] == ["inet firewalld", "ip calico"]


JSON = """{"nftables": [{"metainfo": {"version": "1.0.6"}},
{"table": {"family": "ip", "name": "calico", "handle": 1}},
{"chain": {"family": "ip", "table": "calico", "name": "filter-FORWARD", "handle": 2, "type": "filter",
 "hook": "forward", "prio": 0, "policy": "accept"}},
{"chain": {"family": "ip", "table": "calico", "name": "filter-cali-x", "handle": 3}},
{"set": {"family": "ip", "table": "calico", "name": "cali40s-a", "handle": 4, "type": "ipv4_addr",
 "flags": ["interval"], "elem": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "192.0.2.1"]}},
{"rule": {"family": "ip", "table": "calico", "chain": "filter-FORWARD", "handle": 5,
 "comment": "cali:AAAAAAAAAAAAAAAA;",
 "expr": [{"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 65536]}, "right": 65536}},
  {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
   "right": {"set": [80, {"range": [8000, 8080]}]}}},
  {"counter": {"packets": 3, "bytes": 180}}, {"goto": {"target": "filter-cali-x"}}]}},
{"rule": {"family": "ip", "table": "calico", "chain": "filter-cali-x", "handle": 6,
 "expr": [{"xt": null}, {"drop": null}]}}]}"""


def test_a_listing_as_json_says_the_same() -> None:
    assert looks_listed(JSON)
    dump = read_listing(JSON)
    (rule,) = dump.tables[4]["filter"]["FORWARD"].rules
    assert rule.body.text == (
        "meta mark & 0x00010000 == 0x00010000 tcp dport { 80, 8000-8080 } counter goto filter-cali-x"
    )
    assert (rule.identity, rule.counters, rule.target, rule.goto) == ("AAAAAAAAAAAAAAAA", (3, 180), "cali-x", True)
    (strange,) = dump.tables[4]["filter"]["cali-x"].rules
    assert strange.body.unclear == ("not understood: ?xt drop",)
    assert dump.sets is not None
    assert dump.sets["cali40s:a"].members == ("10.0.0.0/8", "192.0.2.1")
    assert dump.open == ()


@pytest.mark.parametrize("text", ['{"nftables": 5}', '{"nftables": [{"rule": {}}]}', '{"nftables": ['])
def test_json_that_is_no_listing_is_told(text: str) -> None:
    with pytest.raises(InputError, match="not what nft -j list ruleset prints"):
        read_listing(text)


OTHERS = [
    ("tcp dport { 22, 80-90 } accept", "-p tcp -m multiport --dports 22,80:90 -j ACCEPT"),
    ("meta l4proto != udp udp sport 53 drop", "! -p udp -p udp -m udp --sport 53 -j DROP"),
    ("ip saddr { 10.0.0.0/8, 192.0.2.1 } accept", "-s 10.0.0.0/8,192.0.2.1 -j ACCEPT"),
    ("ip saddr 10.0.0.1-10.0.0.9 accept", "-m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT"),
    ("meta mark 0xcbc00000/11 drop", "-m mark --mark 0xcbc00000/0xffe00000 -j DROP"),
    ("meta mark & 0xffe00000 == 0xcbc00000 drop", "-m mark --mark 0xcbc00000/0xffe00000 -j DROP"),
    ("meta mark set meta mark ^ 0x1", "-j MARK --set-xmark 0x1/0x0"),
    ("meta mark set 0x5", "-j MARK --set-xmark 0x5/0xffffffff"),
    ('iif "lo" accept', "-i lo -j ACCEPT"),
    ("ct status != dnat drop", "-m conntrack --ctstate NEW,RELATED,ESTABLISHED -j DROP"),
    ("limit rate 5/second burst 5 packets accept", "-m limit --limit 5/second --limit-burst 5 -j ACCEPT"),
    ("reject with icmp type admin-prohibited", "-j REJECT --reject-with admin-prohibited"),
    ('log prefix "x: " level info drop', "-j DROP"),
    ("fib saddr . mark . iif check missing drop", "-m rpfilter --validmark --invert -j DROP"),
]


@pytest.mark.parametrize("listed, text", OTHERS)
def test_rules_in_the_words_of_iptables(listed: str, text: str) -> None:
    found = translated(listed, 4)
    assert (found.text, found.strange) == (text, ())
    assert read_body(found.text, 4).unclear == ()


STRANGE = [
    "numgen random mod 2 vmap { 0 : goto a, 1 : goto b }",
    "ip daddr . meta l4proto . th dport vmap @service-ips",
    "ct state vmap { established : accept }",
    "meta l4proto { tcp, udp } accept",
    "tcp flags syn,ack drop",
    "@th,0,16 5 drop",
]


@pytest.mark.parametrize("listed", STRANGE)
def test_what_is_not_understood_is_said(listed: str) -> None:
    found = translated(listed, 4)
    assert found.strange
    assert not found.certain
