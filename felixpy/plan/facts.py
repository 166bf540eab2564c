"""Facts about a node that many chains share: marks, targets, tunnels, options."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from ipaddress import ip_address
from types import SimpleNamespace

from msgspec import Struct

from felixpy.calico_versions import CalicoVersion
from felixpy.config import Config
from felixpy.layouts import IPTABLES, Layout
from felixpy.marks import Marks, allocate
from felixpy.match import split_ports
from felixpy.model import PortRange
from felixpy.names import limited
from felixpy.parameter_types import LAST_PORT
from felixpy.plan.values import Facts
from felixpy.resolve import Resolution

NFLOG_GROUPS = {"ingress": 1, "egress": 2}


class RuleContext(Struct, frozen=True, dict=True):
    """What policy and profile chains depend on besides the policy; equal on most nodes of a cluster."""

    config: Config
    calico_version: CalicoVersion
    layout: Layout = IPTABLES

    def chain(self, prefix: str, suffix: str) -> str:
        """The name of a chain within the data plane's limit."""
        return limited(prefix, suffix, self.layout.max_chain)

    @cached_property
    def marks(self) -> Marks:
        wireguard = self.config.wireguard_v4 or self.config.wireguard_v6
        return allocate(self.config.mark_mask, self.calico_version.mark_names(wireguard=wireguard))

    @cached_property
    def mark(self) -> SimpleNamespace:
        """The marks by the names in templates; `verdict` are those that endpoint chains clear before policies."""
        named = self.marks.named()
        named.verdict = named.accept_or_pass if self.calico_version.clears_pass else named.accept
        return named

    @property
    def deny(self) -> str:
        """The target that denies."""
        return self.config.filter_deny_action

    @property
    def denied(self) -> str:
        """The word for `deny` in comments."""
        return self.deny.capitalize()

    @cached_property
    def nflog_options(self) -> str:
        return " --nflog-size 80" if self.config.feature("NFLogSize") else " --nflog-range 80"

    @cached_property
    def log_limit(self) -> str:
        if not self.config.log_rate:
            return ""
        burst = f" --limit-burst {self.config.log_burst}" if self.config.log_burst else ""
        return f" -m limit --limit {self.config.log_rate}{burst}"


def _address(text: str) -> str:
    """An address, "" for a host name, for which Felix writes no rules."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


class NodeFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Facts about a node for Felix's static chains, in one family. Texts of options begin with a space.

    `prefixes` are those of pods' interfaces; `tunnels` and `wireguard_interfaces` are interfaces. `ipip` and `vxlan`:
    whether pools use them. `metadata_address` is "" and `wireguard_port` None if there is no rule for them.
    """

    mark: SimpleNamespace
    deny: str
    denied: str
    allow: str
    mangle_allow: str
    endpoint_to_host: str
    family: int
    prefixes: Sequence[str]
    ipip: bool
    vxlan: bool
    vxlan_port: int
    wireguard_port: int | None
    wireguard_interfaces: tuple[str, str]
    wireguard_host_encryption: bool
    ipvs: bool
    node_ports: Sequence[str]
    openstack: bool
    metadata_address: str
    metadata_port: int
    istio_ambient: bool
    istio_dscp: int
    tunnels: Sequence[str]
    masquerade_options: str


def node_facts(resolution: Resolution, context: RuleContext, family: int) -> NodeFacts:
    """The facts for Felix's static chains, in one family."""
    config, tunnels, node = resolution.config, resolution.encapsulation, resolution.node
    six = family == 6
    wireguard = config.wireguard_v6 if six else config.wireguard_v4
    wireguard_port = (config.wireguard_port_v6 if six else config.wireguard_port_v4) & LAST_PORT
    wireguard_interface = config.wireguard_interface_v6 if six else config.wireguard_interface_v4
    vxlan_tunnel = (
        (config.vxlan_tunnel_v6 or node.vxlan_tunnel_v6) if six else (config.vxlan_tunnel_v4 or node.vxlan_tunnel_v4)
    )
    interfaces = {
        "tunl0": not six and tunnels.ipip and bool(config.ipip_tunnel or node.ipip_tunnel),
        "vxlan-v6.calico" if six else "vxlan.calico": tunnels.vxlan(family) and bool(vxlan_tunnel),
        wireguard_interface: wireguard,
    }
    return NodeFacts(
        deny=context.deny,
        denied=context.denied,
        mark=context.mark,
        family=family,
        prefixes=config.interface_prefixes,
        allow=config.filter_allow_action,
        mangle_allow=config.mangle_allow_action,
        endpoint_to_host=config.endpoint_to_host_action,
        ipip=tunnels.ipip,
        vxlan=tunnels.vxlan(family),
        vxlan_port=config.vxlan_port & LAST_PORT,
        wireguard_port=wireguard_port if wireguard else None,
        wireguard_interfaces=(config.wireguard_interface_v4, config.wireguard_interface_v6),
        wireguard_host_encryption=(config.wireguard_v4 or config.wireguard_v6) and config.wireguard_host_encryption,
        ipvs=resolution.ipvs,
        node_ports=tuple(split_ports(PortRange(*ports) for ports in config.node_port_ranges)),
        openstack=config.openstack,
        metadata_address="" if six else _address(config.metadata_address),
        metadata_port=config.metadata_port,
        istio_ambient=config.istio_ambient == "Enabled",
        istio_dscp=config.istio_dscp,
        tunnels=tuple(name for name, used in interfaces.items() if used),
        masquerade_options=" --random-fully" if config.feature("MASQFullyRandom") else "",
    )
