"""The objects that names in a node's rules belong to, found from the cluster without compiling."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Literal, NamedTuple

from felixpy.calico_versions import CalicoVersion
from felixpy.ipsets import SetSpec
from felixpy.model import Cluster, HostEndpoint, Policy, Rule, Source, Workload
from felixpy.names import ANY_INTERFACE, limited, set_name
from felixpy.plan import arp
from felixpy.plan.endpoints import (
    FROM_HOST,
    FROM_HOST_FORWARD,
    FROM_WORKLOAD,
    SET_MARK,
    TO_HOST,
    TO_HOST_FORWARD,
    TO_WORKLOAD,
)
from felixpy.plan.policies import GROUP_PREFIXES, POLICY_PREFIXES, PROFILE_PREFIXES
from felixpy.rules import activate

Direction = Literal["ingress", "egress"]
Owner = Literal["policy", "profile", "group", "pod", "host", "mark"]


class ChainKind(NamedTuple):
    """The purpose of chains with a prefix; `words` has a placeholder for the chain's object."""

    owner: Owner
    direction: Direction
    words: str
    forward: bool = False


CHAIN_KINDS: Mapping[str, ChainKind] = {
    POLICY_PREFIXES["ingress"]: ChainKind("policy", "ingress", "ingress rules of {}"),
    POLICY_PREFIXES["egress"]: ChainKind("policy", "egress", "egress rules of {}"),
    PROFILE_PREFIXES["ingress"]: ChainKind("profile", "ingress", "ingress rules of {}"),
    PROFILE_PREFIXES["egress"]: ChainKind("profile", "egress", "egress rules of {}"),
    GROUP_PREFIXES["ingress"]: ChainKind("group", "ingress", "a group of ingress policies with one selector"),
    GROUP_PREFIXES["egress"]: ChainKind("group", "egress", "a group of egress policies with one selector"),
    TO_WORKLOAD: ChainKind("pod", "ingress", "packets to {}"),
    FROM_WORKLOAD: ChainKind("pod", "egress", "packets from {}"),
    TO_HOST_FORWARD: ChainKind("host", "egress", "forwarded packets that leave by {}", forward=True),
    FROM_HOST_FORWARD: ChainKind("host", "ingress", "forwarded packets that came in by {}", forward=True),
    TO_HOST: ChainKind("host", "egress", "the node's own packets that leave by {}"),
    FROM_HOST: ChainKind("host", "ingress", "packets for the node that came in by {}"),
    SET_MARK: ChainKind("mark", "egress", "IPVS: gives packets from {} their mark"),
    arp.PREFIX: ChainKind("pod", "ingress", "ARP replies to {}"),
}
"""The chains that Felix makes for objects, by prefix."""

STATIC: Mapping[str, str] = {
    "cali-INPUT": "packets for the node itself",
    "cali-FORWARD": "packets that the node forwards",
    "cali-OUTPUT": "packets that the node sends",
    "cali-PREROUTING": "packets that come in",
    "cali-POSTROUTING": "packets that leave",
    "cali-wl-to-host": "packets from local pods for the node: egress policy, then DefaultEndpointToHostAction",
    "cali-from-wl-dispatch": "finds the pod that a packet comes from, by its interface",
    "cali-to-wl-dispatch": "finds the pod that a packet goes to, by its interface",
    arp.ROOT: "finds the pod that an ARP packet of the node goes to, by its interface",
    "cali-from-host-endpoint": "finds the host endpoint that a packet came in by",
    "cali-to-host-endpoint": "finds the host endpoint that a packet leaves by",
    "cali-from-hep-forward": "finds the host endpoint that a forwarded packet came in by",
    "cali-to-hep-forward": "finds the host endpoint that a forwarded packet leaves by",
    "cali-set-endpoint-mark": "IPVS: marks packets with the endpoint that they come from",
    "cali-from-endpoint-mark": "IPVS: finds the endpoint that a packet came from, by its mark",
    "cali-forward-check": "IPVS: distinguishes packets for services from packets for the node",
    "cali-forward-endpoint-mark": "IPVS: policy for packets that IPVS sends on",
    "cali-failsafe-in": "ports of the node that stay open whatever policy says (FailsafeInboundHostPorts)",
    "cali-failsafe-out": "connections of the node that stay possible whatever policy says (FailsafeOutboundHostPorts)",
    "cali-cidr-block": "packets to unused service addresses (ServiceLoopPrevention)",
    "cali-nat-outgoing": "masquerades what leaves pools with natOutgoing",
    "cali-fip-dnat": "from floating addresses to the pods that have them",
    "cali-fip-snat": "from pods to their floating addresses",
    "cali-rpf-skip": "pods that may send from addresses which are not theirs",
    "cali-egress-dscp": "the DSCP values of pods and host endpoints",
    "cali-wireguard-incoming-mark": "marks what did not come through WireGuard",
}
"""Felix's own chains, which are the same on every node."""

