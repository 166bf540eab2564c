"""Rules and sets that Felix writes for input that Calico's API accepts, and that no kernel loads.

Felix then retries forever, and the node is not programmed. A `Refuser` is the table for one data plane; that of
nftables is in `felixpy.nftables.refused`. Rules that iptables refuses are in the tables of matches and targets
(`felixpy.iptables`), sets that ipset refuses in `SET_CHECKS`; tried with iptables 1.8.9 (both backends) and ipset 7.17.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec import field as field_of

from felixpy.effective import origins
from felixpy.errors import Path, Place, Problem
from felixpy.ipsets import IPSet
from felixpy.iptables import matches, targets
from felixpy.iptables.reader import read_felix
from felixpy.iptables.refused import Refusal
from felixpy.model import Cluster, Source
from felixpy.names import MAX_CHAIN
from felixpy.netfilter.rules import Body
from felixpy.patterns import DrawnChain
from felixpy.remembered import remembered
from felixpy.ruleset import Chain, Origin, Ruleset, Table

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "reject": ("IptablesFilterDenyAction",),
    "address": ("NATOutgoingAddress", "MetadataAddr"),
    "interface": (
        "InterfacePrefix",
        "IptablesNATOutgoingInterfaceFilter",
        "WireguardInterfaceName",
        "WireguardInterfaceNameV6",
    ),
    "limit": ("LogActionRateLimit", "LogActionRateLimitBurst"),
    "log-prefix": ("LogPrefix",),
}
"""The parameters to blame for what the kernel refuses; where none is set it is the policy itself."""

_COMMENTS = re.compile(r'^(?:-m comment --comment "[^"]*" ?)+')


EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


def _too_many(ipset: IPSet) -> bool:
    return len(ipset.members) > ipset.max_size >= 0


def _everything(ipset: IPSet) -> bool:
    return ipset.type == "hash:net" and _holds(ipset, EVERYTHING[ipset.family])


def _holds(ipset: IPSet, address: str) -> bool:
    """Whether an address or a network is among the members, which are sorted, with a port or alone."""
    position = bisect_left(ipset.members, address)
    return position < len(ipset.members) and ipset.members[position].partition(",")[0] == address


class Culprit(NamedTuple):
    """The object, and the path in it, that a refused rule or set was made from."""

    subject: str
    source: Source
    path: Path


NULL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104


def _null_address(ipset: IPSet) -> bool:
    return ipset.type != "hash:net" and any(_holds(ipset, null) for null in NULL_ADDRESSES)


def _impossible_size(ipset: IPSet) -> bool:
    return not 0 <= ipset.max_size < 1 << 32


class SetCheck(NamedTuple):
    """A class of sets that fail to load; `culprits` finds the objects at fault, unless it is a configuration field."""

    finds: Callable[[IPSet], bool]
    reason: Callable[[IPSet], str]
    parameters: tuple[str, ...] = ()
    culprits: Callable[[IPSet, Cluster], Iterable[Culprit]] = lambda ipset, cluster: ()


class ChainCheck(NamedTuple):
    """A class of chains that fail to load, as a whole or for a rule that is refused only there."""

    finds: Callable[[Table, Chain], bool]
    refusal: Refusal


SET_CHECKS = (
    SetCheck(
        _impossible_size,
        lambda ipset: f"the maximum of members is {ipset.max_size} and has to be from 0 to {(1 << 32) - 1}",
        ("MaxIpsetSize",),
    ),
    SetCheck(
        _too_many,
        lambda ipset: f"the set would have {len(ipset.members)} members, more than its maximum of {ipset.max_size}",
        ("MaxIpsetSize",),
    ),
    SetCheck(_everything, lambda ipset: "a set of networks cannot hold a /0", ("ExternalNodesCIDRList",)),
    SetCheck(_null_address, lambda ipset: "a set of addresses cannot hold 0.0.0.0 or ::", ("IstioAmbientMode",)),
)


def always(body: Body, table: str) -> bool:
    """A `Refusal.finds` for refusals that do not depend on a rule's content."""
    return True


LONG_NAME = ChainCheck(
    lambda table, chain: len(chain.name.encode()) > MAX_CHAIN,
    Refusal("chain", "", always, f"chain names have at most {MAX_CHAIN} characters"),
)

REFUSALS = (*matches.REFUSALS, *targets.REFUSALS)


class Refuser(Struct, frozen=True, kw_only=True, eq=False):
    """What the tools of one data plane refuse, and the messages about it."""

    rules: Sequence[Refusal]
    chains: Sequence[ChainCheck]
    sets: Sequence[SetCheck]
    parameters: Mapping[str, tuple[str, ...]]
    """The parameters to blame, by the name of a refusal."""
    culprits: Mapping[str, Callable[[Body, Cluster], Iterable[Culprit]]] = field_of(default_factory=dict)
    """The objects to blame for a rule before any of these parameters, by the name of a refusal."""
    verdict: str
    consequence: str
    shown_rule: Callable[[Table, Chain, str], str]
    shown_set: Callable[[IPSet], str]


