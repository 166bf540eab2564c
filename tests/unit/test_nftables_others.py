"""Tables of others in a listing: kube-proxy's nftables mode and firewalld, whose rules are walked among Calico's.

The listing was made by the kernel (nft 1.0.6) of tables as kube-proxy 1.34 and firewalld 2.3 write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from felixpy.netfilter.hooks import REWRITTEN, TRACKING
from felixpy.netfilter.rules import Dump
from felixpy.nftables.dumps import dump_of, read_listing
from felixpy.nftables.expansion import expanded
from felixpy.nftables.reading import ListedTable, read_tables
from felixpy.walk import Machine, Packet, Walk, Walker

FIXTURES = Path(__file__).parents[2] / "fixtures" / "nftables"
OTHERS = (FIXTURES / "others.listed").read_text()
MACHINE = Machine({"eth0": ("192.0.2.1",)}, {"10.244.1.5": "cali5", "10.244.1.6": "cali6"})


def dump(text: str = OTHERS) -> Dump:
    return dump_of(read_tables(text), (4, 6))


def walk(packet: Packet, text: str = OTHERS) -> Walk:
    return Walker(dump(text), MACHINE).walk(packet)


KUBE_PROXY = OTHERS[: OTHERS.index("table inet firewalld")]
FIREWALLD = OTHERS[len(KUBE_PROXY) :]


def test_every_rule_is_understood() -> None:
    unclear = [rule.body.text for _, _, chain in dump().chains() for rule in chain.rules if rule.body.unclear]
    assert [text.partition(" goto ")[0] for text in unclear] == ["numgen random mod 2 0"]


def test_the_listing_as_json_says_the_same() -> None:
    one, other = dump(), dump((FIXTURES / "others.json").read_text())
    assert other.sets == one.sets
    assert other.hooks == one.hooks
    for (family, table, chain), (_, _, same) in zip(one.chains(), other.chains(), strict=True):
        said = [(rule.target, rule.body.tests, rule.body.action) for rule in chain.rules]
        assert [(rule.target, rule.body.tests, rule.body.action) for rule in same.rules] == said, (family, table)


def test_chains_stand_by_priority_and_those_of_nat_where_the_kernel_asks_them() -> None:
    shown = {hook: [stage.chain or stage.table for stage in stages] for hook, stages in dump().stages(4).items()}
    assert shown == {
        "PREROUTING": [TRACKING.table, "mangle_PREROUTING", "filter-prerouting", "nat-prerouting", "nat_PREROUTING",
                       REWRITTEN.table, "filter_PREROUTING"],
        "INPUT": ["filter-input", "filter_INPUT"],
        "FORWARD": ["filter-forward", "filter_FORWARD"],
        "OUTPUT": [TRACKING.table, "filter-output", "nat-output", REWRITTEN.table, "filter-output-post-dnat",
                   "filter_OUTPUT"],
        "POSTROUTING": ["nat-postrouting", "nat_POSTROUTING"],
    }  # fmt: skip


def incoming(destination: str, port: int, **more: object) -> Packet:
    given: Mapping[str, object] = {"source": "198.51.100.9", "protocol": 6, "in_interface": "eth0", **more}
    return Packet(destination=destination, port=port, **given)  # type: ignore[arg-type]


SERVICES = [
    # A Service with two endpoints: one of them, which nobody knows.
    (incoming("10.96.0.20", 80), "accept", "10.244.1.6:80"),
    (incoming("10.96.0.30", 80), "accept", "10.244.1.5:80"),
    (incoming("192.0.2.1", 30080), "accept", "10.244.1.6:80"),
    (incoming("10.96.0.30", 81), "reject", ""),  # no endpoints
    (incoming("10.96.0.20", 81), "reject", ""),  # a port that the Service does not have
    (incoming("10.96.7.7", 80), "drop", ""),  # an address that no Service has
    (incoming("198.51.100.7", 80), "drop", ""),  # not from where the load balancer may be asked
    (incoming("198.51.100.7", 80, source="203.0.113.5"), "accept", ""),
]


@pytest.mark.parametrize("packet, verdict, to", SERVICES)
def test_kube_proxy_is_walked(packet: Packet, verdict: str, to: str) -> None:
    found = walk(packet, KUBE_PROXY)
    assert (found.verdict, found.rewritten.get("destination", "")) == (verdict, to)


def test_packets_to_a_service_from_outside_are_masqueraded() -> None:
    assert walk(incoming("10.96.0.20", 80), KUBE_PROXY).rewritten["source"] == "the address of cali6"
    inside = walk(incoming("10.96.0.20", 80, source="10.244.7.7"), KUBE_PROXY)
    assert (inside.mark, "source" in inside.rewritten) == (0, False)


@pytest.mark.parametrize(
    "policy, certain", [("accept", True), ("ip daddr 10.244.1.5 drop", False), ("ip daddr 10.244.1.6 drop", False)]
)
def test_a_random_choice_is_certain_only_if_all_ways_end_alike(policy: str, certain: bool) -> None:
    hook = "type filter hook forward priority 0; policy accept;"
    extra = f"table ip x {{\n\tchain f {{\n\t\t{hook}\n\t\t{policy}\n\t}}\n}}\n"
    assert walk(incoming("10.96.0.20", 80), KUBE_PROXY + extra).certain is certain


def test_an_accept_ends_one_base_chain_and_a_drop_all_of_them() -> None:
    def chain(name: str, priority: int, rule: str) -> str:
        return f"\tchain {name} {{\n\t\ttype filter hook input priority {priority}; policy accept;\n\t\t{rule}\n\t}}\n"

    packet = incoming("192.0.2.1", 22)
    for rules, verdict in (
        (("accept", "drop"), "drop"),
        (("drop", "accept"), "drop"),
        (("accept", "accept"), "accept"),
    ):
        text = f"table ip x {{\n{chain('late', 5, rules[1])}{chain('early', -5, rules[0])}}}\n"
        found = walk(packet, text)
        assert found.verdict == verdict
        assert [step.chain for step in found.steps] == (["early"] if rules[0] == "drop" else ["early", "late"])


ZONES = [
    (incoming("192.0.2.1", 22), "accept"),
    (incoming("192.0.2.1", 23), "accept"),  # the mark that the last rule sets does not matter to its verdict
    (incoming("192.0.2.1", 23, source="10.8.0.1"), "accept"),  # a trusted source
    (incoming("192.0.2.1", 23, state="invalid"), "drop"),
    (incoming("10.9.0.1", 23, source="192.0.2.1", in_interface=""), "accept"),
    (incoming("10.9.0.1", 23), "accept"),  # forwarded to the uplink
    (incoming("10.244.1.5", 23), "reject"),  # forwarded to a pod
    (incoming("192.0.2.1", 8080), "accept"),  # the destination of the NAT rule, which status dnat accepts
]


@pytest.mark.parametrize("packet, verdict", ZONES)
def test_firewalld_is_walked(packet: Packet, verdict: str) -> None:
    assert walk(packet, FIREWALLD).verdict == verdict


def test_rules_of_both_families_count_where_they_can_apply() -> None:
    for family, number in ((4, 2), (6, 0)):
        chains = dump().tables[family]["inet firewalld"]
        assert sum("10.1.1." in rule.body.text for rule in chains["filter_IN_public_allow"].rules) == number
        assert len(chains["nat_PREROUTING"].rules) == (family == 4)


EXPANDED = [
    ('iifname { "a", "b" } drop', ['iifname "a" drop', 'iifname "b" drop']),
    ('iifname != { "a", "b" } drop', ['iifname != "a" iifname != "b" drop']),
    ("meta l4proto { tcp, udp } th dport 53 accept",
     ["meta l4proto tcp tcp dport 53 accept", "meta l4proto udp udp dport 53 accept"]),
    ("ip saddr . tcp dport { 10.0.0.1 . 80 } drop", ["ip saddr 10.0.0.1 tcp dport 80 drop"]),
    ("ip saddr { 10.0.0.1, 10.0.0.5-10.0.0.9 } drop", ["ip saddr 10.0.0.1 drop", "ip saddr 10.0.0.5-10.0.0.9 drop"]),
    ("ip saddr { 10.0.0.1, 10.0.0.2 } drop", ["ip saddr { 10.0.0.1, 10.0.0.2 } drop"]),
    ("tcp dport @ports drop", ["tcp dport 80 drop", "tcp dport 8000-8080 drop"]),
    ("ip saddr @nets drop", ["ip saddr @nets drop"]),
    ("tcp dport vmap @to counter", ["tcp dport 80 jump x counter"]),
    ("tcp dport vmap @with-default", ["tcp dport vmap @with-default"]),
    ("tcp dport vmap @nowhere", ["tcp dport vmap @nowhere"]),
    ("socket cookie vmap { 1 : drop }", ["socket cookie vmap { 1 : drop }"]),
    ("th dport 53 drop", [f"{p} dport 53 drop" for p in ("tcp", "udp", "udplite", "sctp", "dccp")]),
    ("update @nets { ip saddr } drop", ["update @nets { ip saddr } drop"]),
]  # fmt: skip


@pytest.mark.parametrize("text, rules", EXPANDED)
def test_lookups_are_rules_for_each_element(text: str, rules: list[str]) -> None:
    listing = """\
