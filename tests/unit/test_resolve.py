"""Resolution: which policies in which order apply where, and which sets they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from felixpy.calico_versions import V3_32
from felixpy.config import Config
from felixpy.errors import UsageError
from felixpy.ipsets import named_port_set, selector_set
from felixpy.model import Host, Policy, Rule, Side, Tier
from felixpy.names import ANY_INTERFACE, set_name
from felixpy.resolve import AppliedPolicies, AppliedTier, Resolution, Shared, resolve
from tests.clusters import ALLOW, DENY, cluster, host_endpoint, node, pod, policy, profile, tier

KNP = "KubernetesNetworkPolicy"


def resolved(
    *things: object, at: str = "node1", interfaces: Mapping[str, tuple[str, ...]] | None = None, spoofing: bool = False
) -> Resolution:
    shared = Shared(cluster(*things), V3_32, spoofing, suppress_overlaps=True)
    return resolve(shared, at, Config(), Host(interfaces=interfaces))


def names(applied: tuple[AppliedTier, ...]) -> list[tuple[str, list[str], list[str]]]:
    """(tier, its ingress policies, its egress policies)."""
    return [
        (step.name, [p.policy.key.name for p in step.ingress], [p.policy.key.name for p in step.egress])
        for step in applied
    ]


def active(resolution: Resolution) -> list[str]:
    return [item.policy.key.name for item in resolution.policies]


@pytest.mark.parametrize(
    "policies, expected",
    [
        (
            [
                policy("b", kind="NetworkPolicy", namespace="ns1"),
                policy("a", kind="NetworkPolicy", namespace="ns2"),
                policy("a", kind="NetworkPolicy", namespace="ns1"),
            ],
            ["a/ns1", "a/ns2", "b/ns1"],
        ),
        (
            [policy("allow", kind=KNP, order=1000.0), policy("deny"), policy("allow-dns", kind=KNP, order=1000.0)],
            ["allow-dns/default", "allow/default", "deny/"],
        ),
        (
            [policy("a", order=10.0), policy("z", order=-1.0), policy("m", order=0.5), policy("n", order=0.0)],
            ["z/", "n/", "m/", "a/"],
        ),
        (
            [
                policy("a", kind=KNP),
                policy("a"),
                policy("a", kind="StagedGlobalNetworkPolicy"),
                policy("a", kind="KubernetesClusterNetworkPolicy"),
            ],
            ["a/", "a/", "a/", "a/default"],
        ),
    ],
)
def test_order_of_policies_in_a_tier(policies: list[Policy], expected: list[str]) -> None:
    for given in (policies, policies[::-1]):
        shared = Shared(cluster(*given), V3_32, spoofing=False, suppress_overlaps=True)
        found = [p for _, members in shared.tiers for p in members]
        assert [f"{p.key.name}/{p.key.namespace}" for p in found] == expected


def test_order_of_tiers() -> None:
    tiers = (tier("kube-admin", 1000.0), tier("security", 500.0), tier("zz", 1e6), tier("aa", 1e6), tier("empty", 1.0))
    used = ("default", "zz", "missing", "kube-admin", "aa", "also-missing", "security")
    things = [policy(f"in-{name}", tier=name) for name in used]
    shared = Shared(cluster(*tiers, *things), V3_32, spoofing=False, suppress_overlaps=True)
    assert [step.name for step, _ in shared.tiers] == [
        "security", "kube-admin", "aa", "default", "zz", "also-missing", "missing",
    ]  # fmt: skip
    assert not any(step.passes for step, _ in shared.tiers[-2:])


WEB = pod("web", labels={"app": "web"})
DB = pod("db", namespace="data", labels={"app": "db"})
FAR = pod("far", node="node2", labels={"app": "far"})


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"selector": "app == 'web'"}, True),
        ({"selector": "app == 'far'"}, False),
        ({"selector": ""}, True),
        ({"selector": "app == 'host'"}, True),
        ({"selector": "pcns.team == 'red'"}, True),
        ({"selector": "pcns.team == 'blue'"}, False),
        ({"selector": "app == 'far'", "everywhere": True}, True),
        ({"selector": "app == 'none'", "kind": KNP, "namespace": "empty", "everywhere": True}, True),
        ({"selector": "projectcalico.org/namespace == 'data'", "kind": KNP, "namespace": "data"}, True),
        ({"selector": "projectcalico.org/namespace == 'gone'", "kind": KNP, "namespace": "gone"}, False),
    ],
)
def test_a_policy_is_active_where_it_selects_somebody_or_is_wanted_everywhere(
    values: dict[str, Any], expected: bool
) -> None:
    host = host_endpoint("host", "eth0", labels={"app": "host"})
    red = profile("kns.default", labels={"pcns.team": "red"})
    found = resolved(WEB, DB, FAR, host, red, policy("p", ingress=[ALLOW], **values))
    assert active(found) == (["p"] if expected else [])


def test_each_endpoint_gets_its_own_policies() -> None:
    found = resolved(
        WEB,
        DB,
        tier("early", 1.0, passes=True),
        policy("all-in", ingress=[ALLOW], order=5.0),
        policy("web-both", selector="app == 'web'", order=1.0),
        policy("db-out", selector="app == 'db'", egress=[], tier="early"),
        policy("nobody", selector="app == 'none'"),
    )
    applied = {local.workload.name: local.policies for local in found.workloads}
    assert names(applied["web"].normal) == [("default", ["web-both", "all-in"], ["web-both"])]
    assert names(applied["db"].normal) == [("early", [], ["db-out"]), ("default", ["all-in"], [])]
    assert [step.passes for step in applied["db"].normal] == [True, False]
    assert active(found) == ["db-out", "web-both", "all-in"]


HOST_POLICIES = (
    policy("plain", order=1.0),
    policy("forwarded", order=2.0, apply_on_forward=True),
    policy("raw", order=3.0, do_not_track=True, apply_on_forward=True),
    policy("early", order=4.0, pre_dnat=True, apply_on_forward=True, ingress=[DENY]),
    policy("both", order=5.0, pre_dnat=True, egress=[DENY], tier="later"),
)


def test_policies_of_a_host_endpoint_are_enforced_in_four_places() -> None:
    found = resolved(host_endpoint("host", "eth0"), *HOST_POLICIES, tier("later", 2e6, passes=False))
    applied = found.hosts[0].policies
    assert names(applied.normal) == [("default", ["plain", "forwarded"], ["plain", "forwarded"])]
    assert names(applied.forward) == [("default", ["forwarded"], ["forwarded"])]
    assert names(applied.untracked) == [("default", ["raw"], ["raw"])]
    assert names(applied.pre_dnat) == [("default", ["early"], [])]
    ends = [step.passes for place in (applied.normal, applied.forward) for step in place]
    assert (ends, applied.untracked[0].passes, applied.pre_dnat[0].passes) == ([False, False], True, True)


def test_workloads_know_ordinary_policies_only() -> None:
    applied = resolved(WEB, *HOST_POLICIES, tier("later", 2e6)).workloads[0].policies
    assert names(applied.normal) == [("default", ["plain", "forwarded"], ["plain", "forwarded"])]
    assert applied == AppliedPolicies(normal=applied.normal)


def test_a_host_endpoint_without_an_interface_counts_but_has_no_place() -> None:
    host = host_endpoint("host", "eth9", "192.0.2.1", profiles=("custom",))
    found = resolved(host, policy("p", ingress=[ALLOW]), interfaces={"eth0": ("10.0.0.1/24",)})
    assert (found.hosts, found.all_hosts) == ((), (host,))
    assert (active(found), [p.name for p in found.profiles]) == (["p"], ["custom"])


def test_interfaces_are_taken_as_present_where_nobody_said_what_there_is() -> None:
    found = resolved(host_endpoint("all", "*"), host_endpoint("one", "eth0"), host_endpoint("by-ip", "", "10.0.0.1"))
    assert [local.interface for local in found.hosts] == [ANY_INTERFACE, "eth0"]


def test_profiles_are_those_that_local_endpoints_name_even_if_missing() -> None:
    found = resolved(
        pod("a", profiles=("kns.default", "gone")), pod("b", profiles=("gone",)), pod("c", node="node2"), WEB
    )
    assert [(item.name, item.profile is None) for item in found.profiles] == [("kns.default", False), ("gone", True)]


@pytest.mark.parametrize("spoofing", [True, False])
def test_a_pod_that_may_send_from_other_addresses_is_left_out_unless_that_is_allowed(spoofing: bool) -> None:
    spoofer = pod("spoofer", "10.0.0.9", spoofable=("10.5.0.0/24",), labels={"app": "web"})
    rule = Rule(action="allow", source=Side(selector="app == 'web'"))
    found = resolved(WEB, spoofer, policy("p", ingress=[rule]), spoofing=spoofing)
    assert ("spoofer" in [local.workload.name for local in found.workloads]) is spoofing
    members = {ipset.name: ipset.members for ipset in found.sets}[set_name(4, selector_set("app == 'web'").id)]
    assert ("10.0.0.9" in members) is spoofing


def test_workloads_are_sorted_by_interface() -> None:
    found = resolved(pod("b", interface="cali2"), pod("c", interface="cali1"), pod("a", interface="cali10"))
    assert [local.workload.interface for local in found.workloads] == ["cali1", "cali10", "cali2"]


def test_sets_of_both_directions_and_of_staged_policies_exist_and_name_who_asked_first() -> None:
    def rule(selector: str, at: int) -> Rule:
        return Rule(action="allow", source=Side(selector=selector), path=("spec", "ingress", at))

    staged = policy("staged", kind="StagedGlobalNetworkPolicy", order=1.0, ingress=[rule("has(a)", 0)])
    # Egress is not among its types, its rules count all the same.
    unused = policy("p", order=2.0, ingress=[rule("has(a)", 0), rule("has(b)", 1)], outbound=(rule("has(c)", 0),))
    custom = profile("kns.default", [rule("has(d)", 0)])
    inactive = policy("q", selector="has(none)", ingress=[rule("has(e)", 0)])
    found = resolved(WEB, staged, unused, custom, inactive)
    wanted = {
        set_name(4, selector_set(f"has({label})").id): subject
        for label, subject in (
            ("a", "StagedGlobalNetworkPolicy staged"),
            ("b", "GlobalNetworkPolicy p"),
            ("c", "GlobalNetworkPolicy p"),
            ("d", "Profile kns.default"),
        )
    }
    origins = {ipset.name: ipset.origin.subject for ipset in found.sets if ipset.origin and ipset.family == 4}
    assert origins == wanted


def test_a_set_is_made_once_for_each_family() -> None:
    side = Side(selector="has(a)", ports=("http",))
    rules = [Rule(action="allow", protocol="tcp", destination=side), Rule(action="deny", protocol=6, destination=side)]
    found = resolved(WEB, policy("p", ingress=rules, egress=rules))
    name = named_port_set("has(a)", "tcp", "http").id
    assert [s.family for s in found.sets if s.name in (set_name(4, name), set_name(6, name))] == [4, 6]


def test_a_node_has_to_be_named_somewhere() -> None:
    with pytest.raises(UsageError, match="no node 'nowhere' in the input; known are node1, node2"):
        resolved(WEB, FAR, at="nowhere")
    assert resolved(node("spare"), WEB, at="spare").workloads == ()
    assert resolved(at="anything").node.name == "anything"


@pytest.mark.parametrize("interfaces, expected", [({"kube-ipvs0": ()}, True), ({"eth0": ()}, False), (None, False)])
def test_ipvs_is_on_where_its_interface_is(interfaces: dict[str, tuple[str, ...]] | None, expected: bool) -> None:
    assert resolved(WEB, interfaces=interfaces).ipvs is expected


def test_a_tier_that_no_policy_is_in_is_no_step() -> None:
    empty: Tier = tier("empty", 1.0)
    assert names(resolved(WEB, empty).workloads[0].policies.normal) == []
