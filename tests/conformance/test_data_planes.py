"""What a change of the data plane changes, on every cluster of which Felix's rules on both were recorded."""

from __future__ import annotations

import re

import pytest

from felixpy.calico_versions import V3_32
from felixpy.difference.across import ChainKeys, compare_meanings
from felixpy.difference.chains import ChainChange
from felixpy.difference.sets import compare_sets
from felixpy.nftables.joining import loosened
from tests.conformance.recordings import Case
from tests.conformance.test_nftables import PROGRAMMED

OF_ONE_PLANE = re.compile("iptables|nftables|AllowAction|DenyAction", re.IGNORECASE)
"""Parameters that a data plane has for itself or ignores, such as masks of marks and actions."""

NEEDED_EVERYWHERE = "AssumeNeededOnEveryNode"
"""The performance hint that is heeded on iptables only."""

ALIKE = [case for case in PROGRAMMED if not OF_ONE_PLANE.search((case.folder / "manifests.yaml").read_text())]
UNTRACKED = {"-m conntrack ! --ctstate DNAT -j cali-to-host-endpoint",
             "ct status != dnat counter jump filter-cali-to-host-endpoint"}  # fmt: skip
LIMITS = re.compile("(?:packet rate|connection) limit")


def is_known(change: ChainChange, needed: bool) -> bool:
    """Whether that is no policy's doing: untracked packets, limits of pods, chains that nothing leads to, excluded
    ports that nft joins.
    """
    if change.kind == "removed":
        return needed
    texts = {rule.text for rule in change.rules}
    joined = [rule for rule in change.rules if rule.sign == "+" and [*loosened(rule.text)]]
    if change.kind == "renamed" or (joined and len(change.rules) == 2 * len(joined)):
        return True
    return change.kind == "changed" and (texts == UNTRACKED or all(LIMITS.search(text) for text in texts))


def test_the_cases_are_there() -> None:
    assert len(ALIKE) == 346


@pytest.mark.parametrize("case", ALIKE, ids=str)
def test_rules_of_both_data_planes_say_the_same(case: Case) -> None:
    before, after = (case.compile(plane).dump for plane in ("iptables", "nftables"))
    needed = NEEDED_EVERYWHERE in (case.folder / "manifests.yaml").read_text()
    cluster = case.load()
    keys = ChainKeys(cluster, V3_32, "iptables"), ChainKeys(cluster, V3_32, "nftables")
    for family, tables in before.tables.items():
        changes = list(compare_meanings(tables, after.tables[family], keys))
        assert [change for change in changes if not is_known(change, needed)] == []
        back = list(compare_meanings(after.tables[family], tables, keys[::-1]))
        assert {change.was or change.chain for change in back} == {change.chain for change in changes}
    sets = list(compare_sets(before.sets, after.sets, options=False))
    assert [change for change in sets if change.kind != "removed" or not needed] == []