DISPATCH = re.compile(
    r"(cali-(?:from-wl-dispatch|to-wl-dispatch|from-host-endpoint|to-host-endpoint|from-hep-forward|to-hep-forward|"
    r"set-endpoint-mark-(?:wep|hep)))-(.)"
)
"""Second-level dispatch chains: the first level's name and the character that interfaces go on with."""

FIXED_SETS: Mapping[str, str] = {
    "network-ip-pools": "the networks of all IP pools",
    "all-ipam-pools": "the networks of all IP pools, as Calico before v3.32 called the set",
    "masq-ipam-pools": "the networks of IP pools with natOutgoing",
    "all-hosts-net": "the addresses of all nodes",
    "all-vxlan-net": "the addresses of all nodes that may send VXLAN packets",
    "this-host": "the node's own addresses",
    "dscp-src-net": "the pods and host endpoints that want a DSCP value",
    "all-istio-weps": "the pods in Istio's ambient mesh",
}

SET_KINDS: Mapping[str, str] = {
    "s:": "addresses that a selector matches",
    "n:": "addresses and ports of a named port",
    "svc:": "addresses and ports behind a service",
    "svcnoport:": "addresses behind a service",
}

SET_NAME = re.compile(rf"cali([46])(0(?:{'|'.join(SET_KINDS)}).*|0(?:{'|'.join(FIXED_SETS)})|t\d+)")

DEVICES: Mapping[str, str] = {
    "tunl0": "the IP-in-IP tunnel to other nodes",
    "vxlan.calico": "the VXLAN tunnel to other nodes",
    "vxlan-v6.calico": "the VXLAN tunnel to other nodes, IPv6",
    "wireguard.cali": "the WireGuard tunnel to other nodes",
    "wg-v6.cali": "the WireGuard tunnel to other nodes, IPv6",
    "kube-ipvs0": "the device that holds the service addresses of kube-proxy in IPVS mode",
    "lo": "loopback",
}


class ChainSubject(NamedTuple):
    """The object of a chain: exactly one of `policy`, `profile`, `workload` and `host` is given."""

    kind: ChainKind
    name: str
    source: Source | None
    policy: Policy | None = None
    profile: str = ""
    workload: Workload | None = None
    host: HostEndpoint | None = None

    @property
    def words(self) -> str:
        return self.kind.words.format(self.name)


class SetUse(NamedTuple):
    """A set and its first user, a rule of the cluster."""

    spec: SetSpec
    user: str
    source: Source


def chain_prefix(name: str) -> str:
    """The prefix of an object's chain, "" for others.

    >>> chain_prefix("cali-thfw-eth0"), chain_prefix("cali-to-wl-dispatch")
    ('cali-thfw-', '')
    """
    head = name[: name.find("-", 5) + 1]
    return head if head in CHAIN_KINDS and name not in STATIC else ""


