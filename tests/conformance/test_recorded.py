"""Every recorded answer of Felix v3.32.1, byte for byte: rules in both spellings, sets, both families."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.comparison import broken_seals, chains, difference, set_difference
from tests.conformance.recordings import AREAS, REFUSED, TOOLS, Case, cases

RECORDED = cases(*AREAS)
ATTEMPTED = cases(REFUSED)


def check(case: Case, reports: dict[str, str]) -> None:
    """Fail with everything that differs, each report under its own heading."""
    texts = [f"{title}\n{report}" for title, report in reports.items() if report]
    if texts:
        pytest.fail("\n\n".join([f"{case}: {case.facts['description'].strip()}", *texts]), pytrace=False)


def test_no_case_was_lost() -> None:
    """A folder that nobody compares proves nothing, so the numbers stand here."""
    assert [len(cases(area)) for area in (*AREAS, REFUSED)] == [33, 112, 90, 29, 61, 58, 7]


@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_recorded(case: Case, record_property: Callable[[str, object], None]) -> None:
    record_property("area", case.area)
    ruleset = case.compile()
    assert ruleset.families == case.families
    reports = {"ipset save": set_difference(case.expected_sets(), ruleset.ipset_save())}
    for family in case.families:
        save = case.expected(family)
        reports[f"{TOOLS[family]}-save"] = difference(save, ruleset.save(family))
        reports[f"{TOOLS[family]}-restore"] = broken_seals(ruleset.restore(family), save)
    check(case, reports)


@pytest.mark.parametrize("case", ATTEMPTED, ids=str)
def test_attempted(case: Case, record_property: Callable[[str, object], None]) -> None:
    """What iptables-restore refused to take from Felix it will refuse to take from felixpy: the very same lines.

    Nothing was programmed, so kernel chains without a rule of Felix are in no recording.
    """
    record_property("area", case.area)
    ruleset = case.compile()
    assert ruleset.families == case.families
    reports = {}
    for family in case.families:
        wanted, made = (
            {key: rules for key, rules in chains(text).items() if rules or key[1].startswith("cali-")}
            for text in (case.expected(family, "restore"), ruleset.restore(family))
        )
        reports[f"{TOOLS[family]}-restore"] = difference(spell(wanted), spell(made))
    check(case, reports)


def spell(found: dict[tuple[str, str], list[str]]) -> str:
    """The chains as one text again, kernel chains and Felix's alike sorted by table and name."""
    tables: dict[str, list[str]] = {}
    for (table, chain), rules in sorted(found.items()):
        tables.setdefault(f"*{table}", []).extend([f":{chain}", *rules])
    return "\n".join(line for table, lines in tables.items() for line in (table, *lines))
