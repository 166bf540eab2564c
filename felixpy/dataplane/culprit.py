"""Find the line for which a restore input is refused.

iptables-legacy passes a whole table to the kernel at COMMIT, and if the kernel refuses one rule, iptables names only
the line of COMMIT. The kernel checks each rule by itself, so a binary search over the input finds the rule; it runs in
a separate namespace, where it does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from felixpy.ruleset import TABLES

_WRITES_RULE = re.compile(r"-(?:A|I|R) (\S+)(?: \d+(?= ))? (.*)")
_TARGET = re.compile(r"--(?:jump|goto) (cali-\S+)|-[jg] (cali-\S+)")


def offending(lines: Sequence[str], table: str, refused: Callable[[str], bool]) -> int:
    """The index of the first line whose rule is refused when loaded into an empty table, -1 if all are accepted.

    `refused` loads a restore input into an unused namespace and returns whether that failed.
    """
    written = ((index, _WRITES_RULE.match(line)) for index, line in enumerate(lines))
    rules = [(index, f"-A {found[1]} {found[2]}") for index, found in written if found]
    if not rules or not refused(alone([rule for _, rule in rules], table)):
        return -1
    low, high = 0, len(rules)
    while high - low > 1:
        middle = (low + high) // 2
        if refused(alone([rule for _, rule in rules[low:middle]], table)):
            high = middle
        else:
            low = middle
    return rules[low][0]


def alone(rules: Sequence[str], table: str) -> str:
    """A restore input of these rules only, with the chains that they are in or jump to."""
    chains = {rule.split(" ", 2)[1] for rule in rules}
    chains |= {found[1] or found[2] for rule in rules if (found := _TARGET.search(rule))}
    declared = (f":{chain} - -" for chain in sorted(chains - set(TABLES[table])))
    return "".join(f"{line}\n" for line in (f"*{table}", *declared, *rules, "COMMIT"))
