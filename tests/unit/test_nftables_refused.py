"""What Felix cannot program in nftables mode: each class with the object that causes it, and what is fine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

import felixpy
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.model import Icmp, Rule, ServiceName, Side
from felixpy.nftables.refused import CHAINS, RULES, SETS
from felixpy.topology.question import question_of
from felixpy.tracing import Nodes, Trace, Tracer
from felixpy.tracing.report import document, text
from tests.clusters import ALLOW, cluster, host_endpoint, node, pod, policy, pool
from tests.manifests import CALICO, loaded, manifest

CHECKOUT = Path(__file__).parents[2]
HOST = felixpy.Host(interfaces={"eth0": ("192.0.2.1/24",), "meta": ()})


class Case(NamedTuple):
    """Things of a cluster, the subject that is blamed, words of the reason and of the text that nft gets."""

    things: tuple[object, ...]
    subject: str
    reason: str
    text: str
    settings: tuple[Setting, ...] = ()


def icmp(protocol: str | int, code: int | None = None, **more: object) -> Rule:
    return Rule(action="allow", protocol=protocol, icmp=Icmp(8, code), **more)  # type: ignore[arg-type]


def logs() -> object:
    return policy("p", inbound=(Rule(action="log"),))


HEP = (host_endpoint("hep", "eth0"), policy("p", inbound=(ALLOW,), outbound=(Rule(action="deny"),)))
CASES = {
    "code": Case((pod("a", "10.0.0.1"), policy("p", inbound=(icmp("icmp", 0),))), "GlobalNetworkPolicy p",
                 "an ICMP type with a code", "icmp type 8 code 0"),
    "code of IPv6": Case((pod("a", "fd00::1"), policy("p", inbound=(icmp("icmpv6", 0),))), "GlobalNetworkPolicy p",
                         "an ICMP type with a code", "icmpv6 type 8 code 0"),
    "excluded code": Case((pod("a", "10.0.0.1"), policy("p", inbound=(Rule(action="allow", protocol="icmp",
                                                                           not_icmp=Icmp(8, 0)),))),
                          "GlobalNetworkPolicy p", "an ICMP type with a code", "icmp type != 8 code != 0"),
    "protocol": Case((pod("a", "10.0.0.1"), policy("p", inbound=(icmp("tcp"),))), "GlobalNetworkPolicy p",
                     "an ICMP type together with another protocol", "meta l4proto tcp icmp type 8"),
    "log": Case((pod("a", "10.0.0.1"), logs()), "", "a log prefix with", 'log prefix "a$b: "',
                (Setting("LogPrefix", "a$b"),)),
    "long log": Case((pod("a", "10.0.0.1"), logs()), "", "a log prefix with", "x" * 126,
                     (Setting("LogPrefix", "x" * 126),)),
    "addresses": Case((host_endpoint("hep", "eth0", "192.0.2.1", "192.0.2.2", dscp=10),),
                      "HostEndpoint hep", "several addresses in one rule", "ip saddr 192.0.2.1,192.0.2.2"),
    "interface": Case((host_endpoint("hep", "meta"), policy("p")), "HostEndpoint hep", "an interface name",
                      "oifname meta"),
    "nat interface": Case((pool("10.0.0.0/16", nat_outgoing=True),), "IP pools with natOutgoing",
                          "the wildcard is *, not +", "oifname eth+",
                          (Setting("IptablesNATOutgoingInterfaceFilter", "eth+"),)),
    "address": Case((pool("fd00::/64", nat_outgoing=True),), "IP pools with natOutgoing",
                    "an address of the other IP family", "snat to 192.0.2.1",
                    (Setting("NATOutgoingAddress", "192.0.2.1"),)),
    "panic": Case((pod("a", "10.0.0.1"), policy("x" * 245)), f"GlobalNetworkPolicy {'x' * 245}",
                  "Felix panics on chain names", "xxx"),
    "long name": Case((pod("a", "10.0.0.1"), policy("x" * 237)), f"GlobalNetworkPolicy {'x' * 237}",
                      "chain names have at most 255 bytes", "xxx"),
    "reject": Case(HEP, "packets to rewritten addresses to HostEndpoint hep",
                   "reject in a chain of the postrouting hook", "mangle-cali-th-eth0",
                   (Setting("NftablesFilterDenyAction", "Reject"),)),
    "pools": Case((pool("10.0.0.0/8"), pool("10.1.0.0/16")), "IPPool 10.1.0.0-16",
                  "overlapping members of an interval set: 10.0.0.0/8 covers 10.1.0.0/16",
                  "cali40network-ip-pools { 10.0.0.0/8, 10.1.0.0/16 }"),
    "external nodes": Case((pool("10.0.0.0/16", ipip=True), node("node2", bgp_v4="192.0.2.2/24")), "",
                           "overlapping members of an interval set: 192.0.2.0/24 covers 192.0.2.2",
                           "cali40all-hosts-net { 192.0.2.0/24, 192.0.2.2/32 }",
                           (Setting("ExternalNodesCIDRList", "192.0.2.0/24"),)),
}  # fmt: skip


def to_service(protocol: str | int, **more: object) -> tuple[object, ...]:
    rule = Rule(action="allow", protocol=protocol, destination=Side(service=ServiceName("shop", "api")), **more)  # type: ignore[arg-type]
    return pod("a", "10.0.0.1"), policy("p", inbound=(rule,))


UNLISTABLE = {
    str(number): Case(to_service(number), "GlobalNetworkPolicy p", "a protocol of which nft knows no ports", words)
    for number, words in (
        (200, "meta l4proto 200 ip daddr . meta l4proto . th dport @"), (4, "meta l4proto 4 "), (47, "l4proto 47 "),
    )
} | {
    "not only": Case(to_service(200, not_protocol="tcp"), "GlobalNetworkPolicy p", "nft knows no ports", "!= tcp"),
}  # fmt: skip
"""What loads, but cannot be listed."""

LISTABLE = {
    **{name: to_service(name) for name in ("udplite", "icmp", "icmpv6", "sctp", 2, 33, 50, 51, 108)},
    "unsaid": (policy("p", inbound=(Rule(action="allow", destination=Side(service=ServiceName("shop", "api"))),)),),
    "excluded": (
        policy(
            "p", inbound=(Rule(action="allow", not_protocol=200, destination=Side(service=ServiceName("shop", "api"))),)
        ),
    ),
    "without ports": (
        policy("p", inbound=(Rule(action="allow", protocol=200, source=Side(service=ServiceName("shop", "api"))),)),
    ),
}


def compiled(case: Case) -> felixpy.Ruleset:
    made = cluster(node(), *case.things)
    return felixpy.compile(made, "node1", host=HOST, settings=case.settings, dataplane="nftables")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_class_is_blamed_on_its_cause(case: Case) -> None:
    found = compiled(case).refused
    (problem,) = [one for one in found if case.reason in one.reason and one.subject.startswith(case.subject)]
    assert case.text in problem.excerpt
    assert problem.reason.startswith("cannot be programmed in nftables mode: ")
    assert "every packet passes" in problem.hint


@pytest.mark.parametrize("case", UNLISTABLE.values(), ids=UNLISTABLE)
def test_what_nft_cannot_list_is_blamed_on_its_cause(case: Case) -> None:
    for problem in (found := compiled(case).refused):
        assert (problem.subject, case.reason in problem.reason) == (case.subject, True)
        assert case.text in problem.excerpt
        assert problem.reason.startswith("nft cannot list the table with this rule: ")
        assert "later changes of policies and pods do nothing" in problem.hint
    assert len(found) == 1
    assert not traced(case).certain


@pytest.mark.parametrize("things", LISTABLE.values(), ids=map(str, LISTABLE))
def test_what_nft_can_list_is_fine(things: tuple[object, ...]) -> None:
    assert compiled(fine(things)).refused == ()


def test_every_class_is_documented() -> None:
    table = [line for line in (CHECKOUT / "docs/nftables.md").read_text().splitlines() if line.startswith("| ")]
    told = {line.split("|")[1].strip(" `") for line in table[1:]}
    assert told == {check.name for check in (*RULES, *(check.refusal for check in CHAINS))} | {"sets"}


def test_every_class_has_a_case() -> None:
    reasons = [check.reason for check in (*RULES, *(check.refusal for check in CHAINS)) if check.name != "ports"]
    told = {case.reason for case in (*CASES.values(), *UNLISTABLE.values())}
    assert [reason for reason in reasons if not any(words in reason for words in told)] == []
    assert len(SETS) == 1


FINE = {
    "type": (policy("p", inbound=(icmp("icmp"),)),),
    "numbers": (policy("p", inbound=(icmp(1, ip_version=4),)),),
    "two protocols": (policy("p", inbound=(icmp("icmp", not_protocol="udp"),)),),
    "name": (policy("x" * 236),),
    "neighbouring pools": (pool("10.0.0.0/16"), pool("10.1.0.0/16")),
    "wildcard": (pool("10.0.0.0/16", nat_outgoing=True),),
}


def fine(things: tuple[object, ...]) -> Case:
    return Case((pod("a", "10.0.0.1"), *things), "", "", "", (Setting("IptablesNATOutgoingInterfaceFilter", "eth*"),))


@pytest.mark.parametrize("things", FINE.values(), ids=FINE)
def test_what_nft_takes_is_not_refused(things: tuple[object, ...]) -> None:
    assert compiled(fine(things)).refused == ()


def test_pools_have_their_place() -> None:
    nets = {"a": "10.0.0.0/8", "b": "10.1.0.0/16"}
    pools = [manifest(CALICO, "IPPool", name, {"cidr": net}) for name, net in nets.items()]
    made = loaded(manifest("v1", "Node", "node1"), *pools)
    (problem,) = felixpy.compile(made, dataplane="nftables").refused
    assert (problem.subject, problem.path) == ("IPPool b", ("spec", "cidr"))


def traced(case: Case) -> Trace:
    """A packet to the node of a case, whose rules nft refuses."""
    compiler = Compiler(cluster(node(), *case.things), dataplane="nftables")
    nodes = Nodes(compiler, hosts={"node1": HOST}, settings=case.settings)
    return Tracer(nodes).trace(question_of("198.51.100.9", "host:node1:22"))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_trace_is_uncertain_and_says_why(case: Case) -> None:
    """The verdict is that of rules which the node does not get."""
    found = traced(case)
    assert not found.certain
    notes = [line for line in document(found)["notes"] if line.startswith("UNCERTAIN: node1 does not get these rules")]
    assert len(notes) == 1
    assert "every packet passes" in notes[0]
    assert notes[0] in "\n".join(text(found))
    assert [problem.severity for problem in found.not_programmed["node1"]]


@pytest.mark.parametrize("things", FINE.values(), ids=FINE)
def test_a_trace_through_rules_that_nft_takes_is_certain(things: tuple[object, ...]) -> None:
    assert traced(fine(things)).certain
