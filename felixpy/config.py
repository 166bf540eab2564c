"""Felix's parameters: what each is called, how its value is written, its default, and what it changes in the rules.

`Config` is the table: one field a parameter. Values come, for each parameter on its own, from the first of: a
``--set`` option, an environment variable ``FELIX_<NAME>``, the FelixConfiguration ``node.<node>``, the oldest one
whose nodeSelector matches, ``default``; inside a resource an annotation ``config.projectcalico.org/<Name>`` beats
the spec field. (felix/config/config_params.go)
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from felixpy import parameters as read
from felixpy.parameters import ConfigValueError, FailsafePort

__all__ = [
    "Config",
    "ConfigValueError",
    "FailsafePort",
    "Setting",
    "build",
    "find",
    "parameters",
    "spec_fields",
]


def parameter(
    name: str,
    parse: Callable[[object], object],
    default: object,
    effect: str,
    *,
    field: str | None = None,
    fatal: bool = False,
    needed: bool = False,
) -> Any:
    """A field of `Config`: Felix's name, the reader of its values, the default, and what it changes.

    `field` is the FelixConfiguration field where it is not the name with a small first letter, "" where a resource
    cannot set it. `fatal` marks values on which Felix exits. The text ``none`` empties a text or a list, unless it is
    `needed`; elsewhere it means the default.
    """
    emptied = default
    if not needed:
        emptied = () if isinstance(default, tuple) else "" if parse in (read.text, read.line) else default
    spec_field = name[0].lower() + name[1:] if field is None else field
    return dataclasses.field(
        default=default,
        metadata={"name": name, "parse": parse, "effect": effect, "field": spec_field, "fatal": fatal, "none": emptied},
    )


BOTH_WAYS = "tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667"
DEFAULT_INBOUND = read.failsafe_ports(f"tcp:22,udp:68,{BOTH_WAYS}")
DEFAULT_OUTBOUND = read.failsafe_ports(f"udp:53,udp:67,{BOTH_WAYS}")

ACCEPT_OR_RETURN = read.one_of("ACCEPT", "RETURN")
DROP_OR_REJECT = read.one_of("DROP", "REJECT")
ENABLED = read.one_of("Enabled", "Disabled")
PORT = read.number(1, 65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The parameters in force on one node, parsed."""

    # --- verdicts
    filter_allow_action: str = parameter(
        "IptablesFilterAllowAction",
        ACCEPT_OR_RETURN,
        "ACCEPT",
        "the target of accepting rules in the filter table; RETURN adds a rule that sets the accept mark",
    )
    mangle_allow_action: str = parameter(
        "IptablesMangleAllowAction",
        ACCEPT_OR_RETURN,
        "ACCEPT",
        "the target of accepting rules in mangle PREROUTING",
    )
    filter_deny_action: str = parameter(
        "IptablesFilterDenyAction",
        DROP_OR_REJECT,
        "DROP",
        "the target of denying rules and the word in their comments; Reject is refused by the kernel outside filter",
    )
    nftables_filter_allow_action: str = parameter(
        "NftablesFilterAllowAction", ACCEPT_OR_RETURN, "ACCEPT", "IptablesFilterAllowAction for nftables"
    )
    nftables_mangle_allow_action: str = parameter(
        "NftablesMangleAllowAction", ACCEPT_OR_RETURN, "ACCEPT", "IptablesMangleAllowAction for nftables"
    )
    nftables_filter_deny_action: str = parameter(
        "NftablesFilterDenyAction", DROP_OR_REJECT, "DROP", "IptablesFilterDenyAction for nftables"
    )
    endpoint_to_host_action: str = parameter(
        "DefaultEndpointToHostAction",
        read.one_of("DROP", "ACCEPT", "RETURN"),
        "DROP",
        "the last rule of cali-wl-to-host: packets from pods to their own node",
    )
    disable_conntrack_invalid_check: bool = parameter(
        "DisableConntrackInvalidCheck",
        read.flag,
        False,
        "leaves out the INVALID rule of every endpoint chain",
    )
    # --- shape
    interface_prefixes: tuple[str, ...] = parameter(
        "InterfacePrefix",
        read.words,
        ("cali",),
        "one copy of each rule on pod interfaces for each prefix",
        needed=True,
    )
    interface_exclude: tuple[str, ...] = parameter(
        "InterfaceExclude",
        read.words,
        ("kube-ipvs0",),
        "host interfaces that get no chains and are not in this-host",
    )
    chain_insert_mode: str = parameter(
        "ChainInsertMode",
        read.one_of("insert", "append"),
        "insert",
        "whether the hooks stand before or after foreign rules",
    )
    mark_mask: int = parameter(
        "IptablesMarkMask",
        read.number(1, 0xFFFFFFFF),
        0xFFFF0000,
        "which bits of the packet mark are used",
        fatal=True,
    )
    nftables_mark_mask: int = parameter(
        "NftablesMarkMask",
        read.number(1, 0xFFFFFFFF),
        0xFFFF0000,
        "IptablesMarkMask for nftables",
        fatal=True,
    )
    ipv6: bool = parameter("Ipv6Support", read.flag, True, "IPv6 tables and sets exist")
    max_ipset_size: int = parameter("MaxIpsetSize", read.number(1, 2**32 - 1), 1048576, "maxelem of every set")
    nftables_mode: str = parameter(
        "NFTablesMode",
        read.one_of("Auto", "Enabled", "Disabled"),
        "Auto",
        "whether rules are programmed with nftables; Disabled keeps members of sets that another member covers",
        field="nftablesMode",
    )
    bpf_enabled: bool = parameter(
        "BPFEnabled", read.flag, False, "the eBPF data plane, whose rules felixpy does not draw", field="bpfEnabled"
    )
    feature_override: tuple[tuple[str, str], ...] = parameter(
        "FeatureDetectOverride",
        read.overrides,
        (),
        "--random-fully (SNATFullyRandom, MASQFullyRandom), --nflog-size",
    )
    # --- hosts
    failsafe_inbound: tuple[FailsafePort, ...] = parameter(
        "FailsafeInboundHostPorts",
        read.failsafe_ports,
        DEFAULT_INBOUND,
        "cali-failsafe-in, and -out in raw",
        fatal=True,
    )
    failsafe_outbound: tuple[FailsafePort, ...] = parameter(
        "FailsafeOutboundHostPorts",
        read.failsafe_ports,
        DEFAULT_OUTBOUND,
        "cali-failsafe-out, and -in in raw",
        fatal=True,
    )
    # --- logging
    log_prefix: str = parameter(
        "LogPrefix", read.line, "calico-packet", "the prefix of LOG rules; %k %n %p %t are filled in"
    )
    log_rate: str = parameter("LogActionRateLimit", read.rate, "", "a limit match before LOG")
    log_burst: int = parameter(
        "LogActionRateLimitBurst", read.number(0, 9999), 5, "the burst of that limit; 0 leaves it out"
    )
    goldmane_server: str = parameter("FlowLogsGoldmaneServer", read.text, "", "NFLOG rules after every verdict")
    local_flow_reporter: str = parameter(
        "FlowLogsLocalReporter", ENABLED, "Disabled", "NFLOG rules after every verdict"
    )
    # --- encapsulation
    ipip_enabled: bool | None = parameter(
        "IpInIpEnabled", read.flag, None, "IPIP rules, whatever the pools say", field="ipipEnabled"
    )
    vxlan_enabled: bool | None = parameter(
        "VXLANEnabled", read.flag, None, "IPv4 VXLAN rules, whatever the pools say", field="vxlanEnabled"
    )
    vxlan_port: int = parameter("VXLANPort", PORT, 4789, "the port in VXLAN rules", field="vxlanPort")
    ipip_tunnel: str = parameter(
        "IpInIpTunnelAddr",
        read.any_address,
        "",
        "masquerade rule of tunl0 (normally from the Node)",
        field="",
    )
    vxlan_tunnel_v4: str = parameter(
        "IPv4VXLANTunnelAddr",
        read.any_address,
        "",
        "masquerade rule of vxlan.calico (normally from the Node)",
        field="",
    )
    vxlan_tunnel_v6: str = parameter(
        "IPv6VXLANTunnelAddr",
        read.any_address,
        "",
        "masquerade rule of vxlan-v6.calico (normally from the Node)",
        field="",
    )
    allow_vxlan_from_workloads: bool = parameter(
        "AllowVXLANPacketsFromWorkloads",
        read.flag,
        False,
        "leaves out the VXLAN drop of cali-fw chains",
    )
    allow_ipip_from_workloads: bool = parameter(
        "AllowIPIPPacketsFromWorkloads",
        read.flag,
        False,
        "leaves out the IPinIP drop of cali-fw chains",
    )
    wireguard_v4: bool = parameter("WireguardEnabled", read.flag, False, "WireGuard rules for IPv4 and a mark bit")
    wireguard_v6: bool = parameter("WireguardEnabledV6", read.flag, False, "WireGuard rules for IPv6 and a mark bit")
    wireguard_port_v4: int = parameter("WireguardListeningPort", PORT, 51820, "the port in IPv4 WireGuard rules")
    wireguard_port_v6: int = parameter("WireguardListeningPortV6", PORT, 51821, "the port in IPv6 WireGuard rules")
    wireguard_interface_v4: str = parameter(
        "WireguardInterfaceName", read.text, "wireguard.cali", "the interface in IPv4 rules", needed=True
    )
    wireguard_interface_v6: str = parameter(
        "WireguardInterfaceNameV6", read.text, "wg-v6.cali", "the interface in IPv6 rules", needed=True
    )
    wireguard_host_encryption: bool = parameter(
        "WireguardHostEncryptionEnabled",
        read.flag,
        False,
        "cali-wireguard-incoming-mark in raw",
    )
    external_nodes: tuple[str, ...] = parameter(
        "ExternalNodesCIDRList",
        read.networks,
        (),
        "members of all-hosts-net and all-vxlan-net",
        field="externalNodesList",
    )
    # --- services and NAT
    node_port_ranges: tuple[tuple[int, int], ...] = parameter(
        "KubeNodePortRanges",
        read.port_ranges,
        ((30000, 32767),),
        "node ports in IPVS mode; the resource's list reaches Felix in a form it cannot read",
        field="",
    )
    nat_port_range: tuple[int, int] | None = parameter(
        "NATPortRange",
        read.port_range,
        None,
        "source ports of outgoing NAT",
        field="natPortRange",
    )
    nat_outgoing_address: str = parameter(
        "NATOutgoingAddress",
        read.ipv4,
        "",
        "SNAT to this address instead of MASQUERADE",
        field="natOutgoingAddress",
    )
    nat_outgoing_exclusions: str = parameter(
        "NATOutgoingExclusions",
        read.one_of("IPPoolsOnly", "IPPoolsAndHostIPs"),
        "IPPoolsOnly",
        "whether traffic to nodes is kept out of NAT",
        field="natOutgoingExclusions",
    )
    nat_outgoing_interface: str = parameter(
        "IptablesNATOutgoingInterfaceFilter",
        read.text,
        "",
        "--out-interface in outgoing NAT",
    )
    service_loop_prevention: str = parameter(
        "ServiceLoopPrevention",
        read.one_of("Drop", "Reject", "Disabled"),
        "Drop",
        "the rules of cali-cidr-block",
    )
    floating_ips: str = parameter(
        "FloatingIPs", ENABLED, "Disabled", "cali-fip-dnat and cali-fip-snat", field="floatingIPs"
    )
    source_spoofing: str = parameter(
        "WorkloadSourceSpoofing",
        read.one_of("Disabled", "Any"),
        "Disabled",
        "Any honours a pod's allowedSourcePrefixes; otherwise such a pod is left out altogether",
    )
    istio_ambient: str = parameter(
        "IstioAmbientMode", ENABLED, "Disabled", "a DSCP rule in mangle and the set all-istio-weps"
    )
    istio_dscp: int = parameter(
        "IstioDSCPMark", read.number(0, 63), 23, "the value of that rule", field="istioDSCPMark"
    )
    # --- OpenStack
    cluster_type: str = parameter("ClusterType", read.text, "", "OpenStack rules if it contains openstack", field="")
    metadata_address: str = parameter("MetadataAddr", read.text, "127.0.0.1", "OpenStack metadata rules")
    metadata_port: int = parameter("MetadataPort", read.number(0, 65535), 8775, "OpenStack metadata rules")

    @property
    def families(self) -> tuple[int, ...]:
        """The IP families that are on."""
        return (4, 6) if self.ipv6 else (4,)

    @property
    def flow_logs(self) -> bool:
        return bool(self.goldmane_server) or self.local_flow_reporter == "Enabled"

    @property
    def openstack(self) -> bool:
        """Whether Felix believes to run under OpenStack (felix/config: OpenstackActive)."""
        return (
            "openstack" in self.cluster_type.lower()
            or self.metadata_address not in ("", "127.0.0.1")
            or self.metadata_port not in (0, 8775)
            or "tap" in self.interface_prefixes
        )

    @property
    def suppresses_overlaps(self) -> bool:
        return self.nftables_mode != "Disabled"

    def feature(self, name: str) -> bool:
        """A feature of the kernel and its tools; present unless overridden, as on any current system."""
        return dict(self.feature_override).get(name, "true").lower() in ("true", "1", "t")

    def excludes(self, interface: str) -> bool:
        """Whether a host interface is none of Felix's business: a pod's, or named by InterfaceExclude."""
        if interface.startswith(self.interface_prefixes):
            return True
        return any(
            re.search(entry[1:-1], interface) if entry.startswith("/") and entry.endswith("/") else entry == interface
            for entry in self.interface_exclude
        )