def _shown_rule(table: Table, chain: Chain, body: str) -> str:
    command = "ip6tables" if table.family == 6 else "iptables"
    return f"{command} refuses in table {table.name}: -A {chain.name} {body}"


IPTABLES = Refuser(
    rules=REFUSALS,
    chains=(LONG_NAME,),
    sets=SET_CHECKS,
    parameters=PARAMETERS,
    verdict="no kernel takes this",
    consequence="Felix would retry for ever and leave the node unprogrammed",
    shown_rule=_shown_rule,
    shown_set=lambda ipset: f"ipset refuses: {ipset.create()}",
)


class _Told(NamedTuple):
    """The message about something that is refused."""

    reason: str
    hint: str


class _Blame(NamedTuple):
    """The origin of a refused rule; equal ones are reported once."""

    subject: str
    source: Source
    path: Path
    told: _Told


def refusals(ruleset: Ruleset, cluster: Cluster, refuser: Refuser = IPTABLES) -> list[Problem]:
    """Everything in a ruleset that would be refused, one problem for each object and reason."""
    blamed: dict[_Blame, str] = {}
    for table in ruleset.tables.values():
        for chain in table.all_chains():
            for check, number, body in _refused_rules(table, chain, refuser):
                find = refuser.culprits.get(check.name)
                culprits = [*find(_read(body, table.family), cluster)] if find else []
                told = _told(refuser, check.reason, check.verdict, check.consequence)
                blames = [_Blame(*culprit, told) for culprit in culprits]
                if not blames:
                    names = refuser.parameters.get(check.name, ())
                    blames.append(_blame(cluster, ruleset.node, names, told, chain.origin, number))
                for blame in blames:
                    blamed.setdefault(blame, refuser.shown_rule(table, chain, body))
    for ipset in ruleset.sets:
        for row in refuser.sets:
            if row.finds(ipset):
                told = _told(refuser, row.reason(ipset))
                for blame in _set_blames(row, ipset, cluster, ruleset.node, told):
                    blamed.setdefault(blame, refuser.shown_set(ipset))
    return [
        Problem(
            place=cluster.where(blame.source, blame.path) if blame.source.file else Place("-"),
            subject=blame.subject,
            path=blame.path,
            reason=blame.told.reason,
            hint=blame.told.hint,
            severity="warning",
            excerpt=example,
        )
        for blame, example in blamed.items()
    ]


def _told(refuser: Refuser, reason: str, verdict: str = "", consequence: str = "") -> _Told:
    return _Told(f"{verdict or refuser.verdict}: {reason}", consequence or refuser.consequence)


def is_refused(ipset: IPSet, refuser: Refuser) -> bool:
    """Whether a set would be refused."""
    return any(row.finds(ipset) for row in refuser.sets)


def _set_blames(row: SetCheck, ipset: IPSet, cluster: Cluster, node: str, told: _Told) -> Iterator[_Blame]:
    """The origins of a refused set: objects that the check finds, a configuration, or the first user of the set."""
    found = [_Blame(*culprit, told) for culprit in row.culprits(ipset, cluster)]
    if found:
        yield from found
        return
    first = ipset.origin
    origin = Origin(words=first.subject, source=first.source) if first else Origin(words="")
    yield _blame(cluster, node, row.parameters, told, origin, -1)


_Refused = tuple[Refusal, int, str]


def _refused_rules(table: Table, chain: Chain, refuser: Refuser) -> Sequence[_Refused]:
    key = (refuser, table.name, table.family)
    found: Sequence[_Refused] | None = chain.findings.get(key)
    if found is None:
        found = chain.findings[key] = tuple(_find_refused(table, chain, refuser))
    return found


def _find_refused(table: Table, chain: Chain, refuser: Refuser) -> Iterator[_Refused]:
    for chain_check in refuser.chains:
        if chain_check.finds(table, chain):
            yield chain_check.refusal, -1, ""
    if isinstance(chain, DrawnChain) and not _refused_rules(table, chain.pattern.chain, refuser):
        return  # whatever the names are
    whole = "\n".join(chain.bodies)
    for check in refuser.rules:
        if check.trigger not in whole or not check.doubt.search(whole):
            continue
        for body, number in zip(chain.bodies, chain.numbers, strict=True):
            # Comments may hold any words, so they are left out before a second look.
            if (
                check.trigger in body
                and check.trigger in (bare := _COMMENTS.sub("", body))
                and check.finds(_read(bare, table.family), table.name)
            ):
                yield check, number, body


@remembered(1 << 16)
def _read(body: str, family: int) -> Body:
    return read_felix(body, family)


def _blame(cluster: Cluster, node: str, names: tuple[str, ...], told: _Told, origin: Origin, number: int) -> _Blame:
    """The origin of a refused rule: the setting at fault, else the policy rule that it was made from."""
    lower = {name.lower() for name in names}
    for given in origins(cluster, node) if names else ():
        if given.source and given.setting.value and given.setting.name.lower() in lower:
            return _Blame(given.by, given.source, given.path, told)
    subject = origin.words.partition(",")[0]
    return _Blame(subject, origin.source or Source("", 0), origin.path(number), told)
