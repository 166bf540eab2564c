"""Counters of dumps: each policy rule, tier end and endpoint has one, with or without manifests."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import replace
from io import StringIO
from itertools import count
from typing import Any

import pytest

import felixpy
from felixpy.calico_versions import V3_32
from felixpy.counters import Count, Names, counted, since, summed
from felixpy.counters.report import exposition, table
from felixpy.decode.legend import Legend
from felixpy.errors import InputError, spell
from felixpy.iptables.forms import read_dump
from felixpy.netfilter.rules import Dump
from felixpy.nftables.dumps import read_listing
from tests.commands import caller
from tests.conformance.recordings import Case, cases

CASES = cases("k8s", "calico", "host", "random")


def numbered(text: str) -> str:
    """The same rules, the first with 1 packet, the second with 2, and so on."""
    numbers = count(1)
    lines = (
        f"[{(n := next(numbers))}:{100 * n}] {line}" if line.startswith("-A") else line for line in text.splitlines()
    )
    return "".join(f"{line}\n" for line in lines)


def dump(case: Case, ruleset: felixpy.Ruleset) -> Dump:
    """What was recorded on the iptables data plane, or what nft lists of the compiled rules."""
    if ruleset.dataplane == "iptables":
        return read_dump({family: numbered(case.expected(family)) for family in case.families})
    numbers = count(1)
    text = "".join(ruleset.save(family, counters=True) for family in ruleset.families)
    return read_listing(re.sub("packets 0 bytes 0", lambda _: f"packets {(n := next(numbers))} bytes {100 * n}", text))


@pytest.mark.parametrize("dataplane", ["iptables", "nftables"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_policy_rule_is_counted_once(case: Case, dataplane: str) -> None:
    """What is drawn for a policy rule is known from compiling it: the counts find each rule, and nothing else."""
    cluster = felixpy.load([case.folder / "manifests.yaml"], strict=False)
    ruleset = case.compile(dataplane)
    expected = Counter[tuple[int, str, str, str]]()
    for (family, name), content in ruleset.tables.items():
        for chain in content.all_chains():
            for number in {number for number in chain.numbers if chain.origin.path(number)}:
                expected[family, name, chain.name, spell(chain.origin.path(number))] += 1
    found = counted(dump(case, ruleset), case.node, Names(ruleset, Legend(cluster, V3_32)))
    rules = [each for each in found if each.kind == "rule" and each.place]
    assert Counter((each.family, each.table, each.chain, each.detail) for each in rules) == expected
    model = {
        (chain.name, spell(rule.path)): rule.action
        for content in ruleset.tables.values()
        for chain in content.all_chains()
        for rule in chain.origin.rules
    }
    for each in rules:
        assert each.action == {"next-tier": "pass"}.get(action := model[each.chain, each.detail], action)


@pytest.mark.parametrize("dataplane", ["iptables", "nftables"])
@pytest.mark.parametrize("case", CASES[::10], ids=str)
def test_names_are_known_without_manifests(case: Case, dataplane: str) -> None:
    cluster = felixpy.load([case.folder / "manifests.yaml"], strict=False)
    ruleset = case.compile(dataplane)
    there = dump(case, ruleset)
    named = counted(there, case.node, Names(ruleset, Legend(cluster, V3_32)))
    bare = counted(there, case.node)
    assert [each.rule for each in bare] == [each.rule for each in named]
    for one, other in zip(bare, named, strict=True):
        assert (one.packets, one.bytes, one.action, one.kind) == (other.packets, other.bytes, other.action, other.kind)
        if one.kind == "rule":
            assert one.subject == other.subject


TEXT = """\
*filter
:cali-pi-knp/shop/db - [0:0]
:cali-tw-cali1 - [0:0]
[7:420] -A cali-pi-knp/shop/db -p tcp -m comment --comment "cali:AAAAAAAAAAAAAAAA" -m comment --comment "KubernetesNetworkPolicy shop/db ingress" -m multiport --dports 5432 -j MARK --set-xmark 0x10000/0x10000
[9:540] -A cali-tw-cali1 -m comment --comment "cali:BBBBBBBBBBBBBBBB" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[3:180] -A cali-tw-cali1 -m comment --comment "cali:CCCCCCCCCCCCCCCC" -m conntrack --ctstate INVALID -j DROP
[0:0] -A cali-tw-cali1 -m comment --comment "cali:DDDDDDDDDDDDDDDD" -m comment --comment "Start of tier default" -j MARK --set-xmark 0x0/0x20000
[9:540] -A cali-tw-cali1 -m comment --comment "cali:EEEEEEEEEEEEEEEE" -m mark --mark 0x0/0x20000 -j cali-pi-knp/shop/db
[7:420] -A cali-tw-cali1 -m comment --comment "cali:FFFFFFFFFFFFFFFF" -m comment --comment "Return if policy accepted" -m mark --mark 0x10000/0x10000 -j RETURN
[2:120] -A cali-tw-cali1 -m comment --comment "cali:GGGGGGGGGGGGGGGG" -m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
COMMIT
"""  # noqa: E501 - rules as they are printed


def test_the_table(tmp_path, capsys, monkeypatch) -> None:
    path = tmp_path / "rules"
    path.write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    answer = caller(capsys, monkeypatch)("counters", "--rules", path)
    assert (
        answer.out
        == """\
