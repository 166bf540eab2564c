"""Selecting from an index gives what asking every thing on its own gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.labels import LabelIndex
from felixpy.selector import Node, matches
from tests.property.strategies import few, labels, selectors, some

pytestmark = pytest.mark.property

PROFILES = ("first", "second", "unknown")


def everything(own: dict[str, str], named: tuple[str, ...], profiles: dict[str, dict[str, str]]) -> dict[str, str]:
    """A thing's own labels, then those of its profiles; whoever comes first wins."""
    merged = dict(own)
    for name in named:
        for key, value in profiles.get(name, {}).items():
            merged.setdefault(key, value)
    return merged


@given(
    few(st.tuples(labels, some(PROFILES)), 8),
    st.fixed_dictionaries({"first": labels, "second": labels}),
    few(selectors, 4),
    st.sets(st.integers(0, 7)),
)
def test_an_index_selects_what_matches(
    things: tuple[tuple[dict[str, str], tuple[str, ...]], ...],
    profiles: dict[str, dict[str, str]],
    nodes: tuple[Node, ...],
    candidates: set[int],
) -> None:
    index = LabelIndex(dict(enumerate(things)), profiles)
    effective = [everything(own, named, profiles) for own, named in things]
    assert [index.labels(number) for number in range(len(things))] == effective
    local = candidates & set(range(len(things)))
    for node in nodes:
        expected = {number for number, found in enumerate(effective) if matches(node, found)}
        assert index.select(node) == expected
        demanded = index.demands(node)
        assert demanded is None or all(demanded & {*effective[number].items()} for number in expected)
        assert index.select(node, local) == expected & local
