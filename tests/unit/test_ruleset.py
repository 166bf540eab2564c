"""Rules as text: hashes, the two spellings, counters, the order of everything, and sets."""

from __future__ import annotations

import pytest

from felixpy.ipsets import IPSet, SetMembers
from felixpy.ruleset import TABLES, Chain, Origin, Ruleset, Table, hashes
from tests.tables import goldens

GOLDEN = [(case, chain, rules) for case, chains in goldens().items() for (_, chain), rules in chains.items()]
SOMEWHERE = Origin(words="somewhere")


@pytest.mark.parametrize(
    "chain, rules", [row[1:] for row in GOLDEN], ids=[f"{case}-{chain}" for case, chain, _ in GOLDEN]
)
def test_every_rule_of_a_recorded_chain_has_its_hash(chain: str, rules: list[tuple[str, str]]) -> None:
    assert list(hashes(chain, [body for _, body in rules])) == [identity for identity, _ in rules]


def test_a_hash_covers_the_chain_the_rule_and_all_rules_above() -> None:
    first, second = hashes("cali-x", ["--jump DROP", "--jump DROP"])
    assert first != second
    assert list(hashes("cali-y", ["--jump DROP"])) != [first]
    assert list(hashes("cali-x", ["--jump ACCEPT", "--jump DROP"]))[1] != second
    assert hashes("cali-x", ["--jump DROP", "--jump ACCEPT"])[0] == first
    assert list(hashes("cali-x", [])) == []


def chain(name: str, *bodies: str) -> Chain:
    return Chain(name, bodies, (-1,) * len(bodies), SOMEWHERE, "cali-x")


def test_a_rule_in_both_spellings() -> None:
    made = chain("cali-x", '-m comment --comment "a b" --in-interface cali+ --jump MARK --set-mark 0/0x10000', "")
    first, second = made.hashes
    comments = f'-m comment --comment "cali:{first}" -m comment --comment "a b"'
    restored = f"-A cali-x {comments} --in-interface cali+ --jump MARK --set-mark 0/0x10000"
    saved = f"-A cali-x -i cali+ {comments} -j MARK --set-xmark 0x0/0x10000"
    empty = f'-A cali-x -m comment --comment "cali:{second}"'
    assert list(made.each_rule(4, restore=True)) == [[restored], [empty]]
    assert list(made.each_rule(4, restore=False)) == [[saved], [empty]]


def test_a_rule_that_the_kernel_splits_is_handed_over_once() -> None:
    made = chain("cali-egress-dscp", "--source 10.0.0.1,10.0.0.2 --jump DSCP --set-dscp 46", "--jump RETURN")
    head = f'-m comment --comment "cali:{made.hashes[0]}"'
    restored, saved = (next(made.each_rule(4, restore=restore)) for restore in (True, False))
    assert restored == [f"-A cali-egress-dscp {head} --source 10.0.0.1,10.0.0.2 --jump DSCP --set-dscp 46"]
    assert saved == [
        f"-A cali-egress-dscp -s 10.0.0.1/32 {head} -j DSCP --set-dscp 0x2e",
        f"-A cali-egress-dscp -s 10.0.0.2/32 {head} -j DSCP --set-dscp 0x2e",
    ]
    assert len(list(made.each_rule(4, restore=False))) == 2


def table(name: str, family: int = 4) -> Table:
    return Table(
        name,
        family,
        inserted={"FORWARD": chain("FORWARD", "--jump cali-a"), "INPUT": chain("INPUT", "--jump cali-b")},
        appended={"FORWARD": chain("FORWARD", "--jump REJECT")},
        chains=(chain("cali-a"), chain("cali-b", "--jump DROP")),
    )


def sets() -> tuple[IPSet, ...]:
    return tuple(
        IPSet(name=f"cali{family}0{name}", type="hash:net", family=family, members=SetMembers(), max_size=9, words="")
        for family, name in ((6, "a"), (4, "z"), (4, "b"))
    )


RULESET = Ruleset(
    node="node1",
    calico_version="v3.32",
    tables={(6, "filter"): table("filter", 6), (4, "filter"): table("filter"), (4, "raw"): Table("raw", 4, {}, {}, ())},
    sets=sets(),
)


def test_the_text_of_a_family() -> None:
    """Tables in their order, kernel chains in hook order with what was inserted first, then chains as they stand."""
    lines = RULESET.save(4).splitlines()
    assert lines[:4] == ["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", "COMMIT"]
    assert lines[4:10] == [
        "*filter",
        ":INPUT ACCEPT [0:0]",
        ":FORWARD ACCEPT [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        ":cali-a - [0:0]",
        ":cali-b - [0:0]",
    ]
    rules = [(line.split(" ")[1], line.rpartition(" -j ")[2]) for line in lines[10:-1]]
    assert rules == [
        ("INPUT", "cali-b"),
        ("FORWARD", "cali-a"),
        ("FORWARD", "REJECT --reject-with icmp-port-unreachable"),
        ("cali-b", "DROP"),
    ]
    assert lines[-1] == "COMMIT"
    assert RULESET.save(4).endswith("COMMIT\n")


def test_the_families_differ_where_the_kernel_does() -> None:
    assert RULESET.families == (4, 6)
    assert "--reject-with icmp6-port-unreachable" in RULESET.save(6)
    assert "*raw" not in RULESET.save(6)


def test_a_chain_that_both_families_share_is_printed_for_each() -> None:
    """Texts are kept, and only REJECT is printed differently."""
    rejecting, plain = chain("cali-x", "--jump DROP", "-p tcp --jump REJECT"), chain("cali-y", "--jump DROP")
    for _ in range(2):
        texts = [rejecting.text(family, restore=False) for family in (4, 6)]
        assert ["icmp-port" in text for text in texts] == [True, False]
        assert ["icmp6-port" in text for text in texts] == [False, True]
        assert rejecting.text(4, restore=True) == rejecting.text(6, restore=True) != texts[0]
        assert plain.text(4, restore=False) == plain.text(6, restore=False)


def test_restore_text_has_felixs_spelling_in_the_same_lines() -> None:
    saved, restored = RULESET.save(4).splitlines(), RULESET.restore(4).splitlines()
    assert len(saved) == len(restored)
    assert [line for line in saved if line[0] in "*:C"] == [line for line in restored if line[0] in "*:C"]
    assert all("--jump" in line for line in restored if line.startswith("-A"))


def test_counters_stand_before_every_rule_and_change_nothing_else() -> None:
    plain, counted = RULESET.save(4).splitlines(), RULESET.save(4, counters=True).splitlines()
    assert counted == [f"[0:0] {line}" if line.startswith("-A") else line for line in plain]


@pytest.mark.parametrize(
    "families, expected",
    [(None, ["cali40b", "cali40z", "cali60a"]), ((4,), ["cali40b", "cali40z"]), ((6,), ["cali60a"]), ((), [])],
)
def test_sets_are_printed_by_name_for_the_families_asked_for(
    families: tuple[int, ...] | None, expected: list[str]
) -> None:
    names = [line.split(" ")[1] for line in RULESET.ipset_save(families).splitlines()]
    assert names == expected


def test_paths_of_an_origin() -> None:
    assert SOMEWHERE.path(0) == SOMEWHERE.path(-1) == ()


def test_tables_list_the_kernels_own_chains() -> None:
    assert list(TABLES) == ["raw", "mangle", "nat", "filter"]
    assert TABLES["nat"] == ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")
