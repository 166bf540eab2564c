"""Traces: who is meant, which way a packet takes, who had a say, and how that is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

import felixpy
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import UsageError
from felixpy.iptables.forms import read_dump
from felixpy.model import Cluster, Host, NamedPort, PortRange, Rule, Side
from felixpy.topology.question import Question, Target, parse_icmp, parse_target
from felixpy.tracing import Nodes, Trace, Tracer, promoted
from felixpy.tracing.reasons import reason
from felixpy.tracing.report import document, flow_words, text
from tests.clusters import (
    ALLOW,
    DENY,
    PASS,
    cluster,
    host_endpoint,
    network_set,
    node,
    pod,
    policy,
    pool,
    profile,
    tier,
    written,
)
from tests.conformance.recordings import Case, cases


def to_port(action: str, port: int, **more: Any) -> Rule:
    side = Side(ports=(PortRange(port, port),))
    return Rule(action=action, protocol="tcp", destination=side, path=("spec", "ingress", 0), **more)


WEB = pod("web-5c8d7f9b6-4k2wz", "10.65.0.2", "fd00::2", namespace="shop", labels={"app": "web"}, interface="caliweb")
WEB_2 = pod(
    "web-5c8d7f9b6-zzzzz", "10.65.0.9", namespace="shop", interface="caliweb2", node="node2", labels={"app": "web"}
)
DB = pod("db-0", "10.65.0.3", namespace="shop", labels={"app": "db"}, ports=(NamedPort("sql", "tcp", 5432),))
FAR = pod("far", "10.65.1.4", "fd00::4", namespace="other", node="node2", labels={"app": "far"})
SIX = pod("six", "fd00::6", namespace="other", node="node2")
NODE_1, NODE_2 = node("node1", bgp_v4="192.0.2.1/24"), node("node2", bgp_v4="192.0.2.2/24")
THINGS = (WEB, WEB_2, DB, FAR, SIX, NODE_1, NODE_2)
FOR_DB: dict[str, Any] = {"kind": "NetworkPolicy", "namespace": "shop", "selector": "app == 'db'"}
ONLY_SQL = policy("only-sql", ingress=[to_port("allow", 5432)], **FOR_DB)


def tracer(*things: object, settings: Mapping[str, object] | None = None, hosts: Any = None, **more: Any) -> Tracer:
    given = [Setting(name, written(value)) for name, value in (settings or {}).items()]
    return Tracer(Nodes(Compiler(cluster(*THINGS, *things)), settings=given, hosts=hosts), **more)


def trace(source: str, destination: str, *things: object, **more: Any) -> Trace:
    """A trace of a packet written as on the command line; what is not about the cluster is about the packet."""
    about = {key: more.pop(key) for key in ("settings", "hosts", "node", "namespace") if key in more}
    target = parse_target(destination)
    asked = {"protocol": target.protocol, "port": target.port} | more
    return tracer(*things, **about).trace(Question(source=source, destination=target.endpoint, **asked))


# --- what is asked


@pytest.mark.parametrize(
    "written, target",
    [
        ("shop/db-0", Target("shop/db-0")),
        ("shop/db-0:5432", Target("shop/db-0", 5432)),
        ("shop/db-0:53/udp", Target("shop/db-0", 53, "udp")),
        ("shop/db-0:sql", Target("shop/db-0", "sql")),
        ("shop/db-0:icmp", Target("shop/db-0", None, "icmp")),
        ("10.0.0.1:80", Target("10.0.0.1", 80)),
        ("fd00::1", Target("fd00::1")),
        ("[fd00::1]:80/sctp", Target("fd00::1", 80, "sctp")),
        ("host:22", Target("host", 22)),
        ("host:node1", Target("host:node1")),
        ("host:node1:22/tcp", Target("host:node1", 22, "tcp")),
        ("internet:443", Target("internet", 443)),
    ],
)
def test_targets(written: str, target: Target) -> None:
    assert parse_target(written) == target


@pytest.mark.parametrize(
    "written, said",
    [
        ("shop/db-0:0", "ports are numbers from 1"),
        ("shop/db-0:65536", "ports are numbers from 1"),
        ("shop/db-0:80/icmp", "icmp has no ports"),
        ("shop/db-0:80/x", '"x" is not a protocol'),
        ("shop/db-0:80/tcp/", "is not a PORT or PORT/PROTOCOL"),
        ("[fd00::1", r"write \[ADDRESS\]:PORT"),
    ],
)
def test_bad_targets(written: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_target(written)


def test_icmp_types() -> None:
    assert [parse_icmp(icmp) for icmp in ("8", "3/1", "echo-reply")] == [(8, 0), (3, 1), (0, 0)]
    for icmp in ("x", "3/x", "256", "1/300"):
        with pytest.raises(UsageError, match="--icmp"):
            parse_icmp(icmp)


# --- who is meant


@pytest.mark.parametrize(
    "named, family, found",
    [
        ("shop/db-0", 4, ("pod", "shop/db-0", "10.65.0.3", "node1")),
        ("db-0", 4, ("pod", "shop/db-0", "10.65.0.3", "node1")),
        ("shop/statefulset/db", 4, ("pod", "shop/db-0", "10.65.0.3", "node1")),
        ("sts/db", 4, ("pod", "shop/db-0", "10.65.0.3", "node1")),
        ("shop/deployment/web", 4, ("pod", "shop/web-5c8d7f9b6-4k2wz", "10.65.0.2", "node1")),
        ("deployments/web", 6, ("pod", "shop/web-5c8d7f9b6-4k2wz", "fd00::2", "node1")),
        ("10.65.1.4", 4, ("pod", "other/far", "10.65.1.4", "node2")),
        ("192.0.2.2", 4, ("host", "node2", "192.0.2.2", "node2")),
        ("203.0.113.5", 4, ("outside", "203.0.113.5", "203.0.113.5", "")),
        ("fd00:0::4", 6, ("pod", "other/far", "fd00::4", "node2")),
        ("host:node1", 4, ("host", "node1", "192.0.2.1", "node1")),
        ("internet", 4, ("outside", "internet", "198.51.100.7", "")),
        ("internet", 6, ("outside", "internet", "2001:db8:ffff::7", "")),
    ],
)
def test_endpoints(named: str, family: int, found: tuple[str, ...]) -> None:
    endpoint = tracer().directory.find(named, family)
    assert (endpoint.kind, endpoint.name, endpoint.address, endpoint.node) == found


@pytest.mark.parametrize(
    "named, said",
    [
        ("shop/dbb-0", "did you mean shop/db-0?"),
        ("db", "did you mean shop/db-0?"),
        ("web-5c8d7f9b6", "did you mean shop/web-5c8d7f9b6-"),
        ("a/b/c/d", "no such pod"),
        ("host", "say which node"),
        ("host:node3", "there is no node 'node3' in the input; did you mean node2 or node1"),
        ("fd00::1", "is not an IPv4 address"),
        ("other/six", "has no IPv4 address"),
    ],
)
def test_unknown_endpoints(named: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        tracer().directory.find(named, 4)


def test_names_in_several_namespaces() -> None:
    twin = pod("db-0", "10.65.0.33", namespace="other")
    with pytest.raises(UsageError, match="several namespaces, write NAMESPACE/db-0: other, shop"):
        tracer(twin).directory.find("db-0", 4)
    assert tracer(twin, namespace="other").directory.find("db-0", 4).address == "10.65.0.33"


def test_one_of_several_pods_is_told() -> None:
    assert tracer().directory.find("shop/deployment/web", 4).note == "shop/deployment/web has 2 pods, this is the first"


def test_the_internet_is_where_no_object_is() -> None:
    known = network_set("partners", "198.51.100.0/24")
    rule = Rule(action="allow", source=Side(nets=("203.0.113.0/24", "0.0.0.0/0")))
    found = tracer(known, policy("nets", ingress=[rule])).directory.find("internet", 4)
    assert found.address == "192.0.2.7"


def test_families() -> None:
    assert trace("other/six", "shop/deployment/web:80").packet.source == "fd00::6"
    assert trace("other/far", "shop/deployment/web:80").packet.source == "10.65.1.4"
    assert trace("other/far", "shop/deployment/web:80", family=6).packet.source == "fd00::4"
    with pytest.raises(UsageError, match="other/six has no IPv4 address"):
        trace("other/six", "shop/db-0:80")


def test_services() -> None:
    assert (trace("shop/deployment/web", "shop/db-0:sql").packet.port) == 5432
    assert trace("shop/deployment/web", "shop/db-0").packet.icmp == (8, 0)
    assert trace("other/six", "other/far").packet.icmp == (128, 0)
    with pytest.raises(UsageError, match="has no port called http; it has sql"):
        trace("shop/deployment/web", "shop/db-0:http")
    with pytest.raises(UsageError, match="a udp packet needs a port"):
        trace("shop/deployment/web", "shop/db-0", protocol="udp")


# --- the way


@pytest.mark.parametrize(
    "source, destination, legs",
    [
        ("shop/deployment/web", "shop/db-0:80", [("node1", "caliweb", "calidb-0")]),
        ("shop/db-0", "other/far:80", [("node1", "calidb-0", "eth0"), ("node2", "eth0", "califar")]),
        ("shop/db-0", "internet:80", [("node1", "calidb-0", "eth0")]),
        ("internet", "shop/db-0:80", [("node1", "eth0", "calidb-0")]),
        ("host:node1", "shop/db-0:80", [("node1", "", "calidb-0")]),
        ("host", "shop/db-0:80", [("node1", "", "calidb-0")]),
        ("host:node1", "other/far:80", [("node1", "", "eth0"), ("node2", "eth0", "califar")]),
        ("host:node1", "host:node2:80", [("node1", "", "eth0"), ("node2", "eth0", "")]),
        ("internet", "host:node2:80", [("node2", "eth0", "")]),
        ("shop/db-0", "shop/db-0:80", []),
    ],
)
def test_ways(source: str, destination: str, legs: list[tuple[str, str, str]]) -> None:
    found = trace(source, destination)
    assert [(leg.node.name, leg.walk.in_interface, leg.walk.out_interface) for leg in found.legs] == legs
    assert found.allowed


def test_given_interfaces_are_those_of_the_first_node() -> None:
    found = trace("shop/db-0", "other/far:80", in_interface="calidb-0")
    assert [leg.walk.in_interface for leg in found.legs] == ["calidb-0", "eth0"]
    out = trace("shop/db-0", "other/far:80", out_interface="eth7")
    assert [leg.walk.out_interface for leg in out.legs] == ["eth7"]


def test_pods_reach_their_node_as_far_as_it_says() -> None:
    denied = trace("shop/db-0", "host:80")
    assert (denied.allowed, denied.legs[0].walk.out_interface) == (False, "")
    assert "DefaultEndpointToHostAction" in reason(denied).words
    assert trace("shop/db-0", "host:80", settings={"DefaultEndpointToHostAction": "ACCEPT"}).allowed
    assert trace("shop/db-0", "host:node2:80").allowed


def test_tunnels_are_ways_too() -> None:
    pools = (pool("10.65.0.0/24"), pool("10.65.1.0/24", vxlan=True))
    found = trace("shop/db-0", "other/far:80", *pools)
    assert [leg.walk.out_interface for leg in found.legs] == ["vxlan.calico", "califar"]


def test_a_service_leads_to_a_pod_on_another_node() -> None:
    closed = policy("closed", selector="app == 'far'", ingress=[to_port("allow", 8080)])
    found = trace("shop/db-0", "10.96.0.10:80", closed, dnat=Target("other/far", 8080))
    assert found.allowed
    meant = [(leg.packet.destination, leg.packet.port) for leg in found.legs]
    assert meant == [("10.96.0.10", 80), ("10.65.1.4", 8080)]
    assert [report.end.name for report in found.reports] == ["pod shop/db-0", "pod other/far"]
    assert not trace("shop/db-0", "10.96.0.10:80", closed, dnat=Target("other/far", 80)).allowed


def test_a_node_that_masquerades_is_the_sender_from_there_on() -> None:
    """What leaves the pools leaves with the node's address, and that is what the next node sees."""
    pools = (pool("10.65.0.0/24", nat_outgoing=True),)
    found = trace("shop/db-0", "host:node2:80", *pools)
    assert [leg.packet.source for leg in found.legs] == ["10.65.0.3", "192.0.2.1"]
    fixed = trace("shop/db-0", "host:node2:80", *pools, settings={"NATOutgoingAddress": "192.0.2.77"})
    assert [leg.packet.source for leg in fixed.legs] == ["10.65.0.3", "192.0.2.77"]


