"""Calico's policies, rules, tiers, profiles, sets and pools: what they become, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.errors import spell
from felixpy.model import ANYONE, Icmp, PortRange, Rule, ServiceName, Side, Tier
from tests.manifests import CALICO, STORED, loaded, manifest, only_policy, problems, told

SELECTED = "mylabel == 'selectme'"


def network_policy(version: str = CALICO, **spec: Any) -> dict[str, Any]:
    return manifest(version, "NetworkPolicy", "p", spec, "shop")


def global_policy(kind: str = "GlobalNetworkPolicy", **spec: Any) -> dict[str, Any]:
    return manifest(CALICO, kind, "p", spec)


IN_SHOP = "projectcalico.org/namespace == 'shop'"
POLICY_SELECTORS = [
    (network_policy(selector=SELECTED), f"({SELECTED}) && {IN_SHOP}"),
    (network_policy(), IN_SHOP),
    (
        network_policy(selector=SELECTED, serviceAccountSelector="role == 'dev'"),
        f'(({SELECTED}) && {IN_SHOP}) && pcsa.role == "dev"',
    ),
    (network_policy(selector=SELECTED, serviceAccountSelector="all()"), f"(({SELECTED}) && {IN_SHOP}) && all()"),
    (global_policy(), ""),
    (global_policy(selector="all()"), "all()"),
    (
        global_policy(selector=SELECTED, serviceAccountSelector="all()"),
        f"({SELECTED}) && has(projectcalico.org/serviceaccount)",
    ),
    (global_policy(selector=SELECTED, namespaceSelector="all()"), f"({SELECTED}) && has(projectcalico.org/namespace)"),
    (
        global_policy(selector=SELECTED, namespaceSelector="name == 't'", serviceAccountSelector="role == 'dev'"),
        f'(({SELECTED}) && pcns.name == "t") && pcsa.role == "dev"',
    ),
    (global_policy(namespaceSelector="name == 't'"), 'pcns.name == "t"'),
    (
        global_policy(selector="all()", namespaceSelector="x == 'y'"),
        '(has(projectcalico.org/namespace)) && pcns.x == "y"',
    ),
]


@pytest.mark.parametrize("policy, selector", POLICY_SELECTORS)
def test_policy_selectors(policy: dict[str, Any], selector: str) -> None:
    assert only_policy(policy).selector == selector


ACCOUNTS = {"names": ["sa1", "sa2"], "selector": "key == 'v'"}
BY_NAME = 'projectcalico.org/serviceaccount in {"sa1", "sa2"}'
RULE_SELECTORS = [
    ("shop", {"selector": "a == 'b'", "notSelector": "has(c)"}, f"({IN_SHOP}) && (a == 'b')"),
    ("shop", {"notSelector": "has(c)"}, IN_SHOP),
    ("shop", {"nets": ["10.0.0.0/8"]}, ""),
    ("", {"notSelector": "has(c)"}, ""),
    ("", {"selector": "has(foo)"}, "has(foo)"),
    ("", {"serviceAccounts": {}}, ""),
    ("", {"namespaceSelector": "n == 'v'"}, 'pcns.n == "v"'),
    ("shop", {"namespaceSelector": "n == 'v'", "selector": "a == 'b'"}, "(pcns.n == \"v\") && (a == 'b')"),
    ("shop", {"namespaceSelector": "all()", "selector": "has(c)"}, "(has(projectcalico.org/namespace)) && (has(c))"),
    (
        "shop",
        {"namespaceSelector": "global()", "selector": "has(c)"},
        "(!has(projectcalico.org/namespace)) && (has(c))",
    ),
    ("shop", {"serviceAccounts": {"names": ["sa1", "sa2"]}}, f"({IN_SHOP}) && ({BY_NAME})"),
    ("shop", {"serviceAccounts": ACCOUNTS}, f'({IN_SHOP}) && ((pcsa.key == "v") && ({BY_NAME}))'),
    (
        "shop",
        {"serviceAccounts": ACCOUNTS, "selector": "has(l)", "namespaceSelector": "n == 'v'"},
        f'(pcns.n == "v") && (((pcsa.key == "v") && ({BY_NAME})) && (has(l)))',
    ),
]


@pytest.mark.parametrize("namespace, side, selector", RULE_SELECTORS)
def test_rule_selectors(namespace: str, side: dict[str, Any], selector: str) -> None:
    rules = [{"action": "Allow", "source": side}]
    policy = only_policy(network_policy(ingress=rules) if namespace else global_policy(ingress=rules))
    (rule,) = policy.inbound
    assert rule.source.selector == selector
    assert rule.source.not_selector == side.get("notSelector", "")


TYPES = [
    ({}, (True, False)),
    ({"ingress": [], "egress": []}, (True, False)),
    ({"egress": [{"action": "Allow"}]}, (False, True)),
    ({"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}, (True, True)),
    ({"types": ["Egress"], "ingress": [{"action": "Allow"}]}, (False, True)),
    ({"types": []}, (True, False)),
]


@pytest.mark.parametrize("spec, expected", TYPES)
def test_directions(spec: dict[str, Any], expected: tuple[bool, bool]) -> None:
    policy = only_policy(network_policy(**spec))
    assert (policy.ingress, policy.egress) == expected


def test_stored_objects_without_types_mean_both_directions() -> None:
    policy = only_policy(network_policy(STORED))
    assert (policy.ingress, policy.egress) == (True, True)
    assert only_policy(network_policy(STORED, types=["Ingress"])).egress is False


SPAN = PortRange(80, 90)
RULES = [
    ({"action": "Pass"}, Rule(action="next-tier")),
    (
        {"action": "Log", "ipVersion": 6, "notProtocol": "UDPLite"},
        Rule(action="log", ip_version=6, not_protocol="udplite"),
    ),
    ({"action": "Deny", "protocol": "47"}, Rule(action="deny", protocol=47)),
    (
        {"action": "Allow", "protocol": "ICMPv6", "icmp": {"type": 128}},
        Rule(action="allow", protocol="icmpv6", icmp=Icmp(128)),
    ),
    ({"action": "Allow", "notICMP": {"type": 8, "code": 0}}, Rule(action="allow", not_icmp=Icmp(8, 0))),
    (
        {"action": "Allow", "protocol": "TCP", "source": {"ports": [80, "80:90", "http", "443"], "notPorts": ["1:2"]}},
        Rule(
            action="allow",
            protocol="tcp",
            source=Side(ports=(PortRange(80, 80), SPAN, "http", PortRange(443, 443)), not_ports=(PortRange(1, 2),)),
        ),
    ),
    (
        {"action": "Allow", "destination": {"nets": ["FD00::/8", "fe80::/64"], "notNets": ["fd00:0:0::/64"]}},
        Rule(action="allow", destination=Side(nets=("fd00::/8", "fe80::/64"), not_nets=("fd00::/64",))),
    ),
    (
        {"action": "Allow", "metadata": {"annotations": {"b": "2", "a": "1"}}},
        Rule(action="allow", annotations=(("a", "1"), ("b", "2"))),
    ),
    ({"action": "Allow", "source": {}, "destination": None, "http": {"methods": ["GET"]}}, Rule(action="allow")),
]


@pytest.mark.parametrize("given, expected", RULES)
def test_rules(given: dict[str, Any], expected: Rule) -> None:
    (rule,) = only_policy(global_policy(ingress=[given])).inbound
    assert rule == Rule(
        **{field: getattr(expected, field) for field in expected.__struct_fields__} | {"path": ("spec", "ingress", 0)}
    )


def test_services() -> None:
    rule = {"action": "Allow", "destination": {"services": {"name": "cart", "namespace": "prod"}}}
    (found,) = only_policy(network_policy(egress=[rule])).outbound
    assert (found.destination.service, found.source) == (ServiceName("prod", "cart"), ANYONE)
    del rule["destination"]["services"]["namespace"]  # type: ignore[index]
    assert [path for _, path, _ in told(network_policy(egress=[rule]))] == ["spec.egress[0].destination.services"]
    assert told(network_policy(egress=[rule]))[0][0] == "warning"
    assert told(global_policy(egress=[rule]))[0][0] == "error"


def test_the_other_fields_of_a_policy() -> None:
    policy = only_policy(
        global_policy(order=0.5, doNotTrack=True, applyOnForward=True, performanceHints=["AssumeNeededOnEveryNode"])
    )
    assert (policy.order, policy.do_not_track, policy.apply_on_forward, policy.pre_dnat) == (0.5, True, True, False)
    assert (policy.everywhere, policy.tier, str(policy.key)) == (True, "default", "GlobalNetworkPolicy p")
    assert only_policy(network_policy()).order is None


def test_staged_policies() -> None:
    staged = manifest(CALICO, "StagedNetworkPolicy", "p", {"stagedAction": "Learn", "selector": "has(a)"}, "shop")
    policy = only_policy(staged)
    assert (policy.staged, policy.selector) == (True, f"(has(a)) && {IN_SHOP}")
    assert loaded(global_policy("StagedGlobalNetworkPolicy", stagedAction="Delete", tier="default")).policies == ()


def test_staged_kubernetes_policies_are_ingress_only_unless_they_say_otherwise() -> None:
    rules: dict[str, Any] = {"podSelector": {}, "egress": [{}]}
    staged = manifest(CALICO, "StagedKubernetesNetworkPolicy", "p", rules, "shop")
    policy = only_policy(staged)
    assert (policy.ingress, policy.egress, len(policy.outbound), policy.order) == (True, False, 1, 1000.0)
    staged["spec"]["policyTypes"] = ["Egress"]
    assert only_policy(staged).egress
    assert (
        loaded(manifest(CALICO, "StagedKubernetesNetworkPolicy", "p", {"stagedAction": "Delete"}, "shop")).policies
        == ()
    )


BLANK = [
    (network_policy(selector="  "), "spec.selector"),
    (network_policy(ingress=[{"action": "Deny", "source": {"selector": " "}}]), "spec.ingress[0].source.selector"),
    (global_policy(selector=" ", namespaceSelector="has(a)"), "spec.selector"),
]


@pytest.mark.parametrize("policy, path", BLANK)
def test_a_blank_selector_inside_a_merge_costs_the_policy(policy: dict[str, Any], path: str) -> None:
    assert loaded(policy).policies == ()
    ((severity, where, _),) = told(policy)
    assert (severity, where) == ("warning", path)


def test_a_blank_selector_alone_is_all() -> None:
    assert only_policy(global_policy(selector="  ")).selector == "  "


def test_tiers() -> None:
    given = [manifest(CALICO, "Tier", "a", {"order": 1}), manifest(CALICO, "Tier", "z", {"defaultAction": "Pass"})]
    tiers = loaded(*given).tiers
    assert tiers["a"] == Tier(name="a", order=1.0, passes=False)
    assert tiers["z"] == Tier(name="z", order=1_000_000.0, passes=True)
    assert {name: (tier.order, tier.passes) for name, tier in tiers.items() if name not in ("a", "z")} == {
        "kube-admin": (1000.0, True),
        "default": (1_000_000.0, False),
        "kube-baseline": (10_000_000.0, True),
    }


def test_the_default_tier_may_be_given_as_it_is() -> None:
    same = manifest(CALICO, "Tier", "kube-admin", {"order": 1000, "defaultAction": "Pass"})
    assert told(same) == []
    assert told(manifest(CALICO, "Tier", "kube-admin", {"defaultAction": "Deny"}))[0][1] == "spec.defaultAction"


def test_profiles() -> None:
    spec = {"ingress": [{"action": "Deny", "source": {"selector": "has(a)"}}], "labelsToApply": {"x": "y"}}
    profile = loaded(manifest(CALICO, "Profile", "custom", spec)).profiles["custom"]
    assert (profile.inbound[0].source.selector, profile.outbound, profile.labels) == ("has(a)", (), {"x": "y"})
    allow = loaded().profiles["projectcalico-default-allow"]
    assert [rule.action for rule in (*allow.inbound, *allow.outbound)] == ["allow", "allow"]


def test_network_sets() -> None:
    nets = {"nets": ["10.1.2.3/8", "192.0.2.1", "0.0.0.0/0", "::/0", "FD00::1/64"]}
    local = manifest(CALICO, "NetworkSet", "s", nets, "shop", labels={"a": "b"})
    everywhere = manifest(CALICO, "GlobalNetworkSet", "g", nets, labels={"a": "b"})
    one, two = loaded(local, everywhere).network_sets
    expected = ("10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", "fd00::/64")
    assert one.nets == two.nets == expected
    assert (one.name, one.labels, one.profiles) == ("g", {"a": "b"}, ())
    assert (two.labels, two.profiles) == ({"a": "b", "projectcalico.org/namespace": "shop"}, ("kns.shop",))


def pool(name: str, cidr: str, **spec: Any) -> dict[str, Any]:
    return manifest(CALICO, "IPPool", name, {"cidr": cidr, **spec})


def test_pools() -> None:
    pools = [
        pool("b", "10.1.0.0/16", ipipMode="CrossSubnet"),
        pool("a", "10.1.0.0/16", natOutgoing=True),
        pool("lb", "10.2.0.0/24", allowedUses=["LoadBalancer"], natOutgoing=False),
        pool("six", "FD00:1::/64", vxlanMode="Always", disabled=True),
    ]
    found = [(p.name, p.cidr, p.nat_outgoing, p.ipip, p.vxlan, p.workloads) for p in loaded(*pools).pools]
    assert found == [
        ("a", "10.1.0.0/16", True, False, False, True),
        ("lb", "10.2.0.0/24", False, False, False, False),
        ("six", "fd00:1::/64", False, False, True, True),
    ]


def rule(**fields: Any) -> dict[str, Any]:
    return global_policy(ingress=[{"action": "Allow", **fields}])


REFUSED = [
    (rule(ipVersion=5), "spec.ingress[0].ipVersion"),
    (rule(protocol="tcp"), "spec.ingress[0].protocol"),
    (rule(protocol="ICMP", ipVersion=6), "spec.ingress[0].ipVersion"),
    (rule(icmp={"type": 8}), "spec.ingress[0].icmp"),
    (rule(protocol="ICMP", icmp={"type": 8, "code": 256}), "spec.ingress[0].icmp.code"),
    (rule(source={"notNets": ["::/0"]}), "spec.ingress[0].source.notNets[0]"),
    (rule(source={"nets": ["10.0.0.0/8"], "notNets": ["fd00::/8"]}), "spec.ingress[0].source.notNets"),
    (rule(source={"selector": "global()"}), "spec.ingress[0].source.selector"),
    (global_policy(egress=[{"action": "Allow", "http": {"methods": ["GET"]}}]), "spec.egress[0].http"),
    (rule(protocol="TCP", destination={"ports": ["a--b"]}), "spec.ingress[0].destination.ports[0]"),
    (rule(source={"services": {"namespace": "shop"}}), "spec.ingress[0].source.services.name"),
    (
        rule(source={"services": {"name": "a", "namespace": "b"}, "nets": ["10.0.0.0/8"]}),
        "spec.ingress[0].source.services",
    ),
    (rule(http={"paths": [{"exact": "a"}]}), "spec.ingress[0].http.paths[0].exact"),
    (rule(http={"methods": ["GET", "GET"]}), "spec.ingress[0].http.methods[1]"),
    (rule(protocol="UDP", http={}), "spec.ingress[0].http"),
    (global_policy(preDNAT=True, applyOnForward=True, types=["Egress"]), "spec.types"),
    (global_policy(preDNAT=True), "spec.applyOnForward"),
    (global_policy(namespaceSelector="global()"), "spec.namespaceSelector"),
    (global_policy(performanceHints=["AssumeNeededOnEveryNode"] * 2), "spec.performanceHints[1]"),
    (global_policy(tier="Upper"), "spec.tier"),
    (manifest(CALICO, "GlobalNetworkPolicy", "a.b.c"), "metadata.name"),
    (manifest(CALICO, "Tier", "a.b"), "metadata.name"),
    (
        manifest(CALICO, "GlobalNetworkSet", "s", {}, labels={"projectcalico.org/namespace": "a"}),
        "metadata.labels[projectcalico.org/namespace]",
    ),
    (pool("p", "fd00::/64", ipipMode="Always"), "spec.ipipMode"),
    (pool("p", "169.254.1.0/24"), "spec.cidr"),
    (pool("p", "10.0.0.0/28"), "spec.cidr"),
    (pool("p", "10.0.0.0/24", blockSize=19), "spec.blockSize"),
    (pool("p", "10.0.0.0/24", allowedUses=["LoadBalancer", "Tunnel"]), "spec.allowedUses"),
    (pool("p", "10.0.0.0/24", allowedUses=["LoadBalancer"], ipipMode="Always"), "spec.ipipMode"),
    (pool("p", "10.0.0.0/24", allowedUses=["LoadBalancer"], nodeSelector="has(a)"), "spec.nodeSelector"),
    (manifest(CALICO, "IPPool", "p", {}), "spec.cidr"),
    (manifest(CALICO, "IPPool", "p"), "spec"),
]


@pytest.mark.parametrize("policy, path", REFUSED)
def test_what_calicos_api_refuses(policy: dict[str, Any], path: str) -> None:
    ((severity, where, _),) = told(policy)
    assert (severity, where) == ("error", path)


ACCEPTED = [
    rule(protocol=58, ipVersion=4),
    rule(source={"ports": ["http"]}),
    rule(protocol=6, destination={"ports": [80, 80]}),
    rule(protocol="ICMP", icmp={}),
    rule(protocol="TCP", notProtocol="UDP"),
    rule(source={"namespaceSelector": " global() "}),
    rule(source={"nets": []}, http=None),
    manifest(CALICO, "NetworkPolicy", "knp.default.a-b", {}, "shop"),
    manifest(CALICO, "GlobalNetworkPolicy", "tier.name", {"order": -1.5}),
    pool("p", "10.0.0.0/28", disabled=True),
]


@pytest.mark.parametrize("odd", ACCEPTED)
def test_odd_things_that_calicos_api_takes(odd: dict[str, Any]) -> None:
    assert told(odd) == []


@pytest.mark.parametrize("name, selector", [("A", 'projectcalico.org/serviceaccount in {"A"}'), ("a'b", "")])
def test_impossible_names_of_service_accounts_are_only_mentioned(name: str, selector: str) -> None:
    odd = rule(source={"serviceAccounts": {"names": [name]}})
    assert [(severity, path) for severity, path, _ in told(odd)] == [
        ("warning", "spec.ingress[0].source.serviceAccounts.names[0]")
    ]
    assert only_policy(odd).inbound[0].source.selector == selector


def test_repeated_networks_are_only_mentioned() -> None:
    twice = rule(source={"nets": ["10.0.0.0/8", "10.0.0.0/8"]})
    assert told(twice) == [("warning", "spec.ingress[0].source.nets[1]", '"10.0.0.0/8" is already in the list')]
    assert only_policy(twice).inbound[0].source.nets == ("10.0.0.0/8", "10.0.0.0/8")


HINTS = [
    (
        network_policy(podSelector={}),
        "spec.podSelector",
        "this is a field of networking.k8s.io/v1; Calico's is selector",
    ),
    (network_policy(doNotTrack=True), "spec.doNotTrack", "only global policies have this field"),
    (network_policy(selektor=""), "spec.selektor", "selector was probably meant"),
    (rule(ports=[80]), "spec.ingress[0].ports", "it belongs into source or destination"),
    (global_policy() | {"selector": "has(a)"}, "selector", "it belongs into spec"),
    (manifest(CALICO, "GlobalNetworkPolicy", "p", {}, label={"a": "b"}), "metadata.label", "labels was probably meant"),
]


@pytest.mark.parametrize("policy, path, hint", HINTS)
def test_unknown_fields_come_with_a_hint(policy: dict[str, Any], path: str, hint: str) -> None:
    (problem,) = problems(policy)
    assert (spell(problem.path), problem.hint) == (path, hint)
    assert (problem.severity, problem.reason) == ("error", "unknown field")
    (lenient,) = problems(policy, strict=False)
    assert lenient.severity == "warning"
