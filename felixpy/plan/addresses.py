"""Small chains about addresses: NAT, floating addresses, DSCP, spoofing, unanswered service addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from felixpy.config import Config
from felixpy.ipsets import family_of
from felixpy.model import HostEndpoint, Workload
from felixpy.plan.facts import RuleContext
from felixpy.plan.values import ChainPlan, Facts
from felixpy.resolve import Resolution
from felixpy.ruleset import Origin


class NatRule(NamedTuple):
    """A rule of outgoing NAT: further matches (with a leading space) and the target with its options."""

    match: str
    target: str


class FloatingPair(NamedTuple):
    address: str
    floating: str


class Sender(NamedTuple):
    interface: str
    net: str


class DscpSource(NamedTuple):
    """Addresses of one endpoint, separated by commas, and the DSCP value of their packets."""

    addresses: str
    dscp: int


class CidrBlockFacts(Facts, frozen=True, kw_only=True, eq=False):
    """CIDRs of Services, and the target for packets to addresses in them that no Service has."""

    cidrs: Sequence[str]
    target: str


class NatOutgoingFacts(Facts, frozen=True, kw_only=True, eq=False):
    """`pools_set` is the set (without its prefix) of networks whose packets keep their source address."""

    rules: Sequence[NatRule]
    family: int
    pools_set: str


class FloatingFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Floating addresses of local pods. `snat_options` begin with a space."""

    pairs: Sequence[FloatingPair]
    snat_options: str


class SpoofingFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Interfaces of local pods, and the networks that they may send from besides their addresses."""

    senders: Sequence[Sender]


class DscpFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Local endpoints whose packets get a DSCP value."""

    endpoints: Sequence[DscpSource]


def address_chains(resolution: Resolution, context: RuleContext, family: int) -> Iterator[tuple[str, ChainPlan]]:
    """(table, chain) for every small chain of one family."""
    config = resolution.config
    cidrs = sorted(cidr for cidr in resolution.cluster.service_cidrs if family_of(cidr) == family)
    prevention = config.service_loop_prevention
    pairs = floating_pairs(resolution, family) if config.floating_ips == "Enabled" else {}
    snat_options = " --random-fully" if config.feature("SNATFullyRandom") else ""
    rows: list[tuple[str, str, Facts, str]] = [
        (
            "filter",
            "cali-cidr-block",
            CidrBlockFacts(cidrs=cidrs if prevention != "Disabled" else [], target=prevention.upper()),
            "service CIDRs of the BGPConfiguration",
        ),
        (
            "nat",
            "cali-nat-outgoing",
            NatOutgoingFacts(
                rules=nat_rules(resolution, family), family=family, pools_set=context.calico_version.pools_set
            ),
            "IP pools with natOutgoing",
        ),
        (
            "nat",
            "cali-fip-dnat",
            FloatingFacts(
                pairs=[FloatingPair(pairs[floating], floating) for floating in sorted(pairs)],
                snat_options=snat_options,
            ),
            "floating addresses of local pods",
        ),
        (
            "nat",
            "cali-fip-snat",
            FloatingFacts(pairs=snat_pairs(pairs), snat_options=snat_options),
            "floating addresses of local pods",
        ),
        (
            "raw",
            "cali-rpf-skip",
            SpoofingFacts(senders=list(_senders(resolution, family))),
            "allowedSourcePrefixes of local pods",
        ),
        (
            "mangle",
            "cali-egress-dscp",
            DscpFacts(endpoints=_dscp_sources(resolution, family)),
            "DSCP values of local endpoints",
        ),
    ]
    for table, name, facts, words in rows:
        yield table, ChainPlan(name=name, template=f"{table}/{name}", facts=facts, origin=Origin(words=words))


def nat_rules(resolution: Resolution, family: int) -> list[NatRule]:
    """Outgoing NAT; with a port range one pair of rules for each protocol that has ports comes first."""
    config = resolution.config
    if not any(pool.nat_outgoing and family_of(pool.cidr) == family for pool in resolution.cluster.pools):
        return []
    exclusion = ""
    if config.nat_outgoing_exclusions == "IPPoolsAndHostIPs":
        exclusion = f" -m set ! --match-set cali{family}0all-hosts-net dst"
    interface = f" --out-interface {config.nat_outgoing_interface}" if config.nat_outgoing_interface else ""
    rules = []
    if config.nat_port_range:
        ports = "-".join(map(str, config.nat_port_range))
        for protocol in ("tcp", "udp"):
            matched = f"{exclusion} -p {protocol}{interface}"
            rules += [NatRule(matched, _nat_target(config, ports)), NatRule(matched, "RETURN")]
    rules.append(NatRule(exclusion + interface, _nat_target(config)))
    return rules


def _nat_target(config: Config, ports: str = "") -> str:
    if config.nat_outgoing_address:
        random = " --random-fully" if config.feature("SNATFullyRandom") else ""
        return f"SNAT --to-source {config.nat_outgoing_address}{f':{ports}' if ports else ''}{random}"
    random = " --random-fully" if config.feature("MASQFullyRandom") else ""
    return f"MASQUERADE{f' --to-ports {ports}' if ports else ''}{random}"


def floating_pairs(resolution: Resolution, family: int) -> dict[str, str]:
    """Floating address → pod address. If several pods have the same one, the smallest pod address (as text) is used."""
    pairs: dict[str, str] = {}
    for local in resolution.workloads:
        for address, floating in local.workload.floating:
            if family_of(floating) == family:
                pairs[floating] = min(pairs.get(floating, address), address)
    return pairs


def snat_pairs(pairs: Mapping[str, str]) -> list[FloatingPair]:
    """The reverse of `floating_pairs`: each pod address in it with its smallest floating address."""
    reverse: dict[str, str] = {}
    for floating, address in pairs.items():
        reverse[address] = min(reverse.get(address, floating), floating)
    return [FloatingPair(address, reverse[address]) for address in sorted(reverse)]


def _senders(resolution: Resolution, family: int) -> Iterator[Sender]:
    """The local endpoints with DSCP, sorted by interface; Felix visits them in random order."""
    for local in resolution.workloads:
        for net in local.workload.spoofable:
            if family_of(net) == family:
                yield Sender(local.workload.interface, net)


def _dscp_sources(resolution: Resolution, family: int) -> list[DscpSource]:
    sources = []
    endpoints: list[Workload | HostEndpoint] = [
        *(local.workload for local in resolution.workloads),
        *resolution.all_hosts,
    ]
    for endpoint in endpoints:
        addresses = [address for address in endpoint.addresses if family_of(address) == family]
        if endpoint.dscp is not None and addresses:
            sources.append(DscpSource(",".join(addresses), endpoint.dscp))
    return sorted(sources)
