"""Rules and sets in every form that people have them in: as the tools printed them, and several in one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from felixpy.errors import InputError, UsageError
from felixpy.iptables.forms import FORMS, looks_saved, not_given, read_dump, split_saved
from felixpy.iptables.reader import read_body
from felixpy.iptables.sets import read_sets
from felixpy.netfilter.rules import Dump
from felixpy.verification import Node, observe_saved, verify
from tests.commands import caller
from tests.unit.damages import SHOP
from tests.unit.test_verify import COMPILER, LONELY

SAVED = SHOP.folder / "expected"
PRINTED = Path(__file__).parents[2] / "fixtures" / "dumps" / "forms"
"""The same node, printed by iptables 1.8.9 and ipset 7.17."""


def printed(name: str) -> str:
    return (PRINTED / name).read_text()


def said(dump: Dump) -> dict[tuple[int, str, str], tuple[str, list[tuple[str, object]]]]:
    """What every chain says, however it is spelt."""
    return {
        (family, table, chain.name): (chain.policy, [(rule.identity, rule.body.content) for rule in chain.rules])
        for family, table, chain in dump.chains()
    }


@pytest.mark.parametrize(
    "name, family, saved",
    [
        ("iptables-L.txt", 4, "iptables.save"),
        ("ip6tables-L.txt", 6, "ip6tables.save"),
        ("iptables-S.txt", 4, "iptables.save"),
    ],
)
def test_forms_of_rules_say_what_iptables_save_does(name: str, family: int, saved: str) -> None:
    rules, sets, _ = split_saved(printed(name))[:3]
    assert (list(rules), sets) == ([family], None)
    assert said(read_dump(rules)) == said(read_dump({family: (SAVED / saved).read_text()}))


@pytest.mark.parametrize("name", ["ipset.xml", "ipset-list.txt"])
def test_forms_of_sets_say_what_ipset_save_does(name: str) -> None:
    def members(text: str | None) -> dict[str, tuple[str, list[str]]]:
        assert text is not None
        return {name: (found.type, sorted(found.members)) for name, found in read_sets(text).items()}

    rules, sets, _ = split_saved(printed(name))[:3]
    assert rules == {}
    assert members(sets) == members((SAVED / "ipset.save").read_text())


NAMES = ("iptables", "ip6tables", "ipset")
REPORT = """\
Subject: pods cannot reach the database

### iptables
$ iptables -L -n -v
{four}
### the same for IPv6
$ ip6tables -L -n -v
{six}
---------- ipset list ----------
{sets}

