"""What no kernel takes: rules and sets that Felix writes for input that Calico's API accepts, and that fail to load.

Felix then retries for ever and the node stays unprogrammed. Each class is a row of `RULE_CHECKS` or `SET_CHECKS`;
the reasons were tried with iptables 1.8.9 (both backends) and ipset 7.17.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from felixpy.errors import Path, Place, Problem
from felixpy.ipsets import IPSet
from felixpy.model import Cluster, Configuration, Source
from felixpy.names import MAX_CHAIN
from felixpy.ruleset import Chain, Origin, Ruleset, Table

MAX_INTERFACE = 15
MAX_LIMIT_RATE = 10_000
MAX_LIMIT_BURST = 10_000

ICMP_PROTOCOLS = {"-m icmp ": {"icmp", "1"}, "-m icmp6 ": {"icmpv6", "ipv6-icmp", "58"}}
_SECONDS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86400}

_PROTOCOL = re.compile(r"(?:^| )(?P<negated>! )?-p (?P<name>\S+)")
_PORT_PROTOCOL = re.compile(r"(?<!! )-p (?:tcp|udp|udplite|sctp|dccp|6|17|136|132|33) ")
_INTERFACE = re.compile(r"--(?:in|out)-interface (\S+)")
_LIMIT = re.compile(r"--limit (\d+)/(\w+)(?: --limit-burst (\d+))?")
_NEW_ADDRESS = re.compile(r"--to-(?:source|destination) (\S+)")
_COMMENTS = re.compile(r'^(?:-m comment --comment "[^"]*" ?)+')
_LOG_PREFIX = re.compile(r'--log-prefix "(.*)" --log-level')


def _positive_protocol(body: str) -> str:
    return next((found["name"] for found in _PROTOCOL.finditer(body) if not found["negated"]), "")


def _two_protocols(table: Table, body: str) -> bool:
    return len(_PROTOCOL.findall(body)) > 1


def _icmp_without_protocol(table: Table, body: str) -> bool:
    return any(match in body and _positive_protocol(body) not in names for match, names in ICMP_PROTOCOLS.items())


def _ports_without_protocol(table: Table, body: str) -> bool:
    return not _PORT_PROTOCOL.search(body)


def _reject_elsewhere(table: Table, body: str) -> bool:
    return table.name != "filter" and body.endswith("--jump REJECT")


def _foreign_address(table: Table, body: str) -> bool:
    return any(_is_foreign(found[1], table.family) for found in _NEW_ADDRESS.finditer(body))


def _is_foreign(address: str, family: int) -> bool:
    bare = address.rpartition(":")[0] if address.count(":") == 1 else address
    return (":" in bare) != (family == 6)


def _long_interface(table: Table, body: str) -> bool:
    return any(len(found[1].removesuffix("+").encode()) > MAX_INTERFACE - found[1].endswith("+")
               for found in _INTERFACE.finditer(body))  # fmt: skip


def _impossible_limit(table: Table, body: str) -> bool:
    found = _LIMIT.search(body)
    if not found:
        return False
    rate, unit, burst = int(found[1]), found[2], int(found[3] or 0)
    return rate == 0 or rate > MAX_LIMIT_RATE * _SECONDS.get(unit, 1) or burst > MAX_LIMIT_BURST


def _broken_log_prefix(table: Table, body: str) -> bool:
    found = _LOG_PREFIX.search(body)
    return bool(found and '"' in found[1])


class RuleCheck(NamedTuple):
    """A class of rules that fail: those with `trigger` in their text for which `finds` is true.

    `fields` are the FelixConfiguration fields to blame, () for the policy itself.
    """

    trigger: str
    finds: Callable[[Table, str], bool]
    reason: str
    fields: tuple[str, ...] = ()


INTERFACE_FIELDS = (
    "interfacePrefix",
    "iptablesNATOutgoingInterfaceFilter",
    "wireguardInterfaceName",
    "wireguardInterfaceNameV6",
)
RATES = f"a rate must be above zero and at most {MAX_LIMIT_RATE} a second, a burst at most {MAX_LIMIT_BURST}"

RULE_CHECKS = (
    RuleCheck("! -p ", _two_protocols, "a rule has room for one -p: protocol excludes notProtocol"),
    RuleCheck(
        "-m icmp", _icmp_without_protocol, "an ICMP type can only be matched together with protocol ICMP or ICMPv6"
    ),
    RuleCheck(
        "-m multiport ", _ports_without_protocol, "ports can only be matched together with TCP, UDP, UDPLite or SCTP"
    ),
    RuleCheck(
        "REJECT",
        _reject_elsewhere,
        "REJECT works in the filter table only, not in raw or mangle",
        ("iptablesFilterDenyAction",),
    ),
    RuleCheck("--to-", _foreign_address, "an address of the other IP family", ("natOutgoingAddress", "metadataAddr")),
    RuleCheck(
        "-interface ", _long_interface, f"interface names have at most {MAX_INTERFACE} characters", INTERFACE_FIELDS
    ),
    RuleCheck("--limit ", _impossible_limit, RATES, ("logActionRateLimit", "logActionRateLimitBurst")),
    RuleCheck("LOG ", _broken_log_prefix, "a log prefix cannot hold a quote", ("logPrefix",)),
)


def _too_many(ipset: IPSet) -> bool:
    return len(ipset.members) > ipset.max_size


def _everything(ipset: IPSet) -> bool:
    return ipset.type == "hash:net" and "/0\n" in ipset.save()


class SetCheck(NamedTuple):
    """A class of sets that fail to load."""

    finds: Callable[[IPSet], bool]
    reason: Callable[[IPSet], str]
    fields: tuple[str, ...] = ()


SET_CHECKS = (
    SetCheck(
        _too_many,
        lambda ipset: f"the set would have {len(ipset.members)} members, more than its maximum of {ipset.max_size}",
        ("maxIpsetSize",),
    ),
    SetCheck(_everything, lambda ipset: "a set of networks cannot hold a /0", ("externalNodesList",)),
)

CONSEQUENCE = "Felix would retry for ever and leave the node unprogrammed"


class _Blame(NamedTuple):
    """Whom a refused rule is blamed on; equal blames are reported once."""

    subject: str
    source: Source
    path: Path
    reason: str


def refusals(ruleset: Ruleset, cluster: Cluster) -> list[Problem]:
    """Everything in a ruleset that its kernel would refuse, one problem for each object and reason."""
    blamed: dict[_Blame, str] = {}
    for table in ruleset.tables.values():
        for chain in table.all_chains():
            for check, number, body in _refused_rules(table, chain):
                blame = _blame(cluster, ruleset.node, check.fields, check.reason, chain.origin, number)
                command = "ip6tables" if table.family == 6 else "iptables"
                blamed.setdefault(blame, f"{command} refuses in table {table.name}: -A {chain.name} {body}")
    for ipset in ruleset.sets:
        for row in SET_CHECKS:
            if row.finds(ipset):
                first = ipset.origin
                origin = Origin(words=first.subject, source=first.source) if first else Origin(words="")
                blame = _blame(cluster, ruleset.node, row.fields, row.reason(ipset), origin, -1)
                blamed.setdefault(blame, f"ipset refuses: {ipset.create()}")
    return [
        Problem(
            place=cluster.where(blame.source, blame.path) if blame.source.file else Place("-"),
            subject=blame.subject,
            path=blame.path,
            reason=f"no kernel takes this: {blame.reason}",
            hint=CONSEQUENCE,
            severity="warning",
            excerpt=example,
        )
        for blame, example in blamed.items()
    ]


_Refused = tuple[RuleCheck, int, str]
_known: WeakKeyDictionary[Chain, dict[tuple[str, int], tuple[_Refused, ...]]] = WeakKeyDictionary()
"""What was found in a chain, by table and family: most chains are shared by several nodes."""


def _refused_rules(table: Table, chain: Chain) -> tuple[_Refused, ...]:
    known = _known.setdefault(chain, {})
    key = (table.name, table.family)
    if key not in known:
        known[key] = tuple(_find_refused(table, chain))
    return known[key]


def _find_refused(table: Table, chain: Chain) -> Iterator[_Refused]:
    if len(chain.name.encode()) > MAX_CHAIN:
        long_name = RuleCheck("chain", lambda table, body: True, f"chain names have at most {MAX_CHAIN} characters")
        yield long_name, -1, ""
    for check in RULE_CHECKS:
        for body, number in zip(chain.bodies, chain.numbers, strict=True):
            # Comments may hold any words, so they are left out before a second look.
            if (
                check.trigger in body
                and check.trigger in (bare := _COMMENTS.sub("", body))
                and check.finds(table, bare)
            ):
                yield check, number, body


def _blame(cluster: Cluster, node: str, fields: tuple[str, ...], reason: str, origin: Origin, number: int) -> _Blame:
    """The setting that made a rule impossible, else the policy rule that it draws."""
    for configuration in _configurations(cluster, node):
        for field in fields:
            if field in configuration.values:
                path: Path = ("spec", field)
                return _Blame(f"FelixConfiguration {configuration.name}", configuration.source, path, reason)
    subject = origin.words.partition(",")[0]
    return _Blame(subject, origin.source or Source("", 0), origin.path(number), reason)


def _configurations(cluster: Cluster, node: str) -> list[Configuration]:
    """The resources that may count on a node, the strongest first."""
    rank: Mapping[str, int] = {f"node.{node}": 0, "default": 2}
    return sorted(
        (c for c in cluster.configurations if c.node_selector or c.name in rank),
        key=lambda configuration: rank.get(configuration.name, 1),
    )
