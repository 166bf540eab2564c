"""verify on the nftables data plane: saved listings against manifests, every kind of difference and its effect."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

import felixpy
from felixpy.compiler import Compiler
from felixpy.model import Host
from felixpy.nftables.ruleset import NftRuleset
from felixpy.verification import Finding, Node, Verification, observe_listing, observe_saved, verify
from felixpy.verification.report import document, text
from tests.commands import caller

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"
HOST = Host(interfaces={"eth0": ("192.0.2.1/24",)})

SHOP = """\
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1}
status: {podIP: 10.244.1.5, podIPs: [{ip: 10.244.1.5}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {nodeName: n1}
status: {podIP: 10.244.1.6, podIPs: [{ip: 10.244.1.6}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}]
"""
WEB, CLIENT = "cali551b05c3e54", "caliaa50613ef2d"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("shop")
    (found / "shop.yaml").write_text(SHOP)
    return found


@cache
def node(path: str) -> Node:
    compiler = Compiler(felixpy.load([path]), dataplane="nftables")
    return Node(name="n1", compiler=compiler, host=HOST)


@pytest.fixture
def shop(folder: Path) -> Node:
    return node(str(folder / "shop.yaml"))


def listing(shop: Node) -> str:
    ruleset = shop.ruleset()
    assert isinstance(ruleset, NftRuleset)
    return ruleset.text()


def told(found: Verification) -> list[tuple[str, str, str]]:
    return [(each.kind.name, each.effect.kind, where(each)) for each in found.findings]


def where(finding: Finding) -> str:
    number = f" {finding.number}" if finding.number else ""
    return f"{finding.chain or finding.set or finding.map}{number}"


def test_a_listing_that_is_as_it_should_be(shop: Node) -> None:
    found = verify(observe_listing(listing(shop), "a listing"), shop)
    assert found.equal
    assert found.notes == ()
    assert (found.dataplane, found.rules > 100, found.sets) == ("nftables", True, 10)
    assert "EQUAL  a listing has what the manifests give node n1" in "".join(text(found))


def test_a_finding_names_the_line_of_the_file(shop: Node) -> None:
    lines = listing(shop).splitlines()
    number, line = next((number, line) for number, line in enumerate(lines, start=1) if "dport 80 " in line)
    lines[number - 1] = line.replace("dport 80 ", "dport 81 ")
    found = verify(observe_listing("\n".join(lines) + "\n", "a listing"), shop)
    assert {finding.line for finding in found.findings} == {number}


REPLY = "ARP reply by {interface} with the address 10.244.1.6"
ARP_DAMAGES = [
    # text → other text, and the effect; Felix's rule drops replies to a pod with the pod's own address
    ("counter drop", "counter accept", "opens", "lets out what should be dropped: {reply}"),
    ("counter drop", "counter continue", "opens", "lets out what should be dropped: {reply}"),
    ("arp operation reply", "arp operation request", "both",
     "lets out what should be dropped: {reply}; drops what should get out: ARP request by {interface}"),
    ("arp operation reply ", "", "closes", "drops what should get out: ARP request by {interface} with the address"),
    ("arp saddr ip 10.244.1.6", "arp saddr ip 10.244.1.4/30", "closes", "with the address 10.244.1.4"),
    ("arp saddr ip 10.244.1.6", "arp saddr ip 10.244.1.6/31", "closes", "with the address 10.244.1.7"),
    ("arp saddr ip 10.244.1.6", "arp saddr ip != 10.244.1.6", "both", "with the address 0.0.0.0"),
    ('oifname "{interface}" arp', 'oifname "cali*" arp', "none", "no effect on traffic"),
    ("hook output priority filter; policy accept", "hook output priority filter; policy drop", "closes",
     "ARP reply by another interface with the address 0.0.0.0"),
    ("hook output priority filter", "hook output priority filter + 5", "none", "no effect on traffic"),
    ("type filter hook output priority filter; policy accept;\n", "\n", "opens", "{reply}"),
    ('"{interface}" : goto filter-cali-arp-{interface}', '"{interface}" : accept', "opens", "{reply}"),
    ('"{interface}" : goto filter-cali-arp-{interface}', '"eth7" : drop', "both",
     "drops what should get out: ARP reply by eth7 with the address 0.0.0.0"),
    ("counter jump filter-cali-arp-dispatch", 'oifname != "{interface}" jump filter-cali-arp-dispatch', "opens",
     "{reply}"),
    ("table arp calico-arp {{", "table arp calico-arp {{\n\tflags dormant", "opens", "{reply}"),
    ("counter drop", "arp htype 1 counter drop", "unknown", "not understood: "),
    ("counter drop", "goto filter-cali-arp-{interface}", "unknown", "not understood: chains that jump in a circle"),
]  # fmt: skip


@pytest.mark.parametrize("old, new, effect, words", ARP_DAMAGES)
def test_what_the_arp_table_does_is_decided(shop: Node, old: str, new: str, effect: str, words: str) -> None:
    """Without the drop the host answers a pod's request for the pod's own address: proxy ARP answers for everything."""
    ip, _, arp = listing(shop).partition("table arp calico-arp {")
    found_ = re.search(r'oifname "(\S+)" arp operation reply arp saddr ip 10.244.1.6 counter drop', arp)
    assert found_
    names = {"interface": found_[1], "reply": REPLY.format(interface=found_[1])}
    whole = f"table arp calico-arp {{{arp}"
    at = whole.find(old.format(**names), whole.find(found_[0]) if old in found_[0] else 0)
    assert at >= 0
    damaged = whole[:at] + new.format(**names) + whole[at + len(old.format(**names)) :]
    found = verify(observe_listing(ip + damaged, "a listing"), shop)
    (finding,) = found.findings
    assert (finding.kind.name, finding.effect.kind) == ("arp-table", effect)
    assert words.format(**names) in finding.effect.words
    assert finding.there.startswith("other content in ")
    assert found.together.kind == effect


def test_a_chain_of_a_stranger_in_the_arp_table_may_stop_what_comes(shop: Node) -> None:
    theirs = "\n\tchain theirs {\n\t\ttype filter hook input priority 0; policy drop;\n\t}"
    whole = listing(shop).replace("table arp calico-arp {", f"table arp calico-arp {{{theirs}")
    (finding,) = verify(observe_listing(whole, "a listing"), shop).findings
    assert (finding.kind.name, finding.effect.kind) == ("arp-table", "closes")
    assert (
        "drops what should get in: ARP reply in by another interface with the address 0.0.0.0" in finding.effect.words
    )


def test_without_the_arp_table_the_host_answers_for_pods(shop: Node) -> None:
    ip, _, _ = listing(shop).partition("table arp calico-arp {")
    found = verify(observe_listing(f"{ip}table inet firewalld {{\n}}\n", "a listing"), shop)
    (finding,) = found.findings
    assert (finding.there, finding.effect.kind) == ("no table arp calico-arp", "opens")
    assert verify(observe_listing(ip, "only the tables of IP"), shop).equal


def test_the_listing_as_json_and_with_counts(shop: Node) -> None:
    ruleset = shop.ruleset()
    assert isinstance(ruleset, NftRuleset)
    for form in (ruleset.json_text(), ruleset.text(counters=True)):
        assert verify(observe_listing(form, "a listing"), shop).equal


def test_other_releases_of_nft_spell_the_same(shop: Node) -> None:
    newer = listing(shop).replace("limit rate 10/minute ", "limit rate 10/minute burst 5 packets ")
    assert verify(observe_listing(newer, "a listing"), shop).equal


IN_POLICY = 'tcp dport 80 counter meta mark set meta mark | 0x00010000 comment "cali:'
UNKNOWN = 'counter drop comment "cali:zeZtiiPDsE6BwqUG; Unknown interface"'

DAMAGES = [
    # rules
    ((IN_POLICY, IN_POLICY.replace("80", "81")), [("rule-tampered", "both", "filter-cali-pi-knp/shop/web 1")]),
    ((UNKNOWN, UNKNOWN.replace("drop", "accept")), [("rule-tampered", "none", "filter-cali-to-wl-dispatch 2")]),
    (('\t\tcounter jump filter-cali-FORWARD comment "cali:dpfqBgJrpRwlrqw1;"\n', ""),
     [("rule-missing", "opens", "filter-FORWARD 1")]),
    (('\t\tcounter jump filter-cali-FORWARD', '\t\tip saddr 203.0.113.9 accept\n\t\tcounter jump filter-cali-FORWARD'),
     [("rule-extra", "opens", "filter-FORWARD 1")]),
    ((UNKNOWN, f'{UNKNOWN}\n\t\tcounter drop'), [("rule-extra", "none", "filter-cali-to-wl-dispatch 3")]),
    # chains
    (("\tchain raw-PREROUTING {", "\tchain filter-cali-old {\n\t\tdrop\n\t}\n\tchain raw-PREROUTING {"),
     [("chain-stale", "none", "filter-cali-old")]),
    (("\tchain raw-PREROUTING {",
      "\tchain early {\n\t\ttype filter hook forward priority -5; policy accept;\n\t\ttcp dport 22 drop\n\t}\n"
      "\tchain raw-PREROUTING {"),
     [("chain-stale", "closes", "early")]),
    # base chains
    (("hook forward priority filter; policy accept;", "hook forward priority filter; policy drop;"),
     [("base-chain", "closes", "filter-FORWARD")]),
    (("hook forward priority filter;", "hook forward priority filter + 5;"),
     [("base-chain", "none", "filter-FORWARD")]),
    (("type filter hook forward priority filter;", "type filter hook input priority filter;"),
     [("base-chain", "opens", "filter-FORWARD")]),
    (("\t\ttype filter hook input priority filter; policy accept;\n", ""), [("base-chain", "opens", "filter-INPUT")]),
    # verdict maps
    ((f'"{WEB}" : goto filter-cali-tw-{WEB}', f'"cali0" : goto filter-cali-fw-{WEB}'),
     [("element-extra", "opens", "filter-cali-to-wl-dispatch"),
      ("element-missing", "closes", "filter-cali-to-wl-dispatch")]),
    ((f'"{WEB}" : goto filter-cali-tw-{WEB}', f'"{WEB}" : accept'),
     [("element-changed", "opens", "filter-cali-to-wl-dispatch")]),
    # sets
    (("elements = {\n\t\t\t10.244.1.6,", "elements = {\n\t\t\t203.0.113.9,"),
     [("member-extra", "opens", "cali40s-s5AS7YPbgJrZVj_0vqawL6X"),
      ("member-missing", "closes", "cali40s-s5AS7YPbgJrZVj_0vqawL6X")]),
]  # fmt: skip


@pytest.mark.parametrize("change, findings", DAMAGES, ids=lambda each: str(each)[:60])
def test_differences_and_what_they_mean(
    shop: Node, change: tuple[str, str], findings: list[tuple[str, str, str]]
) -> None:
    right = listing(shop)
    four, tables, six = right.partition("table ip6 calico")
    assert change[0] in four
    found = verify(observe_listing(four.replace(*change) + tables + six, "a listing"), shop)
    assert sorted(told(found)) == sorted(findings)
    for finding in found.findings:
        assert finding.effect.certain
        assert bool(finding.effect.flows) is (finding.effect.kind != "none")
        assert bool(finding.effect.examples) is (finding.effect.kind != "none")


def test_a_missing_chain_takes_rules_and_elements_with_it(shop: Node) -> None:
    chain = f"filter-cali-tw-{WEB}"
    kept = [line for line in listing(shop).splitlines() if f"goto {chain}" not in line]
    at = kept.index(f"\tchain {chain} {{")
    end = kept.index("\t}", at)
    rest = "\n".join([*kept[:at], *kept[end + 1 :]]) + "\n"
    found = verify(observe_listing(rest, "a listing"), shop)
    # The IPv6 table has elements and chain of the pod, too; there it has no address.
    assert told(found)[0] == ("chain-missing", "closes", chain)
    assert {kind for kind, _, _ in told(found)} == {"chain-missing", "element-missing"}


@pytest.mark.parametrize("empty", ["table ip calico {\n}\n", ""])
def test_without_rules_everything_passes(shop: Node, empty: str) -> None:
    _, tables, six = listing(shop).partition("table ip6 calico")
    found = verify(observe_listing(empty + tables + six, "a listing"), shop)
    assert told(found) == [("not-programmed", "opens", "")]
    said = "table ip calico is empty" if empty else "no table ip calico"
    assert found.findings[0].there == said
    assert "lets through" in found.together.words


def test_a_listing_of_one_table_says_nothing_of_the_others(shop: Node) -> None:
    four, _, _ = listing(shop).partition("table ip6 calico")
    found = verify(observe_listing(four, "a listing"), shop)
    assert found.equal
    assert found.notes == ("rules of IPv6 were not given, so they are not compared",)


def test_a_table_that_is_switched_off(shop: Node) -> None:
    dormant = listing(shop).replace("table ip calico {\n", "table ip calico {\n\tflags dormant\n", 1)
    found = verify(observe_listing(dormant, "a listing"), shop)
    assert told(found) == [("table-dormant", "opens", "")]


def test_tables_of_others_surround_both_sides(shop: Node) -> None:
    """What kube-proxy and others do is not Felix's affair, but what a finding means depends on it."""
    drop = "table inet fw {\n\tchain f {\n\t\ttype filter hook forward priority 10; policy drop;\n\t}\n}\n"
    assert verify(observe_listing(listing(shop) + drop, "a listing"), shop).equal
    changed = listing(shop).replace(UNKNOWN, UNKNOWN.replace("drop", "accept"))
    assert told(verify(observe_listing(changed + drop, "a listing"), shop))[0][1] == "none"


LEFTOVERS = """\
table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
		counter packets 0 bytes 0 jump cali-FORWARD
		tcp dport 23 drop
	}
	chain cali-FORWARD {
		tcp dport 80 drop
	}
}
"""
SAVED = (
    "*filter\n:FORWARD ACCEPT [0:0]\n:cali-FORWARD - [0:0]\n-A FORWARD -j cali-FORWARD\n-A cali-FORWARD {}\nCOMMIT\n"
)


@pytest.mark.parametrize("rule, effect", [("-j ACCEPT", "none"), ("-p tcp -m tcp --dport 80 -j DROP", "closes")])
def test_leftovers_of_the_other_data_plane(shop: Node, tmp_path: Path, rule: str, effect: str) -> None:
    from felixpy.iptables.forms import read_dump

    beside = read_dump({4: SAVED.format(rule)})
    found = verify(observe_listing(listing(shop), "a listing", others={"legacy": beside}), shop)
    assert told(found) == [("other-data-plane", effect, "")]
    assert found.together.kind == effect
    nft = observe_listing(listing(shop) + LEFTOVERS, "a listing")
    assert told(verify(nft, shop)) == [("other-data-plane", "closes", "")]


def test_tables_of_nftables_beside_iptables(folder: Path, shop: Node) -> None:
    from felixpy.nftables.dumps import read_listing

    compiler = Compiler(felixpy.load([folder / "shop.yaml"]))
    there = Node(name="n1", compiler=compiler, host=HOST)
    ruleset = there.ruleset()
    rules = {family: ruleset.save(family) for family in (4, 6)}
    others = {"nftables": read_listing(listing(shop))}
    found = verify(observe_saved(rules, ruleset.ipset_save(), "a dump", others=others), there)
    assert told(found) == [("other-data-plane", "none", "")]


def test_json_and_text(shop: Node) -> None:
    changed = listing(shop).replace(f'"{WEB}" : goto filter-cali-tw-{WEB}', f'"{WEB}" : accept')
    found = verify(observe_listing(changed, "a listing"), shop)
    shape = document(found)
    (finding,) = shape["findings"]
    assert (shape["dataplane"], finding["map"], finding["effect"]) == (
        "nftables", "filter-cali-to-wl-dispatch", "opens",
    )  # fmt: skip
    assert finding["flows"]
    lines = "\n".join(text(found))
    assert "other elements of a verdict map: filter-cali-to-wl-dispatch" in lines
    assert "(pod shop/web)" in lines


# --- the command


@pytest.fixture
def felixpy_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path):
    monkeypatch.chdir(folder)
    return caller(capsys, monkeypatch)


MACHINE = ("--interface", "eth0=192.0.2.1/24")


def test_the_form_says_which_data_plane_is_meant(felixpy_, shop: Node, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "n1.nft").write_text(listing(shop))
    answer = felixpy_("verify", "shop.yaml", "--rules", str(tmp_path / "n1.nft"), *MACHINE)
    assert (answer.status, answer.out.startswith("EQUAL")) == (0, True), answer.err
    # Asked for the other data plane nothing of that is there.
    other = felixpy_(
        "verify", "shop.yaml", "--rules", str(tmp_path / "n1.nft"), *MACHINE, "--dataplane", "iptables", "-o", "json"
    )
    assert {each["class"] for each in json.loads(other.out)["findings"]} == {"not-programmed", "other-data-plane"}


def test_a_cluster_has_nodes_of_both_data_planes(felixpy_, shop: Node, folder: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    second = SHOP[: SHOP.index("---")].replace("n1", "n2").replace("192.0.2.1", "192.0.2.2")
    both.write_text(f"{SHOP}---\n{second}")
    rules = tmp_path / "rules"
    rules.mkdir()
    for name, options in (("n1", ("--dataplane", "nftables")), ("n2", ())):
        (rules / f"{name}.txt").write_text(felixpy_("render", str(both), "--node", name, "-q", *options).out)
    answer = felixpy_("verify", str(both), "--rules", str(rules), "-o", "json")
    found = json.loads(answer.out)
    assert {node["node"]: node["dataplane"] for node in found["nodes"]} == {"n1": "nftables", "n2": "iptables"}
    assert answer.status == 0, answer.out[:2000]


def test_one_text_of_both_data_planes(felixpy_, shop: Node, tmp_path: Path) -> None:
    """A bug report: what nft lists, then what iptables-save prints, in which rules of Felix are left."""
    report = tmp_path / "report.txt"
    report.write_text(f"$ nft list ruleset\n{listing(shop)}$ iptables-save\n{SAVED.format('-j DROP')}")
    answer = felixpy_("verify", "shop.yaml", "--rules", str(report), *MACHINE, "-o", "json")
    (finding,) = json.loads(answer.out)["findings"]
    assert (finding["class"], finding["effect"]) == ("other-data-plane", "closes")
    traced = felixpy_("trace", "shop/client", "shop/web:80", "shop.yaml", "--rules", str(report), "--node", "n1")
    assert "tables of Felix in iptables are also in force: packets pass both" in traced.err
    assert traced.out.startswith("DENIED")
    assert "node n1, iptables filter cali-FORWARD 1: -j DROP" in traced.out


def test_verification_from_python(folder: Path, shop: Node) -> None:
    cluster = felixpy.load([folder / "shop.yaml"])
    assert felixpy.verify(cluster, listing(shop), host=HOST).equal
    both = (listing(shop), SAVED.format("-j DROP"))
    for texts in (both, reversed(both), ["".join(both)]):
        assert told(felixpy.verify(cluster, [*texts], host=HOST)) == [("other-data-plane", "closes", "")]
    with pytest.raises(felixpy.UsageError, match="there is no table in it"):
        felixpy.verify(cluster, [listing(shop), "nothing\n"], host=HOST)
    with pytest.raises(felixpy.UsageError, match="these are of rules that were not given"):
        felixpy.verify(cluster, listing(shop), "create x hash:net family inet\n", host=HOST)
