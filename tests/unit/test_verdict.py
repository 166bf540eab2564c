"""The oracle on clusters built by hand: who is asked, in which order, and what each criterion of a rule means."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from felixpy.config import Config, FailsafePort
from felixpy.errors import UsageError
from felixpy.model import (
    Cluster,
    HostEndpoint,
    NamedPort,
    NetworkSet,
    Node,
    Policy,
    PolicyKey,
    Profile,
    Rule,
    ServiceName,
    Side,
    Slice,
    Source,
    Tier,
    Workload,
)
from felixpy.testing.verdict import FirstPacket, Oracle, Peer

HERE = Source("cluster.yaml", 1)
ALLOW, DENY, PASS, LOG = (Rule(action=action) for action in ("allow", "deny", "next-tier", "log"))
OPEN = Profile(name="open", inbound=(ALLOW,), outbound=(ALLOW,), labels={"zone": "open"}, source=HERE)
SHUT = Profile(name="shut", inbound=(DENY,), outbound=(DENY,), labels={}, source=HERE)
MUTE = Profile(name="mute", inbound=(), outbound=(), labels={"zone": "mute"}, source=HERE)
LOGS_THEN_PASSES = Profile(name="passing", inbound=(LOG, PASS, DENY), outbound=(ALLOW,), labels={}, source=HERE)
PROFILES = {profile.name: profile for profile in (OPEN, SHUT, MUTE, LOGS_THEN_PASSES)}
TIER_ROWS = (("default", 1e6, False), ("early", 10.0, False), ("soft", 20.0, True), ("also", 10.0, True))
TIERS = {name: Tier(name=name, order=order, passes=passes) for name, order, passes in TIER_ROWS}


def pod(name: str, *addresses: str, node: str = "node1", ports: tuple[NamedPort, ...] = ()) -> Workload:
    labels, profiles = {"app": name}, ("open",)
    return Workload("ns", name, node, f"cali{name}", addresses, labels, profiles, ports, HERE)


def policy(name: str, *rules: Rule, tier: str = "default", kind: str = "GlobalNetworkPolicy", **more: Any) -> Policy:
    """A policy for everybody, with the same rules in both directions unless told otherwise."""
    values: dict[str, Any] = {"order": None, "selector": "", "ingress": True, "egress": True, "source": HERE} | more
    return Policy(key=PolicyKey(kind, "", name), tier=tier, **({"inbound": rules, "outbound": rules} | values))


CLIENT = pod("client", "10.0.0.1", "fd00::1", node="node2", ports=(NamedPort("reply", "tcp", 4000),))
SERVER = pod("server", "10.0.0.2", "fd00::2", ports=(NamedPort("web", "tcp", 80), NamedPort("web", "udp", 81)))
TWIN = pod("twin", "10.0.0.1", node="node3")
NETWORKS = NetworkSet(
    name="partners",
    namespace="",
    nets=("10.0.0.0/30", "198.51.100.0/24"),
    labels={"role": "partner"},
    profiles=(),
    source=HERE,
)
SLICE = Slice(service=ServiceName("ns", "web"), addresses=("10.0.0.2", "10.0.0.9"), ports=(("tcp", 80),), source=HERE)
SLICE_WITHOUT_PORTS = Slice(service=ServiceName("ns", "bare"), addresses=("10.0.0.1",), ports=(), source=HERE)
CONTROL = HostEndpoint(
    name="control",
    node="node1",
    interface="eth0",
    addresses=("192.168.0.1", "fd00:9::1"),
    labels={"host": "control"},
    profiles=(),
    ports=(),
    source=HERE,
)


def cluster(*policies: Policy, **more: Any) -> Cluster:
    values: dict[str, Any] = {"workloads": (CLIENT, SERVER, TWIN), "profiles": PROFILES, "tiers": TIERS} | more
    return Cluster(policies=policies, **values)


def packet(source: Peer = CLIENT, destination: Peer = SERVER, **more: Any) -> FirstPacket:
    values: dict[str, Any] = {"protocol": "tcp", "port": 80} | more
    return FirstPacket(source=source, destination=destination, **values)


def said(*policies: Policy, source: Peer = "192.0.2.1", destination: Peer = SERVER) -> str:
    """What is said about a packet to SERVER, in short: ``outcome place, outcome place``."""
    steps = Oracle(cluster(*policies)).verdict(packet(source, destination)).steps
    places = (step.policy.name if step.policy else step.tier or step.profile or step.reason for step in steps)
    return ", ".join(f"{step.outcome} {place}" for step, place in zip(steps, places, strict=True))


# --- order, tiers and actions


ORDER: list[tuple[str, list[Policy], str]] = [
    ("no policy: the profile decides", [], "allow open"),
    ("allow", [policy("p", ALLOW)], "allow p"),
    ("deny", [policy("p", DENY)], "deny p"),
    ("a policy without rules isolates", [policy("p")], "deny default"),
    ("log goes on", [policy("p", LOG, ALLOW)], "log p, allow p"),
    ("log decides nothing", [policy("p", LOG)], "log p, deny default"),
    ("the first rule that matches", [policy("p", ALLOW, DENY)], "allow p"),
    ("pass leaves the tier", [policy("p", PASS), policy("q", DENY)], "pass p, allow open"),
    ("by name", [policy("b", DENY), policy("a", ALLOW)], "allow a"),
    ("a slash comes after a dash", [policy("a", DENY), policy("a-b", ALLOW)], "allow a-b"),
    ("and before a digit", [policy("a0", DENY), policy("a", ALLOW)], "allow a"),
    ("by order before name", [policy("a", DENY), policy("b", ALLOW, order=-1.5)], "allow b"),
    ("no order is last", [policy("a", DENY), policy("b", ALLOW, order=1e9)], "allow b"),
    ("by kind at the very end", [policy("a", ALLOW, kind="NetworkPolicy"), policy("a", DENY)], "deny a"),
    ("tiers by order", [policy("p", DENY), policy("e", ALLOW, tier="early")], "allow e"),
    ("tiers by name", [policy("a", DENY, tier="early"), policy("b", ALLOW, tier="also")], "allow b"),
    ("end of a denying tier", [policy("e", tier="early"), policy("p", ALLOW)], "deny early"),
    ("end of a passing tier", [policy("s", tier="soft"), policy("p", ALLOW)], "pass soft, allow p"),
    ("missing tiers last", [policy("x", ALLOW, tier="gone"), policy("p", PASS)], "pass p, allow x"),
    ("missing tiers deny", [policy("x", tier="gone")], "deny gone"),
    ("two missing", [policy("x", PASS, tier="gone"), policy("y", DENY, tier="lost")], "pass x, deny y"),
    ("not selected", [policy("p", DENY, selector="app == 'other'")], "allow open"),
    ("selected by a label of the profile", [policy("p", DENY, selector="zone == 'open'")], "deny p"),
    ("of the other direction", [policy("p", DENY, ingress=False)], "allow open"),
    ("staged policies are silent", [policy("p", DENY, kind="StagedGlobalNetworkPolicy")], "allow open"),
    ("so is a tier of only those", [policy("p", kind="StagedNetworkPolicy", tier="early")], "allow open"),
    ("untracked policy is none of a pod's", [policy("p", DENY, do_not_track=True)], "allow open"),
    ("nor is pre-DNAT policy", [policy("p", DENY, pre_dnat=True)], "allow open"),
    ("applyOnForward changes nothing here", [policy("p", DENY, apply_on_forward=True)], "deny p"),
]


@pytest.mark.parametrize("policies, expected", [pytest.param(*row[1:], id=row[0]) for row in ORDER])
def test_what_is_said_in_which_order(policies: list[Policy], expected: str) -> None:
    assert said(*policies) == expected
    assert said(*reversed(policies)) == expected


@pytest.mark.parametrize(
    "profiles, expected",
    [
        ((), "deny no profile"),
        (("mute",), "deny no profile"),
        (("mute", "open"), "allow open"),
        (("shut", "open"), "deny shut"),
        (("gone", "open"), "deny gone"),
        (("passing", "open"), "log passing, pass passing, allow open"),
    ],
)
def test_profiles_follow_the_tiers(profiles: tuple[str, ...], expected: str) -> None:
    assert said(destination=replace(SERVER, profiles=profiles)) == expected


@pytest.mark.parametrize(
    "labels, profiles, selector, expected",
    [
        ({"zone": "own"}, ("open",), "zone == 'own'", "deny"),
        ({}, ("mute", "open"), "zone == 'mute'", "deny"),
        ({}, ("open", "mute"), "zone == 'mute'", "allow"),
    ],
)
def test_own_labels_hide_those_of_profiles(
    labels: dict[str, str], profiles: tuple[str, ...], selector: str, expected: str
) -> None:
    server = replace(SERVER, labels=labels, profiles=profiles)
    assert said(policy("p", DENY, selector=selector), destination=server).startswith(expected)


# --- both ends


@pytest.mark.parametrize(
    "egress, ingress, allowed, directions",
    [
        (ALLOW, ALLOW, True, ["egress", "ingress"]),
        (DENY, ALLOW, False, ["egress"]),
        (ALLOW, DENY, False, ["egress", "ingress"]),
    ],
)
def test_both_ends_have_to_agree(egress: Rule, ingress: Rule, allowed: bool, directions: list[str]) -> None:
    world = cluster(
        policy("out", egress, selector="app == 'client'", ingress=False),
        policy("in", ingress, selector="app == 'server'", egress=False),
    )
    verdict = Oracle(world).verdict(packet())
    assert verdict.allowed is allowed
    assert [step.direction for step in verdict.steps] == directions


def test_one_end_alone() -> None:
    oracle = Oracle(cluster(policy("p", DENY, selector="app == 'server'")))
    assert oracle.ask(packet(), "egress").allowed
    assert not oracle.ask(packet(), "ingress").allowed
    assert oracle.ask(packet("192.0.2.1"), "egress").steps == ()


def test_each_direction_has_its_rules_and_its_memory() -> None:
    """One oracle, asked about a pod, its other direction, and about a pod and a host endpoint of the same name."""
    namesake = replace(SERVER, namespace="other", labels={})
    host = replace(CONTROL, name="server", labels={})
    oracle = Oracle(cluster(policy("p", DENY, outbound=(ALLOW,), selector="app == 'server'"), host_endpoints=(host,)))
    assert not oracle.ask(packet("192.0.2.1", SERVER), "ingress").allowed
    (step,) = oracle.ask(packet(SERVER, "192.0.2.1"), "egress").steps
    assert (step.outcome, step.policy) == ("allow", PolicyKey("GlobalNetworkPolicy", "", "p"))
    assert oracle.ask(packet("192.0.2.1", namesake), "ingress").allowed
    assert oracle.ask(packet("192.0.2.1", host), "ingress").steps[0].reason == "no profile"


def test_a_step_tells_where_it_comes_from() -> None:
    at = Source("policies.yaml", 7)
    rule = Rule(action="deny", path=("spec", "ingress", 1))
    oracle = Oracle(cluster(policy("p", Rule(action="allow", protocol="udp"), rule, tier="early", source=at)))
    (step,) = oracle.verdict(packet("192.0.2.1")).steps
    assert (step.direction, step.outcome, step.reason) == ("ingress", "deny", "rule")
    assert (step.tier, step.policy) == ("early", PolicyKey("GlobalNetworkPolicy", "", "p"))
    assert (step.rule, step.path, step.source) == (1, ("spec", "ingress", 1), at)


SHUT_IN = policy("shut", DENY)
ROUTED = Node(
    name="node1", labels={}, source=HERE, bgp_v4="192.168.0.8/24", bgp_v6="fd00:9::8", vxlan_tunnel_v4="10.65.0.1"
)


@pytest.mark.parametrize(
    "source, destination, reasons",
    [
        pytest.param(SERVER, SERVER, ["loopback"], id="a pod and itself"),
        pytest.param(SERVER, "10.0.0.2", ["loopback"], id="a pod and its own address"),
        pytest.param(CLIENT, TWIN, ["loopback"], id="a pod and another pod with its address"),
        pytest.param(CONTROL, SERVER, ["host to own pod"], id="a host and its pod"),
        pytest.param("192.168.0.1", SERVER, ["host to own pod"], id="an address of a host endpoint"),
        pytest.param("192.168.0.8", SERVER, ["host to own pod"], id="an address of the node"),
        pytest.param("10.65.0.1", SERVER, ["host to own pod"], id="a tunnel address of the node"),
        pytest.param("192.168.0.9", SERVER, ["rule"], id="an address of nobody"),
        pytest.param("192.168.0.8", replace(SERVER, node="node3"), ["rule"], id="a node and the pod of another"),
        pytest.param("192.168.0.8", "192.0.2.1", [], id="nobody is asked"),
    ],
)
def test_who_is_not_asked(source: Peer, destination: Peer, reasons: list[str]) -> None:
    world = cluster(SHUT_IN, host_endpoints=(CONTROL,), nodes={"node1": ROUTED})
    verdict = Oracle(world).verdict(packet(source, destination))
    assert [step.reason for step in verdict.steps] == reasons
    assert verdict.allowed is (reasons != ["rule"])


@pytest.mark.parametrize("destination", [CONTROL, "192.168.0.8"])
@pytest.mark.parametrize(
    "config, rule, reasons, allowed",
    [
        (Config(), ALLOW, ["rule", "DefaultEndpointToHostAction"], False),
        (Config(endpoint_to_host_action="ACCEPT"), ALLOW, ["rule", "DefaultEndpointToHostAction"], True),
        (Config(endpoint_to_host_action="RETURN"), ALLOW, ["rule", "DefaultEndpointToHostAction"], True),
        (Config(endpoint_to_host_action="ACCEPT"), DENY, ["rule"], False),
    ],
)
def test_a_pod_needs_policy_and_configuration_to_reach_its_node(
    destination: Peer, config: Config, rule: Rule, reasons: list[str], allowed: bool
) -> None:
    world = cluster(policy("p", rule), host_endpoints=(CONTROL,), nodes={"node1": ROUTED})
    verdict = Oracle(world, {"node1": config}).verdict(packet(SERVER, destination))
    assert [step.reason for step in verdict.steps] == reasons
    assert verdict.allowed is allowed


def test_a_pod_with_source_prefixes_needs_permission() -> None:
    server = replace(SERVER, spoofable=("172.16.0.0/12",))
    rule = Rule(action="allow", destination=Side(selector="app == 'server'"))
    world = cluster(policy("p", rule), workloads=(CLIENT, server))
    refused = Oracle(world)
    assert [step.reason for step in refused.verdict(packet("192.0.2.1", server)).steps] == ["allowedSourcePrefixes"]
    assert not refused.ask(packet("192.0.2.1", replace(server, spoofable=())), "ingress").allowed, "in no set either"
    assert Oracle(world, {"node1": Config(source_spoofing="Any")}).verdict(packet("192.0.2.1", server)).allowed


# --- host endpoints

NARROW = Config(
    failsafe_inbound=(FailsafePort("tcp", 22, "203.0.113.0/24"), FailsafePort("udp", 68)),
    failsafe_outbound=(FailsafePort("udp", 53, "fd00:53::/32"),),
)


@pytest.mark.parametrize(
    "config, source, destination, protocol, port, expected",
    [
        (Config(), "192.0.2.1", CONTROL, "tcp", 22, "allow failsafe port"),
        (Config(), "192.0.2.1", CONTROL, "udp", 22, "deny rule"),
        (Config(), "192.0.2.1", CONTROL, "tcp", 2222, "deny rule"),
        (Config(), "192.0.2.1", CONTROL, "icmp", None, "deny rule"),
        (Config(), CONTROL, "192.0.2.1", "udp", 53, "allow failsafe port"),
        (Config(), CONTROL, "192.0.2.1", "tcp", 22, "deny rule"),
        (Config(), "192.0.2.1", SERVER, "tcp", 22, "deny rule"),
        (NARROW, "203.0.113.7", CONTROL, "tcp", 22, "allow failsafe port"),
        (NARROW, "192.0.2.1", CONTROL, "tcp", 22, "deny rule"),
        (NARROW, "2001:db8::1", CONTROL, "tcp", 22, "deny rule"),
        (NARROW, CONTROL, "fd00:53::1", "udp", 53, "allow failsafe port"),
        (NARROW, CONTROL, "192.0.2.1", "udp", 53, "deny rule"),
    ],
)
def test_failsafe_ports_beat_policy(
    config: Config, source: Peer, destination: Peer, protocol: str, port: int | None, expected: str
) -> None:
    world = cluster(SHUT_IN, host_endpoints=(CONTROL,))
    (step,) = Oracle(world, {"node1": config}).verdict(packet(source, destination, protocol=protocol, port=port)).steps
    assert f"{step.outcome} {step.reason}" == expected


@pytest.mark.parametrize(
    "policies, endpoint, expected",
    [
        ([], CONTROL, "deny no profile"),
        ([], replace(CONTROL, profiles=("open",)), "allow rule"),
        ([policy("p", ALLOW, selector="host == 'control'")], CONTROL, "allow rule"),
        ([policy("p", ALLOW, selector="app == 'server'")], CONTROL, "deny no profile"),
    ],
)
def test_policy_of_host_endpoints(policies: list[Policy], endpoint: HostEndpoint, expected: str) -> None:
    (step,) = Oracle(cluster(*policies, host_endpoints=(endpoint,))).verdict(packet("192.0.2.1", endpoint)).steps
    assert f"{step.outcome} {step.reason}" == expected


def test_profiles_name_their_rules_too() -> None:
    (step,) = Oracle(cluster()).ask(packet(), "ingress").steps
    assert (step.profile, step.rule, step.policy, step.tier) == ("open", 0, None, "")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"protocol": "gre"}, '"gre" is none of icmp, tcp,'),
        ({"port": None}, "a tcp packet needs a destination port"),
        ({"source": TWIN, "family": 6}, "twin has no IPv6 address"),
        ({"source": "2001:db8::1", "family": 4}, "2001:db8::1 has no IPv4 address"),
        ({"source": "10.0.0.256"}, '"10.0.0.256" is not an IP address'),
        ({"source": "2001:db8::1", "destination": TWIN}, "twin has no IPv6 address"),
    ],
)
def test_packets_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        Oracle(cluster()).verdict(packet(**changes))