@pytest.mark.parametrize(
    "address, named",
    [("10.65.1.4", "other/far"), ("10.65.0.9", "shop/web-5c8d7f9b6-zzzzz"), ("10.65.0.2", ""), ("192.0.2.77", "")],
)
def test_answers_that_go_to_another_pod_make_a_verdict_uncertain(address: str, named: str) -> None:
    """To a pod on the sender's node they do not: NAT is there to turn them back."""
    pools = (pool("10.65.0.0/24", nat_outgoing=True),)
    found = trace("shop/db-0", "host:node2:22", *pools, settings={"NATOutgoingAddress": address})
    assert (found.allowed, found.certain) == (True, not named)
    told = f"UNCERTAIN: the source is rewritten to {address}, the address of {named}: the answers go there"
    assert any(told in line for line in text(found)) is bool(named)


def test_interfaces_of_the_machine() -> None:
    hosts = {"node1": Host(interfaces={"lo": (), "bond0": ("192.0.2.1/24",), "eth9": ("10.9.9.9/24",)})}
    assert trace("internet", "shop/db-0:80", hosts=hosts).legs[0].walk.in_interface == "bond0"
    other = trace("internet", "10.9.9.9:80", hosts=hosts)
    assert (other.destination.node, other.legs[0].walk.in_interface) == ("node1", "eth9")
    endpoint = host_endpoint("uplink", "ens5", "192.0.2.1")
    assert trace("internet", "shop/db-0:80", endpoint).legs[0].walk.in_interface == "ens5"


