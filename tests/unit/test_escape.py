"""Text from outside stays on its line and is nothing but text, wherever it is printed."""

from __future__ import annotations

import csv
import json
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy import escape

TEXT = st.text(st.characters(), max_size=60)
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(TEXT)
@pytest.mark.parametrize(
    "function",
    [
        escape.visible, escape.terminal, escape.comment, escape.xml, escape.dot, escape.cell, escape.markdown,
        escape.code, escape.command_data, escape.command_property,
    ],
)  # fmt: skip
def test_nothing_controls_the_output(function, text: str) -> None:
    assert not UNSAFE.search(function(text))


@given(TEXT.map(lambda text: f"{text}\x1b\x9b"))
def test_json_says_the_same(text: str) -> None:
    written = escape.json_text(json.dumps({"a": text}, ensure_ascii=False, indent=2))
    assert json.loads(written) == {"a": text}
    assert not UNSAFE.search(written.replace("\n", ""))


@given(TEXT)
def test_xml_is_well_formed(text: str) -> None:
    read = ET.fromstring(f'<a b="{escape.xml(text)}">{escape.xml(text)}</a>')
    assert (read.text or "") == escape.visible(text) == read.get("b")


@given(st.lists(TEXT, min_size=2, max_size=4))
def test_csv_has_as_many_cells_as_before(texts: list[str]) -> None:
    [row] = csv.reader([",".join(map(escape.cell, texts))])
    assert [cell.removeprefix("'") for cell in row] == [escape.visible(text).removeprefix("'") for text in texts]


@given(TEXT, st.integers(0, 5))
def test_no_code_span_is_left_early(text: str, ticks: int) -> None:
    shown = escape.code(f"{text}{'`' * ticks}")
    fence = re.match("`+", shown)
    assert fence
    inner = shown[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall("`+", inner)


@given(st.lists(st.sampled_from(["```", "````", " ```", "x", "`\n```"])))
def test_no_block_is_left_early(lines: list[str]) -> None:
    first, *inner, last = escape.fenced(lines, "diff")
    assert first == f"{last}diff"
    assert len(inner) == len(lines)
    assert all(last not in line for line in inner)


@pytest.mark.parametrize(
    "line", ["::error file=a::b", "  ::add-mask::x", "::set-output name=a::b", "::stop-commands::t", "a ##[error]b"]
)
def test_no_line_is_a_workflow_command(line: str) -> None:
    shown = escape.terminal(line)
    assert not re.match(r"\s*::", shown)
    assert "##[" not in shown


@pytest.mark.parametrize("line", ["::1 => ::2 : All", "::/0 => shop/web : TCP 80", "größer → µ", "a\u00a0b", ""])
def test_harmless_lines_stay(line: str) -> None:
    assert escape.terminal(line) == line


def test_words_in_markdown_are_words() -> None:
    shown = escape.markdown("@team <b> [x](http://e) `c` | *d* www.e.org\n# h")
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[<>`*|\[\]#@]|@\w|://|www\.e", shown)
