"""What opens from one recorded cluster to another closes on the way back."""

from __future__ import annotations

import random

import pytest

import felixpy
from felixpy.difference import Difference
from tests.conformance.recordings import AREAS, Case, cases

PAIRS = 20
_DRAWN = random.Random(3).sample(cases(*AREAS), 2 * PAIRS)


def told(found: Difference) -> tuple[list[str], list[str]]:
    """What opens and what closes, in an order of their own."""
    assert found.flows is not None
    return (
        sorted(f"{flow.source} → {flow.destination} : {flow.traffic}" for flow in found.flows.opened),
        sorted(f"{flow.source} → {flow.destination} : {flow.traffic}" for flow in found.flows.closed),
    )


@pytest.mark.parametrize("one, other", [*zip(_DRAWN[::2], _DRAWN[1::2], strict=True)], ids=str)
def test_differences_mirror_each_other(one: Case, other: Case) -> None:
    before, after = one.load(), other.load()
    opened, closed = told(felixpy.diff(before, after, rules=False))
    assert told(felixpy.diff(after, before, rules=False)) == (closed, opened)