def test_nodes_without_address_get_one() -> None:
    bare = Tracer(Nodes(Compiler(cluster(pod("a", "10.65.0.1"), node("node1")))))
    found = bare.trace(Question(source="default/a", destination="host", port=80))
    assert (found.destination.address, found.legs[0].walk.out_interface) == ("198.18.0.1", "")
    assert found.destination.note == "the address of node1 is not known, 198.18.0.1 is used in its place"


def test_somebody_must_be_on_a_node() -> None:
    with pytest.raises(UsageError, match="say which node forwards the packet with --node"):
        trace("203.0.113.1", "internet:80")
    through = trace("203.0.113.1", "internet:80", node="node1")
    assert [(leg.walk.in_interface, leg.walk.out_interface) for leg in through.legs] == [("eth0", "eth0")]


# --- who had a say


def hits(found: Trace) -> list[tuple[object, ...]]:
    """Kind, name, tier, action and rule of each hit of the end with the last word."""
    keys = ("kind", "name", "tier", "action", "rule_index", "policy_index")
    return [tuple(record[key] for key in keys) for record in document(found)["enforced"]]


EARLY, SOFT = tier("early", 10.0), tier("soft", 20.0, passes=True)


@pytest.mark.parametrize(
    "things, allowed, expected",
    [
        ((), True, [("Profile", "kns.shop", "", "Allow", 0, 0)]),
        ((ONLY_SQL,), False, [("EndOfTier", "", "default", "Deny", -1, 0)]),
        (
            (EARLY, policy("pass", tier="early", ingress=[DENY, PASS][1:]), ONLY_SQL),
            False,
            [
                ("GlobalNetworkPolicy", "pass", "early", "Pass", 0, 0),
                ("EndOfTier", "", "default", "Deny", -1, 1),
            ],
        ),
        (
            (SOFT, policy("soft.quiet", tier="soft", ingress=[to_port("deny", 1)])),
            True,
            [
                ("EndOfTier", "", "soft", "Pass", -1, 0),
                ("Profile", "kns.shop", "", "Allow", 0, 1),
            ],
        ),
        (
            (EARLY, policy("early.no", tier="early", ingress=[to_port("allow", 1), DENY])),
            False,
            [("GlobalNetworkPolicy", "no", "early", "Deny", 1, 0)],
        ),
        (
            (
                tier("kube-admin", 1.0),
                policy("net", kind="KubernetesClusterNetworkPolicy", tier="kube-admin", ingress=[ALLOW]),
            ),
            True,
            [("ClusterNetworkPolicyAdminTier", "net", "kube-admin", "Allow", 0, 0)],
        ),
        (
            (policy("k8s", kind="KubernetesNetworkPolicy", namespace="shop", ingress=[to_port("allow", 1), ALLOW]),),
            True,
            [("NetworkPolicy", "k8s", "default", "Allow", 1, 0)],
        ),
        ((profile("kns.shop", [DENY], [ALLOW]),), False, [("Profile", "kns.shop", "", "Deny", 0, 0)]),
        ((profile("kns.shop", [], [ALLOW]),), False, [("Profile", "", "", "Deny", -1, 0)]),
    ],
)
def test_hits(things: tuple[object, ...], allowed: bool, expected: list[tuple[object, ...]]) -> None:
    found = trace("internet", "shop/db-0:80", *things)
    assert found.allowed is allowed
    assert hits(found) == expected