class Setting(NamedTuple):
    """One value on its way into a `Config`: by parameter name (as Felix spells it, any case) or by resource field."""

    name: str
    value: object
    by_field: bool = False


@cache
def parameters() -> Mapping[str, dataclasses.Field[Any]]:
    """The fields of `Config` by Felix's parameter name in lower case."""
    return {field.metadata["name"].lower(): field for field in dataclasses.fields(Config)}


@cache
def spec_fields() -> Mapping[str, dataclasses.Field[Any]]:
    """The fields of `Config` by FelixConfiguration field."""
    return {field.metadata["field"]: field for field in dataclasses.fields(Config) if field.metadata["field"]}


def find(setting: Setting) -> dataclasses.Field[Any] | None:
    """The parameter that a setting means, None where it has no effect on rules or is unknown."""
    return spec_fields().get(setting.name) if setting.by_field else parameters().get(setting.name.lower())


def parsed(field: dataclasses.Field[Any], value: object) -> Any:
    """A parameter's value from what was written. Raises ValueError for what Felix cannot read."""
    if isinstance(value, str) and value.strip().lower() == "none":
        return field.metadata["none"]
    return field.metadata["parse"](value)


def build(settings: Iterable[Setting]) -> Config:
    """A Config from settings, the strongest first; an empty value means "not set".

    A value that Felix cannot read gives the default, and hides those of weaker sources all the same.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        field = find(setting)
        if field is None or field.name in values or setting.value in ("", None):
            continue
        try:
            values[field.name] = parsed(field, setting.value)
        except ValueError:
            values[field.name] = field.default
    return Config(**values)
