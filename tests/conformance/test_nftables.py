"""Every recorded answer of Felix v3.32.1 in nftables mode, byte for byte: three tables in both texts."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from felixpy.nftables import NftRuleset
from tests.conformance.comparison import first_difference
from tests.conformance.recordings import ROOT, WITH_NFTABLES, Case, cases

FIXTURES = ROOT.parent / "nftables"
TABLES = ("ip", "ip6", "arp")
FORMS = ("written", "listed")
REFUSED = {"calico": 2, "config": 1, "host": 1, "k8s": 1, "random": 11}
"""In how many cases of an area Felix programs nothing: nft refuses its text, or Felix panics first."""


@cache
def recordings(area: str) -> dict[str, str]:
    """The recorded files of an area by ``<case>/<file>``."""
    with tarfile.open(FIXTURES / f"{area}.tar.xz") as archive:
        members = ((member.name, archive.extractfile(member)) for member in archive)
        return {name: file.read().decode() for name, file in members if file}


def compiled(case: Case) -> NftRuleset:
    """The nftables rules of the recorded node, whatever the manifests say about the data plane."""
    ruleset = case.compile(dataplane="nftables")
    assert isinstance(ruleset, NftRuleset)
    return ruleset


def recorded(case: Case, refused: bool) -> bool:
    return (f"{case.name}/refused.txt" in recordings(case.area)) is refused


PROGRAMMED = [case for case in cases(*WITH_NFTABLES) if recorded(case, refused=False)]
NOT_PROGRAMMED = [case for case in cases(*WITH_NFTABLES) if recorded(case, refused=True)]


def test_no_case_was_lost() -> None:
    assert len(PROGRAMMED) == 367
    counted = {area: sum(case.area == area for case in NOT_PROGRAMMED) for area in REFUSED}
    assert counted == REFUSED


@pytest.mark.parametrize("case", PROGRAMMED, ids=str)
def test_recorded(case: Case, record_property: Callable[[str, object], None]) -> None:
    record_property("area", f"nftables {case.area}")
    known = recordings(case.area)
    made = compiled(case).files()
    assert {name for name in known if name.startswith(f"{case.name}/")} == {f"{case.name}/{name}" for name in made}
    for name, text in made.items():
        told = "\n".join(difference(known[f"{case.name}/{name}"], text))
        if told:
            pytest.fail(f"{case}: {case.facts['description'].strip()}\n\n{name}\n{told}", pytrace=False)


@pytest.mark.parametrize("case", NOT_PROGRAMMED, ids=str)
def test_attempted(case: Case, record_property: Callable[[str, object], None]) -> None:
    """What Felix last tried: the table with those sets only that rules name, without members, or the sets alone.

    Nothing is recorded of what makes Felix panic before it writes.
    """
    record_property("area", f"nftables {case.area}")
    known = recordings(case.area)
    made = compiled(case)
    for family, table in made.nft_tables.items():
        tried = known.get(f"{case.name}/{family}.tried")
        if tried is None:
            continue
        lines = made.files()[f"{family}.written"].splitlines()
        names = {one.name for one in table.sets}
        assert [line for line in tried.splitlines() if line not in lines] == []
        if "add rule " in tried:
            about_sets = {line for line in lines if line.split(" ")[1] in ("set", "element") and _name(line) in names}
            assert [line for line in lines if line not in about_sets] == [
                line for line in tried.splitlines() if line not in about_sets
            ]
    for line in (line for line in known[f"{case.name}/refused.txt"].splitlines() if line.startswith("line: ")):
        assert f"{line.removeprefix('line: ')}\n" in "".join(made.files().values())


@pytest.mark.parametrize("case", cases(*WITH_NFTABLES), ids=str)
def test_what_felix_could_not_program_is_told(case: Case) -> None:
    assert bool(compiled(case).refused) is recorded(case, refused=True)


def _name(line: str) -> str:
    """The set or map of an ``add`` line."""
    return line.split(" ")[4]


def difference(expected: str, actual: str) -> Iterator[str]:
    """The first differing lines of two texts, nothing if they are equal."""
    if expected != actual:
        yield from first_difference(expected.splitlines(), actual.splitlines())