def test_ends_of_tiers_blame_the_last_policy() -> None:
    """Also where it stands in a group, or another endpoint's policy follows."""
    last = policy("b-last", order=2.0, selector="app == 'db'", ingress=[to_port("allow", 2)])
    group = policy("a-first", order=1.0, selector="app == 'db'", ingress=[to_port("allow", 1)])
    elsewhere = policy("c-elsewhere", order=3.0, selector="app == 'web'", ingress=[to_port("allow", 1)])
    (record,) = document(trace("internet", "shop/db-0:80", last, group, elsewhere))["enforced"]
    assert record["trigger"] == {
        "kind": "GlobalNetworkPolicy",
        "name": "b-last",
        "namespace": "",
        "tier": "default",
        "action": "ActionUnspecified",
        "policy_index": 0,
        "rule_index": 0,
        "trigger": None,
    }


def test_every_end_has_its_flow_log() -> None:
    out = policy("out", selector="app == 'web'", egress=[ALLOW])
    shown = document(trace("shop/deployment/web", "shop/db-0:80", out, ONLY_SQL))
    assert [(flow["reporter"], flow["endpoint"], flow["action"]) for flow in shown["flows"]] == [
        ("src", "pod shop/web-5c8d7f9b6-4k2wz", "Allow"),
        ("dst", "pod shop/db-0", "Deny"),
    ]
    assert (shown["reporter"], shown["verdict"]) == ("dst", "deny")
    assert shown["enforced"] == shown["flows"][1]["enforced"]


