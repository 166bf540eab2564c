"""The index of labelled things: inheritance, and the same answers as asking each thing on its own."""

from __future__ import annotations

import pytest

from felixpy.labels import LabelIndex
from felixpy.selector import matches, parse

PROFILES = {
    "red": {"colour": "red", "shape": "round", "only": "red"},
    "blue": {"colour": "blue", "shape": "square"},
    "bare": {},
}
THINGS = [
    ({"app": "web", "tier": "1"}, ()),
    ({"app": "db"}, ("red", "blue")),
    ({"app": "db"}, ("blue", "red")),
    ({"colour": "green"}, ("red",)),
    ({}, ("unknown", "bare")),
    ({"app": ""}, ("bare", "blue")),
    ({"app": "website"}, ("red",)),
]


@pytest.fixture(scope="module")
def index() -> LabelIndex:
    return LabelIndex(dict(enumerate(THINGS)), PROFILES)


@pytest.mark.parametrize(
    "number, expected",
    [
        (0, {"app": "web", "tier": "1"}),
        (1, {"app": "db", "colour": "red", "shape": "round", "only": "red"}),
        (2, {"app": "db", "colour": "blue", "shape": "square", "only": "red"}),
        (3, {"colour": "green", "shape": "round", "only": "red"}),
        (4, {}),
        (5, {"app": "", "colour": "blue", "shape": "square"}),
    ],
)
def test_own_labels_win_over_profiles_and_earlier_profiles_over_later(
    index: LabelIndex, number: int, expected: dict[str, str]
) -> None:
    assert index.labels(number) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", {0, 1, 2, 3, 4, 5, 6}),
        ("global()", {0, 1, 2, 3, 4, 5, 6}),
        ("app == 'db'", {1, 2}),
        ("colour == 'red'", {1, 6}),
        ("colour == 'blue'", {2, 5}),
        ("colour == 'none'", set()),
        ("nowhere == ''", set()),
        ("app == ''", {5}),
        ("has(app)", {0, 1, 2, 5, 6}),
        ("!has(app)", {3, 4}),
        ("app != 'db'", {0, 3, 4, 5, 6}),
        ("nowhere != 'x'", {0, 1, 2, 3, 4, 5, 6}),
        ("app in {'db', 'web', 'none'}", {0, 1, 2}),
        ("app in {}", set()),
        ("app not in {'db', 'web'}", {3, 4, 5, 6}),
        ("app not in {}", {0, 1, 2, 3, 4, 5, 6}),
        ("app contains 'eb'", {0, 6}),
        ("app starts with 'web'", {0, 6}),
        ("app ends with 'site'", {6}),
        ("app contains ''", {0, 1, 2, 5, 6}),
        ("app == 'db' && only == 'red' && shape == 'square'", {2}),
        ("app == 'web' || colour == 'green' || app == 'web'", {0, 3}),
        ("!(app == 'db' || has(colour))", {0, 4}),
        ("has(colour) && !(colour == 'red' && has(app))", {2, 3, 5}),
        ("app == 'db' && app == 'web'", set()),
    ],
)
def test_selected(index: LabelIndex, text: str, expected: set[int]) -> None:
    node = parse(text)
    assert index.select(node) == expected
    assert {number for number in range(len(THINGS)) if matches(node, index.labels(number))} == expected


@pytest.mark.parametrize("candidates", [set(), {1}, {0, 3}, {2, 4, 5}])
@pytest.mark.parametrize("text", ["", "app == 'db'", "app != 'db'", "!has(app)", "has(app) || has(colour)"])
def test_only_candidates_are_selected(index: LabelIndex, text: str, candidates: set[int]) -> None:
    given = frozenset(candidates)
    assert index.select(parse(text), given) == index.select(parse(text)) & given
    assert given == candidates


def test_a_selection_leaves_the_index_as_it_was(index: LabelIndex) -> None:
    """Results are handed out of the index itself, so nothing may be changed on the way to one."""
    texts = ["has(app)", "app == 'db'", "has(app) && app != 'db'", "has(app) || !has(app)", "app not in {'db'}"]
    before = [set(index.select(parse(text))) for text in texts]
    for text in reversed(texts):
        index.select(parse(f"({text}) && has(colour) || ({text})"))
    assert [set(index.select(parse(text))) for text in texts] == before


def test_an_index_of_nothing_selects_nothing() -> None:
    empty = LabelIndex({}, {})
    assert empty.select(parse("")) == set()
    assert empty.select(parse("a != 'b'")) == set()
