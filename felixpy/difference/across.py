"""The rules of a node on two data planes, compared by what they say.

Spelling, hashes and counters differ in every rule, and nftables has room for longer names of chains. What is left is
what a change of the data plane changes: marks, parameters that exist for one of them only, rules that Felix writes in
one of them only. Chains that find a pod by its interface are trees of chains on iptables and verdict maps on nftables,
and are compared interface by interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from felixpy.decode.legend import DISPATCH, chain_prefix
from felixpy.difference.chains import OURS, ChainChange, ComparedRule, compare_rules
from felixpy.iptables.reader import RuleContent
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


def compare_planes(before: Mapping[str, Table], after: Mapping[str, Table], planes: Planes) -> Iterator[ChainChange]:
    """The differences of one family between Felix's rules; those of others are not compared.

    Chains have the names that they have on iptables.
    """
    for table in dict.fromkeys((*before, *after)):
        old = _Reader(before.get(table, {}), NAMES[planes.before]).chains()
        new = _Reader(after.get(table, {}), NAMES[planes.after]).chains()
        for name in dict.fromkeys((*old, *new)):
            change = compare_rules(table, name, old.get(name), new.get(name))
            if change:
                yield change


Name = Callable[[str], str]


def iptables_name(chain: str) -> str:
    """The name on iptables of a chain of nftables, without its layer: a hash where it is too long.

    >>> iptables_name("cali-pi-knp/default/default-deny")
    'cali-pi-_hkektpvVyhILpLRsra1'
    """
    prefix = chain_prefix(chain)
    return limited(prefix, chain[len(prefix) :]) if len(chain.encode()) > MAX_CHAIN and prefix else chain


NAMES: Mapping[str, Name] = {"iptables": str, "nftables": iptables_name}
"""What makes the name on iptables of a chain on each data plane."""


class _Reader(NamedTuple):
    """Reads Felix's rules of a table; `name_of` gives the names that its chains have on iptables."""

    table: Table
    name_of: Name

    def chains(self) -> dict[str, Sequence[ComparedRule]]:
        """Felix's chains and its parts of kernel chains, as far as they have rules; second levels of dispatch are not
        among them.
        """
        found = {self.name_of(name): self._rules(chain) for name, chain in self.table.items() if not _is_branch(name)}
        return {name: rules for name, rules in found.items() if rules}

    def _rules(self, chain: Chain) -> list[ComparedRule]:
        """The rules, those that find an endpoint by its interface first and sorted: only one of these fits a packet."""
        own = chain.name.startswith(OURS)
        rules = [rule for rule in self._flat(chain) if (own or rule.identity) and JOINED not in rule.body.unclear]
        dispatched = sorted(filter(_interface, rules), key=_interface)
        return [self._compared(rule) for rule in (*dispatched, *(rule for rule in rules if not _interface(rule)))]

    def _flat(self, chain: Chain) -> Iterator[Rule]:
        """The rules; what leads to a second level of dispatch is the rules of that, except what it does at its end."""
        for rule in chain.rules:
            if _is_branch(rule.target) and rule.target in self.table:
                yield from filter(_interface, self.table[rule.target].rules)
            else:
                yield rule

    def _compared(self, rule: Rule) -> ComparedRule:
        called = rule.target in self.table
        action = Call(self.name_of(rule.target), rule.goto) if called else rule.body.action
        joined = list(loosened(rule.body.text))
        return ComparedRule((frozenset(_tests(rule.body)), action, *joined), said_by(rule))


def _tests(body: Body) -> Iterator[object]:
    """What a rule asks, in a form that does not depend on the spelling; what holds for every packet is left out."""
    for test in body.tests:
        criterion = test.criterion
        if isinstance(criterion, Ports):
            yield test._replace(criterion=Ports(criterion.sides, joined(criterion.ranges)))
        elif not isinstance(criterion, Assumed) and not _is_every_address(test, body.family):
            yield test
    if isinstance(body.content, RuleContent):
        yield from (match for match in body.content.matches if match[0] in LIMITS)


LIMITS = ("limit", "connlimit")
"""Matches of which the criterion says no more than that it is assumed to hold."""


def _is_every_address(test: Test, family: int) -> bool:
    whole = Range(0, (1 << BITS[family]) - 1)
    return isinstance(test.criterion, AddressIn) and test.criterion.ranges == (whole,) and not test.negated


def _is_branch(chain: str) -> bool:
    return bool(DISPATCH.fullmatch(chain))


def _interface(rule: Rule) -> str:
    """The interface for which a rule goes to another chain without asking anything else, "" for other rules."""
    asked = [test.criterion for test in rule.body.tests]
    return asked[0].pattern if rule.goto and len(asked) == 1 and isinstance(asked[0], Interface) else ""
