"""Every recorded case applied to a real kernel, with both backends, one over the other: it lands as it is rendered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from felixpy.dataplane.wanted import Wanted
from felixpy.errors import EnvironmentMissing, FelixpyError
from felixpy.kernel import Done, Kernel, Machine
from tests.conformance.recordings import AREAS, TOOLS, Case, cases
from tests.netns.enforcing import Snapshot, enforcer, fresh_machine, goal, wanted
from tests.netns.namespace import BACKENDS, canonical, members

pytestmark = [pytest.mark.netns, pytest.mark.slow]

AT_A_TIME = {"legacy": 4, "nft": 12}
"""Namespaces at work. iptables-nft spends its time waiting for the kernel, not computing."""


class Prepared(NamedTuple):
    """A case, what it asks for, and what a namespace with nothing else in it prints then."""

    case: Case
    wanted: Wanted
    goals: dict[str, Snapshot]


def prepare(case: Case) -> Prepared:
    ruleset = case.compile()
    return Prepared(case, wanted(case, ruleset), {backend: goal(ruleset, backend) for backend in BACKENDS})


class Witness:
    """Passes commands on; keeps what those printed that only look, and counts those that write."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.printed, self.writes = kernel, dict[tuple[str, ...], str](), 0

    def run(self, *command: str, text: str = "") -> Done:
        done = self.kernel.run(*command, text=text)
        self.printed[command] = done.output
        self.writes += bool(text)
        return done

    def snapshot(self, backend: str) -> Snapshot:
        four, six = (canonical(self.printed[f"{tool}-{backend}-save",]) for tool in TOOLS.values())
        return four, six, members(self.printed["ipset", "save"])


class Report(NamedTuple):
    """What became of a case: nothing to say, an error, or a reason why this kernel cannot hold it."""

    case: Case
    wrong: str = ""
    missing: str = ""


def one_over_the_other(backend: str, batch: Sequence[Prepared]) -> list[Report]:
    """Apply the cases in a namespace that begins empty."""
    with fresh_machine() as machine:
        return [applied(machine, backend, prepared) for prepared in batch]


def applied(machine: Machine, backend: str, prepared: Prepared) -> Report:
    """Apply a case twice: over its predecessor, then over itself."""
    witness = Witness(machine)
    try:
        enforcer(machine, backend).apply(prepared.wanted)
        again = enforcer(machine, backend, witness).apply(prepared.wanted)
    except EnvironmentMissing as missing:
        return Report(prepared.case, missing=str(missing))
    except FelixpyError as wrong:
        return Report(prepared.case, wrong=str(wrong))
    if witness.writes or not again.program.empty:
        return Report(prepared.case, wrong=f"the second run changes {'; '.join(again.program.places())}")
    return Report(prepared.case, wrong=difference(prepared.goals[backend], witness.snapshot(backend)))


def difference(expected: Snapshot, found: Snapshot) -> str:
    """The first part that is not as it should be, "" if all are."""
    for name, left, right in zip(("IPv4", "IPv6", "sets"), expected, found, strict=True):
        if left != right:
            return f"{name}: {left!r:.2000}\n  is not {right!r:.2000}"
    return ""


@pytest.mark.parametrize("area", AREAS)
def test_what_lands_is_what_is_rendered_and_a_second_run_writes_nothing(area: str, subtests: pytest.Subtests) -> None:
    """Cases follow each other in an order drawn by lot, each in the namespace that the one before has left."""
    prepared = [prepare(case) for case in cases(area)]
    random.Random(area).shuffle(prepared)
    with ThreadPoolExecutor(sum(AT_A_TIME.values())) as pool:
        runs = {
            (backend, number): pool.submit(one_over_the_other, backend, prepared[number::batches])
            for backend, batches in AT_A_TIME.items()
            for number in range(min(batches, len(prepared)))
        }
    reports = [(backend, report) for (backend, _), run in runs.items() for report in run.result()]
    assert sorted(str(report.case) for _, report in reports) == sorted(2 * [str(case.case) for case in prepared])
    for backend, report in reports:
        if report.missing or report.wrong:
            with subtests.test(f"{report.case} {backend}"):
                if "ipvs" in report.missing:
                    pytest.skip(report.missing)
                pytest.fail(report.missing or report.wrong, pytrace=False)
