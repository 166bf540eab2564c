"""Taking over tables that are in use: they end as Felix leaves them, rules of others and their places included."""

from __future__ import annotations

import pytest

import felixpy
from felixpy.dataplane.current import read_sets
from felixpy.dataplane.enforcer import Applied
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from felixpy.effective import configure
from tests.conformance.comparison import difference
from tests.conformance.recordings import TOOLS, Case, cases
from tests.unit.pretend import Pretend

TAKEOVERS = cases("takeover")

OVERLOOKED = '-A cali-INPUT -i cali+ -m comment --comment "cali:FewJpBykm9iJ-YNH" -j DROP'
MEANT = '-A cali-INPUT -i cali+ -m comment --comment "cali:FewJpBykm9iJ-YNH" -g cali-wl-to-host'
"""A rule that somebody changed and left its hash in: Felix believes the hash, felixpy reads on."""


def take_over(case: Case) -> tuple[Pretend, Applied]:
    kernel = Pretend()
    kernel.run("iptables-legacy-restore", text=(case.folder / "before.iptables").read_text())
    cluster = felixpy.load([case.folder / "manifests.yaml"], strict=False)
    append = configure(cluster, case.node).chain_insert_mode == "append"
    return kernel, IptablesEnforcer(Tools(kernel, "legacy"), kernel.scratch).apply(
        Wanted.of(case.compile(), append=append)
    )


def tables_in_order(save: str) -> str:
    """The tables as the recordings have them; the kernel prints them in the order in which they came to be."""
    parts = {part.partition("\n")[0]: part for part in save.split("*")[1:]}
    return "".join(f"*{parts[table]}" for table in ("raw", "mangle", "nat", "filter"))


def test_no_case_was_lost() -> None:
    assert len(TAKEOVERS) == 3


@pytest.mark.parametrize("case", TAKEOVERS, ids=lambda case: case.name)
def test_tables_end_as_recorded(case: Case) -> None:
    kernel, _ = take_over(case)
    for family in TOOLS:
        expected = case.expected(family).replace(OVERLOOKED, MEANT)
        assert not (report := difference(expected, tables_in_order(kernel.save(family)))), report
    assert read_sets(kernel.ipset_save()) == read_sets(case.expected_sets())


def test_a_changed_rule_that_kept_its_hash_is_found_and_told() -> None:
    case = next(case for case in TAKEOVERS if case.name == "stale-and-moved-hooks")
    assert OVERLOOKED in case.expected(4)
    kernel, applied = take_over(case)
    assert MEANT in kernel.save(4)
    assert any("a rule of cali-INPUT had been changed" in remark for remark in applied.remarks)


@pytest.mark.parametrize("case", TAKEOVERS, ids=lambda case: case.name)
def test_remove_leaves_what_others_had(case: Case) -> None:
    """Exactly the rules and chains without our signs are there afterwards, in their order."""
    kernel, _ = take_over(case)
    IptablesEnforcer(Tools(kernel, "legacy")).apply(Wanted.nothing())
    before = (case.folder / "before.iptables").read_text().splitlines()
    theirs = [line for line in before if line.startswith("-A") and "cali" not in line]
    left = [line for line in kernel.save(4).splitlines() if line.startswith("-A")]
    assert theirs
    assert sorted(left, key=lambda line: line.split()[1]) == sorted(theirs, key=lambda line: line.split()[1])
    assert "cali" not in kernel.save(4) + kernel.save(6) + kernel.ipset_save()