POLICY AND RULE                          ACTION  PACKETS  BYTES
KubernetesNetworkPolicy shop/db ingress                7    420
  rule 1                                 allow         7    420

END OF TIER     ACTION  PACKETS  BYTES
cali1 ingress                 2    120
  tier default  deny          2    120

ENDPOINT               ACTION  PACKETS  BYTES
cali1 ingress                       19   1140
  accepted connection  allow         9    540
  invalid              deny          3    180
  policy               allow         7    420
"""
    )


@pytest.fixture
def reading(tmp_path, capsys, monkeypatch):
    """Runs the command on folders of nodes."""
    monkeypatch.chdir(tmp_path)
    for name in ("n1", "n2"):
        (tmp_path / "now" / name).mkdir(parents=True)
        (tmp_path / "now" / name / "iptables.save").write_text(TEXT)
    felixpy = caller(capsys, monkeypatch)
    return lambda *arguments: felixpy("counters", *arguments)


def test_nodes_are_added_up(reading) -> None:
    assert "  rule 1                                 allow        14    840" in reading("--rules", "now").out


def test_json_names_every_rule(reading) -> None:
    items = json.loads(reading("--rules", "now", "-o", "json").out)["items"]
    assert {item["node"] for item in items} == {"n1", "n2"}
    (rule,) = [item for item in items if item["kind"] == "rule" and item["node"] == "n1"]
    assert rule["packets"] == 7
    assert rule["identity"] == "AAAAAAAAAAAAAAAA"


def test_csv(reading) -> None:
    rows = list(csv.DictReader(StringIO(reading("--rules", "now", "-o", "csv").out)))
    assert sum(int(row["packets"]) for row in rows if row["kind"] == "rule") == 14


def test_what_came_since_an_earlier_reading(reading, tmp_path) -> None:
    (tmp_path / "before").write_text(TEXT.replace("[7:420]", "[5:300]").replace("[3:180]", "[4:240]"))
    answer = reading("--rules", "now/n1/iptables.save", "--before", "before")
    assert "  rule 1                                 allow         2    120" in answer.out
    assert "  invalid              deny          3    180" in answer.out
    assert "reset in between: 1 counter" in answer.err


def test_rules_that_nothing_hits(reading, tmp_path) -> None:
    assert reading("--rules", "now", "--unused").out == ""
    (tmp_path / "idle").write_text(TEXT.replace("[7:420] -A cali-pi", "[0:0] -A cali-pi"))
    assert "rule 1" in reading("--rules", "idle", "--unused").out


def test_a_dump_without_counters_is_refused(reading, tmp_path) -> None:
    (tmp_path / "bare").write_text(TEXT.replace("[7:420] ", "").replace("[9:540] ", "").replace("[0:0] -A", "-A"))
    (tmp_path / "bare").write_text(
        "".join(line.partition("] ")[2] if line[0] == "[" else line for line in TEXT.splitlines(True))
    )
    answer = reading("--rules", "bare")
    assert answer.status == 2
    assert "iptables-save -c" in answer.err
    with pytest.raises(InputError):
        counted(read_dump({4: (tmp_path / "bare").read_text()}))


def test_no_place_at_all(reading, monkeypatch) -> None:
    monkeypatch.setattr("felixpy.lab.state.read", lambda lab: None)
    assert reading().status == 2


def one(**changes: Any) -> Count:
    base = Count(
        kind="rule", subject='Profile a"b\\', direction="ingress", detail="rule 1", action="allow", packets=1,
        bytes=60, node="n1", chain="cali-pi-x", number=1, identity="A" * 16,
    )  # fmt: skip
    return replace(base, **changes)


def test_prometheus_reads_its_exposition() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    counts = [one(), one(number=2, packets=2), one(kind="tier-end", detail="tier default", action="deny")]
    families = list(parser.text_string_to_metric_families(exposition(counts)))
    samples = [sample for family in families for sample in family.samples]
    assert {family.type for family in families} == {"counter"}
    assert {(sample.name, sample.value) for sample in samples} == {
        ("felixpy_policy_rule_packets_total", 3.0), ("felixpy_policy_rule_bytes_total", 120.0),
        ("felixpy_tier_end_packets_total", 1.0), ("felixpy_tier_end_bytes_total", 60.0),
    }  # fmt: skip
    assert samples[0].labels["policy"] == 'Profile a"b\\'


def test_sums_and_differences() -> None:
    found = summed([one(), one(node="n2", packets=4)])
    assert [(each.packets, each.node) for each in found] == [(5, "")]
    later, restarted = since([one(packets=3, bytes=3)], [one(packets=5, bytes=9), one(number=9)])
    assert [(each.packets, each.bytes) for each in later] == [(2, 6), (1, 60)]
    assert restarted == []
    assert table([]) == ""