def test_connections_that_are_known_ask_nobody() -> None:
    found = trace("internet", "shop/db-0:80", ONLY_SQL, state="established")
    assert found.allowed
    assert document(found)["enforced"] == []
    assert reason(found).words == "being part of a connection that was allowed before (established)"


STAGED = policy("draft", ingress=[to_port("deny", 80)], **FOR_DB | {"kind": "StagedNetworkPolicy"})


def test_staged_policies_are_pending() -> None:
    found = trace("internet", "shop/db-0:80", STAGED)
    assert (found.allowed, found.pending_allowed) == (True, False)
    shown = document(found)
    assert [(hit["kind"], hit["action"]) for hit in shown["enforced"]] == [("Profile", "Allow")]
    assert [(hit["kind"], hit["name"], hit["action"]) for hit in shown["pending"]] == [
        ("StagedNetworkPolicy", "draft", "Deny")
    ]
    assert shown["pendingVerdict"] == "deny"
    by = "StagedNetworkPolicy shop/draft (tier default), ingress rule 1"
    assert f"  staged: it would be denied by {by} if staged policies were enforced" in text(found)


def test_each_end_is_tried_on_its_own_with_staged_policies() -> None:
    """The destination is asked even if the source would no longer let the packet out."""
    shut = policy("shut", kind="StagedNetworkPolicy", namespace="shop", selector="app == 'web'", egress=[DENY])
    for destination in ("shop/db-0:80", "other/far:80"):
        flows = document(trace("shop/deployment/web", destination, shut))["flows"]
        assert [[hit["action"] for hit in flow["pending"]] for flow in flows] == [["Deny"], ["Allow"]]


def test_without_staged_policies_nothing_is_pending_but_what_is_enforced() -> None:
    shown = document(trace("internet", "shop/db-0:80", ONLY_SQL))
    assert shown["pending"] == shown["enforced"]
    assert "pendingVerdict" not in shown


def test_promoted_policies_stand_beside_those_of_the_same_name() -> None:
    enforced = policy("draft", ingress=[ALLOW], **FOR_DB)
    kinds = [str(p.key) for p in promoted(cluster(STAGED, enforced)).policies]
    assert kinds == ["PendingNetworkPolicy shop/draft", "NetworkPolicy shop/draft"]


# --- reasons


