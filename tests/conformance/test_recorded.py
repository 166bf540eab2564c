"""Every recorded answer of Felix v3.32.1, byte for byte: rules in both spellings, sets, both families."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from felixpy.compiler import Compiler
from felixpy.errors import InputError
from tests.conformance.comparison import broken_seals, chains, difference, set_difference
from tests.conformance.recordings import AREAS, NOT_STARTED, REFUSED, TOOLS, Case, cases

RECORDED = cases(*AREAS)
ATTEMPTED = cases(REFUSED)


def check(case: Case, reports: dict[str, str]) -> None:
    """Fail with everything that differs, each report under its own heading."""
    texts = [f"{title}\n{report}" for title, report in reports.items() if report]
    if texts:
        pytest.fail("\n\n".join([f"{case}: {case.facts['description'].strip()}", *texts]), pytrace=False)


def test_no_case_was_lost() -> None:
    """A folder that nobody compares proves nothing, so the numbers stand here."""
    assert [len(cases(area)) for area in (*AREAS, REFUSED, NOT_STARTED)] == [
        33, 112, 90, 29, 61, 58,
        10, 8, 2, 2, 1, 2, 2, 3, 9, 5, 4, 2, 35,
        19, 7,
    ]  # fmt: skip


@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_recorded(case: Case, record_property: Callable[[str, object], None]) -> None:
    record_property("area", case.area)
    if not case.families:
        assert Compiler(case.load()).data_plane(case.node).kind != "iptables"
        return
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


STOPS = {
    "config-small-20018": "cannot hold 0.0.0.0 or ::",
    "felix-annotation-numbers-odd": "the maximum of members is -1",
    "felix-annotations-override-odd-names": "are the same parameter with two values, and Felix restarts for ever",
    "felix-max-ipset-size-zero": "members, more than its maximum of 0",
    "felix-prefix-with-blank": '"cali, eni": interface prefixes of 1 to 15 letters',
    "mask-five-bits-scattered": "the rules need 6 mark bits and 5 are set",
    "mask-six-bits-with-wireguard-host-encryption": "the rules need 7 mark bits and 6 are set",
}
"""What Felix stops at in each case of `NOT_STARTED`, in our words."""


@pytest.mark.parametrize("case", cases(NOT_STARTED), ids=str)
def test_what_keeps_felix_from_starting_is_said(case: Case, record_property: Callable[[str, object], None]) -> None:
    """Values and masks with which Felix exits are errors; what ipset refuses is told with the rules, as a refusal."""
    record_property("area", case.area)
    refused = "ipset" in (case.folder / "felix-said.txt").read_text()
    try:
        told = [str(problem) for problem in case.compile().errors]
        assert refused, "no error"
    except InputError as wrong:
        told = [str(problem) for problem in wrong.problems if problem.severity == "error"]
        assert not refused, told
    assert any(STOPS[case.name] in problem for problem in told), told
    assert all("manifests.yaml:" in problem for problem in told)


def spell(found: dict[tuple[str, str], list[str]]) -> str:
    """The chains as one text again, kernel chains and Felix's alike sorted by table and name."""
    tables: dict[str, list[str]] = {}
    for (table, chain), rules in sorted(found.items()):
        tables.setdefault(f"*{table}", []).extend([f":{chain}", *rules])
    return "\n".join(line for table, lines in tables.items() for line in (table, *lines))