table ip x {
	set ports {
		type inet_service
		flags interval
		elements = { 80 timeout 1h expires 3m, 8000-8080 comment "a, b" }
	}
	set nets {
		type ipv4_addr
	}
	map to {
		type inet_service : verdict
		elements = { 80 : jump x }
	}
	map with-default {
		type inet_service : verdict
		elements = { 80 : jump x, * : drop }
	}
}
"""
    (table,) = read_tables(listing)
    assert isinstance(table, ListedTable)
    assert list(expanded(text, table)) == rules


def test_a_chain_of_a_stranger_in_the_table_of_calico_is_walked() -> None:
    text = """\
table ip calico {
	chain filter-FORWARD {
		type filter hook forward priority filter; policy accept;
		goto mangle-cali-x
	}
	chain mangle-cali-x {
		jump open
	}
	chain open {
		ip saddr 10.0.0.1 accept
		drop
	}
	chain early {
		type filter hook forward priority -5; policy accept;
		ip saddr 10.0.0.9 drop
	}
}
"""
    walker = Walker(read_listing(text), MACHINE)
    found = {
        source: walker.walk(incoming("10.244.1.5", 80, source=source)).verdict
        for source in ("10.0.0.1", "10.0.0.2", "10.0.0.9")
    }
    assert found == {"10.0.0.1": "accept", "10.0.0.2": "drop", "10.0.0.9": "drop"}