@pytest.mark.parametrize(
    "source, destination, more, words",
    [
        ("shop/db-0", "internet:80", {"state": "invalid"}, "belongs to none (invalid)"),
        ("shop/db-0", "internet", {"icmp": (3, 1), "protocol": "icmp"}, "belongs to none (invalid)"),
        ("shop/db-0", "internet:80", {"spoofed": True}, "packets from 10.65.0.3 do not belong on calidb-0"),
        ("shop/db-0", "internet:4789/udp", {}, "may not send VXLAN packets"),
        ("shop/db-0", "internet", {"protocol": 4}, "may not send IPIP packets"),
        ("203.0.113.1", "203.0.113.2:80", {"node": "node1", "in_interface": "caligone"}, "knows no pod behind"),
        ("internet", "shop/db-0:80", {}, "the profile of namespace shop, ingress rule 1"),
        ("shop/db-0", "shop/db-0:80", {}, "calls itself"),
        ("host:node1", "shop/db-0:80", {}, "always reaches its own pods"),
        ("internet", "host:node1:80", {}, "no host endpoint on node1 is asked"),
    ],
)
def test_reasons(source: str, destination: str, more: dict[str, Any], words: str) -> None:
    assert words in reason(trace(source, destination, **more)).words


def test_ends_are_those_of_the_node_that_the_packet_is_on() -> None:
    everywhere = [host_endpoint(f"{name}-all", "*", node=name) for name in ("node1", "node2")]
    for name in ("node1", "node2"):
        lines = list(text(trace("internet", f"host:{name}:22", *everywhere)))
        assert any(line.startswith(f"  ingress of HostEndpoint {name}-all  [filter") for line in lines)
        assert "  accept: a failsafe port, which no policy closes  [filter cali-failsafe-in 1]" in lines
    forwarded = list(text(trace("internet", "shop/db-0:80", *everywhere)))
    assert any(line.startswith("  ingress of HostEndpoint node1-all: no policy about it  [") for line in forwarded)


def test_odd_packets_are_told_to_be_odd() -> None:
    found = trace("shop/db-0", "internet:80", spoofed=True, state="established")
    assert flow_words(found) == "shop/db-0 → internet tcp/80 (established, spoofed source)"


def test_reasons_of_host_endpoints() -> None:
    uplink = host_endpoint("uplink", "eth0", "192.0.2.1")
    found = trace("internet", "host:node1:22", uplink)
    assert (found.allowed, reason(found).words) == (True, "a failsafe port, which no policy closes")
    denied = reason(trace("internet", "host:node1:80", uplink))
    assert denied.words == "having no profile that allows it"
    forwarded = trace("internet", "shop/db-0:80", uplink)
    assert forwarded.allowed
    assert [report.end.name for report in forwarded.reports] == ["pod shop/db-0"]


# --- the report

GOLDEN = """\
DENIED  shop/web-5c8d7f9b6-4k2wz → shop/db-0 tcp/80
  by the end of tier default, where no policy allows it (asked last: NetworkPolicy shop/only-sql)
     node node1, filter cali-tw-calidb-0 7: -m comment --comment "End of tier default. Drop if no policies passed \
packet" -m mark --mark 0x0/0x20000 -j DROP

node1: in by caliweb, dropped before it goes out by calidb-0
  egress of pod shop/web-5c8d7f9b6-4k2wz  [filter cali-fw-caliweb 3]
    allow: the profile of namespace shop, egress rule 1  cluster.yaml:1  [filter cali-pro-kns.shop 1]
  ingress of pod shop/db-0  [filter cali-tw-calidb-0 3]
    deny: the end of tier default, where no policy allows it  [filter cali-tw-calidb-0 7]
"""


def test_the_report() -> None:
    found = trace("shop/web-5c8d7f9b6-4k2wz", "shop/db-0:80", ONLY_SQL)
    assert "".join(f"{line}\n" for line in text(found)) == GOLDEN


def test_a_denial_shows_the_rule_that_matched() -> None:
    shut = policy("shut", ingress=[to_port("allow", 1), to_port("deny", 80)])
    found = trace("internet", "shop/db-0:80", shut)
    lines = list(text(found))
    assert lines[1] == "  by GlobalNetworkPolicy shut (tier default), ingress rule 2"
    assert lines[2] == "     cluster.yaml:1  spec.ingress[0]: deny tcp port 80"
    assert "filter cali-pi-gnp/shut 3: -p tcp -m multiport --dports 80 -j MARK" in lines[3]
    shown = document(found)["reason"]
    assert (shown["file"], shown["line"], shown["path"]) == ("cluster.yaml", 1, "spec.ingress[0]")
    assert shown["says"] == "deny tcp port 80"
    assert (shown["rule"]["chain"], shown["rule"]["number"]) == ("cali-pi-gnp/shut", 3)


