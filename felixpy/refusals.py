"""What no kernel takes: rules and sets that Felix writes for input that Calico's API accepts, and that fail to load.

Felix then retries for ever and the node stays unprogrammed. What is refused about rules the tables of matches and
targets say (`felixpy.iptables`), what about sets `SET_CHECKS`; the reasons were tried with iptables 1.8.9 (both
backends) and ipset 7.17.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

from felixpy.errors import Path, Place, Problem
from felixpy.ipsets import IPSet
from felixpy.iptables import matches, targets
from felixpy.iptables.reader import read_felix
from felixpy.iptables.refused import Refusal
from felixpy.model import Cluster, Configuration, Source
from felixpy.names import MAX_CHAIN
from felixpy.netfilter.rules import Body
from felixpy.ruleset import Chain, Origin, Ruleset, Table

INTERFACE_FIELDS = (
    "interfacePrefix",
    "iptablesNATOutgoingInterfaceFilter",
    "wireguardInterfaceName",
    "wireguardInterfaceNameV6",
)

FIELDS: Mapping[str, tuple[str, ...]] = {
    "reject": ("iptablesFilterDenyAction",),
    "address": ("natOutgoingAddress", "metadataAddr"),
    "interface": INTERFACE_FIELDS,
    "limit": ("logActionRateLimit", "logActionRateLimitBurst"),
    "log-prefix": ("logPrefix",),
}
"""The FelixConfiguration fields to blame for what the kernel refuses; where there are none it is the policy itself."""

_COMMENTS = re.compile(r'^(?:-m comment --comment "[^"]*" ?)+')


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

LONG_NAME = Refusal("chain", "", lambda body, table: True, f"chain names have at most {MAX_CHAIN} characters")

REFUSALS = (*matches.REFUSALS, *targets.REFUSALS)

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
                fields = FIELDS.get(check.name, ())
                blame = _blame(cluster, ruleset.node, fields, check.reason, chain.origin, number)
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


_Refused = tuple[Refusal, int, str]
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
        yield LONG_NAME, -1, ""
    whole = "\n".join(chain.bodies)
    for check in REFUSALS:
        if check.trigger not in whole:
            continue
        for body, number in zip(chain.bodies, chain.numbers, strict=True):
            # Comments may hold any words, so they are left out before a second look.
            if (
                check.trigger in body
                and check.trigger in (bare := _COMMENTS.sub("", body))
                and check.finds(_read(bare, table.family), table.name)
            ):
                yield check, number, body


@lru_cache(maxsize=1 << 16)
def _read(body: str, family: int) -> Body:
    return read_felix(body, family)


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
