"""Felix's own chains: what each parameter changes in them. Their plain forms are in fixtures/hashes.txt."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from felixpy.ruleset import Ruleset
from tests.clusters import bodies, chains, compiled, node, pool

ADDRESSED = node(ipip_tunnel="10.0.0.1", vxlan_tunnel_v4="10.1.0.1", vxlan_tunnel_v6="fd00::1")
IPIP, VXLAN, VXLAN6 = pool("10.0.0.0/16", ipip=True), pool("10.1.0.0/16", vxlan=True), pool("fd00::/48", vxlan=True)
VXLAN_SOURCE = "-p 17 -m multiport --destination-ports 4789"


def comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


PREFIXES = {"InterfacePrefix": "cali,tap"}


def test_each_prefix_has_a_copy_of_each_rule_on_pod_interfaces() -> None:
    ruleset = compiled(node(), settings={**PREFIXES, "WireguardEnabled": "true", "WireguardHostEncryptionEnabled": "1"})
    ways = [f"--{way}-interface {prefix}+" for prefix in ("cali", "tap") for way in ("in", "out")]
    in_forward = [rule for rule in bodies(ruleset, "filter", "cali-FORWARD") if "interface" in rule]
    assert [rule.split(" --jump")[0] for rule in in_forward] == ways
    expected = {
        ("filter", "cali-INPUT"): "--in-interface {}+ --goto cali-wl-to-host",
        ("filter", "cali-OUTPUT"): "--out-interface {}+ --jump RETURN",
        ("raw", "cali-PREROUTING"): "--in-interface {}+ --jump MARK --set-mark 0x80000/0x80000",
        ("raw", "cali-wireguard-incoming-mark"): "--in-interface {}+ --jump RETURN",
    }
    for (table, chain), form in expected.items():
        rules = bodies(ruleset, table, chain)
        at = rules.index(form.format("cali"))
        assert rules[at + 1] == form.format("tap")


@pytest.mark.parametrize(
    "value, target", [(None, "DROP"), ("Accept", "ACCEPT"), ("return", "RETURN"), ("DROP", "DROP")]
)
def test_packets_from_pods_to_their_own_node(value: str | None, target: str) -> None:
    ruleset = compiled(node(), settings={"DefaultEndpointToHostAction": value} if value else {})
    last = f"{comment('Configured DefaultEndpointToHostAction')} --jump {target}"
    assert bodies(ruleset, "filter", "cali-wl-to-host") == ["--jump cali-from-wl-dispatch", last]
    six = bodies(ruleset, "filter", "cali-wl-to-host", 6)
    assert six[:6] == [f"-p 58 -m icmp6 --icmpv6-type {n} --jump ACCEPT" for n in (130, 131, 132, 133, 135, 136)]
    assert six[6:] == ["--jump cali-from-wl-dispatch", last]


def test_vxlan_of_strangers_is_dropped_in_ipv4_whatever_denying_means() -> None:
    ruleset = compiled(node(), VXLAN, VXLAN6, settings={"IptablesFilterDenyAction": "Reject"})
    local = "-m addrtype --dst-type LOCAL"
    dropped = f"{comment('Drop IPv4 VXLAN packets from non-allowed hosts')} {VXLAN_SOURCE} {local} --jump DROP"
    rejected = f"{comment('Reject IPv6 VXLAN packets from non-allowed hosts')} {VXLAN_SOURCE} {local} --jump REJECT"
    assert bodies(ruleset, "filter", "cali-INPUT")[1] == dropped
    assert bodies(ruleset, "filter", "cali-INPUT", 6)[1] == rejected


@pytest.mark.parametrize("family", [4, 6])
def test_vxlan_between_nodes(family: int) -> None:
    ruleset = compiled(node(), VXLAN, VXLAN6)
    words = comment(f"Allow IPv{family} VXLAN packets to other allowed hosts")
    to_others = f"-m addrtype --src-type LOCAL -m set --match-set cali{family}0all-vxlan-net dst"
    assert f"{words} {VXLAN_SOURCE} {to_others} --jump ACCEPT" in bodies(ruleset, "filter", "cali-OUTPUT", family)
    for chain in ("cali-PREROUTING", "cali-OUTPUT"):
        assert "-p udp --dport 4789 --jump NOTRACK" in bodies(ruleset, "raw", chain, family)


def tunnels(ruleset: Ruleset, family: int) -> list[str]:
    """Interfaces with a masquerading rule."""
    rules = bodies(ruleset, "nat", "cali-POSTROUTING", family)[2:]
    assert all(rule.endswith("-m addrtype --src-type LOCAL --jump MASQUERADE --random-fully") for rule in rules)
    return [rule.split(" ")[1] for rule in rules]


@pytest.mark.parametrize(
    "things, settings, v4, v6",
    [
        ([ADDRESSED], {}, [], []),
        ([node(), IPIP, VXLAN, VXLAN6], {}, [], []),
        ([ADDRESSED, IPIP], {}, ["tunl0"], []),
        ([ADDRESSED, VXLAN], {}, ["vxlan.calico"], []),
        ([ADDRESSED, VXLAN6], {}, [], ["vxlan-v6.calico"]),
        ([ADDRESSED, IPIP], {"IpInIpEnabled": "false"}, [], []),
        ([node()], {"IpInIpEnabled": "true", "IpInIpTunnelAddr": "10.9.9.9"}, ["tunl0"], []),
        ([node()], {"VXLANEnabled": "true", "IPv4VXLANTunnelAddr": "10.9.9.9"}, ["vxlan.calico"], []),
        ([node(), VXLAN6], {"IPv6VXLANTunnelAddr": "fd00::9"}, [], ["vxlan-v6.calico"]),
        ([node()], {"WireguardEnabled": "true"}, ["wireguard.cali"], []),
        ([node()], {"WireguardEnabledV6": "true", "WireguardInterfaceNameV6": "wg6"}, [], ["wg6"]),
        (
            [ADDRESSED, IPIP, VXLAN, VXLAN6],
            {"WireguardEnabled": "true", "WireguardEnabledV6": "true"},
            ["tunl0", "vxlan.calico", "wireguard.cali"],
            ["vxlan-v6.calico", "wg-v6.cali"],
        ),
    ],
)
def test_what_this_host_sends_through_a_tunnel_is_masqueraded(
    things: Sequence[object], settings: dict[str, object], v4: list[str], v6: list[str]
) -> None:
    ruleset = compiled(*things, settings=settings)
    assert (tunnels(ruleset, 4), tunnels(ruleset, 6)) == (v4, v6)


def test_wireguard_is_a_matter_of_each_family() -> None:
    ruleset = compiled(node(), settings={"WireguardEnabledV6": "true", "WireguardListeningPortV6": 5000})
    incoming = f"{comment('Allow incoming IPv6 Wireguard packets')} -p 17 -m multiport --destination-ports 5000"
    assert bodies(ruleset, "filter", "cali-INPUT", 6)[0] == f"{incoming} -m addrtype --dst-type LOCAL --jump ACCEPT"
    assert "Wireguard" not in "".join(bodies(ruleset, "filter", "cali-INPUT"))
    assert "cali-wireguard-incoming-mark" not in chains(ruleset, "raw", 6)


def test_encryption_of_host_traffic_marks_in_both_families() -> None:
    settings = {"WireguardEnabledV6": "true", "WireguardHostEncryptionEnabled": "true"}
    ruleset = compiled(node(), settings=settings)
    for family in (4, 6):
        assert bodies(ruleset, "raw", "cali-PREROUTING", family)[1] == "--jump cali-wireguard-incoming-mark"
    off = compiled(node(), settings={"WireguardHostEncryptionEnabled": "true"})
    assert "cali-wireguard-incoming-mark" not in chains(off, "raw")


@pytest.mark.parametrize(
    "settings, on",
    [
        ({}, False),
        ({"ClusterType": "k8s,OpenStack"}, True),
        ({"MetadataAddr": "10.0.0.9"}, True),
        ({"MetadataPort": "9697"}, True),
        ({"MetadataPort": "0"}, False),
        ({"InterfacePrefix": "tap"}, True),
        ({"InterfacePrefix": "tapx"}, False),
    ],
)
def test_what_switches_openstack_on(settings: dict[str, object], on: bool) -> None:
    dhcp = "-p udp -m multiport --source-ports 68 -m multiport --destination-ports 67 --jump ACCEPT"
    assert (dhcp in bodies(compiled(node(), settings=settings), "filter", "cali-wl-to-host")) is on


def test_openstack() -> None:
    ruleset = compiled(node(), settings={"ClusterType": "openstack", "MetadataAddr": "10.0.0.9", "MetadataPort": 80})
    metadata = "-p tcp --destination 10.0.0.9 -m multiport --destination-ports 80 --jump ACCEPT"
    dhcp = "-p udp -m multiport --source-ports 68 -m multiport --destination-ports 67 --jump ACCEPT"
    dns = "-p udp -m multiport --destination-ports 53 --jump ACCEPT"
    assert bodies(ruleset, "filter", "cali-wl-to-host")[:3] == [metadata, dhcp, dns]
    assert bodies(ruleset, "filter", "cali-wl-to-host", 6)[6:8] == [
        dhcp.replace("68", "546").replace("67", "547"),
        dns,
    ]
    to_metadata = "-p tcp -m multiport --destination-ports 80 --destination 169.254.169.254/32"
    assert bodies(ruleset, "nat", "cali-PREROUTING") == [
        "--jump cali-fip-dnat",
        f"{to_metadata} --jump DNAT --to-destination 10.0.0.9:80",
    ]
    assert bodies(ruleset, "nat", "cali-PREROUTING", 6) == ["--jump cali-fip-dnat"]
    asking = dhcp.replace("-p udp", "-p udp --source 0.0.0.0")
    raw, raw6 = (bodies(ruleset, "raw", "cali-PREROUTING", family) for family in (4, 6))
    assert raw.index(asking) == raw.index("-m mark --mark 0x80000/0x80000 --jump cali-rpf-skip") + 1
    assert not [rule for rule in raw6 if "0.0.0.0" in rule]


@pytest.mark.parametrize("family", [4, 6])
def test_istio_ambient_mode(family: int) -> None:
    settings = {"IstioAmbientMode": "Enabled", "IstioDSCPMark": 11, **PREFIXES}
    rules = bodies(compiled(node(), settings=settings), "mangle", "cali-POSTROUTING", family)
    known = f"-m set --match-set cali{family}0all-istio-weps"
    assert rules[:2] == [
        f"-p tcp -m conntrack --ctstate NEW --out-interface {prefix}+ {known} dst {known} src --jump DSCP --set-dscp 11"
        for prefix in ("cali", "tap")
    ]


def test_node_ports_of_ipvs_are_split_like_all_ports() -> None:
    settings = {"KubeNodePortRanges": ",".join(f"{port}:{port + 1}" for port in range(30000, 30016, 2))}
    rules = bodies(
        compiled(node(), settings=settings, interfaces={"kube-ipvs0": ()}), "filter", "cali-forward-check", 6
    )
    ports = [rule.split("--destination-ports ")[1].split(" ")[0] for rule in rules[1:-1]]
    first = ",".join(f"{port}:{port + 1}" for port in range(30000, 30014, 2))
    assert ports == [first, first, "30014:30015", "30014:30015"]
    assert [rule.split(" -p ")[1][:3] for rule in rules[1:-1]] == ["tcp", "udp"] * 2
    assert all("cali60this-host dst" in rule for rule in rules[1:])


def test_mangle_prerouting_has_its_own_allow_action() -> None:
    ruleset = compiled(node(), settings={"IptablesMangleAllowAction": "Return"})
    targets = [rule.rpartition(" ")[2] for rule in bodies(ruleset, "mangle", "cali-PREROUTING")]
    assert targets == ["RETURN", "RETURN", "cali-from-host-endpoint", "RETURN"]
    assert bodies(ruleset, "filter", "cali-OUTPUT")[0].endswith("ACCEPT")


def test_the_hooks_are_the_same_however_they_are_inserted() -> None:
    """Nothing of others is in the chains, so before and behind it are one place."""
    appended = compiled(node(), settings={"ChainInsertMode": "Append"})
    assert appended.save(4) == compiled(node()).save(4)
