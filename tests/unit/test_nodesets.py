"""Sets that do not depend on policy: when they exist and who is in them."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.config import Config
from felixpy.model import Pool
from felixpy.nodesets import encapsulation
from felixpy.ruleset import Ruleset
from tests.clusters import cluster, compiled, host_endpoint, network_set, node, pod, pool, profile


def members(ruleset: Ruleset) -> dict[str, list[str]]:
    """Members of the sets by name, without ``cali`` and the digit that is always 0: ``4this-host``."""
    return {ipset.name[4] + ipset.name[6:]: list(ipset.members) for ipset in ruleset.sets}


IPIP, VXLAN, VXLAN6 = (
    pool("10.0.0.0/16", ipip=True),
    pool("10.1.0.0/16", vxlan=True),
    pool("fd00::/48", vxlan=True),
)


@pytest.mark.parametrize(
    "pools, config, expected",
    [
        ([], Config(), (False, False, False)),
        ([IPIP], Config(), (True, False, False)),
        ([VXLAN], Config(), (False, True, False)),
        ([VXLAN6], Config(), (False, False, True)),
        ([IPIP, VXLAN, VXLAN6], Config(ipip_enabled=False, vxlan_enabled=False), (False, False, True)),
        ([], Config(ipip_enabled=True, vxlan_enabled=True), (True, True, False)),
    ],
)
def test_tunnels_are_those_of_the_pools_unless_a_setting_says_otherwise(
    pools: list[Pool], config: Config, expected: tuple[bool, bool, bool]
) -> None:
    found = encapsulation(cluster(*pools), config)
    assert (found.ipip, found.vxlan_v4, found.vxlan_v6) == expected
    assert (found.vxlan(4), found.vxlan(6)) == expected[1:]


def test_without_anything_there_are_four_sets_in_each_family() -> None:
    loopback = ["127.0.0.0", "127.0.0.1"]
    assert members(compiled(node())) == {
        "4network-ip-pools": [],
        "4masq-ipam-pools": [],
        "4this-host": loopback,
        "4dscp-src-net": [],
        "6network-ip-pools": [],
        "6masq-ipam-pools": [],
        "6this-host": ["::1"],
        "6dscp-src-net": [],
    }
    assert {name[0] for name in members(compiled(node(), settings={"Ipv6Support": "false"}))} == {"4"}


def test_pools() -> None:
    found = members(
        compiled(
            node(),
            pool("10.2.0.0/16", nat_outgoing=True),
            pool("10.0.0.0/16"),
            pool("10.1.0.0/16", workloads=False, nat_outgoing=True),
            pool("fd00::/48", nat_outgoing=True),
        )
    )
    assert found["4network-ip-pools"] == ["10.0.0.0/16", "10.2.0.0/16"]
    assert found["4masq-ipam-pools"] == ["10.1.0.0/16", "10.2.0.0/16"]
    assert (found["6network-ip-pools"], found["6masq-ipam-pools"]) == (["fd00::/48"], ["fd00::/48"])


INTERFACES = {
    "eth0": ("192.0.2.10/24", "2001:db8::10/64", "fe80::1/64"),
    "eth1": ("198.51.100.10/24", "169.254.7.7/16"),
    "cali123": ("169.254.1.1/32",),
    "kube-ipvs0": ("10.96.0.1/32",),
}


def this_host(*, settings: dict[str, object] | None = None, **more: Any) -> tuple[list[str], list[str]]:
    things = [node(**more), VXLAN]
    found = members(compiled(*things, interfaces=INTERFACES, settings=settings))
    return found["4this-host"], found["6this-host"]


def test_this_host_is_the_addresses_of_its_own_interfaces() -> None:
    own = ["127.0.0.0", "127.0.0.1", "192.0.2.10", "198.51.100.10"]
    assert this_host() == (own, ["2001:db8::10", "::1"])
    assert this_host(settings={"InterfaceExclude": "eth1,kube-ipvs0"})[0] == own[:3]
    assert "10.96.0.1" in this_host(settings={"InterfaceExclude": "eth1"})[0]


@pytest.mark.parametrize(
    "address, settings, counted",
    [
        ("192.0.2.10/24", {}, True),
        ("192.0.2.10", {}, True),
        ("192.0.2.77/24", {}, False),
        ("", {}, False),
        ("192.0.2.10/24", {"VXLANEnabled": "false"}, False),
    ],
)
def test_the_vxlan_device_counts_where_felix_can_make_it(
    address: str, settings: dict[str, object], counted: bool
) -> None:
    tunnels = {"vxlan_tunnel_v4": "10.1.0.1", "vxlan_tunnel_v6": "fd00::1"}
    v4, v6 = this_host(bgp_v4=address, bgp_v6="2001:db8::10/64", settings=settings, **tunnels)
    assert ("10.1.0.1" in v4) is counted
    assert "fd00::1" not in v6


NODES = (
    node("node1", bgp_v4="192.0.2.1/24", bgp_v6="2001:db8::1/64", vxlan_tunnel_v4="10.1.0.1"),
    node("node2", bgp_v4="192.0.2.2/24", bgp_v6="2001:db8::2", vxlan_tunnel_v4="10.1.0.2", vxlan_tunnel_v6="fd00::2"),
    node("node3", bgp_v4="192.0.2.3", vxlan_tunnel_v4="10.1.0.3"),
    node("node4", bgp_v4="192.0.2.4/24"),
    node("node5", vxlan_tunnel_v4="10.1.0.5", vxlan_tunnel_v6="fd00::5"),
)
EXTERNAL = {"ExternalNodesCIDRList": "203.0.113.7,198.51.100.5/24,2001:db8:ff::1"}


def test_all_hosts_are_the_nodes_whose_address_has_a_length() -> None:
    found = members(compiled(*NODES, IPIP))
    assert found["4all-hosts-net"] == ["192.0.2.1", "192.0.2.2", "192.0.2.4"]
    assert "6all-hosts-net" not in found
    both = members(compiled(*NODES, settings={"NATOutgoingExclusions": "IPPoolsAndHostIPs", **EXTERNAL}))
    assert both["4all-hosts-net"] == ["192.0.2.1", "192.0.2.2", "192.0.2.4", "198.51.100.0/24", "203.0.113.7"]
    assert both["6all-hosts-net"] == ["2001:db8::1"]


def test_all_vxlan_hosts_are_the_others_with_tunnel_and_address() -> None:
    found = members(compiled(*NODES, VXLAN, VXLAN6, settings=EXTERNAL))
    assert found["4all-vxlan-net"] == ["192.0.2.2", "192.0.2.3", "198.51.100.0/24", "203.0.113.7"]
    assert found["6all-vxlan-net"] == ["2001:db8::2", "2001:db8:ff::1"]
    one_family = members(compiled(*NODES, VXLAN6))
    assert ("4all-vxlan-net" in one_family, "6all-vxlan-net" in one_family) == (False, True)


def test_dscp_senders_are_local_endpoints_with_a_value() -> None:
    found = members(
        compiled(
            pod("a", "10.0.0.1", "fd00::1", dscp=46),
            pod("b", "10.0.0.2"),
            pod("c", "10.0.0.3", node="node2", dscp=46),
            pod("d", "10.0.0.4", dscp=0),
            host_endpoint("host", "", "192.0.2.1", dscp=8),
        )
    )
    assert found["4dscp-src-net"] == ["10.0.0.1", "10.0.0.4", "192.0.2.1"]
    assert found["6dscp-src-net"] == ["fd00::1"]


def test_ambient_workloads_are_those_of_ambient_namespaces_and_pods() -> None:
    ambient = {"istio.io/dataplane-mode": "ambient"}
    things = (
        pod("in", "10.0.0.1", namespace="mesh"),
        pod("out", "10.0.0.2", namespace="mesh", labels={"istio.io/dataplane-mode": "none"}),
        pod("own", "10.0.0.3", "fd00::3", node="node2", labels=ambient),
        pod("plain", "10.0.0.4"),
        network_set("nets", "10.7.0.0/24", namespace="mesh"),
        profile("kns.mesh", labels={"pcns.istio.io/dataplane-mode": "ambient"}),
    )
    found = compiled(*things, settings={"IstioAmbientMode": "Enabled"})
    assert members(found)["4all-istio-weps"] == ["10.0.0.1", "10.0.0.3", "10.7.0.0"]
    assert members(found)["6all-istio-weps"] == ["fd00::3"]
    assert {s.name: s.type for s in found.sets}["cali40all-istio-weps"] == "hash:ip"
    assert "4all-istio-weps" not in members(compiled(*things))


def test_types_sizes_and_meanings() -> None:
    found = compiled(
        *NODES, IPIP, VXLAN, interfaces=INTERFACES, settings={"MaxIpsetSize": 77, "IstioAmbientMode": "Enabled"}
    )
    assert {ipset.name: ipset.type for ipset in found.sets if ipset.family == 4} == {
        "cali40network-ip-pools": "hash:net",
        "cali40masq-ipam-pools": "hash:net",
        "cali40this-host": "hash:ip",
        "cali40dscp-src-net": "hash:net",
        "cali40all-hosts-net": "hash:net",
        "cali40all-vxlan-net": "hash:net",
        "cali40all-istio-weps": "hash:ip",
    }
    assert {ipset.max_size for ipset in found.sets} == {77}
    assert all(ipset.words for ipset in found.sets)
