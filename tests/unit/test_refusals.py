"""What no kernel takes: each class of rules and sets, whose fault it is, and that ordinary rules are left in peace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from felixpy.errors import Path, Place, Problem
from felixpy.ipsets import IPSet, SetMembers, SetOrigin, SetType
from felixpy.model import Icmp, PortRange, Rule, Side, Source
from felixpy.refusals import REFUSALS, SET_CHECKS, refusals
from felixpy.ruleset import Chain, Origin, Ruleset, Table
from tests.clusters import LOG, cluster, compiled, configuration, host_endpoint, node, pod, policy, pool

RULE = ("spec", "ingress", 0)
HTTP = Side(ports=(PortRange(80, 80),))


@dataclass(frozen=True, kw_only=True)
class Case:
    """Things that make a refused rule: what the message has to say of the rule, and who is blamed, where."""

    things: Sequence[object]
    text: str
    reason: str
    subject: str
    path: Path
    interfaces: Mapping[str, tuple[str, ...]] | None = None


def with_rule(**values: Any) -> Sequence[object]:
    rule = Rule(action="allow", path=RULE, **values)
    return [pod("a"), policy("p", ingress=[rule], order=1.0)]


def with_setting(*things: object, **values: Any) -> Sequence[object]:
    return [*(things or (node(),)), configuration(**values)]


BY_POLICY: Mapping[str, Any] = {"subject": "GlobalNetworkPolicy p", "path": RULE}


def by_setting(field: str) -> Mapping[str, Any]:
    return {"subject": "FelixConfiguration default", "path": ("spec", field)}


CASES = {
    "two protocols": Case(
        things=with_rule(protocol="tcp", not_protocol="udp"),
        text='filter: -A cali-pi-gnp/p -m comment --comment "GlobalNetworkPolicy p ingress" -p tcp ! -p udp',
        reason="room for one -p",
        **BY_POLICY,
    ),
    "icmp": Case(
        things=with_rule(not_icmp=Icmp(8)), text="-m icmp ! --icmp-type 8", reason="protocol ICMP", **BY_POLICY
    ),
    "icmp of a negated protocol": Case(
        things=with_rule(not_icmp=Icmp(8), not_protocol="icmp"), text="! -p icmp", reason="protocol ICMP", **BY_POLICY
    ),
    "ports": Case(
        things=with_rule(protocol="icmp", destination=HTTP),
        text="-p icmp -m multiport --destination-ports 80",
        reason="TCP, UDP",
        **BY_POLICY,
    ),
    "ports of a negated protocol": Case(
        things=with_rule(not_protocol="tcp", destination=HTTP), text="! -p tcp", reason="TCP, UDP", **BY_POLICY
    ),
    "reject": Case(
        things=with_setting(iptablesFilterDenyAction="Reject"),
        text="raw: -A cali-PREROUTING -m mark --mark 0x80000/0x80000 -m rpfilter --invert --validmark --jump REJECT",
        reason="filter table only",
        **by_setting("iptablesFilterDenyAction"),
    ),
    "family": Case(
        things=with_setting(pool("fd00::/48", nat_outgoing=True), node(), natOutgoingAddress="192.0.2.1"),
        text="ip6tables refuses in table nat: -A cali-nat-outgoing",
        reason="other IP family",
        **by_setting("natOutgoingAddress"),
    ),
    "interface prefix": Case(
        things=with_setting(interfacePrefix="fifteen-letters"),
        text="--in-interface fifteen-letters+",
        reason="at most 15",
        **by_setting("interfacePrefix"),
    ),
    "limit": Case(
        things=[*with_setting(logActionRateLimit="1/day"), pod("a"), policy("p", ingress=[LOG])],
        text="-m limit --limit 1/day",
        reason="at most 10000 a second",
        **by_setting("logActionRateLimit"),
    ),
    "log prefix": Case(
        things=[*with_setting(logPrefix='say "hi"'), pod("a"), policy("p", ingress=[LOG])],
        text='--log-prefix "say "hi": "',
        reason="cannot hold a quote",
        **by_setting("logPrefix"),
    ),
    "the other class of the policy is told, too": Case(
        things=with_rule(protocol="icmp", not_protocol="tcp", destination=HTTP),
        text="-p icmp",
        reason="room for one -p",
        **BY_POLICY,
    ),
}


def told(ruleset: Ruleset) -> list[Problem]:
    return list(ruleset.refused)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule_that_no_kernel_takes_is_blamed_on_whoever_caused_it(case: Case) -> None:
    found = [problem for problem in told(compiled(*case.things)) if case.reason in problem.reason]
    (problem,) = [problem for problem in found if problem.subject == case.subject]
    assert problem.path == case.path
    assert problem.place == Place("cluster.yaml", 1)
    assert case.text in problem.excerpt
    assert problem.severity == "warning"
    assert "Felix would retry" in problem.hint


def test_every_class_of_rules_has_a_case() -> None:
    reasons = [check.reason for check in REFUSALS]
    assert [reason for reason in reasons if not any(case.reason in reason for case in CASES.values())] == []


@pytest.mark.parametrize(
    "things",
    [
        with_rule(protocol="tcp", destination=HTTP, source=Side(nets=("10.0.0.0/8", "fd00::/8"))),
        with_rule(protocol=17, destination=Side(ports=tuple(PortRange(n, n) for n in range(1, 30)))),
        with_rule(protocol="icmp", icmp=Icmp(8, 0)),
        with_rule(protocol=58, ip_version=6, not_icmp=Icmp(128)),
        with_rule(not_protocol="udp"),
        with_setting(interfacePrefix="fourteenletter", logActionRateLimit="9999/second", logActionRateLimitBurst=9999),
        with_setting(pool("10.0.0.0/8", nat_outgoing=True), node(), natOutgoingAddress="192.0.2.1", ipv6Support=False),
        [node(), pool("10.0.0.0/8", nat_outgoing=True), pool("fd00::/48", nat_outgoing=True), host_endpoint("a", "*")],
        [pod("a", floating=(("10.65.0.1", "192.0.2.1"),), dscp=1), configuration(floatingIPs="Enabled")],
        [pod("a", "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", dscp=1)],
        [node(), configuration(metadataAddr="10.0.0.1")],
    ],
)
def test_what_a_kernel_takes_is_not_remarked(things: Sequence[object]) -> None:
    assert told(compiled(*things)) == []


def test_one_fault_is_told_once_for_all_tables_families_and_rules() -> None:
    """REJECT stands in many chains; a policy rule becomes several."""
    found = told(compiled(node(), host_endpoint("a", "eth0"), configuration(iptablesFilterDenyAction="Reject")))
    assert len(found) == 1
    rules = [Rule(action="allow", protocol="tcp", not_protocol="udp", path=("spec", "ingress", at)) for at in range(2)]
    assert [problem.path for problem in told(compiled(pod("a"), policy("p", ingress=rules)))] == [
        ("spec", "ingress", 0),
        ("spec", "ingress", 1),
    ]


def test_the_strongest_resource_that_has_the_setting_is_blamed() -> None:
    things = [
        node(),
        configuration("default", iptablesFilterDenyAction="Reject"),
        configuration("scoped", selector="all()", created="2024", iptablesFilterDenyAction="Reject"),
        configuration("node.node1", iptablesFilterDenyAction="Reject"),
        configuration("node.node2", iptablesFilterDenyAction="Reject"),
    ]
    subjects = [told(compiled(*things[:count]))[0].subject for count in (2, 3, 5)]
    assert subjects == [f"FelixConfiguration {name}" for name in ("default", "scoped", "node.node1")]


def test_without_a_resource_the_chain_is_named() -> None:
    (problem,) = told(compiled(node(), settings={"IptablesFilterDenyAction": "Reject"}))
    assert problem.place == Place("-")
    assert "cali-PREROUTING" in problem.excerpt


def chain(*bodies: str, name: str = "cali-x") -> Chain:
    return Chain(name, bodies, (-1,) * len(bodies), Origin(words="somewhere"), "cali-x")


def ruleset(table: str, family: int, *chains: Chain, sets: tuple[IPSet, ...] = ()) -> Ruleset:
    tables = {(family, table): Table(table, family, {}, {}, chains)}
    return Ruleset(node="node1", calico_version="v3.32", tables=tables, sets=sets)


@pytest.mark.parametrize(
    "table, family, body, refused",
    [
        ("filter", 4, "--jump REJECT", False),
        ("mangle", 4, "--jump REJECT", True),
        ("raw", 6, "--jump REJECT", True),
        ("raw", 4, "-p tcp -j REJECT --reject-with tcp-reset", False),
        ("nat", 6, "--jump SNAT --to-source 10.0.0.1:1-2", True),
        ("nat", 4, "--jump SNAT --to-source 10.0.0.1:1-2", False),
        ("nat", 4, "--jump DNAT --to-destination fd00::1", True),
        ("filter", 4, "--in-interface fifteen-letters --jump DROP", False),
        ("filter", 4, "--in-interface fourteenletter+ --jump DROP", False),
        ("filter", 4, "--in-interface fifteen-letters+ --jump DROP", True),
        ("filter", 4, "--out-interface sixteen-letters- --jump DROP", True),
        ("filter", 4, "-m limit --limit 0/second --jump LOG", True),
        ("filter", 4, "-m limit --limit 10000/second --limit-burst 10000 --jump LOG", False),
        ("filter", 4, "-m limit --limit 600000/minute --jump LOG", False),
        ("filter", 4, "-m limit --limit 600001/minute --jump LOG", True),
        ("filter", 4, "-m limit --limit 1/day --jump LOG", True),
        ("filter", 4, "-m limit --limit 1/day --limit-burst 1 --jump LOG", False),
        ("filter", 4, "-m limit --limit 3/day --limit-burst 4 --jump LOG", False),
        ("filter", 4, "-m limit --limit 3/day --jump LOG", True),
        ("filter", 4, "-m limit --limit 1/hour --limit-burst 119 --jump LOG", False),
        ("filter", 4, "-m limit --limit 1/hour --limit-burst 120 --jump LOG", True),
        ("filter", 4, "-m limit --limit 36000000/hour --jump LOG", False),
        ("filter", 4, "-m limit --limit 36000001/hour --jump LOG", True),
        ("filter", 4, "-m limit --limit 864000000/day --jump LOG", False),
        ("filter", 4, "-m limit --limit 864000001/day --jump LOG", True),
        ("filter", 4, "-m limit --limit 1/sec --limit-burst 10001 --jump LOG", True),
        ("filter", 4, "-p tcp -m icmp --icmp-type 8 --jump DROP", True),
        ("filter", 6, "-p icmpv6 -m icmp6 --icmpv6-type 128 --jump DROP", False),
        ("filter", 6, "-p icmp -m icmp6 --icmpv6-type 128 --jump DROP", True),
        ("filter", 4, "-p 1 -m icmp --icmp-type 8 --jump DROP", False),
        ("filter", 4, "-m multiport --destination-ports 1 --jump DROP", True),
        ("filter", 4, "-p udplite -m multiport --destination-ports 1 --jump DROP", False),
        ("filter", 4, '--jump LOG --log-prefix "a"b: " --log-level 5', True),
    ],
)
def test_edges_of_each_class(table: str, family: int, body: str, refused: bool) -> None:
    assert bool(refusals(ruleset(table, family, chain(body)), cluster(node()))) is refused


def test_chain_names_have_a_limit() -> None:
    longest = "cali-" + "x" * 23
    assert refusals(ruleset("filter", 4, chain(name=longest)), cluster(node())) == []
    (problem,) = refusals(ruleset("filter", 4, chain(name=f"{longest}x")), cluster(node()))
    assert "at most 28" in problem.reason


def ipset(*members: str, size: int = 2, kind: SetType = "hash:net") -> IPSet:
    origin = SetOrigin("NetworkPolicy ns/p", Source("cluster.yaml", 7), ("spec", "ingress", 0))
    return IPSet(
        name="cali40s:x", type=kind, family=4, members=SetMembers(members), max_size=size, words="", origin=origin
    )


@pytest.mark.parametrize(
    "made, reason",
    [
        (ipset("10.0.0.0/8", "11.0.0.0/8"), None),
        (ipset("10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"), "3 members, more than its maximum of 2"),
        (ipset("0.0.0.0/0"), "cannot hold a /0"),
        (ipset("0.0.0.0/1", "128.0.0.0/1"), None),
        (ipset("0.0.0.0"), None),
        (ipset("0.0.0.0", kind="hash:ip"), "cannot hold 0.0.0.0 or ::"),
        (ipset("0.0.0.0,tcp:80", kind="hash:ip,port"), "cannot hold 0.0.0.0 or ::"),
        (ipset("::", kind="hash:ip"), "cannot hold 0.0.0.0 or ::"),
        (ipset("10.0.0.0", kind="hash:ip"), None),
        (ipset(size=0), None),
        (ipset(size=(1 << 32) - 1), None),
        (ipset("10.0.0.1", size=0), "1 members, more than its maximum of 0"),
        (ipset("10.0.0.1", size=-1), "the maximum of members is -1"),
        (ipset(size=1 << 32), "the maximum of members is 4294967296"),
    ],
)
def test_sets_that_cannot_be_loaded(made: IPSet, reason: str | None) -> None:
    found = refusals(ruleset("filter", 4, sets=(made,)), cluster(node()))
    assert [problem.subject for problem in found] == ([] if reason is None else ["NetworkPolicy ns/p"])
    for problem in found:
        assert str(reason) in problem.reason
        assert problem.place == Place("cluster.yaml", 7)
        assert made.create() in problem.excerpt


def test_sets_made_too_small_are_blamed_on_the_setting() -> None:
    pools = [pool(f"10.{n}.0.0/16") for n in range(3)]
    (problem,) = told(compiled(node(), *pools, configuration(maxIpsetSize=2)))
    assert (problem.subject, problem.path) == ("FelixConfiguration default", ("spec", "maxIpsetSize"))


def test_every_class_of_sets_has_a_case() -> None:
    found = {check.parameters for check in SET_CHECKS}
    assert found == {("MaxIpsetSize",), ("ExternalNodesCIDRList",), ("IstioAmbientMode",)}
