"""Compiled rules as JSON: its shape, its order, and that it says the same as the text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from felixpy.compiler import Compiler
from felixpy.errors import Place, Problem
from felixpy.export import API_VERSION, problem_json, ruleset_json
from felixpy.model import Host, Rule, Side, Source
from felixpy.ruleset import Ruleset, hashes
from tests.clusters import ALLOW, cluster, configuration, host_endpoint, pod, policy, pool

RULES = (
    Rule(
        action="allow", source=Side(selector="has(app)", nets=("10.0.0.0/8", "11.0.0.0/8")), path=("spec", "ingress", 0)
    ),
    Rule(action="deny", protocol="tcp", not_protocol="udp", path=("spec", "ingress", 1)),
)
CLUSTER = cluster(
    pod("a", "10.65.0.1", "10.65.0.2", dscp=46, labels={"app": "x"}),
    policy("p", ingress=RULES, source=Source("policies.yaml", 10)),
    policy("q", order=1.0, ingress=[ALLOW]),
    host_endpoint("h", "eth0"),
    pool("10.65.0.0/16", nat_outgoing=True),
    configuration(logPrefix="x"),
)


@pytest.fixture(scope="module")
def ruleset() -> Ruleset:
    return Compiler(CLUSTER).compile("node1", Host())


@pytest.fixture(scope="module")
def exported(ruleset: Ruleset) -> dict[str, Any]:
    return ruleset_json(ruleset, CLUSTER, ruleset.families)


def test_the_frame(exported: dict[str, Any]) -> None:
    assert list(exported) == ["apiVersion", "kind", "node", "calicoVersion", "dataplane", "families", "findings"]
    assert (exported["apiVersion"], exported["kind"]) == (API_VERSION, "Ruleset") == ("felixpy/v1", "Ruleset")
    assert (exported["node"], exported["calicoVersion"]) == ("node1", "v3.32")
    assert [family["family"] for family in exported["families"]] == [4, 6]
    assert [table["name"] for table in exported["families"][0]["tables"]] == ["raw", "mangle", "nat", "filter"]


def test_only_the_families_asked_for(ruleset: Ruleset) -> None:
    assert [family["family"] for family in ruleset_json(ruleset, CLUSTER, [6])["families"]] == [6]


def test_it_is_json_and_always_the_same(ruleset: Ruleset, exported: dict[str, Any]) -> None:
    text = json.dumps(exported)
    assert json.loads(text) == exported
    again = Compiler(CLUSTER).compile("node1", Host())
    assert json.dumps(ruleset_json(again, CLUSTER, again.families)) == text


def test_the_rules_are_those_of_the_text(ruleset: Ruleset, exported: dict[str, Any]) -> None:
    for family in exported["families"]:
        saved = [line for line in ruleset.save(family["family"]).splitlines() if line.startswith("-A")]
        chains = [chain for table in family["tables"] for chain in (*table["hooks"], *table["chains"])]
        assert [line for chain in chains for rule in chain["rules"] for line in rule["saved"]] == saved
        for table in family["tables"]:
            assert [chain["name"] for chain in table["chains"]] == sorted(chain["name"] for chain in table["chains"])
            for chain in table["chains"]:
                texts = [rule["text"] for rule in chain["rules"]]
                assert [rule["hash"] for rule in chain["rules"]] == list(hashes(chain["name"], texts))


def chain(exported: dict[str, Any], table: str, name: str) -> dict[str, Any]:
    tables = {found["name"]: found for found in exported["families"][0]["tables"]}
    (found,) = [made for made in tables[table]["chains"] if made["name"] == name]
    return dict(found)


def test_rules_of_a_policy_tell_where_they_come_from(exported: dict[str, Any]) -> None:
    made = chain(exported, "filter", "cali-pi-gnp/p")
    words = {"object": "GlobalNetworkPolicy p, tier default, ingress", "file": "policies.yaml", "line": 10}
    assert made["origin"] == words
    assert [rule.get("origin", {}).get("path") for rule in made["rules"]] == ["spec.ingress[0]"] * 5 + [
        "spec.ingress[1]"
    ] * 2
    assert made["rules"][0]["origin"] == {**words, "path": "spec.ingress[0]"}


def test_felixs_own_chains_have_an_origin_in_words_only(exported: dict[str, Any]) -> None:
    made = chain(exported, "filter", "cali-FORWARD")
    assert list(made["origin"]) == ["object"]
    assert all("origin" not in rule for rule in made["rules"])


def test_a_rule_that_the_kernel_splits_has_several_saved_lines(exported: dict[str, Any]) -> None:
    (rule,) = chain(exported, "mangle", "cali-egress-dscp")["rules"]
    assert rule["text"] == "--source 10.65.0.1,10.65.0.2 --jump DSCP --set-dscp 46"
    assert len(rule["saved"]) == 2


def test_sets(ruleset: Ruleset, exported: dict[str, Any]) -> None:
    sets = exported["families"][0]["sets"]
    assert [made["name"] for made in sets] == sorted(made.name for made in ruleset.sets if made.family == 4)
    selected = next(made for made in sets if made["name"].startswith("cali40s:"))
    assert selected == {
        "name": selected["name"],
        "type": "hash:net",
        "maxElements": 1048576,
        "meaning": "addresses of endpoints and network sets with has(app)",
        "members": ["10.65.0.1", "10.65.0.2"],
        "origin": {"object": "GlobalNetworkPolicy p", "path": "spec.ingress[0]", "file": "policies.yaml", "line": 10},
    }
    assert "origin" not in next(made for made in sets if made["name"] == "cali40this-host")


def test_findings(ruleset: Ruleset, exported: dict[str, Any]) -> None:
    assert exported["findings"] == [problem_json(problem) for problem in ruleset.findings]
    assert {found["object"] for found in exported["findings"]} == {"HostEndpoint h", "GlobalNetworkPolicy p"}


def test_a_finding_leaves_out_what_is_unknown() -> None:
    everything = Problem(
        place=Place("a.yaml", 3, 7),
        subject="NetworkPolicy a/b",
        path=("spec", "ports", 0),
        reason="wrong",
        hint="right",
    )
    assert problem_json(everything) == {
        "severity": "error",
        "file": "a.yaml",
        "line": 3,
        "column": 7,
        "object": "NetworkPolicy a/b",
        "path": "spec.ports[0]",
        "reason": "wrong",
        "hint": "right",
    }
    bare = Problem(place=Place("-"), reason="wrong", severity="warning")
    assert problem_json(bare) == {"severity": "warning", "file": "-", "reason": "wrong"}
