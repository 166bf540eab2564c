"""Memory of a cluster that is followed for long: as much after thousands of changes as after hundreds."""

from __future__ import annotations

import gc

import pytest

from felixpy.live import engine, members, shared
from felixpy.manifests import following
from felixpy.remembered import remembered
from tests.bench.clusters import Shape
from tests.bench.growth import Churn, blocks

SHAPE = Shape(namespaces=3, pods=6, policies=2, global_policies=1, local=4)
PERIOD = 50
"""Changes after which things are forgotten, in the place of thousands."""

WARM_UP, MORE = 500, 1000
MOST_FOR_A_CHANGE = 1.0
"""Blocks of memory. A name that is kept for each change is several of them; a cluster varies by some hundred in all."""


@pytest.fixture(autouse=True)
def only_new_objects() -> None:
    """Leave what earlier tests hold out of the many searches for garbage, which would take most of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (engine, "MOST_STEPS"), (following, "MOST_CONVERTED"), (shared, "MOST_TOUCHED"), (members, "FEW_BUILT"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, PERIOD)


def lowest(churn: Churn, steps: int) -> int:
    """The fewest blocks in use during the last periods of so many steps: what is forgotten later does not count."""
    found = []
    for number in range(steps):
        churn.step()
        if number >= steps - 2 * PERIOD and not number % (PERIOD // 10):
            found.append(blocks())
    return min(found)


@pytest.mark.parametrize("plane", ["iptables", "nftables"])
@pytest.mark.usefixtures("soon")
def test_what_is_kept_does_not_grow_with_the_number_of_changes(plane: str) -> None:
    churn = Churn(SHAPE, plane, ["node1"])
    before = lowest(churn, WARM_UP)
    after = lowest(churn, MORE)
    assert after - before < MOST_FOR_A_CHANGE * MORE, (before, after)


def test_what_is_kept_for_each_change_is_noticed(soon: None) -> None:
    """The test above can fail."""
    churn = Churn(SHAPE, "iptables", ["node1"])
    kept: list[dict[str, tuple[int]]] = []
    before = lowest(churn, WARM_UP)
    for number in range(WARM_UP):
        churn.step()
        kept.append({f"name-{number}": (number,)})
    assert lowest(churn, WARM_UP) - before > MOST_FOR_A_CHANGE * WARM_UP


def test_remembered_answers_are_forgotten() -> None:
    from felixpy.remembered import forget_remembered

    asked = []

    @remembered(2)
    def double(number: int) -> int:
        asked.append(number)
        return 2 * number

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    assert asked == [1, 2]
    forget_remembered()
    assert double(1) == 2
    assert asked == [1, 2, 1]


def test_a_cluster_that_is_followed_forgets_them_every_so_often(soon: None) -> None:
    asked = []

    @remembered(2)
    def double(number: int) -> int:
        asked.append(number)
        return 2 * number

    churn = Churn(SHAPE, "iptables", ["node1"])
    for _ in range(3):
        assert double(1) == 2
        for _ in range(PERIOD):
            churn.step()
    assert asked == [1, 1, 1]
