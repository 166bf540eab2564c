"""Whole chains, hash for hash: what a node has in each of the situations of fixtures/hashes.txt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from felixpy.model import Icmp, NamedPort, Qos, Rule, Side
from felixpy.ruleset import Chain, Ruleset
from tests.clusters import ALLOW, DENY, LOG, chains, compiled, host_endpoint, node, pod, policy, pool, profile
from tests.tables import goldens

GOLDEN = goldens()
TO_HOST = {"DefaultEndpointToHostAction": "ACCEPT"}
IPVS = {"kube-ipvs0": ()}
GNP_A = policy("a", ingress=[DENY])
PLAIN_POD = pod("p", interface="cali1234", profiles=())


def grouped(*names: str, **values: Any) -> list[Any]:
    return [policy(name, selector="all()", order=float(at), **values) for at, name in enumerate(names)]


SITUATIONS: Mapping[str, Mapping[str, Any]] = {
    "hooks": {"things": [node()]},
    "ipip": {
        "things": [
            node(ipip_tunnel="10.65.0.1"),
            pool("10.65.0.0/16", ipip=True, nat_outgoing=True),
            host_endpoint("h", "eth0"),
            policy("raw", do_not_track=True),
        ],
        "settings": TO_HOST,
    },
    "ipv6": {"things": [node(), pool("fd00::/48", nat_outgoing=True)], "settings": TO_HOST},
    "vxlan": {"things": [node(vxlan_tunnel_v4="10.65.0.1"), pool("10.65.0.0/16", vxlan=True)]},
    "ipvs": {"things": [node()], "interfaces": IPVS},
    "wireguard": {
        "things": [node()],
        "settings": {"WireguardEnabled": "true", "WireguardHostEncryptionEnabled": "true"},
    },
    "return": {
        "things": [node()],
        "settings": {"IptablesFilterAllowAction": "Return", "IptablesMangleAllowAction": "Return"},
    },
    "no-workload": {"things": [node()]},
    "three-workloads": {"things": [pod(name, interface=f"cali{name}") for name in ("1234", "2333", "2444")]},
    "workload": {
        "things": [
            pod("web", interface="cali1234abcd567", profiles=("kns.default", "ksa.default.default")),
            profile("ksa.default.default"),
            policy("allow-web", kind="KubernetesNetworkPolicy", ingress=[ALLOW], everywhere=True),
        ],
    },
    "actions": {
        "things": [
            PLAIN_POD,
            policy(
                "default.foo",
                ingress=[
                    LOG,
                    Rule(action="deny", protocol="udp", source=Side(nets=("10.0.0.0/8",))),
                    Rule(action="next-tier", protocol="icmp", icmp=Icmp(8, 0)),
                ],
                egress=[
                    Rule(action="allow", destination=Side(nets=("10.0.0.0/8", "fd00::/8"))),
                    Rule(action="allow", annotations=(("name", "rule-a"),)),
                ],
            ),
        ],
    },
    "group-of-seven": {"things": [PLAIN_POD, *grouped(*"abcdefg", ingress=[ALLOW])]},
    "group-of-two": {"things": [PLAIN_POD, *grouped(*"ab", ingress=[ALLOW])]},
    "group-with-staged": {
        "things": [
            pod("p", interface="cali1234", labels={"a": "b"}),
            policy("s", kind="StagedGlobalNetworkPolicy", selector='a == "b"', order=1.0, egress=[ALLOW]),
            policy("a", selector="a=='b'", order=2.0, egress=[ALLOW]),
            policy("b", selector="(a == 'b')", order=3.0, egress=[ALLOW]),
        ],
    },
    "flow-logs": {
        "things": [pod("p", interface="cali1234"), GNP_A],
        "settings": {"FlowLogsLocalReporter": "Enabled"},
    },
    "host": {"things": [host_endpoint("h", "eth0", profiles=("prof1",)), profile("prof1"), GNP_A]},
    "host-untracked": {"things": [host_endpoint("h", "eth0"), policy("a", ingress=[DENY], do_not_track=True)]},
    "host-pre-dnat": {"things": [host_endpoint("h", "eth0"), policy("a", ingress=[DENY], pre_dnat=True)]},
    "qos": {
        "things": [
            pod(
                "p",
                interface="cali1234",
                profiles=(),
                qos=Qos(ingress_packet_rate=2000, ingress_packet_burst=4000, ingress_connections=20),
            )
        ],
    },
    "host-and-all": {"things": [host_endpoint("h", "eth0"), host_endpoint("all", "*")]},
    "host-all": {"things": [host_endpoint("all", "*")]},
    "addresses": {
        "things": [
            pod("p", "10.0.240.2", interface="cali1234", floating=(("10.0.240.2", "172.16.1.3"),)),
            pod("q", "192.168.10.100", "172.17.1.100", dscp=40),
            pod("r", "10.0.240.9", interface="cali1234", spoofable=("10.5.0.0/24",)),
        ],
        "service_cidrs": ("172.16.0.0/16", "10.96.0.0/12"),
        "settings": {"FloatingIPs": "Enabled", "WorkloadSourceSpoofing": "Any"},
    },
    "ipvs-endpoints": {
        "things": [pod("p", interface="cali1234"), host_endpoint("h", "eth0")],
        "interfaces": {**IPVS, "eth0": ()},
    },
}
"""The cluster of each case."""

ELSEWHERE = {"other-chains", "workload-policy"}
"""Cases that no cluster gives; tests of hashes and of policy chains have them."""


def situation(case: str) -> Ruleset:
    values = dict(SITUATIONS[case])
    return compiled(*values.pop("things"), **values)


def test_every_case_has_its_cluster() -> None:
    assert set(GOLDEN) == set(SITUATIONS) | ELSEWHERE


@pytest.mark.parametrize("case", SITUATIONS)
def test_chains(case: str) -> None:
    ruleset = situation(case)
    family = 6 if case == "ipv6" else 4
    for (table, name), rules in GOLDEN[case].items():
        made = chains(ruleset, table, family)
        assert name in made, f"{table} has no chain {name}, only {sorted(made)}"
        assert list(zip(made[name].hashes, made[name].bodies, strict=True)) == rules, f"{table} {name}"


def test_hooks_hang_in_the_kernels_chains_and_nowhere_else() -> None:
    ruleset = situation("hooks")
    found = {
        (table, name): chain
        for table in ("raw", "mangle", "nat", "filter")
        for name, chain in chains(ruleset, table).items()
        if not name.startswith("cali-")
    }
    assert set(found) - {("mangle", "PREROUTING"), ("nat", "PREROUTING"), ("nat", "OUTPUT")} == set(GOLDEN["hooks"])
    hashes = {name: found["raw", name].hashes for name in ("PREROUTING", "OUTPUT")}
    assert found["mangle", "PREROUTING"].hashes == found["nat", "PREROUTING"].hashes == hashes["PREROUTING"]
    assert found["nat", "OUTPUT"].hashes == found["filter", "OUTPUT"].hashes == hashes["OUTPUT"]


def test_failsafe_chains_are_the_same_in_mangle_as_in_filter() -> None:
    early = policy("early", pre_dnat=True)
    ruleset = compiled(host_endpoint("h", "eth0"), early)
    for name in ("cali-failsafe-in", "cali-failsafe-out"):
        assert chains(ruleset, "mangle")[name].hashes == chains(ruleset, "filter")[name].hashes


EVERYTHING = [
    node(bgp_v4="192.0.2.1/24"),
    pod("p", "10.65.0.1", "fd00::1", ports=(NamedPort("http", "tcp", 80),)),
    host_endpoint("h", "eth0"),
    host_endpoint("all", "*"),
    policy("a", order=1.0),
    policy("b", order=2.0, apply_on_forward=True, ingress=[ALLOW]),
    policy("raw", order=3.0, do_not_track=True),
    policy("early", order=4.0, pre_dnat=True, ingress=[ALLOW]),
]


def reached(ruleset: Ruleset) -> dict[tuple[str, str], Chain]:
    return {(table.name, chain.name): chain for table in ruleset.tables.values() for chain in table.chains}


@pytest.mark.parametrize(
    "things, absent, present",
    [
        (
            EVERYTHING[1:2],
            [
                ("filter", "cali-failsafe-in"),
                ("raw", "cali-wireguard-incoming-mark"),
                ("mangle", "cali-pro-kns.default"),
            ],
            [("filter", "cali-pri-kns.default"), ("filter", "cali-from-host-endpoint"), ("raw", "cali-rpf-skip")],
        ),
        (
            [EVERYTHING[2], EVERYTHING[4]],
            [("raw", "cali-failsafe-in"), ("mangle", "cali-failsafe-in"), ("mangle", "cali-pi-gnp/a")],
            [("filter", "cali-failsafe-in"), ("mangle", "cali-failsafe-out"), ("mangle", "cali-po-gnp/a")],
        ),
        (
            EVERYTHING[2:],
            [("nat", "cali-pi-gnp/early"), ("filter", "cali-pi-gnp/raw"), ("raw", "cali-th-any-interface-at-all")],
            [
                ("raw", "cali-pi-gnp/raw"),
                ("raw", "cali-po-gnp/raw"),
                ("mangle", "cali-pi-gnp/early"),
                ("raw", "cali-failsafe-in"),
                ("mangle", "cali-failsafe-in"),
                ("mangle", "cali-fh-any-interface-at-all"),
            ],
        ),
    ],
)
def test_only_chains_that_something_jumps_to_are_programmed(
    things: list[Any], absent: list[tuple[str, str]], present: list[tuple[str, str]]
) -> None:
    found = reached(compiled(*things))
    assert [key for key in absent if key in found] == []
    assert [key for key in present if key not in found] == []


def test_a_policy_wanted_on_every_node_is_programmed_in_filter_without_a_jump() -> None:
    ruleset = compiled(node(), policy("wanted", selector="has(nobody)", everywhere=True), policy("other"))
    found = {key for key in reached(ruleset) if "gnp" in key[1]}
    assert found == {("filter", "cali-pi-gnp/wanted"), ("filter", "cali-po-gnp/wanted")}


def test_staged_policies_have_no_chains() -> None:
    staged = policy("s", kind="StagedGlobalNetworkPolicy")
    found = reached(compiled(PLAIN_POD, staged, policy("wanted", kind="StagedNetworkPolicy", everywhere=True)))
    assert not [key for key in found if "sgnp" in key[1] or "snp" in key[1]]


def test_families_are_those_of_ipv6_support() -> None:
    assert compiled(*EVERYTHING).families == (4, 6)
    assert compiled(*EVERYTHING, settings={"Ipv6Support": "false"}).families == (4,)