class Legend:
    """The kernel names of a cluster's objects in a Calico version."""

    def __init__(self, cluster: Cluster, calico_version: CalicoVersion) -> None:
        self.cluster, self.calico_version = cluster, calico_version
        self._chains: dict[tuple[str, str], dict[str, ChainSubject]] = {}

    def chain(self, name: str, node: str = "") -> ChainSubject | None:
        """The object of a chain. Chains of host interfaces have the same names on many nodes; `node` selects one."""
        prefix = chain_prefix(name)
        kind = CHAIN_KINDS.get(prefix)
        if kind is None or kind.owner == "group":
            return None
        if kind.owner in ("pod", "mark"):
            found = self.interfaces.get(name[len(prefix) :])
            if found:
                return ChainSubject(kind, f"pod {found.namespace}/{found.name}", found.source, workload=found)
        if kind.owner == "pod":
            return None
        key = prefix, node if kind.owner in ("host", "mark") else ""
        if key not in self._chains:
            self._chains[key] = {
                name: subject
                for suffix, subject in _SUFFIXES[kind.owner](self, kind)
                if not key[1] or (subject.host and subject.host.node == node)
                for name in (limited(prefix, suffix, None), limited(prefix, suffix))
            }
        return self._chains[key].get(name)

    @cached_property
    def interfaces(self) -> Mapping[str, Workload]:
        """Pods by the name of their interface on the node, which is part of the names of their chains."""
        return {pod.interface: pod for pod in self.cluster.workloads}

    def policies(self, kind: ChainKind) -> Iterator[tuple[str, ChainSubject]]:
        for policy in self.cluster.policies:
            if not policy.staged:
                yield (
                    self.calico_version.policy_id(policy),
                    ChainSubject(kind, str(policy.key), policy.source, policy=policy),
                )

    def profiles(self, kind: ChainKind) -> Iterator[tuple[str, ChainSubject]]:
        named = {name for endpoint in self.cluster.workloads for name in endpoint.profiles}
        named |= {name for host in self.cluster.host_endpoints for name in host.profiles}
        for name in sorted(named | set(self.cluster.profiles)):
            found = self.cluster.profiles.get(name)
            yield name, ChainSubject(kind, profile_words(name), found.source if found else None, profile=name)

    def hosts(self, kind: ChainKind) -> Iterator[tuple[str, ChainSubject]]:
        """(interface, subject) for host endpoints; of several for an interface the smallest name comes last."""
        for host in sorted(self.cluster.host_endpoints, key=lambda host: host.name, reverse=True):
            if host.interface:
                suffix = ANY_INTERFACE if host.interface == "*" else host.interface
                yield suffix, ChainSubject(kind, host_words(host), host.source, host=host)

    @cached_property
    def sets(self) -> Mapping[str, SetUse]:
        """The sets of all rules of the cluster, by name and for both families."""
        found: dict[str, SetUse] = {}
        for user, source, rules in self._rules():
            for number, rule in enumerate(rules):
                for spec in activate(number, rule).all_sets():
                    for family in (4, 6):
                        found.setdefault(set_name(family, spec.id), SetUse(spec, user, source))
        return found

    def _rules(self) -> Iterator[tuple[str, Source, tuple[Rule, ...]]]:
        for policy in self.cluster.policies:
            yield str(policy.key), policy.source, (*policy.inbound, *policy.outbound)
        for profile in self.cluster.profiles.values():
            yield profile_words(profile.name), profile.source, (*profile.inbound, *profile.outbound)

    @cached_property
    def addresses(self) -> Mapping[str, str]:
        """The owners of addresses, in words: pods, host endpoints, nodes."""
        found: dict[str, str] = {}
        for node in self.cluster.nodes.values():
            tunnels = (node.ipip_tunnel, node.vxlan_tunnel_v4, node.vxlan_tunnel_v6)
            for address in (node.bgp_v4, node.bgp_v6, *node.addresses, *tunnels):
                found[address.partition("/")[0]] = f"node {node.name}"
        for host in self.cluster.host_endpoints:
            found.update((address, host_words(host)) for address in host.addresses)
        for pod in self.cluster.workloads:
            found.update((address, f"{pod.namespace}/{pod.name}") for address in pod.addresses)
        found.pop("", None)
        return found


_SUFFIXES: Mapping[Owner, Callable[[Legend, ChainKind], Iterator[tuple[str, ChainSubject]]]] = {
    "policy": Legend.policies,
    "profile": Legend.profiles,
    "host": Legend.hosts,
    "mark": Legend.hosts,
}
"""What the names of chains are made from, and whose chains they are."""


def host_words(host: HostEndpoint) -> str:
    return f"HostEndpoint {host.name}"


def profile_words(name: str) -> str:
    """A profile in words; profiles of namespaces and service accounts by these.

    >>> profile_words("kns.shop"), profile_words("ksa.shop.web"), profile_words("own")
    ('namespace shop', 'service account shop/web', 'profile own')
    """
    kind, _, rest = name.partition(".")
    if kind == "kns" and rest:
        return f"namespace {rest}"
    space, _, account = rest.partition(".")
    return f"service account {space}/{account}" if kind == "ksa" and account else f"profile {name}"
