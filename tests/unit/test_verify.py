"""Verification of what was saved on a node: every class of difference, and what it is said to mean."""

from __future__ import annotations

import gc
import json
import random
import re
import weakref
from copy import deepcopy
from functools import cache
from unittest.mock import patch

import pytest

import felixpy
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from felixpy.model import Cluster, Host
from felixpy.verification import MOST_JUDGED, UNTRIED, Node, Verification, observe_live, observe_saved, verify
from felixpy.verification.report import document, text
from tests.conformance.recordings import AREAS, Case, cases
from tests.unit.damages import BACKENDS, DAMAGES, SHOP, Damage, classes, inflict
from tests.unit.pretend import Pretend

MANIFESTS: Cluster = felixpy.load([SHOP.folder / "manifests.yaml"])
COMPILER = Compiler(MANIFESTS)
LONELY = Host(interfaces={})
NODE = Node(name="node1", compiler=COMPILER, host=LONELY)


@cache
def original() -> Pretend:
    kernel = Pretend()
    IptablesEnforcer(Tools(kernel, "legacy"), kernel.scratch).apply(Wanted.of(NODE.ruleset()))
    return kernel


def programmed() -> Pretend:
    """A kernel that holds what it should."""
    return deepcopy(original())


def saved(kernel: Pretend) -> Verification:
    """What is found in the files that were saved there."""
    return verify(observe_saved({4: kernel.save(4), 6: kernel.save(6)}, kernel.ipset_save(), "saved files"), NODE)


def test_what_was_read_is_forgotten_without_a_search_for_garbage() -> None:
    """Nodes have hundreds of thousands of members: what held them in a circle would stay for dozens of nodes."""
    kernel = programmed()
    observed = observe_saved({4: kernel.save(4), 6: kernel.save(6)}, kernel.ipset_save(), "saved files")
    read = weakref.ref(observed.dump.tables[4]["filter"]["FORWARD"])
    gc.disable()
    try:
        assert verify(observed, NODE).equal
        del observed
        assert read() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_each_kind_of_damage_is_found_and_nothing_else(damage: Damage) -> None:
    kernel = programmed()
    inflict(kernel, "legacy", damage)
    found = saved(kernel)
    assert classes(found) == damage.found
    shown = "\n".join(text(found))
    assert [piece for piece in damage.told if piece not in shown] == []


def dumped(*replaced: tuple[str, str], node: Node = NODE, sets: bool = True) -> Verification:
    """What is found in a dump of IPv4 in which some texts were replaced."""
    kernel = programmed()
    rules, members = kernel.save(4), kernel.ipset_save()
    for old, new in replaced:
        assert old in rules + members
        rules, members = rules.replace(old, new), members.replace(old, new)
    return verify(observe_saved({4: rules}, members if sets else None, "a file"), node)


def shown(found: Verification, **how: bool) -> str:
    return "\n".join(text(found, **how))


@pytest.mark.parametrize("sets", [True, False])
def test_equal_is_one_line_and_notes_on_what_was_not_compared(sets: bool) -> None:
    line, *notes = shown(dumped(sets=sets)).splitlines()
    assert line.startswith("EQUAL  a file has what the manifests give node node1: 1")
    assert (", 24 sets" in line) is sets
    assert notes[0] == "  note: rules of IPv6 were not given, so they are not compared"
    assert ("sets were not given" in notes[-1]) is not sets
    whole = shown(saved(programmed()))
    assert whole.startswith("EQUAL  saved files has")
    assert "note" not in whole


def test_counters_do_not_matter() -> None:
    assert dumped(("\n-A ", "\n[12:3456] -A "), (" [0:0]\n", " [7:8]\n")).equal


