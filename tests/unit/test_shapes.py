"""Shapes: what they find, and that the quick test agrees with the thorough one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.errors import spell
from felixpy.manifests.validation.findings import Complaint, Finding
from felixpy.manifests.validation.shapes import (
    Anything,
    ListOf,
    MapOf,
    Object,
    Scalar,
    flag,
    integer,
    number,
    one_of,
    text,
)


def _short(value: str) -> Complaint | None:
    return Complaint(f"{value} is long") if len(value) > 3 else None


def _twice(value: object) -> Complaint:
    return Complaint(f"{value} again")


def _low_first(value: dict[str, Any], path: tuple[str | int, ...]) -> list[Finding]:
    low, high = value.get("low", 0), value.get("high", 9)
    return [Finding((*path, "low"), f"above {high}")] if low > high else []


SPAN = Object({"low": integer(0, 9), "high": integer(0, 9)}, relations=(_low_first,))
THING = Object(
    {
        "name": text(_short),
        "on": flag(),
        "weight": number(),
        "color": one_of("red", "green", what="no color"),
        "port": Scalar("a port or a name", (int, str)),
        "tags": ListOf(text(_short), "tags", _twice),
        "labels": MapOf(text(_short), _short),
        "spans": ListOf(SPAN, "spans"),
        "whatever": Anything(),
    },
    required=("name",),
    elsewhere={"colour": "color was meant"},
)

FINDINGS = [
    ({"name": "a"}, []),
    ({}, [("name", "required field is missing", "")]),
    ({"name": None}, [("name", "required field is missing", "")]),
    ([], [("", "a mapping is expected, a list was found", "")]),
    ({"name": "abcd"}, [("name", "abcd is long", "")]),
    ({"name": True}, [("name", "a string is expected, a boolean was found", "")]),
    ({"name": 8}, [("name", "a string is expected, a number was found", "")]),
    ({"name": {}}, [("name", "a string is expected, a mapping was found", "")]),
    ({"name": "a", "on": "yes"}, [("on", '"yes": must be true or false', "")]),
    ({"name": "a", "on": 1}, [("on", "1: must be true or false", "")]),
    ({"name": "a", "weight": 1.5}, []),
    ({"name": "a", "weight": "high"}, [("weight", '"high": must be a number', "")]),
    ({"name": "a", "weight": True}, [("weight", "true: must be a number", "")]),
    ({"name": "a", "color": "blue"}, [("color", '"blue": no color', "red or green")]),
    ({"name": "a", "port": 80}, []),
    ({"name": "a", "port": 1.5}, [("port", "1.5: must be a port or a name", "")]),
    ({"name": "a", "tags": "x"}, [("tags", "a list of tags is expected, a string was found", "write [x]")]),
    (
        {"name": "a", "tags": {"x": 1}},
        [("tags", "a list of tags is expected, a mapping was found", 'a "-" is missing before x')],
    ),
    ({"name": "a", "tags": ["x", "long", "x"]}, [("tags[1]", "long is long", ""), ("tags[2]", "x again", "")]),
    ({"name": "a", "labels": ["x"]}, [("labels", "a mapping is expected, a list was found", "")]),
    (
        {"name": "a", "labels": {"long": "b", "c": "wide", "d": 1}},
        [
            ("labels.long", "long is long", ""),
            ("labels.c", "wide is long", ""),
            ("labels.d", "a string is expected, a number was found", ""),
        ],
    ),
    ({"name": "a", "spans": [{"low": 2, "high": 1}]}, [("spans[0].low", "above 1", "")]),
    ({"name": "a", "spans": [{"low": 10}]}, [("spans[0].low", "10: must be from 0 to 9", "")]),
    ({"name": "a", "whatever": [None, {"x": 1}]}, []),
    ({"name": "a", "colr": 1}, [("colr", "unknown field", "color was probably meant")]),
    ({"name": "a", "colour": 1}, [("colour", "unknown field", "color was meant")]),
    ({"name": "a", "zzz": None}, [("zzz", "unknown field", "")]),
]


@pytest.mark.parametrize("value, expected", FINDINGS)
def test_findings(value: Any, expected: list[tuple[str, str, str]]) -> None:
    found = [(spell(finding.path), finding.reason, finding.hint) for finding in THING.findings(value, ())]
    assert found == expected


def test_relations_wait_until_the_fields_are_sound() -> None:
    findings = list(THING.findings({"name": "a", "spans": [{"low": "x", "high": 1}]}, ()))
    assert [finding.reason for finding in findings] == ['"x": must be a whole number']


def test_unknown_fields_are_what_the_api_server_refuses() -> None:
    findings = list(THING.findings({"nam": "a"}, ()))
    assert [(finding.severity, finding.unknown) for finding in findings] == [("refused", True), ("error", False)]


def test_open_objects_tolerate_unknown_fields() -> None:
    opened = Object({"name": text()}, opened=True)
    assert list(opened.findings({"other": 1, "name": "a"}, ())) == []
    assert opened.compiled()({"other": None, "name": "a"})


NORMAL = [
    ({"name": "a", "tags": None, "on": None}, {"name": "a"}),
    ({"name": "a", "tags": [None, "b"]}, {"name": "a", "tags": ["", "b"]}),
    ({"name": "a", "spans": [None, {"low": None}]}, {"name": "a", "spans": [{}, {}]}),
    ({"name": "a", "labels": {"b": None}}, {"name": "a", "labels": {"b": ""}}),
    ({"name": "a", "zzz": [None]}, {"name": "a", "zzz": [None]}),
]


@pytest.mark.parametrize("value, expected", NORMAL)
def test_nulls_are_left_out(value: Any, expected: Any) -> None:
    assert not THING.compiled()(value)
    assert THING.normal(value) == expected


SCALARS = st.none() | st.booleans() | st.integers(-1, 11) | st.sampled_from(["a", "red", "long text"]) | st.floats(0, 2)


def _things(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from([*THING.fields, "low", "high", "other"])
    return st.dictionaries(keys, inner, max_size=4)


VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | _things(inner), max_leaves=8)


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_null(item) for key, item in value.items() if key != "whatever")
    return value is None or (isinstance(value, list) and any(map(_has_null, value)))


@given(VALUES)
def test_the_quick_test_says_clean_exactly_when_there_is_nothing_to_say(value: Any) -> None:
    clean = THING.compiled()(value)
    nothing_to_say = value is not None and not list(THING.findings(value, ()))
    assert clean == (nothing_to_say and not _has_null(value))


@given(VALUES)
def test_what_passes_is_clean_once_it_is_normal(value: Any) -> None:
    if value is not None and not list(THING.findings(value, ())):
        assert THING.compiled()(THING.normal(value))