def test_every_rule_is_shown_on_request() -> None:
    found = trace("internet", "shop/db-0:80")
    lines = [line for line in text(found, verbose=True) if line.startswith(("  + ", "  - "))]
    assert len(lines) == len(found.legs[0].walk.steps)
    assert "  +   filter cali-FORWARD 4  -o cali+ -j cali-to-wl-dispatch" in lines
    assert "  -   filter cali-FORWARD 3  -i cali+ -j cali-from-wl-dispatch" in lines
    shown = document(found, verbose=True)["path"][0]["rules"]
    assert [rule["applied"] for rule in shown] == [line.startswith("  + ") for line in lines]


def test_json_is_json() -> None:
    shown = json.loads(json.dumps(document(trace("internet", "shop/db-0:80", ONLY_SQL))))
    assert (shown["apiVersion"], shown["kind"]) == ("felixpy/v1", "Trace")
    assert (shown["verdict"], shown["certain"]) == ("deny", True)
    assert (shown["protocol"], shown["port"], shown["state"]) == ("tcp", 80, "new")
    assert shown["destination"] == {
        "kind": "pod",
        "name": "shop/db-0",
        "address": "10.65.0.3",
        "node": "node1",
        "interface": "calidb-0",
    }


# --- dumps


def saved(*things: object, settings: Mapping[str, object] | None = None) -> dict[int, str]:
    """What iptables-save prints on node1."""
    given = [Setting(name, written(value)) for name, value in (settings or {}).items()]
    return {4: Compiler(cluster(*THINGS, *things)).compile("node1", settings=given).save(4)}


def from_dump(rules: dict[int, str], whole: Cluster | None = None, *, sets: str | None = "") -> Tracer:
    nodes = Nodes(Compiler(whole or Cluster()), dumps={"node1": read_dump(rules, sets)})
    return Tracer(nodes, node="node1")


LOGGED = {"FlowLogsLocalReporter": "Enabled"}


def test_a_dump_alone() -> None:
    """Names come from the comments on chains, numbers from flow log prefixes; interfaces have to be given."""
    shut = policy("shut", ingress=[to_port("allow", 1), to_port("deny", 80)], **FOR_DB)
    asked = Question(source="10.65.0.2", destination="10.65.0.3", port=80, out_interface="calidb-0")
    found = from_dump(saved(shut)).trace(asked)
    assert reason(found).words == "NetworkPolicy shop/shut (tier default), ingress"
    assert hits(found) == [("CalicoNetworkPolicy", "shut", "default", "Deny", None, 0)]
    assert found.reports[0].end.name == "pod behind calidb-0"
    logged = from_dump(saved(shut, settings=LOGGED)).trace(asked)
    assert hits(logged) == [("CalicoNetworkPolicy", "shut", "default", "Deny", 1, 0)]


def test_manifests_give_a_dump_its_names() -> None:
    whole = cluster(*THINGS, ONLY_SQL)
    found = from_dump(saved(ONLY_SQL), whole).trace(Question(source="internet", destination="shop/db-0", port=5432))
    assert (found.allowed, reason(found).words) == (True, "NetworkPolicy shop/only-sql (tier default), ingress rule 1")


def test_the_dump_counts_and_not_the_manifests() -> None:
    whole = cluster(*THINGS, ONLY_SQL)
    assert from_dump(saved(), whole).trace(Question(source="internet", destination="shop/db-0", port=80)).allowed


def test_other_nodes_are_compiled_from_the_manifests() -> None:
    whole = cluster(*THINGS)
    for ends in (("shop/db-0", "other/far"), ("other/far", "shop/db-0")):
        found = from_dump(saved(), whole).trace(Question(source=ends[0], destination=ends[1], port=80))
        assert (found.allowed, found.certain, found.missing) == (True, True, ())
        assert sorted(leg.node.name for leg in found.legs) == ["node1", "node2"]
        assert "  note: node2 is compiled from the manifests: its rules were not given" in text(found)


def test_what_is_beyond_a_dump_alone_is_undecided() -> None:
    """Nothing tells which node an address is on, and what the rules there say."""
    found = from_dump(saved()).trace(Question(source="host:node1", destination="10.65.9.9", port=80))
    assert (found.allowed, found.undecided, found.certain) == (True, True, False)
    lines = list(text(found))
    assert lines[0].startswith("PASSES node1, UNDECIDED on the node of 10.65.9.9  node1")
    assert (document(found)["verdict"], document(found)["certain"]) == ("undecided", False)
    outside = from_dump(saved()).trace(Question(source="host:node1", destination="internet", port=80))
    assert (outside.allowed, outside.undecided) == (True, False)


