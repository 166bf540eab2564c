"""Answers kept for ends that are alike, compared with answers found for each end."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from felixpy.flows.packets.packet_sets import PacketSet
from felixpy.flows.programs.alike import Own, SharedAnswers
from felixpy.flows.programs.perspective import Perspective
from felixpy.flows.programs.views import Factor
from felixpy.netfilter import criteria

FACTORS = [Factor(criteria.Test(criteria.Constant(holds=True), negated=False), None, own=True) for _ in range(6)]


class Addresses:
    """Of each address every criterion says one bit."""

    def own_value(self, factor: Factor, address: int) -> PacketSet:
        return {1: 1} if address >> FACTORS.index(factor) & 1 else {}


def end(address: int) -> Own:
    return Own(cast(Perspective, Addresses()), address, frozenset(), noted=True)


def asked_in_turn(own: Own, rules: list[tuple[int, int]]) -> list[int]:
    """What is asked depends on what was said before, as in chains: a criterion that does not hold skips some rules."""
    found, at = [], 0
    while at < len(rules):
        which, skipped = rules[at]
        own.note([FACTORS[which]])
        holds = bool(own.value(FACTORS[which]))
        found.append(at * 2 + holds)
        at += 1 if holds else 1 + skipped
    return found


RULES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=8)
ADDRESSES = st.lists(st.integers(0, 63), min_size=1, max_size=20)


@given(RULES, ADDRESSES)
def test_every_end_gets_its_own_answer(rules: list[tuple[int, int]], addresses: list[int]) -> None:
    known = SharedAnswers()
    for address in addresses:
        own = end(address)
        assert known.recall("what", own, lambda own=own: asked_in_turn(own, rules)) == asked_in_turn(own, rules)  # type: ignore[misc]


@given(RULES, ADDRESSES)
def test_ends_that_are_alike_are_not_gone_through_twice(rules: list[tuple[int, int]], addresses: list[int]) -> None:
    known, found = SharedAnswers(), []
    for address in addresses:
        own = end(address)

        def find(own: Own = own) -> tuple[int, ...]:
            found.append(tuple(asked_in_turn(own, rules)))
            return found[-1]

        known.recall("what", own, find)
    assert len(found) == len(set(found))


@given(RULES, RULES, ADDRESSES)
def test_what_an_answer_within_another_asked_counts_for_both(
    first: list[tuple[int, int]], second: list[tuple[int, int]], addresses: list[int]
) -> None:
    inner, outer = SharedAnswers(), SharedAnswers()
    for address in addresses:
        own = end(address)

        def find(own: Own = own) -> list[int]:
            return inner.recall("inner", own, lambda: asked_in_turn(own, first)) + asked_in_turn(own, second)

        assert outer.recall("outer", own, find) == asked_in_turn(own, first) + asked_in_turn(own, second)
        alone = end(address)
        asked_in_turn(alone, first)
        asked_in_turn(alone, second)
        assert own.asked == alone.asked
