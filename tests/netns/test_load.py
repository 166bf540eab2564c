"""Every recorded case loads into a real kernel as a whole, in either spelling, and reads back as it was printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.conformance.recordings import AREAS, REFUSED, Case, cases
from tests.netns.namespace import BACKENDS, TOOLS, Namespace, canonical, fresh_namespace, members

pytestmark = [pytest.mark.netns, pytest.mark.slow]

FORGOTTEN = {"legacy": "", "nft": r" --nflog-range \d+"}
"""Options that a backend takes and drops: the range of NFLOG never limited anything, so iptables-nft keeps none."""

WAITERS = 16
"""Loads at a time. iptables-nft spends its time waiting for the kernel, not computing."""


class Texts(NamedTuple):
    """What felixpy prints for a case: the sets of both families and the rules of each, in both spellings."""

    sets: str
    save: dict[int, str]
    restore: dict[int, str]


def texts(case: Case) -> Texts:
    ruleset = case.compile()
    families = ruleset.families
    return Texts(
        ruleset.ipset_save(),
        {family: ruleset.save(family) for family in families},
        {family: ruleset.restore(family) for family in families},
    )


def load(namespace: Namespace, backend: str, printed: Texts, rules: dict[int, str]) -> Iterator[str]:
    """Load sets and rules and read them back; yields what went wrong."""
    if (done := namespace.run("ipset", "restore", text=printed.sets)).returncode:
        yield f"ipset restore: {done.stderr.strip()}"
    for family, text in rules.items():
        tool = f"{TOOLS[family]}-{backend}"
        if (done := namespace.run(f"{tool}-restore", text=text)).returncode:
            yield f"{tool}-restore: {done.stderr.strip()}"
            continue
        read = canonical(namespace.run(f"{tool}-save").stdout)
        wanted = canonical(re.sub(FORGOTTEN[backend], "", printed.save[family]))
        for table in sorted(read.keys() | wanted.keys()):
            if (left := wanted.get(table, [])) != (right := read.get(table, [])):
                first = next(((a, b) for a, b in zip(left, right, strict=False) if a != b), ("one is", "longer"))
                yield f"{tool}-save, table {table[1:]}:\n  -   {first[0]}\n  +   {first[1]}"
    if (sets := members(namespace.run("ipset", "save").stdout)) != members(printed.sets):
        yield f"ipset save: {sorted(sets ^ members(printed.sets))}"


def load_twice(number: int, printed: Texts) -> list[str]:
    """What went wrong; one backend loads the kernel's spelling, the other one Felix's, and they take turns."""
    wrong: list[str] = []
    for turn, rules in enumerate((printed.save, printed.restore), start=number):
        with fresh_namespace() as namespace:
            wrong += load(namespace, BACKENDS[turn % 2], printed, rules)
    return wrong


@pytest.mark.parametrize("area", AREAS)
def test_what_is_printed_loads_and_reads_back(area: str, kernel: None) -> None:
    with ThreadPoolExecutor(WAITERS) as pool:
        loads = {case: pool.submit(load_twice, number, texts(case)) for number, case in enumerate(cases(area))}
    wrong = [f"{case}: {report}" for case, future in loads.items() for report in future.result()]
    assert loads
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.parametrize("case", cases(REFUSED), ids=str)
def test_what_felix_could_not_load_is_refused(case: Case, netns: Namespace) -> None:
    """The tools that refused Felix's text refuse ours as well, and not for want of a set."""
    printed = texts(case)
    assert netns.run("ipset", "restore", text=printed.sets).returncode == 0
    recorded = (case.folder / "expected/refused.txt").read_text()
    refusing = {family for family, tool in TOOLS.items() if re.search(rf"^{tool}-restore", recorded, re.MULTILINE)}
    for family, text in printed.restore.items():
        done = netns.run(f"{TOOLS[family]}-legacy-restore", text=text)
        assert bool(done.returncode) == (family in refusing), f"{TOOLS[family]}: {done.stderr}"
        assert "Set" not in done.stderr
