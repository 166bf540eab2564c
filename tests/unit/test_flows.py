"""Connections of small clusters, in the words that people read."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from felixpy.calico_versions import CALICO_VERSIONS
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import UsageError
from felixpy.flows import Connectivity, survey
from felixpy.flows.presentation.report import lines as spelled
from felixpy.flows.reachability.universe import PortChoice
from felixpy.iptables.forms import read_dump
from felixpy.model import Cluster, Icmp, NamedPort, Owner, PortRange, Rule, ServiceName, Side, Slice
from felixpy.netfilter.numbers import Range
from felixpy.tracing import Nodes
from tests.clusters import ALLOW, DENY, HERE, PASS, cluster, host_endpoint, network_set, node, pod, policy, pool, tier

WEB = pod("web-1", "10.65.0.1", namespace="shop", labels={"app": "web"}, interface="caliweb1")
DB = pod(
    "db-0",
    "10.65.0.2",
    namespace="shop",
    labels={"app": "db"},
    interface="calidb",
    ports=(NamedPort("sql", "tcp", 5432), NamedPort("stats", "udp", 8125)),
)
FAR = pod("far", "10.65.1.1", namespace="other", node="node2", labels={"app": "far"}, interface="califar")
THINGS = (WEB, DB, FAR)


def ports(*numbers: int | str | tuple[int, int]) -> Side:
    pairs = (number if isinstance(number, (tuple, str)) else (number, number) for number in numbers)
    return Side(ports=tuple(pair if isinstance(pair, str) else PortRange(*pair) for pair in pairs))


def allow(protocol: str | int | None = None, **criteria: object) -> Rule:
    return Rule(action="allow", protocol=protocol, **criteria)  # type: ignore[arg-type]


def found(
    *things: object, settings: Iterable[Setting] = (), calico_version: str = "v3.32", **more: object
) -> Connectivity:
    return survey(Nodes(Compiler(cluster(*things), CALICO_VERSIONS[calico_version]), settings=list(settings)), **more)  # type: ignore[arg-type]


def lines(*things: object, **more: object) -> list[str]:
    return list(spelled(found(*things, **more).flows()))  # type: ignore[arg-type]


def to_db(*things: object, **more: object) -> dict[str, str]:
    """Who reaches the database on what."""
    flows = found(*THINGS, *things, **more).flows()  # type: ignore[arg-type]
    return {str(flow.source): str(flow.traffic) for flow in flows if str(flow.destination) == "shop/db-0"}


def for_db(*rules: Rule) -> object:
    return policy("for-db", selector="app == 'db'", ingress=rules)


def test_everybody_reaches_everybody_without_policies_but_nobody_himself() -> None:
    assert lines(*THINGS) == [
        "other/far => shop/db-0 : All",
        "other/far => shop/web-1 : All",
        "other/far => 0.0.0.0/0 : All",
        "shop/db-0 => other/far : All",
        "shop/db-0 => shop/web-1 : All",
        "shop/db-0 => 0.0.0.0/0 : All",
        "shop/web-1 => other/far : All",
        "shop/web-1 => shop/db-0 : All",
        "shop/web-1 => 0.0.0.0/0 : All",
        "0.0.0.0/0 => other/far : All",
        "0.0.0.0/0 => shop/db-0 : All",
        "0.0.0.0/0 => shop/web-1 : All",
    ]


@pytest.mark.parametrize(
    "rules, expected",
    [
        ([], {}),
        ([DENY], {}),
        ([allow("tcp", destination=ports(5432))], dict.fromkeys(["other/far", "shop/web-1", "0.0.0.0/0"], "TCP 5432")),
        ([allow("tcp", destination=ports((80, 90), 443), source=Side(selector="app == 'web'"))],
         {"shop/web-1": "TCP 80-90,443"}),
        ([allow("tcp", destination=ports("sql"), source=Side(selector="app == 'web'"))], {"shop/web-1": "TCP 5432"}),
        ([allow("udp", destination=ports("sql"))], {}),
        ([allow(source=Side(selector="app == 'web'", ports=()), protocol="sctp")], {"shop/web-1": "SCTP"}),
        ([allow("icmp", icmp=Icmp(8), source=Side(selector="app == 'far'"))], {"other/far": "ICMP 8"}),
        ([allow(47, source=Side(selector="app == 'far'"))], {"other/far": "GRE"}),
        ([allow("tcp", source=Side(selector="app == 'web'", ports=(PortRange(1024, 65535),)))],
         {"shop/web-1": "TCP from 1024-65535"}),
        ([allow(source=Side(nets=("10.65.0.0/24",)))], {"shop/web-1": "All", "10.65.0.0/24": "All"}),
        ([allow(source=Side(nets=("198.51.100.0/24",), not_nets=("198.51.100.128/25",)))],
         {"198.51.100.0/25": "All"}),
        ([allow(source=Side(nets=("198.51.100.0/24",), not_nets=("198.51.100.64/26",)))],
         {"198.51.100.0/24 except 198.51.100.64/26": "All"}),
        ([Rule(action="deny", protocol="tcp", destination=ports(25)), ALLOW],
         dict.fromkeys(["other/far", "shop/web-1", "0.0.0.0/0"], "All but TCP 25")),
        ([allow(not_protocol="udp", source=Side(selector="app == 'web'"))], {"shop/web-1": "All but UDP"}),
        ([Rule(action="log"), allow(source=Side(selector="app == 'web'"))], {"shop/web-1": "All"}),
        ([allow(source=Side(service=ServiceName("shop", "front")))], {"shop/web-1": "All", "203.0.113.9/32": "All"}),
        ([allow(source=Side(selector="list == 'bad'"))], {"192.0.2.0/24": "All"}),
    ],
)  # fmt: skip
def test_rules_of_policies(rules: list[Rule], expected: dict[str, str]) -> None:
    front = Slice(
        service=ServiceName("shop", "front"), addresses=("10.65.0.1", "203.0.113.9"), ports=(("tcp", 80),), source=HERE
    )
    assert to_db(for_db(*rules), front, network_set("bad", "192.0.2.0/24", list="bad")) == expected


def test_the_sender_has_a_say_too() -> None:
    quiet = policy("quiet", selector="app == 'web'", egress=[allow("udp", destination=ports(53))])
    shown = lines(*THINGS, quiet, for_db(allow("tcp")))
    assert [text for text in shown if text.startswith("shop/web-1 ")] == [
        "shop/web-1 => other/far : UDP 53",
        "shop/web-1 => 0.0.0.0/0 : UDP 53",
    ]


def test_tiers_come_in_their_order() -> None:
    early = tier("early", 1.0)
    first = policy("early.first", tier="early", selector="app == 'db'", ingress=[
        Rule(action="deny", protocol="tcp", destination=ports(22)), PASS])  # fmt: skip
    assert to_db(early, first, for_db(allow("tcp", source=Side(selector="app == 'web'")))) == {
        "shop/web-1": "TCP 1-21,23-65535"
    }


@pytest.mark.parametrize("calico_version", sorted(CALICO_VERSIONS))
def test_every_era_of_felix(calico_version: str) -> None:
    shown = to_db(
        for_db(allow("tcp", destination=ports(5432), source=Side(selector="app == 'web'"))),
        calico_version=calico_version,
    )
    assert shown == {"shop/web-1": "TCP 5432"}


# --- workloads


def replica(name: str, address: str, **more: object) -> object:
    owner = more.pop("owner", Owner("Deployment", "web"))
    values = {"namespace": "shop", "labels": {"app": "web"}, "interface": f"cali{name}", "owner": owner}
    return pod(name, address, **{**values, **more})  # type: ignore[arg-type]


REPLICAS = (replica("web-a", "10.65.0.11"), replica("web-b", "10.65.0.12", node="node2"))


def test_replicas_that_fare_alike_are_one() -> None:
    shown = lines(DB, *REPLICAS, for_db(allow("tcp", source=Side(selector="app == 'web'"))))
    assert shown == [
        "shop/db-0 => shop/web[Deployment] : All",
        "shop/db-0 => 0.0.0.0/0 : All",
        "shop/web[Deployment] => shop/db-0 : TCP",
        "shop/web[Deployment] => shop/web[Deployment] : All",
        "shop/web[Deployment] => 0.0.0.0/0 : All",
        "0.0.0.0/0 => shop/web[Deployment] : All",
    ]


@pytest.mark.parametrize(
    "odd",
    [
        policy("odd", selector="pod == 'b'", ingress=[]),
        policy("odd", selector="pod == 'b'", egress=[allow("tcp")]),
        policy("odd", selector="app == 'web'", ingress=[allow(source=Side(selector="pod == 'b'"))]),
        policy("odd", selector="app == 'db'", ingress=[allow(source=Side(selector="pod == 'b'"))]),
        policy("odd", selector="app == 'db'", ingress=[allow(source=Side(nets=("10.65.0.12/32",)))]),
    ],
)
def test_replicas_that_differ_in_anything_are_told_apart(odd: object) -> None:
    last = replica("web-b", "10.65.0.12", labels={"app": "web", "pod": "b"})
    surveyed = found(DB, REPLICAS[0], last, odd)
    peers = {str(peer) for flow in surveyed.flows() for peer in (flow.source, flow.destination)}
    assert {"shop/web-a", "shop/web-b"} <= peers
    assert "shop/web[Deployment]" not in peers


def test_a_workload_of_one_pod_is_a_workload_and_pods_can_be_asked_for() -> None:
    alone = found(REPLICAS[0], DB)
    assert {str(flow.source) for flow in alone.flows(external=False)} == {"shop/db-0", "shop/web[Deployment]"}
    assert {str(flow.source) for flow in alone.flows(fold=False, external=False)} == {"shop/db-0", "shop/web-a"}


# --- families, addresses, nodes


def test_what_holds_in_both_families_is_said_once() -> None:
    both = [replace(pod, addresses=(*pod.addresses, f"fd00::{number}")) for number, pod in enumerate(THINGS)]
    four = policy("four", selector="app == 'far'", ingress=[allow("tcp", ip_version=4), allow("udp")])
    shown = lines(*both, four, for_db(allow("icmp"), allow("icmpv6"), allow("tcp", ip_version=6)))
    assert [text for text in shown if text.startswith("shop/web-1 =>")] == [
        "shop/web-1 => other/far : TCP; UDP (IPv4 only)",
        "shop/web-1 => other/far : UDP (IPv6 only)",
        "shop/web-1 => shop/db-0 : ICMP (IPv4 only)",
        "shop/web-1 => shop/db-0 : TCP; ICMPv6 (IPv6 only)",
        "shop/web-1 => 0.0.0.0/0 : All",
        "shop/web-1 => ::/0 : All",
    ]
    assert "shop/db-0 => shop/web-1 : All" in shown


def test_ping_in_both_families_is_one_protocol() -> None:
    both = [replace(pod, addresses=(*pod.addresses, f"fd00::{number}")) for number, pod in enumerate(THINGS)]
    shown = lines(*both, for_db(allow("icmp"), allow("icmpv6")))
    assert "shop/web-1 => shop/db-0 : ICMP" in shown


def test_nodes_are_shown_where_they_have_policy_or_when_asked_for() -> None:
    nodes = (node("node1", bgp_v4="192.0.2.1/24"), node("node2", bgp_v4="192.0.2.2/24"))
    assert not [text for text in lines(*THINGS, *nodes) if "host:" in text]
    guard = policy("guard", selector="role == 'node'", ingress=[allow("tcp", destination=ports(22))])
    endpoint = host_endpoint("n1", "eth0", "192.0.2.1", labels={"role": "node"})
    shown = lines(*THINGS, *nodes, endpoint, guard)
    assert "host:node2 => host:node1 : TCP 22,179,2379-2380,5473,6443,6666-6667; UDP 68" in shown
    assert "host:node1 => shop/db-0 : All" in shown
    assert not [text for text in shown if text.startswith("shop/db-0 => host:node1")]


def test_a_pod_without_profiles_may_do_nothing_but_find_its_neighbours() -> None:
    lonely = pod("lonely", "10.65.0.9", "fd00::9", profiles=())
    flows = list(spelled(found(lonely).flows(hosts=True)))
    assert flows == [
        "default/lonely => host:node1 : ICMPv6 130,131,132,133,135,136 (IPv6 only)",
        "host:node1 => default/lonely : All",
        "host:node1 => 0.0.0.0/0 : All",
        "host:node1 => ::/0 : All",
        "0.0.0.0/0 => host:node1 : All",
        "::/0 => host:node1 : All",
    ]


def test_a_pod_reaches_its_node_only_where_that_is_configured() -> None:
    accepting = [Setting("DefaultEndpointToHostAction", "ACCEPT")]
    flows = found(*THINGS, settings=accepting).flows(hosts=True)
    assert "shop/db-0 => host:node1 : All" in list(spelled(flows))


def test_receivers_on_other_nodes_see_masqueraded_packets_as_their_node() -> None:
    """A pod outside of all pools is reached under the address of the sender's node."""
    nodes = (node("node1", bgp_v4="192.0.2.1/24"), node("node2", bgp_v4="192.0.2.2/24"))
    outside = pod("outside", "172.30.0.1", namespace="other", node="node2", labels={"app": "outside"})
    only = policy("only", selector="app == 'outside'", ingress=[allow("tcp", source=Side(nets=("192.0.2.1/32",)))])
    pools = [pool("10.65.0.0/16", nat_outgoing=True)]
    shown = [text for text in lines(WEB, outside, *nodes, only, *pools) if text.startswith("shop/web-1 => other/")]
    assert shown == ["shop/web-1 => other/outside : TCP"]
    assert not [text for text in lines(WEB, outside, *nodes, only) if text.startswith("shop/web-1 => other/")]


