"""Restore inputs: what is written for each way in which a table can differ, and that it leads where it should."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.dataplane.current import CurrentTable, Rule, read_tables
from felixpy.dataplane.transaction import Transaction, transaction
from felixpy.dataplane.wanted import END, Drawn, Insert, WantedTable
from felixpy.ruleset import Chain, Origin
from tests.unit.pretend import Pretend

A, B, C, D = ("a" * 16, "b" * 16, "c" * 16, "d" * 16)
FOREIGN = "-p tcp -j ACCEPT"
OURS = {identity: f'-m comment --comment "cali:{identity}" -j cali-{identity[0]}' for identity in (A, B, C, D)}
HOOKS = {identity: f'-m comment --comment "cali:{identity}" --jump cali-{identity[0]}' for identity in (A, B, C, D)}


def ours(identity: str) -> Rule:
    """A rule as it comes out of the compiler."""
    return Rule(identity, HOOKS[identity], f"--jump cali-{identity[0]}")


class Lettered(Chain, frozen=True, eq=False, kw_only=True):
    """A chain with the hashes that a test gives it."""

    letters: tuple[str, ...]

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        return self.letters


def chain(name: str, *identities: str) -> Drawn:
    """A chain as it comes out of the compiler."""
    bodies = tuple(f"--jump cali-{identity[0]}" for identity in identities)
    return Drawn(Lettered(name, bodies, (-1,) * len(bodies), Origin(words=""), "", letters=identities))


def current(chains: dict[str, Sequence[str]]) -> CurrentTable:
    """A table filter; a rule is one of ours by its letter, or a text."""
    lines = [f":{name} - [0:0]" for name in chains]
    for name, rules in chains.items():
        lines += [f"-A {name} {OURS.get(rule * 16, rule)}" for rule in rules]
    return read_tables("\n".join(["*filter", *lines, "COMMIT"]), 4).get("filter") or CurrentTable.empty("filter", 4)


def wanted(
    chains: dict[str, str] | None = None, top: str = "", bottom: str = "", hosting: str = "FORWARD"
) -> WantedTable:
    """Our chains and our inserts in one chain, each rule by its letter."""
    drawn = {name: chain(name, *(letter * 16 for letter in letters)) for name, letters in (chains or {}).items()}
    inserts = (
        *(Insert(ours(letter * 16), 0) for letter in top),
        *(Insert(ours(letter * 16), END) for letter in bottom),
    )
    return WantedTable("filter", 4, drawn, {hosting: inserts} if inserts else {})


def appends(chain: str, *identities: str) -> list[str]:
    return [f"-A {chain} {HOOKS[identity]}" for identity in identities]


class Change(NamedTuple):
    """A way in which a table differs, and the lines that put it right: rule by rule, and emptied first (None: same)."""

    name: str
    there: dict[str, Sequence[str]]
    goal: WantedTable
    lines: Sequence[str]
    rewritten: Sequence[str] | None = None


CHANGES = (
    Change("new chain", {}, wanted({"cali-x": "ab"}), [":cali-x - -", *appends("cali-x", A, B)]),
    Change("new chain without rules", {}, wanted({"cali-x": ""}), [":cali-x - -"]),
    Change("stale chain", {"cali-x": "a"}, wanted(), [":cali-x - -", "--delete-chain cali-x"]),
    Change(
        "stale chains that lead to each other",
        {"cali-a": ["-j cali-b"], "cali-b": ["-j cali-a"], "MINE": [FOREIGN]},
        wanted(),
        [":cali-a - -", ":cali-b - -", "--delete-chain cali-a", "--delete-chain cali-b"],
    ),
    Change(
        "rule in the middle",
        {"cali-x": "abc"},
        wanted({"cali-x": "adc"}),
        [f"-R cali-x 2 {HOOKS[D]}"],
        [":cali-x - -", *appends("cali-x", A, D, C)],
    ),
    Change(
        "too many rules",
        {"cali-x": "abcd"},
        wanted({"cali-x": "ab"}),
        ["-D cali-x 3", "-D cali-x 3"],
        [":cali-x - -", *appends("cali-x", A, B)],
    ),
    Change(
        "too few rules",
        {"cali-x": "a"},
        wanted({"cali-x": "ab"}),
        [f"-A cali-x {HOOKS[B]}"],
        [":cali-x - -", *appends("cali-x", A, B)],
    ),
    Change(
        "foreign rule in a chain of ours",
        {"cali-x": [FOREIGN, "a"]},
        wanted({"cali-x": "a"}),
        [f"-R cali-x 1 {HOOKS[A]}", "-D cali-x 2"],
        [":cali-x - -", f"-A cali-x {HOOKS[A]}"],
    ),
    Change(
        "changed rule with its hash",
        {"cali-x": [OURS[A].replace("-j cali-a", "-j ACCEPT"), "b"]},
        wanted({"cali-x": "ab"}),
        [f"-R cali-x 1 {HOOKS[A]}"],
        [":cali-x - -", *appends("cali-x", A, B)],
    ),
    Change(
        "inserts on top", {"FORWARD": [FOREIGN]}, wanted(top="ab"), [f"-I FORWARD {HOOKS[B]}", f"-I FORWARD {HOOKS[A]}"]
    ),
    Change("inserts below", {"FORWARD": [FOREIGN]}, wanted(bottom="ab"), appends("FORWARD", A, B)),
    Change(
        "inserts above and below",
        {"FORWARD": []},
        wanted(top="a", bottom="b"),
        [f"-I FORWARD {HOOKS[A]}", f"-A FORWARD {HOOKS[B]}"],
    ),
    Change(
        "insert below a foreign rule",
        {"FORWARD": [FOREIGN, "a"]},
        wanted(top="a"),
        [f"-D FORWARD {OURS[A]}", f"-I FORWARD {HOOKS[A]}"],
    ),
    Change(
        "appended insert above a foreign rule",
        {"FORWARD": ["a", FOREIGN]},
        wanted(bottom="a"),
        [f"-D FORWARD {OURS[A]}", f"-A FORWARD {HOOKS[A]}"],
    ),
    Change(
        "insert twice",
        {"FORWARD": ["a", "a", FOREIGN]},
        wanted(top="a"),
        [f"-D FORWARD {OURS[A]}", f"-D FORWARD {OURS[A]}", f"-I FORWARD {HOOKS[A]}"],
    ),
    Change(
        "insert with an old hash",
        {"FORWARD": ["b"]},
        wanted(top="a"),
        [f"-D FORWARD {OURS[B]}", f"-I FORWARD {HOOKS[A]}"],
    ),
    Change(
        "insert with its hash but other words",
        {"FORWARD": [OURS[A].replace("-j cali-a", "-p udp -j cali-a")]},
        wanted(top="a"),
        [f"-D FORWARD {OURS[A].replace('-j cali-a', '-p udp -j cali-a')}", f"-I FORWARD {HOOKS[A]}"],
    ),
    Change(
        "inserts in the wrong order",
        {"FORWARD": ["b", "a"]},
        wanted(top="ab"),
        [f"-D FORWARD {OURS[B]}", f"-D FORWARD {OURS[A]}", f"-I FORWARD {HOOKS[B]}", f"-I FORWARD {HOOKS[A]}"],
    ),
    Change("insert nobody wants", {"OUTPUT": ["a", FOREIGN]}, wanted(), [f"-D OUTPUT {OURS[A]}"]),
    Change(
        "old insert in a chain of somebody else",
        {"MINE": [FOREIGN, "-j felix-FORWARD"], "felix-FORWARD": []},
        wanted(),
        [":felix-FORWARD - -", "-D MINE -j felix-FORWARD", "--delete-chain felix-FORWARD"],
    ),
    Change(
        "everything at once, in phases",
        {"cali-old": [FOREIGN], "cali-x": "a", "FORWARD": [FOREIGN, "-j cali-old"]},
        wanted({"cali-x": "ab", "cali-new": "c"}, top="d"),
        [
            ":cali-new - -",
            ":cali-old - -",
            f"-A cali-new {HOOKS[C]}",
            f"-A cali-x {HOOKS[B]}",
            "-D FORWARD -j cali-old",
            f"-I FORWARD {HOOKS[D]}",
            "--delete-chain cali-old",
        ],
        [
            ":cali-new - -",
            ":cali-old - -",
            ":cali-x - -",
            f"-A cali-new {HOOKS[C]}",
            f"-A cali-x {HOOKS[A]}",
            f"-A cali-x {HOOKS[B]}",
            "-D FORWARD -j cali-old",
            f"-I FORWARD {HOOKS[D]}",
            "--delete-chain cali-old",
        ],
    ),
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_lines(change: Change) -> None:
    for rewrite, expected in ((False, change.lines), (True, change.rewritten or change.lines)):
        made = transaction(current(change.there), change.goal, rewrite=rewrite)
        assert made
        assert list(made.lines) == list(expected)
        assert made.text == "".join(f"{line}\n" for line in ["*filter", *expected, "COMMIT"])


@pytest.mark.parametrize(
    "there, goal",
    [
        ({}, wanted()),
        ({"MINE": [FOREIGN]}, wanted()),
        ({"cali-x": "ab"}, wanted({"cali-x": "ab"})),
        ({"FORWARD": ["a", FOREIGN, "b"]}, wanted(top="a", bottom="b")),
        ({"FORWARD": ["a", "b"]}, wanted(top="a", bottom="b")),
        ({"FORWARD": [FOREIGN, "a", "b"]}, wanted(bottom="ab")),
    ],
)
def test_what_is_right_is_left_alone(there: dict[str, Sequence[str]], goal: WantedTable) -> None:
    assert transaction(current(there), goal, rewrite=False) is None
    assert transaction(current(there), goal, rewrite=True) is None


def test_chains_are_counted_and_suspects_named() -> None:
    there = current({"cali-x": [OURS[A].replace("cali-a", "cali-b")], "cali-y": "a", "FORWARD": [f"-i x {OURS[B]}"]})
    made = transaction(there, wanted({"cali-x": "a", "cali-z": "c"}, top="b"), rewrite=False)
    assert made
    assert made.chains == ("cali-x", "cali-z", "FORWARD", "cali-y")
    assert made.suspects == (("cali-x", ours(A)), ("FORWARD", ours(B)))


def test_a_list_of_addresses_is_as_many_rules_as_in_the_kernel() -> None:
    """Felix writes one line, the kernel makes two rules with one hash, and Felix takes the second for a stranger."""
    body = "--source 10.0.0.1,10.0.0.2 --jump DSCP --set-dscp 23"
    chain = Lettered("cali-egress-dscp", (body,), (-1,), Origin(words=""), "", letters=(A,))
    goal = WantedTable("mangle", 4, {chain.name: Drawn(chain)}, {})
    made = transaction(CurrentTable.empty("mangle", 4), goal, rewrite=False)
    assert made
    assert [line.split('" ')[-1] for line in made.lines[1:]] == [
        "--source 10.0.0.1 --jump DSCP --set-dscp 23",
        "--source 10.0.0.2 --jump DSCP --set-dscp 23",
    ]
    kernel = Pretend()
    assert kernel.run("iptables-legacy-restore", text=made.text).status == 0
    assert transaction(read_tables(kernel.save(4), 4)["mangle"], goal, rewrite=False) is None


# --- laws

LETTERS = st.text("abcd", max_size=5)
OTHERS = st.sampled_from([FOREIGN, "-p udp -j DROP", "-j MINE", "-j cali-q"])
DAMAGED = st.sampled_from([rule.replace("-j cali-a", "-j DROP") for rule in OURS.values()])
MESS = st.lists(st.sampled_from("abcd") | OTHERS | DAMAGED, max_size=6)
NAMES = st.sampled_from(["cali-x", "cali-y", "cali-z"])
THERE = st.fixed_dictionaries(
    {"cali-q": st.just(()), "MINE": st.lists(st.just(FOREIGN), max_size=2)},
    optional={"cali-x": MESS, "cali-y": MESS, "FORWARD": MESS, "INPUT": MESS, "OTHER": MESS},
)
GOALS = st.builds(wanted, st.dictionaries(NAMES, LETTERS), LETTERS, LETTERS, st.sampled_from(["FORWARD", "INPUT"]))
TARGETS = [f"cali-{letter}" for letter in "abcd"]


def with_targets(goal: WantedTable) -> WantedTable:
    """Every rule leads to a chain, so the chains have to be there."""
    return WantedTable("filter", 4, {**goal.chains, **{name: chain(name) for name in TARGETS}}, goal.inserts)


def kernel_with(there: dict[str, Sequence[str]]) -> Pretend:
    chains = {**dict.fromkeys(("INPUT", "FORWARD", "OUTPUT"), ()), **there, **dict.fromkeys(TARGETS, ())}
    rules = {name: [OURS.get(rule * 16, rule) for rule in rules] for name, rules in chains.items()}
    kernel = Pretend()
    kernel.tables[4, "legacy"] = {"filter": rules}
    return kernel


def table_of(kernel: Pretend) -> CurrentTable:
    return read_tables(kernel.save(4), 4)["filter"]


def run(kernel: Pretend, made: Transaction | None) -> None:
    if made:
        done = kernel.run("iptables-legacy-restore", text=made.text)
        assert not done.status, done.errors + made.text


@pytest.mark.property
@given(there=THERE, goal=GOALS, rewrite=st.booleans())
def test_any_state_becomes_the_wanted_one(there: dict[str, Sequence[str]], goal: WantedTable, rewrite: bool) -> None:
    """Our chains and inserts are as wanted, rules of others as before; nothing is left to do."""
    kernel, goal = kernel_with(there), with_targets(goal)
    before = table_of(kernel)
    run(kernel, transaction(before, goal, rewrite=rewrite))
    after = table_of(kernel)
    assert transaction(after, goal, rewrite=rewrite) is None
    assert after.owned().keys() == goal.chains.keys()
    for name in before.chains:
        if name not in before.owned():
            foreign = [rule for rule in before.rules(name) if not rule.identity]
            assert [rule for rule in after.rules(name) if not rule.identity] == foreign
    for name, inserts in goal.inserts.items():
        rules = after.rules(name)
        top = sum(insert.below == 0 for insert in inserts)
        assert [rule.identity for rule in rules[:top]] == [insert.rule.identity for insert in inserts[:top]]
        assert [rule.identity for rule in rules if rule.identity] == [insert.rule.identity for insert in inserts]
        assert all(rule.identity for rule in rules[len(rules) - len(inserts) + top :])


@pytest.mark.property
@given(there=THERE, goal=GOALS, rewrite=st.booleans())
def test_every_change_can_be_taken_back(there: dict[str, Sequence[str]], goal: WantedTable, rewrite: bool) -> None:
    """The earlier state comes back rule for rule, damage and places among foreign rules included."""
    kernel, goal = kernel_with(there), with_targets(goal)
    before = table_of(kernel)
    run(kernel, transaction(before, goal, rewrite=rewrite))
    run(kernel, transaction(table_of(kernel), WantedTable.as_it_was(before), rewrite=rewrite))
    assert table_of(kernel).chains == before.chains