@pytest.mark.parametrize(
    "replaced",
    [
        (("-p tcp ", "-p 6 "),),
        (("-p udp ", "-p 17 "), ("RELATED,ESTABLISHED", "ESTABLISHED,RELATED")),
        (("--set-xmark 0x0/0x30000", "--set-mark 0x0/0x30000"),),
        (("0x0/0x20000", "0x00000000/0x00020000"),),
        (("-m multiport --dports 53 ", "-m multiport --destination-ports 53 "),),
        (("-j DROP", "--jump DROP"),),
    ],
)
def test_other_spellings_are_no_difference_but_noted(replaced: tuple[tuple[str, str], ...]) -> None:
    """As images without /etc/protocols and other releases of iptables print them."""
    found = dumped(*replaced)
    assert found.equal
    assert any("say the same in another spelling" in note for note in found.notes)


@pytest.mark.parametrize(
    "replaced",
    [
        ("-p tcp ", "-p udp "),
        ("--set-xmark 0x0/0x30000", "--set-xmark 0x0/0x10000"),
        ("! --ctstate DNAT", "--ctstate DNAT"),
        ("-m multiport --dports 53 ", "-m multiport --dports 53,54 "),
        (" -g cali-tw-", " -j cali-tw-"),
        ("ctstate INVALID", "ctstate INVALID,UNTRACKED"),
    ],
)
def test_words_that_mean_something_else_are_tampering(replaced: tuple[str, str]) -> None:
    found = dumped(replaced)
    assert {finding.kind.name for finding in found.findings} == {"rule-tampered"}


def test_a_family_without_felix_is_one_finding() -> None:
    empty = "".join(f"*{table}\nCOMMIT\n" for table in ("raw", "filter"))
    found = verify(observe_saved({4: empty, 6: ""}, "", "saved files"), NODE)
    assert classes(found) == (("not-programmed", "LETS_THROUGH"),)
    assert found.findings[0].families == (4, 6)
    found = verify(observe_saved({4: programmed().save(4), 6: ""}, None, "saved files"), NODE)
    assert (classes(found), found.findings[0].families) == ((("not-programmed", "LETS_THROUGH"),), (6,))
    assert "spoofed source" in shown(found)
    assert "no policy is in force" in shown(found)


@pytest.mark.parametrize("version", ["v3.31", "v3.30", "v3.29", "v3.28", "v3.8"])
def test_another_version_is_recognised_and_compared_with(version: str) -> None:
    """What else differs is told as a difference from that Calico version."""
    old = NODE.as_of(version).ruleset()
    found = verify(observe_saved({4: old.save(4), 6: old.save(6)}, old.ipset_save(), "saved"), NODE)
    assert (classes(found), found.calico_version) == ((("other-version", "NO_EFFECT"),), version)
    assert re.search(rf"{re.escape(version)} gives (\d+) of the \1 rules that are there", shown(found))
    lines = old.save(4).replace("-A FORWARD", "-A FORWARD -j ACCEPT\n-A FORWARD", 1)
    found = verify(observe_saved({4: lines}, old.ipset_save(), "saved"), NODE)
    assert classes(found) == (("foreign-rule-ahead", "LETS_THROUGH"), ("other-version", "NO_EFFECT"))
    assert verify(observe_saved({4: old.save(4)}, old.ipset_save(), "saved"), NODE.as_of(version)).equal


def test_a_damaged_node_is_of_its_own_version() -> None:
    kernel = programmed()
    inflict(kernel, "legacy", DAMAGES["chain emptied"])
    assert saved(kernel).calico_version == "v3.32"


def test_manifests_of_another_cluster_are_noticed() -> None:
    other = cases("seeds")[0]
    found = verify(observe_saved({4: other.expected(4)}, None, "a file"), NODE)
    assert re.search(r"only \d+ of the \d+ rules of Felix that are there are known, and .* v3\.32", found.notes[0])


def test_sets_that_a_dump_lacks_are_missing_although_rules_ask_for_them() -> None:
    found = dumped((f"create {BACKENDS}", "create mine"), (f"add {BACKENDS} ", "add mine "))
    assert classes(found) == (("set-missing", "DROPS"),)
    assert "shop/backend" in shown(found)


