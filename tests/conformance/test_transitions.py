"""From one policy to the next: the restore inputs are those that Felix writes."""

from __future__ import annotations

import pytest

import felixpy
from felixpy.dataplane.current import State, read_sets, read_tables
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.program import Program, plan
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from tests.conformance.recordings import TOOLS, Case, cases
from tests.unit.pretend import Pretend

TRANSITIONS = cases("transitions")


def compiled(case: Case, manifests: str) -> felixpy.Ruleset:
    return felixpy.compile(felixpy.load([case.folder / manifests]), node=case.node, host=felixpy.Host(interfaces={}))


def state_of(ruleset: felixpy.Ruleset) -> State:
    """What a kernel prints that holds these rules and nothing else."""
    tables = {
        (family, name): table
        for family in ruleset.families
        for name, table in read_tables(ruleset.save(family), family).items()
    }
    return State(tables, read_sets(ruleset.ipset_save()))


def written(program: Program, family: int) -> str:
    return "".join(change.text for change in program.tables if change.family == family)


def test_no_case_was_lost() -> None:
    assert len(TRANSITIONS) == 11


@pytest.mark.parametrize("case", TRANSITIONS, ids=lambda case: case.name)
def test_the_recorded_transactions_are_written(case: Case) -> None:
    before, after = compiled(case, "before.yaml"), compiled(case, "after.yaml")
    program = plan(state_of(before), Wanted.of(after), "legacy")
    for family, tool in TOOLS.items():
        assert written(program, family) == (case.folder / f"expected/{tool}.transactions").read_text()


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize("case", TRANSITIONS, ids=lambda case: case.name)
def test_they_lead_to_what_a_fresh_start_gives(case: Case, backend: str) -> None:
    before, after = compiled(case, "before.yaml"), compiled(case, "after.yaml")
    changed, fresh = Pretend(), Pretend()
    for kernel, steps in ((changed, (before, after)), (fresh, (after,))):
        for ruleset in steps:
            IptablesEnforcer(Tools(kernel, backend)).apply(Wanted.of(ruleset))
    for family in TOOLS:
        assert changed.save(family, backend) == fresh.save(family, backend)
    assert read_sets(changed.ipset_save()) == read_sets(fresh.ipset_save())
    assert IptablesEnforcer(Tools(changed, backend)).plan(Wanted.of(after)).empty


def test_nft_empties_and_rewrites_what_differs_and_nothing_else() -> None:
    case = next(case for case in TRANSITIONS if case.name.startswith("05"))
    before, after = compiled(case, "before.yaml"), compiled(case, "after.yaml")
    lines = written(plan(state_of(before), Wanted.of(after), "nft"), 4).splitlines()
    chain = "cali-pi-np/shop/web-in"
    rules = [line for line in after.restore(4).splitlines() if line.startswith(f"-A {chain} ")]
    assert lines == ["*filter", f":{chain} - -", *rules, "COMMIT"]