### kernel
Linux node1 6.1.0-18-amd64 #1 SMP x86_64 GNU/Linux
"""


def report() -> str:
    pieces = {"four": printed("iptables-L.txt"), "six": printed("ip6tables-L.txt"), "sets": printed("ipset-list.txt")}
    return REPORT.format(**pieces)


def test_a_bug_report_is_verified() -> None:
    rules, sets, leaves_open = split_saved(report())[:3]
    assert sorted(rules) == [4, 6]
    node = Node(name="node1", compiler=COMPILER, host=LONELY)
    found = verify(observe_saved(rules, sets, "a report", leaves_open=leaves_open), node)
    assert found.equal
    assert (
        "iptables -L rounds counters and does not print every option of every match: perhaps more differs"
        in found.notes
    )
    line = "/* Policy explicitly accepted packet. */"
    worse = "\n".join(text for text in report().splitlines() if line not in text)
    assert not verify(observe_saved(*split_saved(worse)[:2], "a report"), node).equal


def test_what_a_listing_does_not_print_may_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report").write_text(report())
    (tmp_path / "saved").write_text("".join((SAVED / f"{name}.save").read_text() for name in NAMES))
    answer = caller(capsys, monkeypatch)("diff", tmp_path / "report", tmp_path / "saved", "--rules")
    assert answer.status == 2
    assert answer.out.startswith("no difference as far as is known; 1 thing unknown\n")
    assert "iptables -L rounds counters and does not print every option of every match" in answer.out


def test_rules_stand_in_the_lines_where_people_find_them() -> None:
    text = report()
    rules, _, _ = split_saved(text)[:3]
    lines = text.splitlines()
    for rule in read_dump(rules).tables[4]["filter"]["cali-FORWARD"].rules:
        assert f"cali:{rule.identity} " in lines[rule.line - 1]


def test_counters_are_read_as_far_as_they_are_printed() -> None:
    listed = "Chain INPUT (policy DROP 12 packets, 3K bytes)\n pkts bytes target prot opt in out source destination\n"
    listed += "  34K  5M ACCEPT  tcp  --  *  *  0.0.0.0/0  0.0.0.0/0  tcp dpt:22\n"
    chain = read_dump(split_saved(listed).rules).tables[4]["filter"]["INPUT"]
    assert (chain.policy, chain.counters) == ("DROP", (12, 3000))
    assert chain.rules[0].counters == (34_000, 5_000_000)
    specs = "-P INPUT ACCEPT -c 1 2\n-A INPUT -i lo -c 3 4 -j ACCEPT\n"
    (rule,) = read_dump(split_saved(specs).rules).tables[4]["filter"]["INPUT"].rules
    assert (rule.counters, rule.target) == ((3, 4), "ACCEPT")


@pytest.mark.parametrize(
    "columns, expected",
    [
        ("DROP  !tcp  --  !eth0  *  !10.0.0.0/8  0.0.0.0/0", "! -s 10.0.0.0/8 ! -i eth0 ! -p tcp -j DROP"),
        ("       all  --  *  *  0.0.0.0/0  0.0.0.0/0", ""),
        (
            "cali-x  all  --  *  *  0.0.0.0/0  0.0.0.0/0  [goto]  match-set s dst,dst",
            "-m set --match-set s dst,dst -g cali-x",
        ),
        ("MARK  all  --  *  *  0.0.0.0/0  0.0.0.0/0  MARK and 0xfff4ffff", "-j MARK --set-xmark 0x0/0xb0000"),
        ("MARK  all  --  *  *  0.0.0.0/0  0.0.0.0/0  MARK or 0x10000", "-j MARK --set-xmark 0x10000/0x10000"),
        (
            "DROP  udp  --  *  *  0.0.0.0/0  0.0.0.0/0  udp spts:1:9 dpt:!53",
            "-p udp -m udp --sport 1:9 ! --dport 53 -j DROP",
        ),
        ("DROP  all  --  *  *  0.0.0.0/0  0.0.0.0/0  ! ctstate NEW,DNAT", "-m conntrack ! --ctstate NEW,DNAT -j DROP"),
        (
            "DROP  tcp  --  *  *  0.0.0.0/0  0.0.0.0/0  multiport dports  !80,90:99",
            "-p tcp -m multiport ! --dports 80,90:99 -j DROP",
        ),
        (
            "SNAT  all  --  *  *  0.0.0.0/0  0.0.0.0/0  to:192.0.2.1 random-fully",
            "-j SNAT --to-source 192.0.2.1 --random-fully",
        ),
    ],
)
def test_words_of_the_listing(columns: str, expected: str) -> None:
    text = f"Chain FORWARD (policy ACCEPT)\ntarget prot opt in out source destination\n{columns}\n"
    (rule,) = read_dump(split_saved(text).rules).tables[4]["filter"]["FORWARD"].rules
    assert rule.body.content == read_body(expected, 4).content


def test_words_that_nobody_knows_stay_and_are_not_understood() -> None:
    text = "Chain INPUT (policy ACCEPT)\ntarget prot opt source destination\n"
    text += "ACCEPT all -- 0.0.0.0/0 0.0.0.0/0 owner UID match 0\n"
    (rule,) = read_dump(split_saved(text).rules).tables[4]["filter"]["INPUT"].rules
    assert rule.body.unclear == ("-m listed",)
    assert all(word in rule.text for word in ("owner", "UID", "match"))


def test_xml_with_a_document_type_is_refused() -> None:
    text = '<ipsets>\n<!ENTITY a "b">\n</ipsets>\n'
    with pytest.raises(InputError, match="ipset:1: this XML of ipset cannot be read"):
        split_saved(text)


def test_every_form_is_shown() -> None:
    texts = [*(path.read_text() for path in PRINTED.iterdir()), *(path.read_text() for path in SAVED.glob("*.save"))]
    starts = [line for text in texts for line in text.splitlines()]
    iptables = [form for form in FORMS if "nft" not in form.name]
    assert [form.name for form in iptables if not any(form.begins.match(line) for line in starts)] == []
    assert not looks_saved("kind: Pod\nmetadata: {name: x}\n")


def test_every_rule_of_a_dump_is_read_once() -> None:
    """Rules that say the same share what they say, in whichever chain, table and dump they are."""
    text = (SAVED / "iptables.save").read_text().replace("10.65.", "10.66.")
    read_body.cache_clear()
    first, again = (read_dump({4: text}) for _ in range(2))
    bodies = {rule.body.text for _, _, chain in first.chains() for rule in chain.rules}
    assert read_body.cache_info().misses == len(bodies)
    one, other = ([rule.body for _, _, chain in dump.chains() for rule in chain.rules] for dump in (first, again))
    assert all(a is b for a, b in zip(one, other, strict=True))
    assert read_body.cache_info().misses == len(bodies)


def filter_only() -> str:
    """What ``iptables -L`` prints without ``-t``."""
    whole = printed("iptables-L.txt")
    return whole[whole.rindex("Chain INPUT (") :]


def test_tables_that_were_not_printed_are_unknown_and_not_missing() -> None:
    rules, _, leaves_open, tables, listed = split_saved(filter_only())
    assert (dict(tables), listed) == ({4: frozenset({"filter"})}, frozenset({4}))
    missing = not_given(tables, listed)
    assert missing == {4: ["raw", "mangle", "nat"]}
    node = Node(name="node1", compiler=COMPILER, host=LONELY)
    assert verify(observe_saved(rules, None, "a listing", leaves_open=leaves_open, not_given=missing), node).equal
    cut = {4: "".join(line for line in rules[4].splitlines(True) if "-A FORWARD " not in line)}
    found = verify(observe_saved(cut, None, "a listing", not_given=missing), node)
    assert {finding.table for finding in found.findings} == {"filter"}


def test_a_family_may_be_saved_in_a_file_for_each_table(tmp_path: Path) -> None:
    """A sosreport has them, several nodes' below one folder."""
    from felixpy.cli.dumps import read_saved

    whole = printed("iptables-L.txt")
    at = whole.rindex("Chain INPUT (")
    folder = tmp_path / "node1"
    folder.mkdir()
    (folder / "iptables_-t_filter_-nvL").write_text(whole[at:])
    (folder / "iptables_-t_others_-nvL").write_text(whole[:at])
    for path in (tmp_path, folder):
        (saved,) = read_saved([str(path)], None).values()
        assert said(saved.dump()) == said(read_dump(split_saved(whole).rules))
        assert saved.not_given == {}
    (folder / "again").write_text(whole[at:])
    with pytest.raises(UsageError, match="a dump of IPv4 was given already"):
        [*read_saved([str(tmp_path)], None).values()]
