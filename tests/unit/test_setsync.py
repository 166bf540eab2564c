"""Inputs of ipset restore: what is written for each way in which sets can differ, and that it leads where it should."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.dataplane.current import SetState, read_sets
from felixpy.dataplane.setsync import destroy, fill, headers, stale
from tests.unit.pretend import Pretend


def ipset(name: str, *members: str, kind: str = "hash:net", maxelem: int = 10, plain: bool = True) -> SetState:
    return SetState(name, kind, 6 if name.startswith("cali6") else 4, maxelem, frozenset(members), plain)


def by_name(*sets: SetState) -> dict[str, SetState]:
    return {one.name: one for one in sets}


HEADER = "hash:net family inet maxelem 10"


@pytest.mark.parametrize(
    "there, goal, lines",
    [
        ([], [ipset("cali40a", "b", "a")], [f"create cali40a {HEADER}", "add cali40a a", "add cali40a b"]),
        ([], [ipset("cali60a")], []),
        ([], [ipset("cali40b"), ipset("cali40a")], [f"create cali40a {HEADER}", f"create cali40b {HEADER}"]),
        (
            [ipset("cali40a", "a", "b", "c")],
            [ipset("cali40a", "b", "d")],
            ["add cali40a d --exist", "del cali40a a --exist", "del cali40a c --exist"],
        ),
        (
            [ipset("cali40a", "a", maxelem=20), ipset("cali4t0")],
            [ipset("cali40a", "a", "b")],
            [
                f"create cali4t1 {HEADER}",
                "add cali4t1 a",
                "add cali4t1 b",
                "swap cali40a cali4t1",
                "destroy cali4t1",
            ],
        ),
        (
            [ipset("cali40a", "a timeout 0", plain=False)],
            [ipset("cali40a", "a")],
            [f"create cali4t0 {HEADER}", "add cali4t0 a", "swap cali40a cali4t0", "destroy cali4t0"],
        ),
        (
            [ipset("cali40a", "a", kind="hash:ip")],
            [ipset("cali40a", "a")],
            ["destroy cali40a", f"create cali40a {HEADER}", "add cali40a a"],
        ),
        (
            [ipset("cali40a", "a", maxelem=1)],
            [ipset("cali40a", "b", maxelem=1)],
            [
                "create cali4t0 hash:net family inet maxelem 1",
                "add cali4t0 b",
                "swap cali40a cali4t0",
                "destroy cali4t0",
            ],
        ),
        ([ipset("cali40a", "a"), ipset("cali40z")], [ipset("cali40a", "a")], []),
        (
            [ipset("cali40a", "a"), ipset("cali40b", maxelem=20)],
            [ipset("cali40a", "b"), ipset("cali40b", "x"), ipset("cali40c", "y")],
            [
                f"create cali4t0 {HEADER}",
                "add cali4t0 x",
                f"create cali40c {HEADER}",
                "add cali40c y",
                "add cali40a b --exist",
                "del cali40a a --exist",
                "swap cali40b cali4t0",
                "destroy cali4t0",
            ],
        ),
    ],
    ids=[
        "new",
        "other family",
        "sorted",
        "members",
        "size",
        "options",
        "type",
        "no room for both",
        "same",
        "what rules use comes last",
    ],
)
def test_lines(there: list[SetState], goal: list[SetState], lines: list[str]) -> None:
    made = fill(by_name(*there), by_name(*goal), 4)
    assert list(made.lines if made else ()) == lines
    if made:
        assert made.text.endswith("\nCOMMIT\n")
        assert made.sets == tuple(sorted(one.name for one in goal))


def test_sets_of_ipv6_are_made_as_such() -> None:
    made = fill({}, by_name(ipset("cali60a", "fd00::/64"), ipset("cali40a")), 6)
    assert made
    assert made.lines == ("create cali60a hash:net family inet6 maxelem 10", "add cali60a fd00::/64")


def test_stale_sets_and_headers() -> None:
    there = by_name(ipset("cali40b"), ipset("cali4t7"), ipset("cali40a"))
    assert stale(there, by_name(ipset("cali40a"))) == ("cali40b", "cali4t7")
    assert destroy(("cali40b", "cali4t7")) == "destroy cali40b\ndestroy cali4t7\n"
    assert headers(there.values()).splitlines()[0] == f"create cali40b {HEADER}"


MEMBERS = st.frozensets(st.sampled_from("abcdef"), max_size=4)
SETS = st.dictionaries(
    st.sampled_from(["cali40a", "cali40b", "cali4t0", "cali4t1"]),
    st.tuples(MEMBERS, st.sampled_from(["hash:net", "hash:ip"]), st.sampled_from([4, 5])),
)


def named(sets: Mapping[str, tuple[frozenset[str], str, int]]) -> dict[str, SetState]:
    return {name: ipset(name, *members, kind=kind, maxelem=size) for name, (members, kind, size) in sets.items()}


@pytest.mark.property
@given(there=SETS.map(named), goal=SETS.map(named))
def test_any_sets_become_the_wanted_ones(there: dict[str, SetState], goal: dict[str, SetState]) -> None:
    kernel = Pretend()
    for state, wanted in (({}, there), (there, goal)):
        made = fill(state, wanted, 4)
        done = kernel.run("ipset", "restore", text=made.text if made else "")
        assert not done.status, done.errors
    assert kernel.run("ipset", "restore", text=destroy(stale(there, goal))).status == 0
    assert read_sets(kernel.ipset_save()) == goal
    assert fill(goal, goal, 4) is None
    assert stale(goal, goal) == ()


@pytest.mark.property
@given(there=MEMBERS, goal=MEMBERS)
def test_who_is_in_before_and_after_is_in_all_the_time(there: frozenset[str], goal: frozenset[str]) -> None:
    """And who is in neither is never let in: read line by line, as the kernel does."""
    made = fill(by_name(ipset("cali40a", *there)), by_name(ipset("cali40a", *goal)), 4)
    members = set(there)
    for line in made.lines if made else ():
        verb, _, member, _ = line.split(" ")
        (members.add if verb == "add" else members.remove)(member)
        assert there & goal <= members <= there | goal
    assert members == goal
