"""Felix's parameters: name, type, default, and what each changes in the rules.

`Config` is the table: one field a parameter; those that change no rule are rows of `other_parameters`. Values come, for
each parameter on its own, from the first of: a ``--set`` option, an environment variable ``FELIX_<NAME>``, the
FelixConfiguration ``node.<node>``, the oldest one whose nodeSelector matches, ``default``; inside a resource an
annotation ``config.projectcalico.org/<Name>`` beats the spec field. (felix/config/config_params.go)
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from felixpy.other_parameters import OTHERS
from felixpy.parameter_types import FailsafePort
from felixpy.parameters import Parameter

__all__ = ["Config", "FailsafePort", "Parameter", "Setting", "build", "find", "parameters", "spec_fields", "suggestion"]


def parameter(
    name: str, kind: str, default: str, effect: str, *, field: str | None = None, flags: str = "", api: str = ""
) -> Any:
    """A field of `Config`: Felix's name, the type and the default as Felix's own table has them, and what it changes.

    `field` is the FelixConfiguration field where it is not the name with a small first letter, "" where a resource
    cannot set it. `flags` are those of `Parameter`. `api` is the type that the API server requires of the field.
    """
    spec_field = name[0].lower() + name[1:] if field is None else field
    row = Parameter(name, spec_field, kind, default, effect, frozenset(flags.split(",")), api)
    return dataclasses.field(default=row.unset, metadata={"parameter": row})


BOTH_WAYS = "tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667"
DEFAULT_INBOUND = f"tcp:22,udp:68,{BOTH_WAYS}"
DEFAULT_OUTBOUND = f"udp:53,udp:67,{BOTH_WAYS}"
INTERFACE_NAME = "string([a-zA-Z0-9_.-]{1,15})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The parameters in force on one node, parsed."""

    # --- verdicts
    filter_allow_action: str = parameter(
        "IptablesFilterAllowAction",
        "oneof(ACCEPT,RETURN)",
        "ACCEPT",
        "the target of accepting rules in the filter table; RETURN adds a rule that sets the accept mark",
        flags="non-zero,die-on-fail",
    )
    mangle_allow_action: str = parameter(
        "IptablesMangleAllowAction",
        "oneof(ACCEPT,RETURN)",
        "ACCEPT",
        "the target of accepting rules in mangle PREROUTING",
        flags="non-zero,die-on-fail",
    )
    filter_deny_action: str = parameter(
        "IptablesFilterDenyAction",
        "oneof(DROP,REJECT)",
        "DROP",
        "the target of denying rules and the word in their comments; Reject is refused by the kernel outside filter",
        flags="non-zero,die-on-fail",
    )
    nftables_filter_allow_action: str = parameter(
        "NftablesFilterAllowAction",
        "oneof(ACCEPT,RETURN)",
        "ACCEPT",
        "IptablesFilterAllowAction for nftables",
        flags="non-zero,die-on-fail",
    )
    nftables_mangle_allow_action: str = parameter(
        "NftablesMangleAllowAction",
        "oneof(ACCEPT,RETURN)",
        "ACCEPT",
        "IptablesMangleAllowAction for nftables",
        flags="non-zero,die-on-fail",
    )
    nftables_filter_deny_action: str = parameter(
        "NftablesFilterDenyAction",
        "oneof(DROP,REJECT)",
        "DROP",
        "IptablesFilterDenyAction for nftables",
        flags="non-zero,die-on-fail",
    )
    endpoint_to_host_action: str = parameter(
        "DefaultEndpointToHostAction",
        "oneof(DROP,RETURN,ACCEPT)",
        "DROP",
        "the last rule of cali-wl-to-host: packets from pods to their own node",
        flags="non-zero,die-on-fail",
    )
    disable_conntrack_invalid_check: bool = parameter(
        "DisableConntrackInvalidCheck", "bool", "false", "leaves out the INVALID rule of every endpoint chain"
    )
    # --- shape
    interface_prefixes: tuple[str, ...] = parameter(
        "InterfacePrefix",
        "iface-list",
        "cali",
        "one copy of each rule on pod interfaces for each prefix",
        flags="non-zero,die-on-fail",
    )
    interface_exclude: tuple[str, ...] = parameter(
        "InterfaceExclude",
        "iface-list-regexp",
        "kube-ipvs0",
        "host interfaces that get no chains and are not in this-host",
    )
    chain_insert_mode: str = parameter(
        "ChainInsertMode",
        "oneof(insert,append)",
        "insert",
        "whether inserts stand before or after foreign rules",
        flags="non-zero,die-on-fail",
    )
    mark_mask: int = parameter(
        "IptablesMarkMask",
        "mark-bitmask",
        "0xffff0000",
        "which bits of the packet mark are used",
        flags="non-zero,die-on-fail",
    )
    nftables_mark_mask: int = parameter(
        "NftablesMarkMask",
        "mark-bitmask",
        "0xffff0000",
        "IptablesMarkMask for nftables",
        flags="non-zero,die-on-fail",
    )
    ipv6: bool = parameter("Ipv6Support", "bool", "true", "IPv6 tables and sets exist")
    max_ipset_size: int = parameter("MaxIpsetSize", "int", "1048576", "maxelem of every set", flags="non-zero")
    nftables_mode: str = parameter(
        "NFTablesMode",
        "oneof(Enabled,Disabled,Auto)",
        "Auto",
        "whether rules are programmed with nftables; Disabled keeps members of sets that another member covers",
        field="nftablesMode",
        flags="exact",
    )
    bpf_enabled: bool = parameter(
        "BPFEnabled", "bool", "false", "the eBPF data plane, whose rules felixpy does not draw", field="bpfEnabled"
    )
    feature_override: tuple[tuple[str, str], ...] = parameter(
        "FeatureDetectOverride",
        "keyvaluelist",
        "",
        "--random-fully (SNATFullyRandom, MASQFullyRandom), --nflog-size",
        api="string(([a-zA-Z0-9_-]+=(true|false|),)*([a-zA-Z0-9_-]+=(true|false))?)",
    )
    # --- hosts
    failsafe_inbound: tuple[FailsafePort, ...] = parameter(
        "FailsafeInboundHostPorts",
        "port-list",
        DEFAULT_INBOUND,
        "cali-failsafe-in, and -out in raw",
        flags="die-on-fail",
    )
    failsafe_outbound: tuple[FailsafePort, ...] = parameter(
        "FailsafeOutboundHostPorts",
        "port-list",
        DEFAULT_OUTBOUND,
        "cali-failsafe-out, and -in in raw",
        flags="die-on-fail",
    )
    # --- logging
    log_prefix: str = parameter(
        "LogPrefix",
        "string",
        "calico-packet",
        "the prefix of LOG rules; %k %n %p %t are filled in",
        api="string([a-zA-Z0-9%: /_-]*)",
    )
    log_rate: str = parameter("LogActionRateLimit", "log-rate", "", "a limit match before LOG", api="log-rate")
    log_burst: int = parameter(
        "LogActionRateLimitBurst", "int(0,9999)", "5", "the burst of that limit; 0 leaves it out", api="int(0:9999)"
    )
    goldmane_server: str = parameter("FlowLogsGoldmaneServer", "string", "", "NFLOG rules after every verdict")
    local_flow_reporter: str = parameter(
        "FlowLogsLocalReporter", "oneof(Enabled,Disabled)", "Disabled", "NFLOG rules after every verdict", flags="exact"
    )
    # --- encapsulation
    ipip_enabled: bool | None = parameter(
        "IpInIpEnabled", "*bool", "", "IPIP rules, whatever the pools say", field="ipipEnabled"
    )
    vxlan_enabled: bool | None = parameter(
        "VXLANEnabled", "*bool", "", "IPv4 VXLAN rules, whatever the pools say", field="vxlanEnabled"
    )
    vxlan_port: int = parameter("VXLANPort", "int", "4789", "the port in VXLAN rules", field="vxlanPort")
    ipip_tunnel: str = parameter(
        "IpInIpTunnelAddr", "ipv4", "", "masquerade rule of tunl0 (normally from the Node)", field=""
    )
    vxlan_tunnel_v4: str = parameter(
        "IPv4VXLANTunnelAddr", "ipv4", "", "masquerade rule of vxlan.calico (normally from the Node)", field=""
    )
    vxlan_tunnel_v6: str = parameter(
        "IPv6VXLANTunnelAddr", "ipv6", "", "masquerade rule of vxlan-v6.calico (normally from the Node)", field=""
    )
    allow_vxlan_from_workloads: bool = parameter(
        "AllowVXLANPacketsFromWorkloads", "bool", "false", "leaves out the VXLAN drop of cali-fw chains"
    )
    allow_ipip_from_workloads: bool = parameter(
        "AllowIPIPPacketsFromWorkloads", "bool", "false", "leaves out the IPinIP drop of cali-fw chains"
    )
    wireguard_v4: bool = parameter("WireguardEnabled", "bool", "false", "WireGuard rules for IPv4 and a mark bit")
    wireguard_v6: bool = parameter("WireguardEnabledV6", "bool", "false", "WireGuard rules for IPv6 and a mark bit")
    wireguard_port_v4: int = parameter(
        "WireguardListeningPort", "int", "51820", "the port in IPv4 WireGuard rules", api="int(1:65535)"
    )
    wireguard_port_v6: int = parameter(
        "WireguardListeningPortV6", "int", "51821", "the port in IPv6 WireGuard rules", api="int(1:65535)"
    )
    wireguard_interface_v4: str = parameter(
        "WireguardInterfaceName",
        "iface-param",
        "wireguard.cali",
        "the interface in IPv4 rules",
        flags="non-zero",
        api=INTERFACE_NAME,
    )
    wireguard_interface_v6: str = parameter(
        "WireguardInterfaceNameV6",
        "iface-param",
        "wg-v6.cali",
        "the interface in IPv6 rules",
        flags="non-zero",
        api=INTERFACE_NAME,
    )
    wireguard_host_encryption: bool = parameter(
        "WireguardHostEncryptionEnabled", "bool", "false", "cali-wireguard-incoming-mark in raw"
    )
    external_nodes: tuple[str, ...] = parameter(
        "ExternalNodesCIDRList",
        "cidr-list",
        "",
        "members of all-hosts-net and all-vxlan-net",
        field="externalNodesList",
        flags="die-on-fail",
        api="cidr-list(4)",
    )
    # --- services and NAT
    node_port_ranges: tuple[tuple[int, int], ...] = parameter(
        "KubeNodePortRanges",
        "portrange-list",
        "30000:32767",
        "node ports in IPVS mode; the resource's list reaches Felix in a form it cannot read",
    )
    nat_port_range: tuple[int, int] | None = parameter(
        "NATPortRange", "portrange", "", "source ports of outgoing NAT", field="natPortRange"
    )
    nat_outgoing_address: str = parameter(
        "NATOutgoingAddress",
        "ipv4",
        "",
        "SNAT to this address instead of MASQUERADE",
        field="natOutgoingAddress",
        api="ipv4",
    )
    nat_outgoing_exclusions: str = parameter(
        "NATOutgoingExclusions",
        "oneof(IPPoolsOnly,IPPoolsAndHostIPs)",
        "IPPoolsOnly",
        "whether traffic to nodes is kept out of NAT",
        field="natOutgoingExclusions",
        flags="exact",
    )
    nat_outgoing_interface: str = parameter(
        "IptablesNATOutgoingInterfaceFilter", "iface-param", "", "--out-interface in outgoing NAT", api="iface-param"
    )
    service_loop_prevention: str = parameter(
        "ServiceLoopPrevention", "oneof(Drop,Reject,Disabled)", "Drop", "the rules of cali-cidr-block"
    )
    floating_ips: str = parameter(
        "FloatingIPs", "oneof(Enabled,Disabled)", "Disabled", "cali-fip-dnat and cali-fip-snat", flags="exact"
    )
    source_spoofing: str = parameter(
        "WorkloadSourceSpoofing",
        "oneof(Disabled,Any)",
        "Disabled",
        "Any honours a pod's allowedSourcePrefixes; otherwise such a pod is left out altogether",
    )
    istio_ambient: str = parameter(
        "IstioAmbientMode",
        "oneof(Disabled,Enabled)",
        "Disabled",
        "a DSCP rule in mangle and the set all-istio-weps",
        flags="exact",
    )
    istio_dscp: int = parameter("IstioDSCPMark", "dscp", "23", "the value of that rule")
    # --- OpenStack
    cluster_type: str = parameter("ClusterType", "string", "", "OpenStack rules if it contains openstack", field="")
    metadata_address: str = parameter(
        "MetadataAddr", "hostname", "127.0.0.1", "OpenStack metadata rules", flags="die-on-fail"
    )
    metadata_port: int = parameter(
        "MetadataPort", "int(0:65535)", "8775", "OpenStack metadata rules", flags="die-on-fail"
    )

    @property
    def families(self) -> tuple[int, ...]:
        """The IP families that are enabled: 4, 6 or both."""
        return (4, 6) if self.ipv6 else (4,)

    @property
    def flow_logs(self) -> bool:
        return bool(self.goldmane_server) or self.local_flow_reporter == "Enabled"

    @property
    def openstack(self) -> bool:
        """Whether Felix assumes that it runs under OpenStack (felix/config: OpenstackActive)."""
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
        """Whether the kernel and its tools have a feature; true unless overridden, as on any current system."""
        return dict(self.feature_override).get(name, "true").lower() in ("true", "1", "t")

    def excludes(self, interface: str) -> bool:
        """Whether Felix ignores a host interface: a pod's, or one that InterfaceExclude names."""
        if interface.startswith(self.interface_prefixes):
            return True
        return any(
            re.search(entry[1:-1], interface) if entry.startswith("/") and entry.endswith("/") else entry == interface
            for entry in self.interface_exclude
        )


