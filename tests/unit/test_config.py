"""Felix's parameters: how their values are written, where they come from, and what is derived from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from felixpy.config import Config, FailsafePort, Setting, build, find, parameters, spec_fields
from felixpy.parameters import ConfigValueError
from felixpy.settings import described

PORTS = (FailsafePort("tcp", 22), FailsafePort("udp", 53, "10.0.0.0/8"))

GOOD: dict[str, list[tuple[object, object]]] = {
    "IptablesFilterAllowAction": [("ACCEPT", "ACCEPT"), ("Return", "RETURN"), (" accept ", "ACCEPT")],
    "IptablesMangleAllowAction": [("return", "RETURN")],
    "IptablesFilterDenyAction": [("Reject", "REJECT"), ("drop", "DROP")],
    "NftablesFilterAllowAction": [("Return", "RETURN")],
    "NftablesMangleAllowAction": [("return", "RETURN")],
    "NftablesFilterDenyAction": [("Reject", "REJECT")],
    "DefaultEndpointToHostAction": [("Accept", "ACCEPT"), ("RETURN", "RETURN"), ("Drop", "DROP")],
    "DisableConntrackInvalidCheck": [(True, True), ("true", True), ("1", True), ("yes", True), ("n", False)],
    "InterfacePrefix": [("cali", ("cali",)), (" eni , veth ,", ("eni", "veth"))],
    "InterfaceExclude": [("kube-ipvs0,/^docker/", ("kube-ipvs0", "/^docker/")), (["a", "b"], ("a", "b"))],
    "ChainInsertMode": [("Append", "append"), ("INSERT", "insert")],
    "IptablesMarkMask": [("0xff000000", 0xFF000000), (4278190080, 0xFF000000), ("65280", 0xFF00)],
    "NftablesMarkMask": [("0xff000000", 0xFF000000)],
    "Ipv6Support": [("false", False), (False, False), ("Y", True)],
    "MaxIpsetSize": [(1, 1), ("1048576", 1048576)],
    "BPFEnabled": [("true", True), (False, False)],
    "NFTablesMode": [("disabled", "Disabled"), ("AUTO", "Auto"), ("Enabled", "Enabled")],
    "FeatureDetectOverride": [
        ("SNATFullyRandom=false, NFLogSize = true", (("SNATFullyRandom", "false"), ("NFLogSize", "true")))
    ],
    "FailsafeInboundHostPorts": [
        ("tcp:22,udp:10.0.0.5/8:53", PORTS),
        ([{"protocol": "TCP", "port": 22}, {"protocol": "udp", "net": "10.0.0.0/8", "port": 53}], PORTS),
        ("22", (FailsafePort("tcp", 22),)),
        ("UDP:[fd00::1]:53", (FailsafePort("udp", 53, "fd00::1/128"),)),
        ("tcp:[fd00::]/8:1022", (FailsafePort("tcp", 1022, "fd00::/8"),)),
        ("tcp:10.0.0.1:22", (FailsafePort("tcp", 22, "10.0.0.1/32"),)),
        ([{"port": 22}], (FailsafePort("tcp", 22),)),
        ("none", ()),
        ("NONE", ()),
        ([], ()),
    ],
    "FailsafeOutboundHostPorts": [("none", ())],
    "LogPrefix": [("%k %n", "%k %n")],
    "LogActionRateLimit": [(rate, rate) for rate in ("50/minute", "1/second", "9/hour", "9/day")],
    "LogActionRateLimitBurst": [(0, 0), ("9999", 9999)],
    "FlowLogsGoldmaneServer": [("goldmane:7443", "goldmane:7443")],
    "FlowLogsLocalReporter": [("enabled", "Enabled")],
    "IpInIpEnabled": [("true", True), (False, False)],
    "VXLANEnabled": [("false", False)],
    "VXLANPort": [(1, 1), ("65535", 65535)],
    "IpInIpTunnelAddr": [("10.0.0.1", "10.0.0.1")],
    "IPv4VXLANTunnelAddr": [("10.0.0.1", "10.0.0.1")],
    "IPv6VXLANTunnelAddr": [("FD00::0:1", "fd00::1")],
    "AllowVXLANPacketsFromWorkloads": [("true", True)],
    "AllowIPIPPacketsFromWorkloads": [("true", True)],
    "WireguardEnabled": [(True, True)],
    "WireguardEnabledV6": [(True, True)],
    "WireguardListeningPort": [(51820, 51820)],
    "WireguardListeningPortV6": [("51821", 51821)],
    "WireguardInterfaceName": [("wg0", "wg0")],
    "WireguardInterfaceNameV6": [("wg6", "wg6")],
    "WireguardHostEncryptionEnabled": [("true", True)],
    "ExternalNodesCIDRList": [
        (["10.0.0.9/24", "192.0.2.1"], ("10.0.0.0/24", "192.0.2.1/32")),
        ("FD00::1", ("fd00::1/128",)),
    ],
    "KubeNodePortRanges": [("30000:32767,4000", ((30000, 32767), (4000, 4000)))],
    "NATPortRange": [("32768:65535", (32768, 65535)), (80, (80, 80)), ("1:1", (1, 1))],
    "NATOutgoingAddress": [("192.0.2.1", "192.0.2.1")],
    "NATOutgoingExclusions": [("ippoolsandhostips", "IPPoolsAndHostIPs"), ("IPPoolsOnly", "IPPoolsOnly")],
    "IptablesNATOutgoingInterfaceFilter": [("eth+", "eth+")],
    "ServiceLoopPrevention": [("reject", "Reject"), ("Disabled", "Disabled"), ("DROP", "Drop")],
    "FloatingIPs": [("enabled", "Enabled")],
    "WorkloadSourceSpoofing": [("any", "Any")],
    "IstioAmbientMode": [("Enabled", "Enabled")],
    "IstioDSCPMark": [(0, 0), ("63", 63)],
    "ClusterType": [("k8s,openstack", "k8s,openstack")],
    "MetadataAddr": [("10.0.0.1", "10.0.0.1")],
    "MetadataPort": [(0, 0), ("8775", 8775)],
}
"""Each parameter with values and what they mean."""

BAD: dict[str, list[object]] = {
    "IptablesFilterAllowAction": ["DROP", "", 1],
    "IptablesMangleAllowAction": ["REJECT"],
    "IptablesFilterDenyAction": ["ACCEPT"],
    "DefaultEndpointToHostAction": ["REJECT"],
    "DisableConntrackInvalidCheck": ["maybe", "2", "on"],
    "ChainInsertMode": ["prepend"],
    "IptablesMarkMask": ["0x100000000", "0", "-1", "0xg", True],
    "Ipv6Support": ["auto"],
    "MaxIpsetSize": ["0", "many", 2**32],
    "BPFEnabled": ["maybe"],
    "NFTablesMode": ["iptables"],
    "FeatureDetectOverride": ["SNATFullyRandom", "a=b,c"],
    "FailsafeInboundHostPorts": ["tcp", "0", "65536", "sctp:22", "tcp:10.0.0.1:22:x", "tcp:fd00::1:22"],
    "FailsafeOutboundHostPorts": ["icmp:1"],
    "LogActionRateLimit": ["50", "50/min", "/minute", "a/second", "5/week"],
    "LogActionRateLimitBurst": ["-1", "10000"],
    "FlowLogsLocalReporter": ["on"],
    "IpInIpEnabled": ["Always"],
    "VXLANPort": ["0", "65536", "vxlan", True],
    "IPv6VXLANTunnelAddr": ["nowhere"],
    "WireguardListeningPort": ["0"],
    "ExternalNodesCIDRList": ["10.0.0.0/33", "host.example"],
    "KubeNodePortRanges": ["30000:32767,x"],
    "NATPortRange": ["0:1", "2:1", "1:65536", "1-2", "a"],
    "NATOutgoingAddress": ["fd00::1", "10.0.0.1/24", "10.0.0", "010.0.0.1"],
    "NATOutgoingExclusions": ["None"],
    "ServiceLoopPrevention": ["Return"],
    "FloatingIPs": ["true"],
    "WorkloadSourceSpoofing": ["Enabled"],
    "IstioAmbientMode": ["ambient"],
    "IstioDSCPMark": ["64", "-1"],
    "MetadataPort": ["65536"],
}
"""Values that Felix cannot read."""


def test_every_parameter_has_values_in_this_file() -> None:
    assert {field.metadata["name"] for field in dataclasses.fields(Config)} == set(GOOD)
    assert set(BAD) <= set(GOOD)


@pytest.mark.parametrize(
    "name, value, expected", [(name, *row) for name, rows in GOOD.items() for row in rows], ids=str
)
def test_values_are_read(name: str, value: object, expected: object) -> None:
    field = parameters()[name.lower()]
    assert field.metadata["parse"](value) == expected
    found = getattr(build([Setting(name, value)]), field.name)
    assert found == expected if value not in ("", None) else found == field.default
    assert type(found) is type(expected)


@pytest.mark.parametrize("name, value", [(name, value) for name, values in BAD.items() for value in values], ids=str)
def test_values_that_cannot_be_read_are_refused_and_leave_the_default(name: str, value: object) -> None:
    field = parameters()[name.lower()]
    with pytest.raises(ValueError, match=r"\w+"):
        field.metadata["parse"](value)
    assert build([Setting(name, value)]) == Config()


def test_failsafe_ports_of_other_protocols_keep_felix_from_starting() -> None:
    field = parameters()["failsafeinboundhostports"]
    assert field.metadata["fatal"]
    with pytest.raises(ConfigValueError, match="only TCP and UDP") as caught:
        field.metadata["parse"]([{"protocol": "TCP", "port": 1}, {"protocol": "SCTP", "port": 2}])
    assert (caught.value.path, caught.value.fatal) == ((1, "protocol"), True)


@pytest.mark.parametrize(
    "settings, port",
    [
        ([], 4789),
        ([Setting("VXLANPort", "1"), Setting("VXLANPort", "2")], 1),
        ([Setting("vxlanport", "1")], 1),
        ([Setting("vxlanPort", 1, by_field=True), Setting("VXLANPort", "2")], 1),
        ([Setting("VXLANPort", ""), Setting("VXLANPort", "2")], 2),
        ([Setting("VXLANPort", None), Setting("VXLANPort", "2")], 2),
        ([Setting("VXLANPort", "wrong"), Setting("VXLANPort", "2")], 4789),
        ([Setting("VXLANPort", "none"), Setting("VXLANPort", "2")], 4789),
        ([Setting("VXLANPort", 1, by_field=True)], 4789),
        ([Setting("NoSuchThing", "1")], 4789),
    ],
)
def test_the_strongest_setting_counts_and_an_unreadable_one_is_the_default(settings: list[Setting], port: int) -> None:
    assert build(settings).vxlan_port == port


def test_parameters_are_found_by_name_in_any_case_and_fields_by_their_own() -> None:
    assert find(Setting("IPTABLESMARKMASK", 1)) is find(Setting("iptablesMarkMask", 1, by_field=True))
    assert find(Setting("nftablesMode", 1, by_field=True)) is find(Setting("NFTablesMode", 1))
    assert find(Setting("IptablesMarkMask", 1, by_field=True)) is None
    assert find(Setting("", 1, by_field=True)) is None
    assert find(Setting("LogSeverityScreen", "Info")) is None


@pytest.mark.parametrize("field", ["kubeNodePortRanges", "ipv4VXLANTunnelAddr", "clusterType", "ipInIpEnabled"])
def test_what_a_resource_cannot_set(field: str) -> None:
    assert field not in spec_fields()


@pytest.mark.parametrize(
    "config, expected",
    [
        (Config(), False),
        (Config(goldmane_server="goldmane:7443"), True),
        (Config(local_flow_reporter="Enabled"), True),
    ],
)
def test_flow_logs(config: Config, expected: bool) -> None:
    assert config.flow_logs is expected


@pytest.mark.parametrize(
    "config, interface, expected",
    [
        (Config(), "cali123", True),
        (Config(), "calix", True),
        (Config(), "eth0", False),
        (Config(), "kube-ipvs0", True),
        (Config(interface_prefixes=("eni", "tap")), "tap0", True),
        (Config(interface_prefixes=("eni", "tap")), "cali0", False),
        (Config(interface_exclude=("eth0",)), "eth0", True),
        (Config(interface_exclude=("eth0",)), "eth01", False),
        (Config(interface_exclude=("/eth/",)), "xeth0", True),
        (Config(interface_exclude=("/^eth[01]$/",)), "eth1", True),
        (Config(interface_exclude=("/^eth[01]$/",)), "eth2", False),
        (Config(interface_exclude=()), "kube-ipvs0", False),
    ],
)
def test_interfaces_that_are_none_of_felixs_business(config: Config, interface: str, expected: bool) -> None:
    assert bool(config.excludes(interface)) is expected


@pytest.mark.parametrize(
    "overrides, expected",
    [
        ("", True), ("NFLogSize=true", True), ("NFLogSize=false", False), ("Other=false", True), ("NFLogSize=0", False)
    ],
)  # fmt: skip
def test_features_are_there_unless_overridden(overrides: str, expected: bool) -> None:
    assert build([Setting("FeatureDetectOverride", overrides)]).feature("NFLogSize") is expected


def test_only_ruling_nftables_out_keeps_covered_members() -> None:
    suppressed = {mode: Config(nftables_mode=mode).suppresses_overlaps for mode in ("Auto", "Enabled", "Disabled")}
    assert suppressed == {"Auto": True, "Enabled": True, "Disabled": False}


def test_configurations_are_values() -> None:
    """Planners are shared between nodes with equal parameters."""
    one, other = build([Setting("VXLANPort", "1")]), build([Setting("vxlanPort", 1, by_field=True)])
    assert one == other
    assert hash(one) == hash(other)


DEFAULTS = """
    IptablesFilterAllowAction=ACCEPT IptablesMangleAllowAction=ACCEPT IptablesFilterDenyAction=DROP
    NftablesFilterAllowAction=ACCEPT
    NftablesMangleAllowAction=ACCEPT NftablesFilterDenyAction=DROP NftablesMarkMask=0xffff0000
    DefaultEndpointToHostAction=DROP DisableConntrackInvalidCheck=false InterfacePrefix=cali
    InterfaceExclude=kube-ipvs0 ChainInsertMode=insert IptablesMarkMask=0xffff0000 Ipv6Support=true
    MaxIpsetSize=1048576 NFTablesMode=Auto BPFEnabled=false
    FailsafeInboundHostPorts=tcp:22,udp:68,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667
    FailsafeOutboundHostPorts=udp:53,udp:67,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667
    LogPrefix=calico-packet LogActionRateLimitBurst=5 FlowLogsLocalReporter=Disabled VXLANPort=4789
    AllowVXLANPacketsFromWorkloads=false AllowIPIPPacketsFromWorkloads=false WireguardEnabled=false
    WireguardEnabledV6=false WireguardListeningPort=51820 WireguardListeningPortV6=51821
    WireguardInterfaceName=wireguard.cali WireguardInterfaceNameV6=wg-v6.cali WireguardHostEncryptionEnabled=false
    KubeNodePortRanges=30000:32767 NATOutgoingExclusions=IPPoolsOnly ServiceLoopPrevention=Drop FloatingIPs=Disabled
    WorkloadSourceSpoofing=Disabled IstioAmbientMode=Disabled IstioDSCPMark=23 MetadataAddr=127.0.0.1 MetadataPort=8775
"""
"""Felix's own; parameters that are not here have none."""


def test_defaults_are_those_of_felix() -> None:
    shown = {row.name: row.default for row in described() if row.default != "none"}
    assert shown == dict(pair.split("=") for pair in DEFAULTS.split())


def test_defaults_can_be_written_as_values() -> None:
    """What is shown as a parameter's default means just that when it is given."""
    unset: dict[str, Any] = {row.name: row.default for row in described() if row.default != "none"}
    assert build(Setting(name, value) for name, value in unset.items()) == Config()
    assert all(row.effect for row in described())


def test_none_empties_texts_and_lists_that_may_be_empty() -> None:
    config = build(
        [
            Setting("FailsafeInboundHostPorts", "none"),
            Setting("LogPrefix", "None"),
            Setting("NATOutgoingAddress", "none"),
            Setting("InterfacePrefix", "none"),
        ]
    )
    assert (config.failsafe_inbound, config.log_prefix, config.nat_outgoing_address) == ((), "", "")
    assert config.interface_prefixes == ("cali",)