def test_sets_may_come_from_ipset_list() -> None:
    kernel = programmed()
    listed = "".join(
        f"Name: {name}\nType: {header.split()[0]}\nHeader: {header.partition(' ')[2]} hashsize 1024\nMembers:\n"
        + "".join(f"{member}\n" for member in members)
        + "\n"
        for name, (header, members) in kernel.sets.items()
    )
    assert verify(observe_saved({4: kernel.save(4), 6: kernel.save(6)}, listed, "saved"), NODE).equal
    fewer = listed.replace("\n10.65.2.11\n", "\n", 1)
    found = verify(observe_saved({4: kernel.save(4)}, fewer, "saved"), NODE)
    assert classes(found) == (("member-missing", "DROPS"),)


def test_members_with_counters_are_the_same_members() -> None:
    assert dumped(("10.65.2.11\n", "10.65.2.11 packets 3 bytes 180\n")).equal
    assert not dumped(("10.65.2.11\n", "10.65.2.11 nomatch\n")).equal


def test_own_addresses_are_compared_only_if_they_are_known() -> None:
    unknown = Node(name="node1", compiler=COMPILER, host=Host())
    changed = ("add cali40this-host 127.0.0.1", "add cali40this-host 192.0.2.1")
    found = dumped(changed, node=unknown)
    assert found.equal
    assert any("this-host are not compared" in note for note in found.notes)
    assert {finding.kind.name for finding in dumped(changed).findings} == {"member-missing", "member-extra"}


@pytest.mark.parametrize(
    "rule, does, condition",
    [
        ("-m owner --uid-owner 0 -j ACCEPT", "let through", "-m owner"),
        ("-m owner --uid-owner 0 -j DROP", "drop what", "-m owner"),
        ("-j QUEUE", "drop what", "-j QUEUE"),
    ],
)
def test_what_is_not_understood_has_an_unknown_effect(rule: str, does: str, condition: str) -> None:
    found = dumped((FIRST, f"-A FORWARD {rule}\n{FIRST}"))
    (finding,) = found.findings
    assert (finding.kind.name, finding.effect.kind, finding.effect.certain) == ("foreign-rule-ahead", "unknown", False)
    assert finding.effect.conditions == (condition,)
    assert f"may {does}" in finding.effect.words
    assert "UNKNOWN " in shown(found)


def test_two_kinds_of_tables() -> None:
    """What the other kind drops is dropped; rules that are as they should be change nothing."""
    kernel = programmed()
    IptablesEnforcer(Tools(kernel, "nft"), kernel.scratch).apply(Wanted.of(NODE.ruleset()))
    for rule, severity in (("-I INPUT -j LOG", "NO_EFFECT"), ("-I FORWARD -p tcp -j DROP", "DROPS")):
        kernel.run("iptables-nft-restore", "--noflush", text=f"*filter\n{rule}\nCOMMIT\n")
        assert classes(verify(observe_live(kernel, "legacy", "here"), NODE)) == (("two-backends", severity),)
    warned = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"
    found = verify(observe_saved({4: kernel.save(4)}, kernel.ipset_save(), "a file", comments=warned), NODE)
    assert classes(found) == (("two-backends", "UNKNOWN"),)
    assert "those rules were not given" in shown(found)


APPENDING = Node(name="node1", compiler=COMPILER, host=LONELY, settings=(Setting("ChainInsertMode", "append"),))


FIRST = '-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso"'


@pytest.mark.parametrize("rule", ["-j ACCEPT", "-j LOG"])
def test_rules_of_others_stand_above_inserts_that_are_appended(rule: str) -> None:
    assert dumped((FIRST, f"-A FORWARD {rule}\n{FIRST}"), node=APPENDING).equal
    below = dumped((f"{FIRST} -j cali-FORWARD\n", f"{FIRST} -j cali-FORWARD\n-A FORWARD {rule}\n"), node=APPENDING)
    assert [finding.kind.name for finding in below.findings] == ["insert-moved"]


