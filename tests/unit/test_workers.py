"""Work on many items: every result once, in order where that is asked for, whatever happens to a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from felixpy.errors import UsageError
from felixpy.workers import Alone, Computed, Forked, Lost, WorkFault, workers
from felixpy.workers.processes import AHEAD, FINISHING

ITEMS = [f"n{number}" for number in range(100)]


def results(hands: Alone | Forked, compute: Callable[[str], object], *, in_order: bool = False) -> list[object]:
    found = list(hands.run(Computed(compute), ITEMS, in_order=in_order))
    assert sorted(each.number for each in found) == list(range(len(ITEMS)))
    if in_order:
        assert [each.number for each in found] == list(range(len(ITEMS)))
    return [each.result for each in sorted(found)]


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("hands", [Alone(), Forked(1), Forked(2), Forked(7)])
def test_every_item_has_its_result(hands: Alone | Forked, in_order: bool) -> None:
    assert results(hands, str.upper, in_order=in_order) == [item.upper() for item in ITEMS]


def test_several_processes_work() -> None:
    def where(item: str) -> int:
        time.sleep(0.002)
        return os.getpid()

    assert len({*results(Forked(3), where)}) == 3
    assert os.getpid() not in results(Forked(3), where)


def test_whoever_is_done_helps_the_others() -> None:
    def slow_beginning(item: str) -> int:
        time.sleep(0.02 if int(item[1:]) < 50 else 0)
        return os.getpid()

    found = results(Forked(2), slow_beginning)
    assert len({*found[:50]}) == 2


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("fatal", [{"n0"}, {"n57"}, {"n98", "n99", "n3"}, {*ITEMS[:20]}])
def test_a_process_that_ends_loses_the_item_that_it_was_at(fatal: set[str], in_order: bool) -> None:
    def work(item: str) -> str:
        if item in fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    found = results(Forked(3), work, in_order=in_order)
    lost = Lost("the process that worked on it ended by signal 9 (Killed)")
    assert found == [lost if item in fatal else item for item in ITEMS]


def test_a_process_that_leaves() -> None:
    def work(item: str) -> str:
        if item == "n5":
            os._exit(7)
        return item

    assert results(Forked(2), work)[5] == Lost("the process that worked on it ended by status 7")


def test_an_exception_is_raised_here() -> None:
    def work(item: str) -> str:
        if item == "n31":
            raise UsageError(f"{item} is odd")
        return item

    for hands in (Alone(), Forked(2)):
        with pytest.raises(UsageError, match="n31 is odd"):
            results(hands, work)


def test_an_exception_that_cannot_be_sent_is_told() -> None:
    class HereOnly(Exception):
        pass

    def work(item: str) -> str:
        raise HereOnly("very")

    with pytest.raises(WorkFault, match="HereOnly: very"):
        results(Forked(2), work)


def test_results_in_order_are_not_far_ahead(tmp_path: Path) -> None:
    def work(item: str) -> str:
        (tmp_path / item).touch()
        return item

    for found in Forked(2).run(Computed(work), ITEMS, in_order=True):
        begun = len([*tmp_path.iterdir()])
        assert begun <= found.number + 1 + AHEAD * 2


def test_whoever_stops_asking_ends_the_work(tmp_path: Path) -> None:
    def work(item: str) -> str:
        time.sleep(0.01)
        (tmp_path / item).touch()
        return item

    found = Forked(2).run(Computed(work), ITEMS)
    next(found)
    found.close()  # type: ignore[attr-defined]
    done = len([*tmp_path.iterdir()])
    assert done <= 2 * (FINISHING + 2)
    time.sleep(0.1)
    assert len([*tmp_path.iterdir()]) == done


def test_how_many() -> None:
    assert workers(1) == Alone()
    assert workers(10, 1) == Alone()
    assert workers(10, 3) == Forked(3)
    assert workers(2, 5) == Forked(2)


@pytest.mark.parametrize("jobs", [1, 3])
def test_workers_tell_how_many_items_are_done(jobs: int) -> None:
    told: list[tuple[int, int]] = []
    hands = workers(5, jobs, told=lambda done, total: told.append((done, total)))
    found = hands.run(Computed(str), range(5), in_order=True)
    assert told == []
    assert next(found).result == "0"
    assert told == [(0, 5), (1, 5)]
    assert [each.result for each in found] == ["1", "2", "3", "4"]
    assert told == [(done, 5) for done in range(6)]


@pytest.mark.parametrize("in_order", [False, True])
def test_no_items_have_no_results(in_order: bool) -> None:
    assert list(Forked(3).run(Computed(str.upper), [], in_order=in_order)) == []
