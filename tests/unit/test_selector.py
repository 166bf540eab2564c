"""The selector language: canonical text and ids, what is refused and where, and what a selector matches."""

from __future__ import annotations

import random

import pytest

from felixpy import selector
from felixpy.selector import MAX_DEPTH, MAX_LABEL, SelectorError, canonical, canonical_prefixed, make_id, matches, parse
from tests.tables import rows

VECTORS = [(text.replace("(empty)", ""), *rest) for text, *rest in rows("selectors.txt")]


@pytest.mark.parametrize("text, expected", [row[:2] for row in VECTORS])
def test_canonical_text(text: str, expected: str) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize("expected", sorted({row[1] for row in VECTORS}))
def test_canonical_text_stays_as_it_is(expected: str) -> None:
    """But for a negated negation in parentheses: Felix prints both signs, and they cancel when that is read again."""
    assert canonical(expected) == expected.replace("!!", "")


@pytest.mark.parametrize("text, identity", [(row[0], row[2]) for row in VECTORS if len(row) == 3])
def test_ids_are_hashes_of_the_canonical_text(text: str, identity: str) -> None:
    assert make_id("s", canonical(text)) == f"s:{identity}"


@pytest.mark.parametrize("text", ["", " ", "\t \t"])
def test_blanks_alone_select_everything(text: str) -> None:
    assert canonical(text) == "all()"


BAD = [
    ("b == b", 5, "expected a text in quotes, found 'b'"),
    ("'b1' == b", 0, "expected a label name first"),
    ("b", 1, "expected an operator after the label"),
    ("a b", 2, "expected an operator after the label"),
    ("!", 1, "expected a condition, the selector ends here"),
    ('foo == "bar" &', 13, "a single & is not an operator"),
    ('foo == "bar" | has(a)', 13, "a single | is not an operator"),
    ("foo != ||", 7, "expected a text in quotes"),
    ('foo in {"", ||', 12, "expected a text in quotes"),
    ('foo in ""', 7, 'expected "{"'),
    ("foo in {'a' 'b'}", 12, 'expected "}"'),
    ("foo in {,}", 8, "expected a text in quotes"),
    ('"FOO', 0, "unterminated string literal"),
    ("\"FOO'", 0, "unterminated string literal"),
    ("a == 'b", 5, "unterminated string literal"),
    ("(", 1, "expected a condition"),
    ('(a == "foo"', 11, 'expected ")"'),
    (")", 0, "expected a condition"),
    ("()", 1, "expected a condition"),
    ("%", 0, "unexpected character '%'"),
    ("a ", 2, "expected an operator after the label"),
    ("has(foo) &&", 11, "expected a condition"),
    ("&& has(foo)", 0, "expected a condition"),
    ("has(foo) has(bar)", 9, '"&&", "||" or the end'),
    ('label = "value"', 6, "the single = after label is not an operator"),
    ('label inf "value"', 6, "expected an operator after the label"),
    ('label ends withs "value"', 6, "expected an operator after the label"),
    ("label not inside {}", 6, "expected an operator after the label"),
    ("a ! = 'b'", 2, "expected an operator after the label"),
    ("has()", 4, "expected a label name in has()"),
    ("has('a')", 4, "expected a label name in has()"),
    ("has (a)", 4, "expected an operator after the label"),
    ("all(", 4, 'expected ")"'),
    ("all(a)", 4, 'expected ")"'),
    ("a == 'x'\n", 8, "contains a line break"),
    ("a\n== 'x'", 1, "contains a line break"),
    ("has(a) &&\r\nhas(b)", 9, "contains a line break"),
    ("a == {'b'}", 5, "expected a text in quotes"),
    ("ünder == 'x'", 0, "unexpected character 'ü'"),
]


