"""What Felix cannot program in nftables mode: rules and sets that nft refuses, and names on which Felix panics.

Felix retries, then crashes, and does the same after a restart; a refused rule leaves its table empty, so every packet
passes. The same input often works in iptables mode. Tested with nft 1.0.6 on Linux 6.18.

Rules of one class load but cannot be listed: nft ends with a failed assertion if a rule matches a protocol whose header
it does not know, and then a set with ports (``payload_expr_complete`` in src/payload.c, the same in 1.0.1 to 1.1.6;
tested with 1.0.6 and all 256 protocols). Felix lists its table before every write but the first, and panics when nft
fails four times. (felix/nftables/table.go: getHashesFromDataplane)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from felixpy.ipsets import IPSet, uncovered
from felixpy.iptables.refused import FOREIGN, MAX_INTERFACE, Refusal
from felixpy.model import Cluster
from felixpy.netfilter.criteria import Protocol
from felixpy.netfilter.numbers import NUMBERS
from felixpy.netfilter.rules import Body
from felixpy.nftables.listing import WITH_HEADER
from felixpy.nftables.spelling import PORT_PROTOCOLS, spelt
from felixpy.nftables.tables import FAMILIES, nft_set
from felixpy.refusals import PARAMETERS, ChainCheck, Culprit, Refuser, SetCheck, always
from felixpy.ruleset import Chain, Table

MAX_NAME = 255
"""The longest name of a chain in the kernel, in bytes. (NFT_NAME_MAXLEN - 1)"""

MAX_FELIX_NAME = 256
"""The longest name of a chain, without layer, that Felix does not try to shorten, in bytes."""

MAX_LOG_PREFIX = 127
"""The longest log prefix, in bytes. (NF_LOG_PREFIXLEN - 1)"""

KEYWORDS = frozenset(
    """
    accept add ah all and bridge cgroup chain comment comp constant continue counter cpu create ct day dccp
    define delete describe device devices drop dst dup dynamic element elements eq esp exists expires export
    exthdr fib flags flow flowtable flush frag fwd gc-interval ge get goto handle hbh hook hour ibriport ibrname
    icmp icmpv6 igmp iif iifgroup iifname iiftype import include index inet insert interval ipsec jhash jump le
    limit list log lt map mark masquerade meta meter mh missing monitor ne netdev nftrace not notrack numgen
    obriport obrname offload oif oifgroup oifname oiftype or osf pkttype policy position priority queue quota
    random redefine redirect reject rename replace return rt rt0 rt2 rtclassid rule ruleset sctp secmark set
    size skgid skuid socket srh symhash synproxy table tcp th time timeout tproxy type typeof udp udplite
    undefine update vmap xor xt
    """.split()  # noqa: SIM905
)
"""Keywords that nft does not accept as an interface name without quotes; Felix writes none. (nft 1.0.6, all tested)"""

_INTERFACE = re.compile(r"[A-Za-z_.][\w.:/-]*\*?", re.ASCII)


def _code(body: Body, table: str) -> bool:
    return any("/" in option.values[0] for match in body.matches if match.module.startswith("icmp")
               for option in match.options)  # fmt: skip


def _other_protocol(body: Body, table: str) -> bool:
    """Return whether a rule matches an ICMP type and another protocol; nft accepts the type without a protocol."""
    wanted = {"icmp": NUMBERS["icmp"], "icmp6": NUMBERS["icmpv6"]}
    protocols = [t.criterion.number for t in body.tests if isinstance(t.criterion, Protocol) and not t.negated]
    return any(number != wanted[match.module] for match in body.matches if match.module in wanted
               for number in protocols)  # fmt: skip


def _no_ports(body: Body, table: str) -> bool:
    names = [m.options[0].values[0] for m in body.matches if m.module == "-p" and not m.options[0].negated]
    return not names or names[-1] not in PORT_PROTOCOLS


def _unlistable(body: Body, table: str) -> bool:
    asked = [t.criterion.number for t in body.tests if isinstance(t.criterion, Protocol) and not t.negated]
    ports = any("," in option.values[-1] for match in body.matches if match.module == "set" for option in match.options)
    return ports and any(number not in WITH_HEADER for number in asked)


def _address_list(body: Body, table: str) -> bool:
    return any("," in match.options[0].values[0] for match in body.matches if match.module in ("-s", "-d"))


def _unreadable_interface(body: Body, table: str) -> bool:
    return table != "nat" and any(not _readable(_with_wildcard(name)) for name in _interfaces(body))


def _unreadable_filter(body: Body, table: str) -> bool:
    """Return whether nft cannot read the interface filter of a NAT rule, which Felix writes as configured."""
    return table == "nat" and any(not _readable(name) for name in _interfaces(body))


def _interfaces(body: Body) -> Iterator[str]:
    return (match.options[0].values[0] for match in body.matches if match.module in ("-i", "-o"))


def _with_wildcard(name: str) -> str:
    return f"{name[:-1]}*" if name.endswith("+") else name


def _readable(name: str) -> bool:
    return bool(_INTERFACE.fullmatch(name)) and name not in KEYWORDS and len(name) <= MAX_INTERFACE


_PREFIX = re.compile(r'--log-prefix "(.*)" --log-level')


def _bad_prefix(body: Body, table: str) -> bool:
    found = _PREFIX.search(body.text)
    return found is not None and (any(sign in found[1] for sign in '"$') or len(found[1].encode()) > MAX_LOG_PREFIX)


UNREADABLE = (
    "an interface name that nft cannot read without quotes: it may have letters, digits and ._-/, not begin with a "
    f"digit, not be a word of nft, and not have more than {MAX_INTERFACE} characters"
)

RULES = (
    Refusal("icmp-code", "-m icmp", _code, "an ICMP type with a code, which Felix writes in a form unknown to nft"),
    Refusal("icmp", "-m icmp", _other_protocol, "an ICMP type together with another protocol"),
    Refusal("ports", "-m multiport ", _no_ports, "ports without TCP, UDP or SCTP, on which Felix panics"),
    Refusal(
        "unlistable",
        "--match-set ",
        _unlistable,
        "a set with ports, such as that of a Service, together with a protocol of which nft knows no ports",
        re.compile(r"^(?=.*(?<!! )-p (?!(?:tcp|udp|sctp) )).*(?:src,src|dst,dst)\b"),
        "nft cannot list the table with this rule",
        "Felix would crash again and again when it reads its table: what it wrote before stays in force, later changes "
        "of policies and pods do nothing, and nft list fails on the node",
    ),
    Refusal(
        "addresses",
        "--source ",
        _address_list,
        "several addresses in one rule: those of an endpoint with a DSCP value",
    ),
    FOREIGN,
    Refusal("interface", "-interface ", _unreadable_interface, UNREADABLE),
    Refusal("nat-interface", "--out-interface ", _unreadable_filter, f"{UNREADABLE}; the wildcard is *, not +"),
    Refusal(
        "log-prefix",
        "LOG ",
        _bad_prefix,
        f'a log prefix with " or $, or of more than {MAX_LOG_PREFIX} bytes together with ": "',
    ),
)


def _kernel_name(table: Table, chain: Chain) -> int:
    return len(f"{table.name}-{chain.name}".encode())


def _panics(table: Table, chain: Chain) -> bool:
    """Return whether Felix panics: it reads past the end of a hash. (libcalico-go/lib/hash: MakeUniqueID)"""
    return len(chain.name.encode()) > MAX_FELIX_NAME


def _rejects_late(table: Table, chain: Chain) -> bool:
    """Return whether a chain rejects at postrouting: nft allows it at prerouting, input, forward and output only."""
    late = table.name == "mangle" and chain.name.startswith(("cali-th-", "cali-po-", "cali-go-", "cali-pro-"))
    return late and any(body.endswith("--jump REJECT") for body in chain.bodies)


CHAINS = (
    ChainCheck(
        _panics,
        Refusal("name", "", always, f"Felix panics on chain names of more than {MAX_FELIX_NAME} bytes"),
    ),
    ChainCheck(
        lambda table, chain: _kernel_name(table, chain) > MAX_NAME and not _panics(table, chain),
        Refusal("name", "", always, f"chain names have at most {MAX_NAME} bytes, the table's name in front included"),
    ),
    ChainCheck(_rejects_late, Refusal("reject", "", always, "reject in a chain of the postrouting hook")),
)


def _overlaps(ipset: IPSet) -> bool:
    if ipset.type != "hash:net":
        return False
    findings = ipset.members.findings
    if "overlap" not in findings:
        # Most sets contain single addresses only, which is the faster test.
        findings["overlap"] = "/" in "".join(ipset.members) and _covers(set(ipset.members), ipset.family)
    return bool(findings["overlap"])


def _covers(nets: set[str], family: int) -> bool:
    """Return whether one of the networks covers another one."""
    return len(uncovered(nets, family)) < len(nets)


def _overlap(ipset: IPSet) -> str:
    """Return a message with the first member that another one covers, and that one."""
    kept = uncovered(ipset.members, ipset.family)
    inner = next(member for member in ipset.members if member not in kept)
    outer = next(member for member in kept if ip_network(inner).subnet_of(ip_network(member)))  # type: ignore[arg-type]
    return f"overlapping members of an interval set: {outer} covers {inner} ({ipset.words})"


def _covered_pools(ipset: IPSet, cluster: Cluster) -> Iterator[Culprit]:
    if not ipset.name.endswith("-pools"):
        return
    kept = uncovered(ipset.members, ipset.family)
    for pool in cluster.pools:
        if pool.cidr in ipset.members and pool.cidr not in kept:
            yield Culprit(f"IPPool {pool.name}", pool.source, ("spec", "cidr"))


SETS = (SetCheck(_overlaps, _overlap, ("ExternalNodesCIDRList",), _covered_pools),)


def _shown_rule(table: Table, chain: Chain, body: str) -> str:
    family = FAMILIES[table.family]
    if not body:
        return f"nft gets: add chain {family} calico {table.name}-{chain.name}"
    text = spelt(body, table.name, family).written
    return f"nft gets: add rule {family} calico {table.name}-{chain.name} {text}"


def _shown_set(ipset: IPSet) -> str:
    made = nft_set(ipset)
    members = ", ".join(_some(made.written))
    return f"nft refuses: add element {FAMILIES[ipset.family]} calico {made.name} {{ {members} }}"


def _some(members: Iterable[str]) -> list[str]:
    shown = list(members)
    return [*shown[:5], "…"] if len(shown) > 5 else shown


def _with_addresses(body: Body, cluster: Cluster) -> Iterator[Culprit]:
    """Yield the endpoints whose addresses are in one rule."""
    lists = [set(match.options[0].values[0].split(",")) for match in body.matches if match.module == "-s"]
    for endpoint in cluster.host_endpoints:
        if any(addresses <= set(endpoint.addresses) for addresses in lists):
            yield Culprit(f"HostEndpoint {endpoint.name}", endpoint.source, ("spec", "expectedIPs"))


def _on_interfaces(body: Body, cluster: Cluster) -> Iterator[Culprit]:
    """Yield the host endpoints of the interfaces in a rule."""
    names = set(_interfaces(body))
    for endpoint in cluster.host_endpoints:
        if endpoint.interface in names:
            yield Culprit(f"HostEndpoint {endpoint.name}", endpoint.source, ("spec", "interfaceName"))


NFTABLES = Refuser(
    rules=RULES,
    chains=CHAINS,
    sets=SETS,
    parameters={
        **PARAMETERS,
        "interface": ("InterfacePrefix", "WireguardInterfaceName", "WireguardInterfaceNameV6"),
        "nat-interface": ("IptablesNATOutgoingInterfaceFilter",),
        "reject": ("NftablesFilterDenyAction", "IptablesFilterDenyAction"),
    },
    culprits={"addresses": _with_addresses, "interface": _on_interfaces},
    verdict="cannot be programmed in nftables mode",
    consequence="Felix would crash again and again and leave its table empty: every packet passes",
    shown_rule=_shown_rule,
    shown_set=_shown_set,
)