def test_foreign_rules_are_told() -> None:
    whole = cluster(*THINGS)
    asked = Question(source="internet", destination="shop/db-0", port=80)
    lines = saved()[4].splitlines()
    at = lines.index('-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD')

    def with_rule(rule: str) -> Trace:
        return from_dump({4: "\n".join([*lines[:at], f"-A FORWARD {rule}", *lines[at:]]) + "\n"}, whole).trace(asked)

    dropped = with_rule("-p tcp -j DROP")
    assert reason(dropped).words == "a rule that is not Felix's, in chain FORWARD"
    accepted = reason(with_rule("-p tcp -j ACCEPT"))
    assert accepted.words == "a rule that is not Felix's, in chain FORWARD: no pod and no host endpoint is asked"
    assert accepted.step
    assert accepted.step.rule.number == 1
    odd = with_rule("-m owner --uid-owner 0 -j DROP")
    assert (odd.allowed, odd.certain) == (True, False)
    shown = list(text(odd))
    assert any(line.startswith("  UNCERTAIN") for line in shown)
    assert "  not understood on node1: -m owner in filter FORWARD 1: -m owner --uid-owner 0 -j DROP" in shown
    harmless = with_rule("-m owner --uid-owner 0 -j LOG")
    assert harmless.certain


def test_policies_of_kernel_chains_are_told() -> None:
    rules = {4: "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"}
    found = from_dump(rules).trace(Question(source="10.65.0.2", destination="10.65.0.3", port=80))
    assert reason(found).words == "the policy of the kernel's chain FORWARD in table filter, which is to drop"


def test_a_profile_that_does_not_exist_denies_without_a_rule_to_name() -> None:
    uplink = host_endpoint("uplink", "eth0", "192.0.2.1", profiles=("gone",))
    found = trace("internet", "host:node1", uplink, node("node1", bgp_v4="192.0.2.1/24"))
    assert not found.allowed
    assert "profile gone" in "\n".join(text(found))
    assert document(found)["verdict"] == "deny"


@pytest.mark.parametrize("case", cases("random")[::6], ids=str)
def test_a_brief_trace_has_the_same_verdict(case: Case) -> None:
    nodes = Nodes(Compiler(felixpy.load([case.folder / "manifests.yaml"])))
    whole, brief = Tracer(nodes, node=case.node), Tracer(nodes, node=case.node, brief=True)
    pods = [f"{pod.namespace}/{pod.name}" for pod in nodes.cluster.workloads][:8]
    for source, destination in product([*pods, "internet"], pods):
        for port in (80, 5432):
            question = Question(source=source, destination=destination, port=port, family=4)
            try:
                expected = whole.trace(question)
            except UsageError:
                continue
            found = brief.trace(question)
            assert (found.allowed, found.certain) == (expected.allowed, expected.certain)


SHUT = policy("shut", selector="role == 'node'", egress=[to_port("allow", 443)])
GUARDED = (host_endpoint("h", "eth0", "192.0.2.1", labels={"role": "node"}), SHUT)


@pytest.mark.parametrize(
    "things, asked, allowed, note",
    [
        (GUARDED, {"state": "untracked"}, (False, True), "the packet has no connection"),
        (GUARDED, {"dnat": parse_target("10.65.0.3:80")}, (True, False), "is true of rewritten packets, too"),
        (GUARDED, {}, (False, False), ""),
        ((), {"state": "untracked"}, (True, True), ""),
    ],
)
def test_what_nft_asks_about_connections_is_told(
    things: tuple[object, ...], asked: dict[str, Any], allowed: tuple[bool, bool], note: str
) -> None:
    """``ct status != dnat`` is no test of one bit: it is true of every packet with a connection, and of no other."""
    question = Question(source="host:node1", destination="198.51.100.9", port=80, **asked)
    hosts = {"node1": Host(interfaces={"eth0": ("192.0.2.1/24",)})}
    legacy, nft = (
        Tracer(Nodes(Compiler(cluster(*THINGS, *things), dataplane=plane), hosts=hosts)).trace(question)
        for plane in ("iptables", "nftables")
    )
    assert (legacy.allowed, nft.allowed) == allowed
    told = [line for line in text(nft) if "ct status != dnat" in line and "note:" in line]
    assert [note in line for line in told] == ([True] if note else [])
    assert not any("note: " in line for line in text(legacy))
