"""Counters of a dump, each with the policy rule, tier end or endpoint that it belongs to.

A policy rule becomes several iptables rules: some mark packets that match, one sets the verdict's mark, one acts on
that mark. Exactly the packets that the policy rule matches hit the rule that sets the verdict's mark, so its counter is
the policy rule's. The meaning of mark bits is read from the dump: from the rules with the comments ``Return if policy
accepted`` and ``Start of tier``. Felix writes the names of policies into comments, so no manifests are needed; with
manifests, every rule has its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from felixpy.decode.legend import CHAIN_KINDS, ChainKind, Legend, chain_prefix
from felixpy.decode.rules import Found
from felixpy.errors import InputError, Place, Problem, spell
from felixpy.netfilter.actions import Final, Nothing, SetMark
from felixpy.netfilter.criteria import Marked, Tracked
from felixpy.netfilter.numbers import STATES
from felixpy.netfilter.rules import Chain, Dump, Rule
from felixpy.ruleset import Ruleset

Kind = Literal["rule", "tier-end", "endpoint"]
KINDS: tuple[Kind, ...] = ("rule", "tier-end", "endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Packets and bytes that hit one rule of a kernel.

    `subject` is the policy, profile or endpoint; `detail` is its rule (``spec.ingress[0]``, or without manifests
    ``rule 2`` by the order in the chain), the tier that ends, or the reason of an endpoint's decision; `action` is the
    verdict. `chain`, `number` (from 1) and `identity` (Felix's hash) identify the rule.
    """

    kind: Kind
    subject: str
    direction: str
    detail: str
    action: str
    packets: int
    bytes: int
    place: Place | None = None
    node: str = ""
    family: int = 4
    table: str = "filter"
    chain: str = ""
    number: int = 0
    identity: str = ""

    @property
    def rule(self) -> tuple[object, ...]:
        """The key of the kernel's rule, the same in each reading."""
        return self.node, self.family, self.table, self.chain, self.number, self.identity


WITH_COUNTERS: Mapping[str, str] = {
    "iptables": "save the rules with iptables-save -c",
    "nftables": "list the rules with nft list ruleset, without -s",
}
"""The hint how to save rules with counters, by data plane."""


class Names:
    """Finds objects of the manifests by the names in a node's rules; `ruleset` is the compiled node."""

    def __init__(self, ruleset: Ruleset, legend: Legend) -> None:
        self._node, self._legend = ruleset.node, legend
        # By family: a chain can have other rules in IPv6, and the same hash can belong to another rule.
        self._rules = {
            (family, identity): Found(name, chain, position)
            for (family, name), table in ruleset.tables.items()
            for chain in table.all_chains()
            for position, identity in enumerate(ruleset.identities(table, chain))
        }

    def endpoint(self, chain: str) -> str:
        """Return the endpoint of a chain, "" if it is not in the manifests."""
        subject = self._legend.chain(chain, self._node)
        return subject.name if subject else ""

    def rule(self, family: int, identity: str) -> tuple[str, Place | None]:
        """Return path and place of the policy rule that a rule implements, ("", None) if there is none."""
        found = self._rules.get((family, identity))
        if found is None or not found.path:
            return "", None
        return spell(found.path), found.place(self._legend.cluster)


def counted(dump: Dump, node: str = "", names: Names | None = None) -> list[Count]:
    """Return the counters of a node's rules. Raises InputError for a dump without counters."""
    chains = [found for found in dump.chains() if chain_prefix(found[2].name)]
    if any(chain.lines for _, _, chain in chains) and all(
        line.counters is None for _, _, chain in chains for line in chain.lines
    ):
        file = chains[0][2].file
        reason = "it has no counters"
        raise InputError([Problem(place=Place(file), reason=reason, hint=WITH_COUNTERS[dump.dataplane])])
    marks = _marks(chain for _, _, chain in chains)
    return [
        replace(count, node=node, family=family, table=table)
        for family, table, chain in chains
        for count in _chain(chain, CHAIN_KINDS[chain_prefix(chain.name)], marks, names)
    ]


def _chain(chain: Chain, kind: ChainKind, marks: _Marks, names: Names | None) -> Iterator[Count]:
    if kind.owner in ("policy", "profile"):
        yield from _policy(chain, kind, marks, names)
    elif kind.owner in ("pod", "host"):
        yield from _endpoint(chain, kind, names)


# --- marks


class _Marks(NamedTuple):
    """The mark bits for accepted packets and for packets passed to the next tier."""

    accept: frozenset[int]
    pass_: frozenset[int]


ACCEPTED = re.compile(r"Return if (?:policy|profile) accepted")
TIER_START = re.compile(r"Start of tier ")


def _marks(chains: Iterable[Chain]) -> _Marks:
    accept: set[int] = set()
    passed: set[int] = set()
    for chain in chains:
        for rule in chain.rules:
            for comment in rule.comments:
                if ACCEPTED.match(comment):
                    accept |= {test.criterion.mask for test in rule.body.tests if isinstance(test.criterion, Marked)}
                elif TIER_START.match(comment) and isinstance(rule.body.action, SetMark):
                    passed.add(rule.body.action.mask)
    return _Marks(frozenset(accept), frozenset(passed - accept))


# --- rules of policies and profiles