class Setting(NamedTuple):
    """The value of one parameter and its source; the name is Felix's, in upper or lower case."""

    name: str
    value: str


@cache
def parameters() -> Mapping[str, Parameter]:
    """Every parameter that Felix has, by its name in lower case."""
    rows = [field.metadata["parameter"] for field in dataclasses.fields(Config)]
    return {row.name.lower(): row for row in (*rows, *OTHERS)}


def suggestion(name: str, cutoff: float = 0.6) -> str:
    """The parameter whose name is nearest to a misspelt one, "" if none is near."""
    close = get_close_matches(name.lower(), parameters(), 1, cutoff)
    return parameters()[close[0]].name if close else ""


@cache
def spec_fields() -> Mapping[str, Parameter]:
    """Every parameter by FelixConfiguration field."""
    return {row.field: row for row in parameters().values() if row.field}


@cache
def _attributes() -> Mapping[str, str]:
    """Fields of `Config` by parameter name in lower case."""
    return {field.metadata["parameter"].name.lower(): field.name for field in dataclasses.fields(Config)}


def find(setting: Setting) -> str | None:
    """The field of `Config` that a setting sets, None if it changes no rule or is unknown."""
    return _attributes().get(setting.name.lower())


def build(settings: Iterable[Setting]) -> Config:
    """A Config from settings, the strongest first; an empty value means "not set".

    A value that Felix cannot parse gives the default, and still overrides those of weaker sources.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        attribute = find(setting)
        if attribute is None or attribute in values or setting.value == "":
            continue
        row = parameters()[setting.name.lower()]
        try:
            values[attribute] = row.read(setting.value)
        except ValueError:
            values[attribute] = row.unset
    return Config(**values)