@pytest.mark.parametrize("text, position, reason", BAD, ids=[repr(row[0]) for row in BAD])
def test_bad_selectors_say_where_and_why(text: str, position: int, reason: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert (caught.value.position, reason in caught.value.reason) == (position, True), caught.value.reason
    shown, caret = caught.value.excerpt.split("\n")
    assert caret == " " * position + "^"
    assert len(shown) == len(text)


@pytest.mark.parametrize(
    "text, hint",
    [
        ("a = 'b'", "=="),
        ("has(a) & has(b)", "&&"),
        ("has(a) | has(b)", "||"),
        ("a && has(b)", "has(a)"),
        ("'a' == b", "left"),
        ("has(a)\n", ">-"),
    ],
)
def test_what_was_probably_meant_is_said(text: str, hint: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert hint in caught.value.hint


def test_a_line_break_inside_a_text_is_data() -> None:
    assert canonical("a == 'x\ny'") == 'a == "x\ny"'


def test_labels_have_at_most_512_characters() -> None:
    longest = "a" * MAX_LABEL
    assert canonical(f"has({longest})") == f"has({longest})"
    for text in (f"has({longest}a)", f"{longest}a == 'x'"):
        with pytest.raises(SelectorError, match="at most 512 characters"):
            parse(text)


def test_nesting_has_a_limit() -> None:
    assert canonical("(" * MAX_DEPTH + "has(a)" + ")" * MAX_DEPTH) == "has(a)"
    with pytest.raises(SelectorError, match="nested deeper"):
        parse("(" * (MAX_DEPTH + 1) + "has(a)" + ")" * (MAX_DEPTH + 1))
    side_by_side = " && ".join(["(has(a))"] * (MAX_DEPTH + 1))
    assert canonical(side_by_side).count("has(a)") == MAX_DEPTH + 1


LABELS = {"a": "value", "empty": ""}


@pytest.mark.parametrize(
    "text, present, absent",
    [
        ("L == 'value'", True, False),
        ("L == 'other'", False, False),
        ("L != 'value'", False, True),
        ("L != 'other'", True, True),
        ("L in {'value', 'x'}", True, False),
        ("L in {'x'}", False, False),
        ("L in {}", False, False),
        ("L not in {'value', 'x'}", False, True),
        ("L not in {'x'}", True, True),
        ("L not in {}", True, True),
        ("L contains 'alu'", True, False),
        ("L contains 'ula'", False, False),
        ("L contains ''", True, False),
        ("L starts with 'val'", True, False),
        ("L starts with 'alu'", False, False),
        ("L ends with 'lue'", True, False),
        ("L ends with 'alu'", False, False),
        ("has(L)", True, False),
        ("!has(L)", False, True),
        ("!L == 'value'", False, True),
        ("all()", True, True),
        ("global()", True, True),
        ("!all()", False, False),
    ],
)
def test_conditions_on_a_label_that_is_there_and_on_one_that_is_not(text: str, present: bool, absent: bool) -> None:
    assert matches(parse(text.replace("L", "a")), LABELS) is present
    assert matches(parse(text.replace("L", "b")), LABELS) is absent


@pytest.mark.parametrize(
    "text, expected",
    [
        ("has(a) && has(empty)", True),
        ("has(a) && has(b)", False),
        ("has(b) || has(a)", True),
        ("has(b) || has(c)", False),
        ("has(b) && has(a) || has(a)", True),
        ("has(b) && (has(a) || has(a))", False),
        ("!(has(a) && has(b))", True),
        ("empty == ''", True),
        ("has(empty) && empty != ''", False),
    ],
)
def test_combinations(text: str, expected: bool) -> None:
    assert matches(parse(text), LABELS) is expected


def test_a_prefix_goes_before_every_label() -> None:
    """The namespace and service account selectors of a rule become selectors on prefixed labels."""
    text = "!(!(k == 'v' && has(t) || all()) && (a in {'b', 'c'}))"
    expected = '!(!((visited/k == "v" && has(visited/t)) || all()) && visited/a in {"b", "c"})'
    assert str(selector.prefixed(parse(text), "visited/")) == expected
    every = "a != '1' && a contains '2' && a starts with '3' && a ends with '4' && a not in {'5'} && global()"
    assert canonical_prefixed(every, "p.").count("p.a") == 5


def test_a_selector_that_does_not_parse_has_no_prefixed_form() -> None:
    assert canonical_prefixed("a = 'b'", "pcns.") == ""


@pytest.mark.parametrize(
    "text, expected",
    [("global()", True), ("!(has(a) || !global())", True), ("has(a) && all()", False), ("global == 'x'", False)],
)
def test_global_is_found_anywhere(text: str, expected: bool) -> None:
    assert selector.uses_global(parse(text)) is expected


def test_every_condition_is_listed_from_left_to_right() -> None:
    found = selector.tests(parse("a == '1' && !(has(b) || all()) || c in {'2'}"))
    assert [(test.label, test.operator) for test in found] == [("a", "=="), ("b", "has"), ("c", "in")]


WORDS = (
    *("has(", "all(", "global(", "a", "in", "not", "notin", "contains", "starts with", "ends with", "'x'", '"y"'),
    *("==", "!=", "&&", "||", "!", "(", ")", "{", "}", ",", " ", "\t", "\n", "=", "&", "é", "\x00", "'", '"'),
)


def read(text: str) -> str | SelectorError:
    """Canonical text or the error; anything else that is raised fails the test."""
    try:
        return canonical(text)
    except SelectorError as wrong:
        return wrong


def test_any_sequence_of_words_parses_or_is_refused() -> None:
    draw = random.Random(20)
    accepted = 0
    for _ in range(4000):
        text = "".join(draw.choices(WORDS, k=draw.randrange(1, 12)))
        found = read(text)
        if isinstance(found, SelectorError):
            assert 0 <= found.position <= len(text)
        else:
            accepted += 1
            assert "!!" in found or canonical(found) == found
    assert accepted > 20


def test_any_bytes_parse_or_are_refused() -> None:
    draw = random.Random(21)
    for _ in range(4000):
        text = draw.randbytes(draw.randrange(1, 24)).decode("latin-1")
        found = read(text)
        assert isinstance(found, str) or 0 <= found.position <= len(text)