OWNER = re.compile(r"(.+) (?:ingress|egress)$")
"""Matches the comment with the name of a policy or profile: ``NetworkPolicy shop/web ingress``."""


def _policy(chain: Chain, kind: ChainKind, marks: _Marks, names: Names | None) -> Iterator[Count]:
    owners = [found[1] for rule in chain.rules for comment in rule.comments if (found := OWNER.match(comment))]
    subject = owners[0] if owners else chain.name
    verdicts = ((rule, _action(rule, following, marks)) for rule, following in _pairs(chain.rules))
    for position, (rule, action) in enumerate(((rule, action) for rule, action in verdicts if action), start=1):
        path, place = names.rule(chain.family, rule.identity) if names else ("", None)
        what = {"kind": "rule", "subject": subject, "direction": kind.direction, "action": action}
        yield _count(rule, chain.name, **what, detail=path or f"rule {position}", place=place)


def _pairs(rules: tuple[Rule, ...]) -> Iterator[tuple[Rule, Rule | None]]:
    yield from zip(rules, (*rules[1:], None), strict=True)


def _action(rule: Rule, following: Rule | None, marks: _Marks) -> str:
    """Return the action of the policy rule whose verdict mark this rule sets, "" for a rule that sets none."""
    action = rule.body.action
    if isinstance(action, SetMark):
        if not action.value:
            return ""
        if action.value in marks.accept:
            return "allow"
        if action.value in marks.pass_:
            return "pass"
        return "deny" if following and _acts_on(following, action.value) else ""
    if isinstance(action, Nothing):
        return "log" if rule.target == "LOG" else ""
    if isinstance(action, Final) and action.outcome in ("drop", "reject"):
        return "" if any(isinstance(test.criterion, Marked) for test in rule.body.tests) else "deny"
    return ""


def _acts_on(rule: Rule, mark: int) -> bool:
    """Return whether a rule denies packets with the mark, or logs them before another rule does."""
    marked = any(isinstance(test.criterion, Marked) and test.criterion.mask == mark for test in rule.body.tests)
    return marked and (rule.target == "NFLOG" or isinstance(rule.body.action, Final))


# --- endpoints

TIER_END = re.compile(r"(?:End of tier (?P<tier>.+)\. )?(?:Drop|Reject) if no policies passed packet$")
NO_PROFILE = re.compile(r"(?:Drop|Reject) if no profiles matched$")

_DECIDED: Mapping[int, tuple[str, str]] = {
    STATES["RELATED"] | STATES["ESTABLISHED"]: ("accepted connection", "allow"),
    STATES["INVALID"]: ("invalid", "deny"),
}
"""Decisions of endpoint chains by the state of the connection: (detail, action)."""


def _endpoint(chain: Chain, kind: ChainKind, names: Names | None) -> Iterator[Count]:
    subject = (names.endpoint(chain.name) if names else "") or chain.name.removeprefix(chain_prefix(chain.name))
    for rule in chain.rules:
        found = _decided(rule)
        if found:
            part, detail, action = found
            what = {"kind": part, "direction": kind.direction, "detail": detail, "action": action}
            yield _count(rule, chain.name, **what, subject=subject)


def _decided(rule: Rule) -> tuple[Kind, str, str] | None:
    """Return (kind, detail, action) of a rule in an endpoint's chain, None for one without a verdict."""
    for comment in rule.comments:
        if found := TIER_END.match(comment):
            return "tier-end", f"tier {found['tier'] or 'default'}", "deny"
        if NO_PROFILE.match(comment):
            return "tier-end", "profiles", "deny"
        if ACCEPTED.match(comment):
            return "endpoint", "policy" if "policy" in comment else "profile", "allow"
    if isinstance(rule.body.action, Final):
        for test in rule.body.tests:
            if isinstance(test.criterion, Tracked) and test.criterion.states in _DECIDED:
                return "endpoint", *_DECIDED[test.criterion.states]
    return None


def _count(rule: Rule, chain: str, **what: Any) -> Count:
    packets, size = rule.counters or (0, 0)
    return Count(packets=packets, bytes=size, chain=chain, number=rule.number, identity=rule.identity, **what)


# --- several readings


def since(before: Iterable[Count], after: Iterable[Count]) -> tuple[list[Count], list[Count]]:
    """Return the differences between two readings, and the counts that were reset in between, with their new values."""
    earlier = {count.rule: count for count in before}
    found, restarted = [], []
    for count in after:
        known = earlier.get(count.rule)
        if known is None or count.packets < known.packets or count.bytes < known.bytes:
            found.append(count)
            restarted += [count] if known else []
        else:
            found.append(replace(count, packets=count.packets - known.packets, bytes=count.bytes - known.bytes))
    return found, restarted


def summed(counts: Iterable[Count]) -> list[Count]:
    """Return counts summed over nodes, families and tables, one for each policy rule, tier end or endpoint, by kind."""
    sums: dict[tuple[object, ...], Count] = {}
    for count in counts:
        key = count.kind, count.subject, count.direction, count.detail, count.action, count.place
        known = sums.get(key)
        if known is None:
            sums[key] = count
        else:
            node = known.node if known.node == count.node else ""
            sums[key] = replace(
                known, packets=known.packets + count.packets, bytes=known.bytes + count.bytes, node=node
            )
    return sorted(sums.values(), key=lambda count: (KINDS.index(count.kind), count.subject, count.direction))
