"""What older Felixes answered to the cases, byte for byte, and what a public dump shows of a node of 2019."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
from msgspec import structs

import felixpy
from felixpy.calico_versions import CALICO_VERSIONS, TIERS, V3_8, CalicoVersion, encoded_name
from felixpy.model import DEFAULT_TIER, Cluster, Policy, PolicyKey
from tests.conformance.comparison import HASH, broken_seals, chains, difference, set_difference
from tests.conformance.recordings import ROOT, TOOLS, Case

FIXTURES = ROOT.parent / "calico-versions"

RECORDED = {
    "v3.31": {"seeds": 33, "k8s": 112, "calico": 82},
    "v3.30": {"seeds": 33, "k8s": 112, "calico": 82},
    "v3.29": {"seeds": 33, "k8s": 112, "calico": 82},
    "v3.28": {"seeds": 33, "k8s": 111, "calico": 82},
}
"""How many cases of each area are recorded."""

REFUSED = {"v3.31": 17, "v3.30": 17, "v3.29": 21, "v3.28": 26}
"""In how many of these cases a policy asks for what the Calico version did not have."""


@cache
def recordings(version: str) -> dict[str, str]:
    """The recorded files of a version by their path in the archive."""
    with tarfile.open(FIXTURES / f"{version}.tar.xz") as archive:
        members = ((member.name, archive.extractfile(member)) for member in archive)
        return {name: file.read().decode() for name, file in members if file}


def recorded_cases() -> Iterator[object]:
    for version in RECORDED:
        for name in dict.fromkeys(path.rpartition("/")[0] for path in recordings(version)):
            yield pytest.param(CALICO_VERSIONS[version], name, id=f"{version}/{name}")


@cache
def loaded(name: str) -> tuple[Case, Cluster]:
    case = Case(ROOT / name)
    return case, felixpy.load([case.folder / "manifests.yaml"], strict=False)


def compiled(cluster: Cluster, case: Case, calico_version: CalicoVersion) -> felixpy.Ruleset:
    interfaces = {name: tuple(addresses) for name, addresses in case.facts.get("interfaces", {}).items()}
    return felixpy.compile(
        cluster, node=case.node, calico_version=calico_version, host=felixpy.Host(interfaces=interfaces)
    )


def as_taken(cluster: Cluster, calico_version: CalicoVersion) -> tuple[Cluster, CalicoVersion]:
    """What a Felix of the Calico version made of policies that felixpy refuses.

    It did not hear of them. Only where there was one tier it took policies of any tier for members of that one, by
    the names that they had.
    """
    refused = {policy.key: reason for policy, reason in calico_version.refusals(cluster)}
    merged = {key for key, reason in refused.items() if reason == TIERS.reason}
    kept = [policy for policy in cluster.policies if policy.key in merged or policy.key not in refused]
    if merged:
        names: dict[PolicyKey, str] = {policy.key: encoded_name(policy) for policy in kept}

        def name(policy: Policy) -> str:
            return names[policy.key]

        calico_version = structs.replace(
            calico_version,
            policy_id=name,
            policy_title=lambda policy: f"Policy {name(policy)}",
            group_line=name,
            tie_break=name,
        )
        kept = [structs.replace(policy, tier=DEFAULT_TIER) for policy in kept]
    return replace(cluster, policies=tuple(kept)), calico_version


def test_no_recording_was_lost() -> None:
    """Cases that nobody compares prove nothing, so the numbers stand here."""
    for version, counts in RECORDED.items():
        paths = [path.split("/") for path in recordings(version)]
        assert Counter(area for area, _, file in paths if file == "ipset.save") == counts
        assert Counter(file for _, _, file in paths).total() == 3 * sum(counts.values())


@pytest.mark.parametrize("calico_version, name", [*recorded_cases()])
def test_recorded(calico_version: CalicoVersion, name: str, record_property: Callable[[str, object], None]) -> None:
    record_property("area", f"Felix {calico_version.name}")
    case, cluster = loaded(name)
    taken, version = as_taken(cluster, calico_version)
    ruleset = compiled(taken, case, version)
    expected = recordings(calico_version.name)
    reports = {"ipset save": set_difference(expected[f"{name}/ipset.save"], ruleset.ipset_save())}
    for family, tool in TOOLS.items():
        save = expected[f"{name}/{tool}.save"]
        reports[f"{tool}-save"] = difference(save, ruleset.save(family))
        reports[f"{tool}-restore"] = broken_seals(ruleset.restore(family), save)
    texts = [f"{title}\n{report}" for title, report in reports.items() if report]
    if texts:
        pytest.fail("\n\n".join([f"Felix {calico_version.release}, {case}", *texts]), pytrace=False)


@pytest.mark.parametrize("version", RECORDED)
def test_what_a_version_lacks_is_refused_where_it_stands(version: str) -> None:
    """Every policy that needs what the version lacks is named with file and line, and nothing else is refused."""
    calico_version = CALICO_VERSIONS[version]
    names = dict.fromkeys(path.rpartition("/")[0] for path in recordings(version))
    count = 0
    for name in names:
        case, cluster = loaded(name)
        refused = {str(policy.key): policy.source.line for policy, _ in calico_version.refusals(cluster)}
        if refused:
            count += 1
            with pytest.raises(felixpy.InputError) as caught:
                compiled(cluster, case, calico_version)
            problems = caught.value.problems
            assert {problem.subject: problem.place.line for problem in problems} == refused
            assert {problem.place.file for problem in problems} == {str(case.folder / "manifests.yaml")}
            assert caught.value.exit_code == 2
    assert count == REFUSED[version]


# --- v3.8

DUMPED = {"gke-dump-alpha-deny": 31, "gke-dump-access-nginx": 17}
"""States of the public dump, and how many rules it shows of each."""

CUT = {"cali-from-wl-dispatch", "cali-to-wl-dispatch"}
"""Chains with rules of pods that the dump does not name, above those that it shows: their hashes stay unknown."""


@pytest.mark.parametrize("state", DUMPED)
def test_dump_of_2019(state: str, record_property: Callable[[str, object], None]) -> None:
    record_property("area", f"Felix {V3_8.name}")
    facts = (FIXTURES / f"v3.8/{state}.facts").read_text()
    case, cluster = loaded(f"seeds/{state}")
    ruleset = compiled(cluster, case, V3_8)
    shown, made = chains(facts), chains(ruleset.save(4))
    assert sum(map(len, shown.values())) == DUMPED[state]
    for (table, chain), rules in shown.items():
        if chain in CUT:
            bodies = [HASH.sub("", rule) for rule in made[table, chain]]
            assert [HASH.sub("", rule) for rule in rules] == [bodies[-2]]
        else:
            assert made[table, chain] == rules
    sets = ruleset.ipset_save([4]).splitlines()
    listed = [line for line in facts.splitlines() if line.startswith(("create", "add"))]
    names = {line.split(" ")[1] for line in listed}
    assert [line for line in sets if line.split(" ")[1] in names] == listed


def test_dump_shows_one_set() -> None:
    facts = "".join((FIXTURES / f"v3.8/{state}.facts").read_text() for state in DUMPED)
    assert facts.count("create ") == facts.count("add ") == 1