def test_nat_gives_new_connections_another_source_and_leaves_the_rest_alone() -> None:
    """Discovery of neighbours belongs to no connection."""
    web, far = (replace(pod, addresses=(f"fd00:{at}::1",)) for at, pod in ((1, WEB), (2, FAR)))
    pools = [pool("fd00:1::/32", nat_outgoing=True)]
    node1 = node("node1", bgp_v6="2001:db8::1/64")
    from_node = allow("icmpv6", source=Side(nets=("2001:db8::1/128",)))
    from_pod = allow("icmpv6", source=Side(nets=("fd00:1::1/128",)))
    told = [
        [str(flow.traffic) for flow in found(web, far, node1, *pools, only).flows(external=False)
         if str(flow.source) == "shop/web-1"]
        for only in (policy("only", selector="app == 'far'", ingress=[rule]) for rule in (from_node, from_pod))
    ]  # fmt: skip
    assert told == [["ICMPv6 128,139"], ["ICMPv6 130,131,132,133,134,135,136,143"]]


@pytest.mark.parametrize(
    "outgoing, expected", [("203.0.113.77", ["TCP"]), ("203.0.113.78", []), ("10.65.0.2", ["UDP"])]
)
def test_nat_may_give_packets_a_certain_source(outgoing: str, expected: list[str]) -> None:
    """It may even be the address of another pod."""
    far = replace(FAR, addresses=("172.30.0.1",))
    rules = [allow("tcp", source=Side(nets=("203.0.113.77/32",))), allow("udp", source=Side(selector="app == 'db'"))]
    surveyed = found(
        WEB, DB, far, pool("10.65.0.0/16", nat_outgoing=True), policy("only", selector="app == 'far'", ingress=rules),
        settings=[Setting("NATOutgoingAddress", outgoing)],
    )  # fmt: skip
    flows = surveyed.flows(external=False)
    ends = "shop/web-1", "other/far"
    assert [str(flow.traffic) for flow in flows if (str(flow.source), str(flow.destination)) == ends] == expected


