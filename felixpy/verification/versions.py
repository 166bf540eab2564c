"""Find the Calico version that wrote a node's rules.

A rule's hash covers its text and that of the rules above it, and versions differ in marks, comments and layout even for
the same policies. So it is the version whose compiled rules have most of the hashes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from felixpy.calico_versions import CALICO_VERSIONS
from felixpy.dataplane.current import State
from felixpy.errors import FelixpyError
from felixpy.ruleset import Ruleset

STRANGE = 0.5
"""Where so few of the rules are known the manifests are hardly those of the node."""

SIGNS = (
    (re.compile(r'"(?:Global|Staged|Kubernetes)?\w*NetworkPolicy \S+ (?:in|e)gress"'), "v3.32"),
    (re.compile(r'"Policy \S+ (?:in|e)gress"'), "v3.28 to v3.31"),
    (re.compile(r'"Start of policies"'), "v3.8"),
)
"""Comments by which rules show their Calico version, whatever the policies are; the first that is there counts."""

SURE = 0.9
"""If this share of the rules is known, and there is no sign of another version, no other version is tried."""

FEW = 3000
"""The most rules of a node that is always compiled in all versions; larger ones would take too long."""

Compile = Callable[[str], Ruleset]
"""Compiles the node in the Calico version of that name. Raises FelixpyError where it cannot."""


class VersionMatch(NamedTuple):
    """A Calico version, and how many of the current rules it would write."""

    calico_version: str
    known: int
    rules: int

    @property
    def share(self) -> float:
        return self.known / self.rules if self.rules else 1.0

    def __str__(self) -> str:
        return f"{self.calico_version} gives {self.known} of the {self.rules} rules that are there"


def strange(matched: VersionMatch, rules: str) -> str:
    """A remark if hardly any of the current rules are known, "" otherwise; `rules` is their text."""
    if matched.share >= STRANGE:
        return ""
    sign = _sign(rules)
    shown = f", and comments are those of Felix {sign}" if sign else ""
    return (
        f"only {matched.known} of the {matched.rules} rules of Felix that are there are known{shown}: perhaps the "
        "manifests, or settings such as IptablesMarkMask, are not this node's"
    )


def _sign(rules: str) -> str:
    return next((name for pattern, name in SIGNS if pattern.search(rules)), "")


def rate(state: State, ruleset: Ruleset) -> VersionMatch:
    """The number of Felix's current rules whose hashes a compiled node has."""
    known = {
        identity
        for table in ruleset.tables.values()
        for chain in table.all_chains()
        for identity in ruleset.identities(table, chain)
    }
    there = [identity for table in state.tables.values() for identity in table.hashes()]
    return VersionMatch(ruleset.calico_version, sum(identity in known for identity in there), len(there))


def likeliest(state: State, ruleset: Ruleset, compile_as: Compile, rules: str) -> VersionMatch:
    """The Calico version of the current rules: that of the ruleset unless another one matches more of them."""
    own = rate(state, ruleset)
    sign = _sign(rules)
    unsuspicious = own.share >= SURE and own.rules > FEW and sign in ("", own.calico_version)
    if own.known == own.rules or unsuspicious:
        return own
    best = own
    for name in CALICO_VERSIONS:
        if name == ruleset.calico_version:
            continue
        try:
            found = rate(state, compile_as(name))
        except FelixpyError:  # a Calico version may not be able to express a policy
            continue
        if found.known > best.known:
            best = found
    return best
