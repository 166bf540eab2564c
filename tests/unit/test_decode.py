"""Names in rules and sets, and what they are said to be."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import felixpy
from felixpy.calico_versions import V3_8, V3_32
from felixpy.compiler import Compiler
from felixpy.decode import Decoder
from felixpy.decode.comments import commented, likely_nodes
from felixpy.decode.strange import STALE
from felixpy.ipsets import selector_set
from felixpy.iptables.saved import read_tables
from felixpy.iptables.sets import read_sets
from felixpy.marks import allocate
from felixpy.model import Cluster, PortRange, Rule, Side
from felixpy.names import limited, set_name
from felixpy.nftables import NftRuleset
from tests.clusters import ALLOW, cluster, host_endpoint, network_set, pod, policy, tier
from tests.conformance.recordings import AREAS, ROOT, Case, cases

SHARE = 8
"""One recording in so many is decoded whole by default, all of them with the slow tests."""

WEB = pod("web", "10.65.0.2", labels={"app": "web"})
DB = pod("db", "10.65.0.3", node="node2", labels={"app": "db"}, interface="cali0123456789a")
FROM_WEB = Rule(
    action="allow",
    protocol="tcp",
    source=Side(selector="app == 'web'"),
    destination=Side(ports=(PortRange(80, 80),)),
    path=("spec", "ingress", 0),
)
DENY_ALL = policy("a-name-that-is-too-long", tier="early", order=5.0)
SHOP = cluster(
    WEB,
    DB,
    host_endpoint("uplink", "eth0", "192.0.2.1"),
    network_set("partners", "198.51.100.0/24", app="web"),
    tier("early", 10.0),
    policy("allow", kind="NetworkPolicy", ingress=[FROM_WEB], selector="app == 'db'"),
    DENY_ALL,
    policy("first", ingress=[ALLOW], selector="all()"),
    policy("second", ingress=[ALLOW], selector="all()"),
    policy("draft", kind="StagedNetworkPolicy", ingress=[ALLOW]),
)
SET = set_name(4, selector_set("app == 'web'").id)
LONG = limited("cali-pi-", "gnp/a-name-that-is-too-long")


def decoder(whole: Cluster = SHOP) -> Decoder:
    compiler = Compiler(whole)
    return Decoder(
        whole,
        (compiler.compile(name) for name in whole.node_names()),
        marks=allocate(0xFFFF0000, V3_32.marks),
        elsewhere=(Compiler(replaced(whole), V3_8).compile(name) for name in whole.node_names()),
    )


def replaced(whole: Cluster) -> Cluster:
    """Without what v3.8 has no words for."""
    from dataclasses import replace

    plain = tuple(p for p in whole.policies if not p.staged and p.tier == "default")
    return replace(whole, policies=plain, tiers={"default": whole.tiers["default"]})


@pytest.mark.parametrize(
    "name, words",
    [
        ("cali-pi-np/default/allow", "ingress rules of NetworkPolicy default/allow"),
        ("cali-po-gnp/first", "egress rules of GlobalNetworkPolicy first"),
        (LONG, "ingress rules of GlobalNetworkPolicy a-name-that-is-too-long"),
        ("cali-pri-kns.default", "ingress rules of namespace default"),
        ("cali-tw-caliweb", "packets to pod default/web"),
        ("cali-fw-cali0123456789a", "packets from pod default/db"),
        ("cali-fh-eth0", "packets for the node that came in by HostEndpoint uplink"),
        ("cali-thfw-eth0", "forwarded packets that leave by HostEndpoint uplink"),
        ("cali-FORWARD", "packets that the node forwards"),
        ("cali-failsafe-in", "ports of the node that stay open"),
        ("FORWARD", "Felix's rules in the kernel's chain FORWARD"),
        ("cali:wUHhoiAYhphO9Mso", "rule 1 of FORWARD"),
        ("wUHhoiAYhphO9Mso", "rule 1 of FORWARD"),
        (SET, 'addresses of endpoints and network sets with app == "web"'),
        ("cali60this-host", "addresses of this node's interfaces"),
        ("caliweb", "the node's end of pod default/web"),
        ("eth0", "HostEndpoint uplink on node1"),
        ("tunl0", "the IP-in-IP tunnel to other nodes"),
        ("0x10000", "accept (0x10000)"),
        ("0x10000/0x30000", "accept (0x10000) set, pass (0x20000) clear"),
        ("0x0/0x1", "not Felix's (0x1) clear"),
        ("0x200000/0xffe00000", "endpoint (0xffe00000) 0x200000"),
        ("0x0", "no bit at all"),
        ("API0|np/default/allow", "ingress allowed by rule 0 (counted from 0) of policy np/default/allow"),
        ("DPE|early", "egress denied at the end of tier early"),
        ("DRI", "ingress denied as no profile matched"),
        ("PRE2|kns.default", "egress passed by rule 2 (counted from 0) of profile kns.default"),
    ],
)
def test_known_names(name: str, words: str) -> None:
    meaning = decoder().decode(name)
    assert words in meaning.words
    assert meaning.known


def test_chains_of_host_interfaces_are_those_of_their_node() -> None:
    """Every node calls them alike, above all those of the endpoints for all interfaces."""
    hosts = [host_endpoint(f"{node}-all", "*", f"192.0.2.{n}", node=node) for n, node in enumerate(("node1", "node2"))]
    whole = cluster(*hosts)
    for node in ("node1", "node2"):
        found = Decoder(whole, [Compiler(whole).compile(node)]).decode("cali-fh-any-interface-at-all")
        assert found.words == f"packets for the node that came in by HostEndpoint {node}-all"
    assert Decoder(whole).decode("cali-fh-any-interface-at-all").known


def test_groups_name_their_members() -> None:
    found = decoder()
    (group,) = {name for index in found.indices() for name in index.chains if name.startswith("cali-gi-")}
    assert "GlobalNetworkPolicy first, GlobalNetworkPolicy second" in found.decode(group).words


@pytest.mark.parametrize(
    "name, words, hint",
    [
        ("cali-pi-np/default/gone", "ingress rules of NetworkPolicy default/gone", "no such policy"),
        ("cali-po-knp/shop/gone", "egress rules of KubernetesNetworkPolicy shop/gone", "no such policy"),
        ("cali-pi-shop/knp.default.gone", "ingress rules of KubernetesNetworkPolicy shop/gone", "no such policy"),
        ("cali-pi-old.name", "a policy that an older Felix calls old.name", "no such policy"),
        ("cali-pi-_zzzzzzzzzzzzzzzzzzz", "ingress rules of some policy", "more than 20 characters"),
        ("cali-pi-snp/default/draft", "ingress rules of StagedNetworkPolicy default/draft", "as long as they are"),
        ("cali-pi-np/default/draft", "ingress rules of StagedNetworkPolicy default/draft", "as long as they are"),
        ("cali-pi-default.first", "GlobalNetworkPolicy first, tier default, ingress", "a name of Felix v3.8"),
        ("cali-po-_8EjLcTr8WGVPvYGNr0N", "some policy", "more than 20 characters"),
        ("cali-pri-kns.gone", "ingress rules of profile kns.gone", "no such namespace"),
        ("cali-gi-zzzzzzzzzzzzzzzzzzzz", "a group of ingress policies", "changes when one is added"),
        ("cali-tw-caligone", "packets to the pod behind caligone", "no pod in the input"),
        ("cali-th-eth7", "the node's own packets that leave by the host interface eth7", "no host endpoint"),
        ("cali-from-wl-dispatch-7", "interfaces whose names go on with '7'", "no such interfaces"),
        ("cali-nonsense", "no chain that Felix makes", "stale"),
        ("cali40s:zzzzzzzzzzzzzzzzzzzzzzzzz", "addresses that a selector matches, IPv4", "no rule of the input"),
        ("cali60n:zzzzzzzzzzzzzzzzzzzzzzzzz", "addresses and ports of a named port, IPv6", "no rule"),
        ("cali4t17", "a temporary set", "left over"),
        ("cali:zzzzzzzzzzzzzzzz", "a rule of Felix", "covers its text, all rules above it"),
        ("calideadbeef012", "the node's end of some pod", "no pod in the input gives it"),
        ("cali-FORWARDS", "no chain that Felix makes", "stale"),
        ("nonsense", "nothing that Felix makes", ""),
        ("caliwebb", "nothing that Felix makes", "did you mean caliweb?"),
    ],
)
def test_strange_names(name: str, words: str, hint: str) -> None:
    meaning = decoder().decode(name)
    assert words in meaning.words
    assert hint in meaning.hint
    assert not meaning.known


def test_names_need_no_manifests() -> None:
    empty = Decoder(Cluster())
    assert empty.decode("cali-wl-to-host").known
    assert "NetworkPolicy shop/db" in empty.decode("cali-pi-np/shop/db").words
    assert empty.decode("cali40network-ip-pools").words == "the networks of all IP pools"


def test_a_policy_that_is_not_on_a_node_has_its_chains_explained() -> None:
    meaning = Decoder(SHOP, [Compiler(SHOP).compile("node1")]).decode("cali-pi-np/default/allow")
    assert (meaning.known, meaning.hint) == (True, "no rule leads to it on node1")
    unused = Decoder(SHOP, [Compiler(replaced(SHOP)).compile("node1")]).decode(SET)
    assert unused.hint == "needed by NetworkPolicy default/allow, but by no rule of the compiled nodes"


def test_facts_tell_selector_rules_and_members() -> None:
    found = decoder()
    chain = dict(found.decode("cali-pi-np/default/allow").facts)
    assert chain["selector"] == ["app == 'db'"]
    assert chain["tier"] == ["default, order none, so last"]
    assert chain["reached from"] == ["cali-tw-cali0123456789a"]
    says = 'allow tcp port 80 from endpoints and network sets with app == "web"'
    assert chain["rules"][0] == f"# spec.ingress[0]: {says} (cluster.yaml:1)"
    assert chain["applies to"] == ['endpoints with app == "db"']
    assert "--dports 80" in chain["rules"][1]
    members = dict(found.decode(SET).facts)
    assert members["members"] == ["10.65.0.2 (default/web)", "198.51.100.0/24"]
    assert members["used in"] == ["cali-pi-np/default/allow"]
    shown = found.decode(SET).json()
    assert (shown["kind"], shown["known"], shown["setType"]) == ("set", True, ["hash:net, IPv4"])
    assert shown["firstAskedForBy"] == ["NetworkPolicy default/allow, spec.ingress[0]"]


# --- recordings


def named(case: Case) -> Iterator[str]:
    """Every name in a recording that Felix made: chains, targets, sets, interfaces, hashes."""
    for family in case.families:
        for table in read_tables(case.expected(family), str(case)).values():
            yield from table
            for chain in table.values():
                for rule in chain.rules:
                    yield f"cali:{rule.identity}"
                    interfaces = [match.options[0].values[0] for match in rule.matches if match.module in ("-i", "-o")]
                    yield from (name for name in interfaces if name.startswith("cali") and not name.endswith("+"))
    yield from read_sets(case.expected_sets())


RECORDED = [
    pytest.param(case, marks=[pytest.mark.slow] if number % SHARE and case.area != "seeds" else [], id=str(case))
    for number, case in enumerate(case for case in cases(*AREAS) if case.families)
]


@pytest.mark.parametrize("case", RECORDED)
def test_every_recorded_name_is_known(case: Case) -> None:
    found = Decoder(felixpy.load([case.folder / "manifests.yaml"], strict=False), [case.compile()])
    names = set(named(case))
    assert len(names) > 30
    assert {name for name in names if not found.decode(name).known} == set()


# --- a dump of 2019, Calico 3.2 to 3.6

OLD_CHAINS = {
    "cali-pi-_kxgQy6VBWOo3Mj1GNsy": "ingress rules of KubernetesNetworkPolicy alpha/alpha-deny",
    "cali-pi-_e8MLrhOHDfNlfSa51Ak": "ingress rules of KubernetesNetworkPolicy alpha/access-nginx",
    "cali-pro-ksa.alpha.default": "egress rules of service account alpha/default",
    "cali-tw-cali92d634f8f03": "packets to pod alpha/nginx-dbddb74b8-z9dpn",
}
OLD_RULES = {
    "vjrMJCRpqwy5oRoX": "rule 1 of cali-FORWARD",
    "MH9kMp5aNICL-Olv": "rule 6 of cali-FORWARD",
    "sEcu68UJEL6S4gUe": "rule 1 of cali-pi-_e8MLrhOHDfNlfSa51Ak",
    "LkeeeuVbaL4uBlnj": "rule 7 of cali-tw-cali92d634f8f03",
    "_igYgy60wKudPMD0": "rule 14 of cali-tw-cali92d634f8f03",
}


def test_an_old_dump() -> None:
    """In its own Calico version its names are known; in today's they are recognised as that Calico version's."""
    whole = felixpy.load([ROOT / "seeds" / "gke-dump-access-nginx" / "manifests.yaml"])
    node = "gke-calico-default-pool-a310cacc-xkcp"
    old = Decoder(whole, [felixpy.compile(whole, node, calico_version=V3_8)], calico_version=V3_8)
    assert {name: old.decode(name).words for name in OLD_CHAINS} == OLD_CHAINS
    assert all(words in old.decode(f"cali:{name}").words for name, words in OLD_RULES.items())
    compiled = (felixpy.compile(whole, node, calico_version=calico_version) for calico_version in (V3_8,))
    new = Decoder(whole, [felixpy.compile(whole, node)], elsewhere=compiled)
    foreign = [*(f"cali:{name}" for name in OLD_RULES), "cali-pi-_kxgQy6VBWOo3Mj1GNsy"]
    assert {(new.decode(name).known, "a name of Felix v3." in new.decode(name).hint) for name in foreign} == {
        (False, True)
    }


# --- whole dumps

NAME = re.compile(r'(?<![\w"./-])(cali[-\w][^\s"]*)')


@pytest.mark.parametrize("area, name", [("random", "everything-small-1"), ("seeds", "catfacts-db-and-worker")])
def test_a_dump_with_comments(area: str, name: str) -> None:
    """The lines are as before, and whatever a line names is explained above it or was where its chain begins."""
    case = Case(ROOT / area / name)
    whole = felixpy.load([case.folder / "manifests.yaml"], strict=False)
    text = case.expected(4) + case.expected_sets()
    lines = list(commented(text.splitlines(keepends=True), Decoder(whole, [case.compile()])))
    assert [line for line in lines if not line.startswith("#")] == text.splitlines()
    above: list[str] = []
    for line in lines:
        if line.startswith("#"):
            above.append(line)
            continue
        if line.startswith(("-A", ":cali", "create")):
            owner = line.split()[1] if line.startswith("-A") else ""
            missing = [n for n in NAME.findall(line) if n != owner and not any(n in comment for comment in above)]
            assert not missing, line
        above = []


def test_comments_say_which_policy_rule_is_drawn() -> None:
    ruleset = Compiler(SHOP).compile("node2")
    lines = list(commented(ruleset.save(4).splitlines(), Decoder(SHOP, [ruleset])))
    at = next(n for n, line in enumerate(lines) if line.startswith("-A cali-pi-np/default/allow "))
    assert lines[at - 3 : at] == [
        "# cali-pi-np/default/allow: ingress rules of NetworkPolicy default/allow (cluster.yaml:1)",
        '#   spec.ingress[0]: allow tcp port 80 from endpoints and network sets with app == "web"',
        f'#   {SET}: addresses of endpoints and network sets with app == "web" (cluster.yaml:1)',
    ]
    assert "#   cali+: every pod's interface on the node" in lines


def test_a_listing_of_nft_has_no_name_that_is_not_known() -> None:
    """Chains of the ARP table have the layer of the filter table in their names."""
    ruleset = Compiler(SHOP, dataplane="nftables").compile("node2")
    assert isinstance(ruleset, NftRuleset)
    listing = ruleset.text()
    decoder = Decoder(SHOP, [ruleset])
    lines = list(commented(listing.splitlines(), decoder))
    assert [line for line in lines if not line.lstrip().startswith("#")] == listing.splitlines()
    declared = re.findall(r"^\t(?:chain|set|map) (\S+) \{", listing, re.MULTILINE)
    assert {"filter-cali-arp-dispatch", "filter-cali-arp-cali0123456789a"} <= set(declared)
    assert [name for name in declared if not decoder.decode(name).known] == []
    assert not [line for line in lines if STALE in line]
    assert ("\t# filter-cali-arp-cali0123456789a: ARP replies to pod default/db (cluster.yaml:1)") in lines


ARP = {
    "cali0123456789a": ("ARP replies to pod default/db", "no rule leads to it on node1"),
    "caligone": ("ARP replies to the pod behind caligone", f"no pod in the input has that interface: {STALE}"),
}


@pytest.mark.parametrize("interface", ARP)
def test_a_chain_for_arp_of_a_pod_that_is_elsewhere(interface: str) -> None:
    decoder = Decoder(SHOP, [Compiler(SHOP, dataplane="nftables").compile("node1")])
    meaning = decoder.decode(f"filter-cali-arp-{interface}")
    assert (meaning.words, meaning.hint) == ARP[interface]


def test_a_foreign_dump_is_explained_as_far_as_it_goes() -> None:
    text = "*filter\n:cali-tw-caligone - [0:0]\n[1:2] -A FORWARD -o caligone -g cali-tw-caligone\nCOMMIT"
    lines = list(commented(text.splitlines(), Decoder(Cluster())))
    assert lines[1].startswith("# cali-tw-caligone: packets to the pod behind caligone; no pod in the input")
    assert [line for line in lines if not line.startswith("#")] == text.splitlines()


def test_the_node_is_guessed_from_the_pods_of_a_dump() -> None:
    assert likely_nodes("-A x -o cali0123456789a -j DROP", SHOP) == ["node2"]
    assert likely_nodes("-A x -o eth0 -j DROP", SHOP) == ["node1", "node2"]