def test_what_is_for_a_node_comes_in_by_the_interface_with_its_address() -> None:
    """Though pods are reached through the tunnel, whose interface has no policy."""
    nodes = (node("node1", bgp_v4="192.0.2.1/24"), node("node2", bgp_v4="192.0.2.2/24", vxlan_tunnel_v4="10.65.1.0"))
    guarded = host_endpoint("n2", "eth0", "192.0.2.2", node="node2")
    shown = lines(WEB, FAR, *nodes, guarded, pool("10.65.0.0/16", vxlan=True))
    assert [text for text in shown if text.startswith("shop/web-1 => host:node2")] == [
        "shop/web-1 => host:node2 : TCP 22,179,2379-2380,5473,6443,6666-6667; UDP 68"
    ]


def test_addresses_that_nat_rewrites_are_no_peers() -> None:
    floating = replace(DB, floating=(("10.65.0.2", "192.0.2.200"),))
    shown = lines(floating, WEB, settings=[Setting("FloatingIPs", "Enabled")])
    assert "shop/web-1 => 0.0.0.0/0 : All" in shown


def test_of_several_addresses_the_first_counts() -> None:
    two = replace(WEB, addresses=("10.65.0.1", "10.65.0.77"))
    for first, expected in (("10.65.0.1/32", ["All"]), ("10.65.0.77/32", [])):
        shown = found(two, DB, for_db(allow(source=Side(nets=(first,))))).flows()
        assert [str(flow.traffic) for flow in shown if str(flow.destination) == "shop/db-0"] == expected


