"""From what is in nftables tables to what shall be there: the lines for nft, and no more of them than needed."""

from __future__ import annotations

import re

import pytest

import felixpy
from felixpy.dataplane.backends import goal_of
from felixpy.dataplane.nftables.content import TableContent
from felixpy.dataplane.nftables.enforcer import NftEnforcer, NftWanted
from felixpy.dataplane.nftables.tool import refusal
from felixpy.dataplane.nftables.transaction import NftProgram, table_change
from felixpy.errors import EnvironmentMissing, KernelRefused
from felixpy.kernel import NOT_FOUND, Done
from felixpy.nftables import NftRuleset
from felixpy.nftables.reading import priority_of, read_tables
from tests.clusters import cluster, pod
from tests.unit.states import CLIENT, CLIENTS, MONITOR, SCRAPER, WEB, guard


def ruleset(*objects: object) -> NftRuleset:
    found = felixpy.compile(cluster(*objects), "node1", host=felixpy.Host(interfaces={}), dataplane="nftables")
    assert isinstance(found, NftRuleset)
    return found


OLD = ruleset(WEB, *CLIENTS[:2], guard("web-in", CLIENT))
NEW = ruleset(WEB, *CLIENTS[1:], SCRAPER, guard("web-in", CLIENT, MONITOR))


def listed(found: NftRuleset) -> dict[str, TableContent]:
    """What is there after these rules were applied."""
    return {table.family: TableContent.listed(table) for table in read_tables(found.text())}


def wanted(found: NftRuleset) -> NftWanted:
    goal = goal_of(found)
    assert isinstance(goal, NftWanted)
    return goal


def between(before: dict[str, TableContent], after: NftRuleset | None) -> NftProgram:
    goal = wanted(after).tables if after else {}
    changes = (table_change(before.get(family), goal.get(family)) for family in ("arp", "ip", "ip6"))
    return NftProgram(tuple(change for change in changes if change))


def edited(found: NftRuleset, pattern: str, by: str) -> dict[str, TableContent]:
    """What is there after somebody changed a listing."""
    text, count = re.subn(pattern, by, found.text(), count=1, flags=re.MULTILINE)
    assert count == 1
    return {table.family: TableContent.listed(table) for table in read_tables(text)}


def test_what_is_there_is_not_written_again() -> None:
    program = between(listed(OLD), OLD)
    assert program.empty
    assert (program.inputs, program.summary()) == ([], "nothing")


def test_new_sets_are_filled_before_rules_use_them() -> None:
    """Of sets that exist the elements change together with the rules, those that go first."""
    first, rest = between(listed(OLD), NEW).inputs
    (monitors,) = {line.split()[4] for line in first if line.startswith("add set ip ")}
    assert f"add element ip calico {monitors} {{ 10.65.2.1/32 }}" in first
    assert not any(line.startswith(("add set", "add table x")) for line in rest)
    gone = next(line for line in rest if line.startswith("delete element ip "))
    come = next(line for line in rest if line.startswith("add element ip "))
    assert gone.endswith("{ 10.65.1.1 }")
    assert come.endswith("{ 10.65.1.3/32 }")
    assert rest.index(gone) < rest.index(come) < rest.index(next(line for line in rest if "add rule ip " in line))


def test_only_chains_that_differ_are_written() -> None:
    rest = between(listed(OLD), NEW).inputs[-1]
    flushed = [line.split()[4] for line in rest if line.startswith("flush chain ip ")]
    assert flushed == ["filter-cali-pi-gnp/web-in"]
    assert {line.split()[4] for line in rest if line.startswith("add rule ip ")} == set(flushed)


def test_pods_come_with_their_chains_and_go_before_them() -> None:
    without = ruleset(pod("db", "10.65.0.3"), *CLIENTS[:2], guard("web-in", CLIENT))
    come = between(listed(without), OLD).inputs[-1]
    chain = next(i for i, line in enumerate(come) if re.match(r"add chain ip calico filter-cali-tw-", line))
    element = next(i for i, line in enumerate(come) if "add element ip calico filter-cali-to-wl-dispatch" in line)
    assert chain < element
    gone = between(listed(OLD), without).inputs[-1]
    element = next(i for i, line in enumerate(gone) if "delete element ip calico filter-cali-to-wl-dispatch" in line)
    chain = next(i for i, line in enumerate(gone) if re.match(r"delete chain ip calico filter-cali-tw-", line))
    assert element < chain


