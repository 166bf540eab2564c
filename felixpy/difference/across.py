"""Compares rules of two data planes or Calico versions by meaning.

Syntax, hashes, counters and names of chains may differ in every rule and are ignored. Reported are other marks,
parameters that exist for one data plane only, and rules that only one data plane or version has. Chains that dispatch
by interface are trees of chains on iptables and verdict maps on nftables, and are compared interface by interface.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from felixpy.calico_versions import CalicoVersion
from felixpy.decode.legend import CHAIN_KINDS, DISPATCH, Legend, chain_prefix
from felixpy.difference.chains import OURS, ChainChange, ComparedRule, compare_rules
from felixpy.iptables.reader import RuleContent
from felixpy.model import Cluster
from felixpy.names import MAX_CHAIN, limited
from felixpy.netfilter.actions import Call
from felixpy.netfilter.criteria import AddressIn, Assumed, Interface, Ports, Test
from felixpy.netfilter.numbers import BITS, Range, joined
from felixpy.netfilter.rules import Body, Chain, Rule, Table
from felixpy.nftables.joining import JOINED, loosened
from felixpy.nftables.wording import said_by


class Planes(NamedTuple):
    """The data plane of a node in both states: ``iptables``, ``nftables``."""

    before: str
    after: str


class ChainKeys:
    """Keys of Felix's chains in one state; the same chain has the same key in the other state.

    The key of a policy's or profile's chain is the object, as Calico versions name chains differently; that of any
    other chain is its name on iptables.
    """

    def __init__(self, cluster: Cluster, calico_version: CalicoVersion, dataplane: str) -> None:
        self._legend, self._long = Legend(cluster, calico_version), dataplane == "nftables"
        self._known: dict[str, str] = {}

    def key(self, chain: str) -> str:
        """Return the key of a chain, given by its name without layer."""
        known = self._known.get(chain)
        if known is None:
            subject = self._legend.chain(chain) if chain_prefix(chain) in NAMED_AFTER_OBJECTS else None
            name = iptables_name(chain) if self._long else chain
            known = self._known[chain] = f"{chain_prefix(chain)}{subject.name}" if subject else name
        return known


NAMED_AFTER_OBJECTS = frozenset(prefix for prefix, kind in CHAIN_KINDS.items() if kind.owner in ("policy", "profile"))
GROUPS = frozenset(prefix for prefix, kind in CHAIN_KINDS.items() if kind.owner == "group")
"""Prefixes of chains of policy groups, whose names are hashes over the names of their policies."""


def iptables_name(chain: str) -> str:
    """Return the iptables name of an nftables chain, given without its layer: a hash if it is too long.

    >>> iptables_name("cali-pi-knp/default/default-deny")
    'cali-pi-_hkektpvVyhILpLRsra1'
    """
    prefix = chain_prefix(chain)
    return limited(prefix, chain[len(prefix) :]) if len(chain.encode()) > MAX_CHAIN and prefix else chain


def compare_meanings(
    before: Mapping[str, Table], after: Mapping[str, Table], keys: tuple[ChainKeys, ChainKeys]
) -> Iterator[ChainChange]:
    """Yield the differences between Felix's rules of one family; foreign rules are not compared.

    The change of a chain that differs only in name is ``renamed``.
    """
    for table in dict.fromkeys((*before, *after)):
        old = _Reader(before.get(table, {}), keys[0]).chains()
        new = _Reader(after.get(table, {}), keys[1]).chains()
        for key in dict.fromkeys((*old, *new)):
            one, other = old.get(key), new.get(key)
            name = (other or one or _NO_CHAIN).name
            change = compare_rules(table, name, one and one.rules, other and other.rules)
            was = one.name if one and other and one.name != other.name else ""
            if change:
                yield change._replace(was=was)
            elif was and other:
                yield ChainChange(table, name, "renamed", (), 0, len(other.rules), was)


class _Chain(NamedTuple):
    name: str
    rules: Sequence[ComparedRule]


_NO_CHAIN = _Chain("", ())


class _Reader(NamedTuple):
    """Reads Felix's rules of a table in one state."""

    table: Table
    keys: ChainKeys

    def chains(self) -> dict[str, _Chain]:
        """Return Felix's chains and its parts of kernel chains by key.

        Chains without rules are left out, and so are second levels of dispatch, whose rules are in the first level.
        """
        found = (_Chain(name, self._rules(chain)) for name, chain in self.table.items() if not _is_branch(name))
        return {self._key(chain.name): chain for chain in found if chain.rules}

    def _key(self, chain: str) -> str:
        if chain_prefix(chain) not in GROUPS or chain not in self.table:
            return self.keys.key(chain)
        policies = (rule.target for rule in self.table[chain].rules if rule.target in self.table)
        return f"{chain_prefix(chain)}{[*map(self.keys.key, policies)]}"

    def _rules(self, chain: Chain) -> list[ComparedRule]:
        """Return the rules; those that dispatch by interface are first and sorted, as at most one matches a packet."""
        own = chain.name.startswith(OURS)
        rules = [rule for rule in self._flat(chain) if (own or rule.identity) and JOINED not in rule.body.unclear]
        dispatched = sorted(filter(_interface, rules), key=_interface)
        return [self._compared(rule) for rule in (*dispatched, *(rule for rule in rules if not _interface(rule)))]

    def _flat(self, chain: Chain) -> Iterator[Rule]:
        """Yield the rules; a jump to a second level of dispatch is replaced by its rules, except the final ones."""
        for rule in chain.rules:
            if _is_branch(rule.target) and rule.target in self.table:
                yield from filter(_interface, self.table[rule.target].rules)
            else:
                yield rule

    def _compared(self, rule: Rule) -> ComparedRule:
        called = rule.target in self.table
        action = Call(self._key(rule.target), rule.goto) if called else rule.body.action
        doubts = loosened(rule.body.text)
        return ComparedRule((frozenset(_tests(rule.body)), action, *doubts), said_by(rule))


def _tests(body: Body) -> Iterator[object]:
    """Yield the tests of a rule in a form that is the same in each syntax, without tests that all packets pass."""
    for test in body.tests:
        criterion = test.criterion
        if isinstance(criterion, Ports):
            yield test._replace(criterion=Ports(criterion.sides, joined(criterion.ranges)))
        elif not isinstance(criterion, Assumed) and not _is_every_address(test, body.family):
            yield test
    if isinstance(body.content, RuleContent):
        yield from (match for match in body.content.matches if match[0] in LIMITS)


LIMITS = ("limit", "connlimit")
"""Matches that have no exact criterion and are assumed to hold."""


def _is_every_address(test: Test, family: int) -> bool:
    whole = Range(0, (1 << BITS[family]) - 1)
    return isinstance(test.criterion, AddressIn) and test.criterion.ranges == (whole,) and not test.negated


def _is_branch(chain: str) -> bool:
    return bool(DISPATCH.fullmatch(chain))


def _interface(rule: Rule) -> str:
    """Return the interface of a rule that only dispatches by interface to another chain, "" for other rules."""
    asked = [test.criterion for test in rule.body.tests]
    return asked[0].pattern if rule.goto and len(asked) == 1 and isinstance(asked[0], Interface) else ""