@pytest.mark.parametrize("limit, most", [("MOST_JUDGED", 10), ("MOST_QUESTIONS", 2000)])
def test_a_node_in_another_state_altogether_is_summed_up(limit: str, most: int) -> None:
    """Only some findings are judged one by one and told in full; JSON has all of them, and what they mean together."""
    rules = programmed().save(4).replace("-j RETURN", "-p udp -j RETURN").replace("-j DROP", "-p udp -j DROP")
    rules = rules.replace("-j ACCEPT", "-p udp -j ACCEPT")
    with patch(f"felixpy.verification.{limit}", most):
        found = verify(observe_saved({4: rules}, None, "a file"), NODE)
    assert len(found.findings) > MOST_JUDGED // 2
    assert any(finding.effect.kind == "opens" for finding in found.findings)
    assert found.together.kind == "opens"
    assert any(finding.effect is UNTRIED for finding in found.findings)
    assert len(document(found)["findings"]) == len(found.findings)


def test_json() -> None:
    kernel = programmed()
    inflict(kernel, "legacy", DAMAGES["rule changed, hash kept"])
    shown = json.loads(json.dumps(document(saved(kernel))))
    assert (shown["apiVersion"], shown["kind"], shown["equal"]) == ("felixpy/v1", "Verification", False)
    (finding,) = shown["findings"]
    assert {key: finding[key] for key in ("class", "severity", "certain", "families", "table", "chain", "rule")} == {
        "class": "rule-tampered",
        "severity": "lets-through",
        "certain": True,
        "families": [4],
        "table": "filter",
        "chain": "cali-tw-calied01e2b247a",
        "rule": 11,
    }
    assert finding["examples"][0]["flow"].startswith("internet → shop/frontend-6c8f7d9b4-5t2wq tcp/")


def test_what_is_the_same_in_both_families_is_one_finding() -> None:
    kernel = programmed()
    for tool in ("iptables", "ip6tables"):
        kernel.run(f"{tool}-legacy-restore", "--noflush", text="*filter\n-D cali-FORWARD 2\nCOMMIT\n")
    (finding,) = saved(kernel).findings
    assert finding.families == (4, 6)


def edits(lines: list[str], draw: random.Random) -> list[str]:
    """A dump with one rule of a chain of Felix taken out, doubled, exchanged for another, or changed."""
    changed = list(lines)
    at = draw.choice([n for n, line in enumerate(lines) if line.startswith("-A cali-")])
    way = draw.choice(("out", "twice", "other", "target"))
    if way == "out":
        del changed[at]
    elif way == "twice":
        changed.insert(at, lines[at])
    elif way == "other":
        changed[at] = f"-A {lines[at].split()[1]} -p udp -j ACCEPT"
    else:
        changed[at] = f"{lines[at].partition(' -j ')[0].partition(' -g ')[0]} -j TRACE"
    return changed


@pytest.mark.parametrize("seed", range(12))
def test_no_change_to_a_chain_of_felix_goes_unnoticed(seed: int) -> None:
    """Whatever is done to one rule, that chain is told, and nothing else."""
    draw = random.Random(seed)
    case = draw.choice(cases("seeds", "host", "k8s"))
    lines = case.expected(4).splitlines()
    changed = edits(lines, draw)
    found = verify(observe_saved({4: "".join(f"{line}\n" for line in changed)}, None, "a file"), node_of(case))
    assert found.findings
    chains = {finding.chain for finding in found.findings}
    first = next(n for n, (old, new) in enumerate(zip(lines, [*changed, ""], strict=False)) if old != new)
    assert chains == {lines[first].split()[1]}


def node_of(case: Case) -> Node:
    cluster = felixpy.load([case.folder / "manifests.yaml"], strict=False)
    interfaces = {name: tuple(addresses) for name, addresses in case.facts.get("interfaces", {}).items()}
    return Node(name=case.node, compiler=Compiler(cluster), host=Host(interfaces=interfaces))


SHARE = 8
"""One recording in so many is compared by default, all of them with the slow tests."""

RECORDED = [
    pytest.param(case, marks=[pytest.mark.slow] if number % SHARE else [], id=str(case))
    for number, case in enumerate(case for case in cases(*AREAS) if case.families)
]


@pytest.mark.parametrize("case", RECORDED)
def test_what_felix_programmed_is_equal(case: Case) -> None:
    rules = {family: case.expected(family) for family in case.families}
    assert classes(verify(observe_saved(rules, case.expected_sets(), str(case)), node_of(case))) == ()