def test_tables_go_after_packets_are_led_past_them() -> None:
    first, rest = between(listed(OLD), None).inputs
    assert rest == ["delete table arp calico-arp", "delete table ip calico", "delete table ip6 calico"]
    assert all(re.fullmatch(r"flush chain (arp calico-arp|ip6? calico) \w+-[A-Z]+", line) for line in first)


@pytest.mark.parametrize(
    "pattern, by, line",
    [
        (r"(hook forward priority filter; policy) accept", r"\1 drop", "delete chain ip calico filter-FORWARD"),
        (r"(hook forward priority) filter;", r"\1 filter + 5;", "delete chain ip calico filter-FORWARD"),
        (r"^table ip calico {$", "table ip calico {\n\tflags dormant", "add table ip calico"),
        (r"^table ip calico {$", "\\g<0>\n\tset mine {\n\t\ttype ipv4_addr\n\t}", "delete set ip calico mine"),
        (r"^\tchain filter-cali-FORWARD {$", "\tchain mine {\n\t\tdrop\n\t}\n\\g<0>", "delete chain ip calico mine"),
    ],
)  # fmt: skip
def test_damage_is_mended(pattern: str, by: str, line: str) -> None:
    program = between(edited(OLD, pattern, by), OLD)
    assert line in program.inputs[-1]
    assert "delete table ip calico" not in program.inputs[-1]


def test_a_set_declared_in_another_way_costs_the_table() -> None:
    program = between(edited(OLD, r"(cali40masq-ipam-pools {\n\t\ttype ipv4_addr)\n\t\tflags interval", r"\1"), OLD)
    [lines] = program.inputs
    assert lines[:2] == ["delete table ip calico", "add table ip calico"]
    told = "table ip calico: set cali40masq-ipam-pools is declared as type ipv4_addr ;; the table is replaced"
    assert list(program.repairs()) == [told]


def test_a_changed_rule_with_its_hash_is_told() -> None:
    program = between(edited(OLD, r'counter drop (comment "cali:\S+ Unknown interface")', r"counter accept \1"), OLD)
    assert [*program.repairs()] == [
        "table ip calico: a rule of filter-cali-from-wl-dispatch had been changed and is put right"
    ]


def test_what_was_found_is_written_in_a_form_that_nft_reads_as_the_same() -> None:
    """nft 1.0.6 lists the mark of IPVS as a prefix, which it would read back as another rule if negated."""
    line = 'meta mark != 0x00200000/11 counter drop comment "x"'
    (table,) = read_tables(f"table ip calico {{\n\tchain c {{\n\t\t{line}\n\t}}\n}}\n")
    chain = TableContent.listed(table).chains["c"]
    assert chain.listed() == (line,)
    assert list(chain.written()) == ['meta mark & 0xffe00000 != 0x00200000 counter drop comment "x"']


@pytest.mark.parametrize("listed_priority, number", [("srcnat + 10", 110), ("filter - 5", -5), ("raw", -300), ("7", 7)])
def test_priorities(listed_priority: str, number: int) -> None:
    assert priority_of(listed_priority) == number


def test_the_line_that_nft_complains_about() -> None:
    done = Done(1, errors="/dev/stdin:2:5-9: Error: syntax error, unexpected x\nadd x\n    ^\n")
    told = refusal(done, ["add table ip calico", "add x"])
    assert isinstance(told, KernelRefused)
    assert str(told) == "nft refused line 2, 'add x',: syntax error, unexpected x"


def test_nft_that_is_not_there() -> None:
    class Nothing:
        def run(self, *command: str, text: str = "") -> Done:
            return Done(NOT_FOUND)

    with pytest.raises(EnvironmentMissing, match=r"nft is missing; install nftables \(Debian: apt-get"):
        NftEnforcer(Nothing()).read(NftWanted({}))