# --- dumps

RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:cali-tw-cali1 - [0:0]
:cali-fw-cali1 - [0:0]
-A FORWARD -i cali1 -j cali-fw-cali1
-A FORWARD -o cali1 -j cali-tw-cali1
-A FORWARD -m mark --mark 0x1/0x1 -j ACCEPT
-A cali-tw-cali1 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x1/0x1
-A cali-tw-cali1 {}
-A cali-fw-cali1 -d 10.0.0.0/8 -p tcp -j MARK --set-xmark 0x1/0x1
COMMIT
"""


def dumped(extra: str, things: Iterable[object] = ()) -> Connectivity:
    rules = RULES.format(extra if " -j " in f" {extra}" else f"{extra} -j MARK --set-xmark 0x1/0x1")
    compiler = Compiler(cluster(*things) if things else Cluster())
    return survey(Nodes(compiler, dumps={"node1": read_dump({4: rules}, "")}))


def test_a_dump_alone_has_interfaces_for_pods() -> None:
    assert list(spelled(dumped("-p udp").flows())) == [
        "node1/cali1 => 10.0.0.0/8 : TCP",
        "0.0.0.0/0 => node1/cali1 : TCP 80; UDP",
    ]


@pytest.mark.parametrize(
    "extra, words",
    [
        ("-m time --timestart 10:00", "-m time"),
        ("-m set --match-set gone src", "set gone, whose members are not known"),
        ("-d 10.65.0.0/16", "it asks for the address of an endpoint, which is not known"),
    ],
)
def test_what_is_not_understood_is_named_and_counts_as_not_met(extra: str, words: str) -> None:
    surveyed = dumped(extra)
    assert list(spelled(surveyed.flows()))[1:] == ["0.0.0.0/0 => node1/cali1 : TCP 80"]
    assert list(spelled(surveyed.unsure())) == ["0.0.0.0/0 => node1/cali1 : All but TCP 80"]
    (doubt,) = surveyed.doubts
    assert (doubt.node, doubt.words, doubt.place) == ("node1", words, "filter cali-tw-cali1 2")


def test_discovery_of_neighbours_is_not_tracked() -> None:
    rules = RULES.format("-m conntrack --ctstate UNTRACKED -j MARK --set-xmark 0x1/0x1").replace("-d 10.0.0.0/8 ", "")
    surveyed = survey(Nodes(Compiler(Cluster()), dumps={"node1": read_dump({6: rules}, "")}))
    assert list(spelled(surveyed.flows())) == [
        "node1/cali1 => ::/0 : TCP",
        "::/0 => node1/cali1 : TCP 80; ICMPv6 130,131,132,133,134,135,136,143",
    ]


def test_a_target_that_is_not_understood_may_take_packets_away() -> None:
    surveyed = dumped("-p tcp -m tcp --dport 80:90 -j STRANGE")
    assert [str(flow.traffic) for flow in surveyed.flows()] == ["TCP", "TCP 80"]
    assert [str(flow.traffic) for flow in surveyed.unsure()] == ["TCP 80"]
    assert surveyed.doubts[0].words == "-j STRANGE"


def test_doubts_that_change_nothing_are_none() -> None:
    assert not dumped("-p tcp -m time --timestart 10:00 -m tcp --dport 80").doubts


def test_manifests_give_names_and_addresses_to_a_dump() -> None:
    surveyed = dumped("-d 10.65.0.0/24", [pod("web", "10.65.0.1", interface="cali1")])
    assert list(spelled(surveyed.flows())) == [
        "default/web => 10.0.0.0/8 : TCP",
        "0.0.0.0/0 => default/web : All",
    ]
    assert not surveyed.doubts


def test_nodes_without_saved_rules_are_compiled() -> None:
    surveyed = dumped("-p udp", [pod("web", "10.65.0.1", interface="cali1"), replace(FAR, addresses=("10.65.9.9",))])
    assert surveyed.side.compiled == ("node2",)


def test_chains_in_a_circle_are_an_error() -> None:
    with pytest.raises(UsageError, match="jump in a circle"):
        dumped("-j cali-tw-cali1")


# --- what is asked for


def test_ports_that_are_asked_for() -> None:
    wanted = [PortChoice(6, Range(80, 80)), PortChoice(6, Range(5432, 5432)), PortChoice(1, None)]
    surveyed = found(*THINGS, for_db(allow("tcp", destination=ports((5000, 6000)))), ports=wanted)
    flows = surveyed.pairs(ports=wanted, external=False).flows()
    assert {str(flow.destination): str(flow.traffic) for flow in flows if str(flow.source) == "other/far"} == {
        "shop/db-0": "TCP 5432",
        "shop/web-1": "TCP 80,5432; ICMP",
    }
    assert surveyed.whole(wanted) == "TCP 80,5432; ICMP"
    assert surveyed.whole([]) == "All"


def test_types_of_icmp_that_open_no_connection() -> None:
    rules = for_db(allow("icmp", icmp=Icmp(3, 1)))
    assert to_db(rules) == {}
    assert to_db(rules, every_icmp=True)["shop/web-1"] == "ICMP 3/1"
    assert to_db(every_icmp=True)["shop/web-1"] == "All"
