"""Text → objects with their places, and what is said about text that is something else."""

from __future__ import annotations

import gc
import io
from textwrap import dedent
from typing import Any

import pytest

from felixpy.manifests.reading import pieces, yamltext
from felixpy.manifests.reading.documents import Reading, read
from felixpy.manifests.reading.positions import locate, locate_items
from felixpy.model import Source

POD = "apiVersion: v1\nkind: Pod\n"


def reading(text: str) -> Reading:
    return read(["-"], stdin=io.StringIO(dedent(text)))


def objects(text: str) -> list[Any]:
    found = reading(text)
    assert [str(problem) for problem in found.problems] == []
    return [document.data for document in found.documents]


def told(text: str) -> list[str]:
    """Problems without the name of the file and without excerpts."""
    return [str(problem).splitlines()[0].removeprefix("<stdin>:") for problem in reading(text).problems]


def kinds(found: Reading) -> list[str]:
    return [document.data["kind"] for document in found.documents]


# --- shapes of input

A, B = {"apiVersion": "v1", "kind": "A"}, {"apiVersion": "v1", "kind": "B"}
SHAPES = {
    "nothing": ("", []),
    "blanks and comments": ("\n# nothing\n   \n---\n---\n# here\n--- \n", []),
    "null": ("~\n---\nnull\n", []),
    "one": ("apiVersion: v1\nkind: A\n", [A]),
    "stream": ("# first\n---\napiVersion: v1\nkind: A\n--- # second\n\napiVersion: v1\nkind: B\n---\n", [A, B]),
    "content beside the separator": ('--- {apiVersion: v1, kind: A}\n--- {"apiVersion": "v1", "kind": "B"}', [A, B]),
    "windows lines": ("apiVersion: v1\r\nkind: A\r\n---\r\napiVersion: v1\r\nkind: B\r\n", [A, B]),
    "directive": ("%YAML 1.2\n---\napiVersion: v1\nkind: A\n---\napiVersion: v1\nkind: B\n", [A, B]),
    "document end": ("apiVersion: v1\nkind: A\n...\n---\napiVersion: v1\nkind: B\n", [A, B]),
    "json": ('{"apiVersion": "v1", "kind": "A"}', [A]),
    "json lines": ('{"apiVersion": "v1", "kind": "A"}\n{"apiVersion": "v1", "kind": "B"}\n', [A, B]),
    "json side by side": ('{"apiVersion": "v1", "kind": "A"}{"apiVersion": "v1", "kind": "B"}', [A, B]),
    "json in a stream": ('---\n{"apiVersion": "v1", "kind": "A"}\n---\napiVersion: v1\nkind: B\n', [A, B]),
    "flow mapping": ("{apiVersion: v1, kind: A} # not JSON\n", [A]),
    "json with a comma too many": ('{"apiVersion": "v1", "kind": "A",}', [A]),
    "array": ("- apiVersion: v1\n  kind: A\n- {apiVersion: v1, kind: B}\n", [A, B]),
    "json array": ('[{"apiVersion": "v1", "kind": "A"}, {"apiVersion": "v1", "kind": "B"}]', [A, B]),
    "List": ("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: A\n- apiVersion: v1\n  kind: B\n", [A, B]),
    "indented List": ("apiVersion: v1\nitems:\n  - apiVersion: v1\n    kind: A\nkind: List\n", [A]),
    "json List": ('{"kind": "List", "apiVersion": "v1", "items": [{"apiVersion": "v1", "kind": "A"}]}', [A]),
    "empty Lists": ('{"kind": "List", "apiVersion": "v1", "items": []}\n---\nkind: List\nitems: []\n', []),
    "typed list": ("apiVersion: v1\nkind: AList\nitems:\n- {}\n- {kind: B}\n- {kind: null}\n", [A, B, A]),
    "json typed list": ('{"kind": "AList", "apiVersion": "v1", "items": [{}, {"kind": "B"}]}', [A, B]),
    "List in a List": ('{"kind": "List", "items": [{"kind": "AList", "apiVersion": "v1", "items": [{}]}]}', [A]),
    "block List in a List": ("kind: List\nitems:\n- kind: AList\n  apiVersion: v1\n  items:\n  - {}\n", [A]),
    "not a list of objects": ("apiVersion: v1\nkind: A\nitems: [1]\n", [{**A, "items": [1]}]),
    "list with tag": ("apiVersion: v1\nkind: A\nitems: !!seq [1]\n", [{**A, "items": [1]}]),
}  # fmt: skip


@pytest.mark.parametrize("text, expected", SHAPES.values(), ids=SHAPES)
def test_shapes_of_input(text, expected):
    assert objects(text) == expected


@pytest.mark.parametrize("text, expected", SHAPES.values(), ids=SHAPES)
def test_long_lists_read_item_by_item_give_the_same(text, expected, monkeypatch):
    monkeypatch.setattr(yamltext, "_LONG", 0)
    monkeypatch.setattr("felixpy.manifests.reading.jsontext._LONG", 0)
    assert objects(text) == expected


LISTS = {
    "plain": ("apiVersion: v1\nitems:\n- a: 1\n# between\n- b: 2\nkind: List\n", 2),
    "deeper dashes": ("items:\n  - a:\n    - x\n    - y\n  - b\nkind: List\n", 2),
    "text over several lines": ('items:\n- a: "x\n- y"\n- b: 2\nkind: List\n', 3),
    "no items": ("items: []\nkind: List\n", None),
    "no block list": ("items:\n  a: 1\nkind: List\n", None),
}


@pytest.mark.parametrize("text, count", LISTS.values(), ids=LISTS)
def test_where_items_of_a_list_are_cut(text, count):
    found = pieces.items(text, 0, len(text))
    assert (found and len(found[1])) == count
    if found:
        heading, places = found
        assert text[heading:].startswith("items:")
        assert all(text[start:].lstrip().startswith("-") for start, _ in places)
        assert text[places[-1][1] :] == "kind: List\n"


def test_a_wrong_guess_about_items_does_no_harm(monkeypatch):
    monkeypatch.setattr(yamltext, "_LONG", 0)
    text = f'items:\n- {{apiVersion: v1, kind: A, m: "x\n- y"}}\n- {POD.replace(chr(10), chr(10) + "  ")}\nkind: List\n'
    assert objects(text) == [{**A, "m": "x - y"}, {"apiVersion": "v1", "kind": "Pod"}]
    text = "items:\n- {apiVersion: v1, kind: A, m: &m 3}\n- {apiVersion: v1, kind: B, m: *m}\nkind: List\n"
    assert objects(text) == [{**A, "m": 3}, {**B, "m": 3}]


# --- what YAML means

MEANINGS = {
    "plain and quoted": ("a: 080\nb: '080'\nc: \"yes\"\nd: yes", {"a": 80, "b": "080", "c": "yes", "d": True}),
    "keys": ("on: 1\n1: 2\n0x10: 3\n'off': 4", {"true": 1, "1": 2, "16": 3, "off": 4}),
    "tags": ("a: !!str 1\nb: !!map {c: !!int '2'}\n!!str 5: 6", {"a": "1", "b": {"c": 2}, "5": 6}),
    "anchors": ("a: &a [1, {b: 2}]\nc: *a", {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}),
    "an anchor again": ("a: &a 1\nb: &a 2\nc: *a", {"a": 1, "b": 2, "c": 2}),
    "merge": ("a: &a {x: 1, z: 2}\nb: {<<: *a, x: 3}", {"a": {"x": 1, "z": 2}, "b": {"x": 3, "z": 2}}),
    "merge after a key": ("a: &a {x: 1}\nb: {x: 3, <<: *a}", {"a": {"x": 1}, "b": {"x": 1}}),
    "merge several": ("b: {<<: [{x: 1}, {x: 2, z: 3}]}", {"b": {"x": 1, "z": 3}}),
    "quoted merge key": ("'<<': {x: 1}", {"<<": {"x": 1}}),
    "blocks": ("a: >-\n  x\n  z\nb: |\n  x\n  z\n", {"a": "x z", "b": "x\nz\n"}),
    "addresses in brackets": ("a: [fd00::1, 10.0.0.0/8]", {"a": ["fd00::1", "10.0.0.0/8"]}),
    "nothing": ("a:\nb: ''\nc: [~, ]", {"a": None, "b": "", "c": [None]}),
}


@pytest.mark.parametrize("text, expected", MEANINGS.values(), ids=MEANINGS)
def test_what_yaml_means(text, expected):
    [data] = objects(f"apiVersion: v1\nkind: A\n{text}")
    assert data == {**A, **expected}


JSON = {
    "escapes": (r'"\u00e9\n\/\ud83d\ude00"', "é\n/😀"),
    "half a pair": (r'"\ud83d!"', "\ufffd!"),
    "numbers": ("[1, 1.5, 1e3, -0, 2.0]", [1, 1.5, 1000, 0, 2]),
    "large numbers": ("[1e400, 1e21]", ["1e400", 1e21]),
    "not a number": ("[NaN, Infinity]", ["NaN", "Infinity"]),
    "words": ("[true, false, null]", [True, False, None]),
}


@pytest.mark.parametrize("text, expected", JSON.values(), ids=JSON)
def test_what_json_means(text, expected):
    assert objects(f'{{"apiVersion": "v1", "kind": "A", "x": {text}}}') == [{**A, "x": expected}]


def test_each_alias_stands_for_a_value_of_its_own():
    [data] = objects("apiVersion: v1\nkind: A\nx: &x {}\nz: *x\n")
    assert data["x"] is not data["z"]


# --- places

PLACES = """\
apiVersion: v1
kind: A
---
# a comment

apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: B
  spec:
    ports:
    - 80
    - {port: "443"}
    x: &x {p: 1}
    z: {<<: *x, on: 2}
- {"apiVersion": "v1", "kind": "C",
   "spec": {"ports": [80, {"port": 443}]}}
"""


@pytest.fixture(params=[0, 2**18], ids=["item by item", "whole"])
def placed(request, monkeypatch) -> Reading:
    monkeypatch.setattr(yamltext, "_LONG", request.param)
    return reading(PLACES)


def test_sources_are_the_first_line_and_the_text_of_an_object(placed):
    sources = [document.source for document in placed.documents]
    found = [(source.line, PLACES[source.start : source.end].splitlines()) for source in sources]
    assert [(line, lines[0], lines[-1]) for line, lines in found] == [
        (1, "apiVersion: v1", "kind: A"),
        (9, "apiVersion: v1", "    z: {<<: *x, on: 2}"),
        (17, '{"apiVersion": "v1", "kind": "C",', '   "spec": {"ports": [80, {"port": 443}]}}'),
    ]
    assert [placed.ordinal(source) for source in sources] == [
        "the first document", "the second document", "the second document",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "number, path, value, key",
    [
        (0, ("kind",), (2, 7), (2, 1)),
        (0, (), (1, 1), (1, 1)),
        (0, ("spec", "ports"), (1, 1), (1, 1)),
        (1, ("kind",), (10, 9), (10, 3)),
        (1, ("spec", "ports"), (13, 5), (12, 5)),
        (1, ("spec", "ports", 0), (13, 7), (13, 7)),
        (1, ("spec", "ports", 1, "port"), (14, 14), (14, 8)),
        (1, ("spec", "ports", 1, "name"), (14, 7), (14, 7)),
        (1, ("spec", "ports", 7, "name"), (13, 5), (13, 5)),
        (1, ("spec", "z", "true"), (16, 21), (16, 17)),
        (1, ("spec", "z", "p"), (15, 15), (15, 12)),
        (2, ("spec", "ports", 1, "port"), (18, 36), (18, 28)),
        (2, ("spec", "ports", 0), (18, 23), (18, 23)),
        (2, ("spec", "ports", 5), (18, 22), (18, 22)),
        (2, ("metadata", "name"), (17, 3), (17, 3)),
    ],
)
def test_positions_of_values_and_keys(placed, number, path, value, key):
    source = placed.documents[number].source
    assert locate(PLACES, source, path) == value
    if path and value != key:
        assert locate(PLACES, source, path, key=True) == key


def test_positions_in_what_is_nearly_json():
    text = '{"apiVersion": "v1", kind: A, "x": [1,\n 2]}'
    source = reading(text).documents[0].source
    assert locate(text, source, ("x", 1)) == (2, 2)


def test_a_position_where_the_text_does_not_stand_alone():
    text = "kind: List\nitems:\n- {apiVersion: v1, kind: A, x: &x 3}\n- {apiVersion: v1, kind: B, x: *x}\n"
    second = reading(text).documents[1].source
    assert locate(text, second, ("x",)) == (4, 3)


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  list:\n  - 1\n  - {b: 2}\n\n  - - 3\n",
        "# first\na: {list: [1, {b: 2},\n  [3]]}\n",
        '{"a": {"list": [1, {"b": 2},\n [3]]}}',
        "a: &x\n  list: [&y {b: 1}, *y,\n  *y]\n",
    ],
)
def test_places_of_all_items_are_those_of_each(text: str) -> None:
    source = Source("f", 1, 0, len(text))
    each = [locate(text, source, ("a", "list", number)) for number in range(3)]
    assert locate_items(text, source, ("a", "list")) == each


# --- problems

MANIFEST = "(is this a Kubernetes manifest?)"
PROBLEMS = {
    "key twice": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec:\n  a: 1\n  b: 2\n  a: 3\n",
        ["7:3: Pod shop/web: spec.a: the key is given twice (lines 5 and 7)"],
    ),
    "key twice in another spelling": (
        "apiVersion: v1\nkind: A\nyes: 1\n'true': 2\n",
        ["4:1: A: true: the key is given twice (lines 3 and 4)"],
    ),
    "key three times": (
        "apiVersion: v1\nkind: A\nx: 1\nx: 2\nx: 3\n",
        ["4:1: A: x: the key is given twice (lines 3 and 4)", "5:1: A: x: the key is given twice (lines 3 and 5)"],
    ),
    "key twice in an item": (
        "kind: List\nitems:\n- apiVersion: v1\n  kind: A\n  x: [{p: 1, p: 2}]\n",
        ["5:14: A: x[0].p: the key is given twice (line 5)"],
    ),
    "key twice in JSON": (
        '{"apiVersion": "v1", "kind": "A",\n "x": {"p": 1,\n "p": 1}}',
        ["3:2: A: x.p: the key is given twice (lines 2 and 3)"],
    ),
    "key twice in a JSON list": (
        '{"kind": "List", "items": [{"apiVersion": "v1", "kind": "A",\n "x": 1, "x": "a:b"}]}',
        ["2:10: A: x: the key is given twice (line 2)"],
    ),
    "items twice": (
        '{"kind": "AList", "apiVersion": "v1", "items": [], "items": [{}]}',
        ["1:52: AList: items: the key is given twice (line 1)"],
    ),
    "key twice where a string has many colons": (
        '{"apiVersion": "v1", "kind": "A", "x": 1, "x": "a"}',
        ["1:43: A: x: the key is given twice (line 1)"],
    ),
    "kind missing": (
        "apiVersion: v1\nkind: A\n---\napiVersion: v1\nmetadata: {name: web}\n",
        ["4:1: the second document (v1, name web): kind is missing"],
    ),
    "apiVersion missing": ("kind: A\n", ["1:1: the first document (A): apiVersion is missing"]),
    "odd types": (
        "apiVersion: 1\nkind: [A]\n", ["1:1: the first document: apiVersion must be text, kind must be text"],
    ),
    "both empty": ("apiVersion: ''\nkind:\n", ["1:1: the first document: apiVersion and kind are missing"]),
    "stranger": (
        "apiVersion: v1\nkind: A\n---\nservices: {}\n",
        [f"4:1: the second document: apiVersion and kind are missing {MANIFEST}"],
    ),
    "text": ("hello\n", [f"1:1: the first document: a Kubernetes object is expected, not text {MANIFEST}"]),
    "item without kind": (
        "kind: List\nitems:\n- apiVersion: v1\n  kind: A\n- apiVersion: v1\n",
        ["5:3: item 2 of the first document (v1): kind is missing"],
    ),
    "null as item": (
        '[{"apiVersion": "v1", "kind": "A"}, null]',
        [f"1:37: item 2 of the first document: a Kubernetes object is expected, not null {MANIFEST}"],
    ),
    "null key": ("apiVersion: v1\nkind: A\n~: x\n", ["3:1: A: [~]: a key must be text, not null"]),
    "list as key": (
        "apiVersion: v1\nkind: A\n? [a]\n: x\n", ["3:3: A: [?]: a key must be text, not a list or mapping"],
    ),
    "unknown tag": ("apiVersion: v1\nkind: A\nx: [!env HOME]\n", ["3:5: A: x[0]: the tag !env is not known"]),
    "tag of another type": (
        "apiVersion: v1\nkind: A\nx: !!seq {a: b}\n", ["3:4: A: x: the tag !!seq is not known for a map"],
    ),
    "infinity": (
        "apiVersion: v1\nkind: A\nx: {order: .inf}\n",
        ["3:12: A: x.order: .inf is not a number that Kubernetes can store (if text is meant, put quotes around it)"],
    ),
    "bad merge": (
        "apiVersion: v1\nkind: A\n<<: 3\n", ['3:5: A: [<<]: the value of "<<" must be a mapping or a list of mappings'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, expected", PROBLEMS.values(), ids=PROBLEMS)
def test_problems_of_objects(text, expected):
    assert told(text) == expected


TRUNCATED = "that starts here is not closed; the file seems to be truncated"
SYNTAX = {
    "tab": ("a:\n\tb: x\n", "2:1", "a tab character is used for indentation; YAML allows only blanks", ""),
    "open double quotes": ('a: 1\nb: "x', "2:4", f"the double-quoted string {TRUNCATED}", ""),
    "open single quotes": ("b: 'x\n\n", "1:4", f"the single-quoted string {TRUNCATED}", ""),
    "open bracket": ("a:\n  b: {c: [d,\n", "2:10", f'the bracket "[" {TRUNCATED}', ""),
    "open brace": ("a:\n  b: {c: [d],\n", "2:6", f'the bracket "{{" {TRUNCATED}', ""),
    "open json": ('[{"apiVersion": "v1",\n "kind": ', "1:2", f'the bracket "{{" {TRUNCATED}', ""),
    "missing comma": ("a: [b\nc: d]\n", "2:2", '"," or "]" is expected here', "the bracket is in line 1"),
    "json": ('{"apiVersion": "v1",\n "x" "A"}', "2:6", '"," or "}" is expected here', "the bracket is in line 1"),
    "colon in text": ("a: b: c\n", "1:5", "a colon starts a mapping here, where none can be", 'contains ": "'),
    "no colon": ("a: 1\nbcd\n", "2:1", "this is not a key, it has no colon", "check the indentation of the line"),
    "indentation": ("a:\n    b: 1\n  c: 2\n", "3:3", "a key is expected here", "indented differently"),
    "star": ("host: *.example.com\n", "1:8", "* and & start an alias or anchor here", "put quotes around it"),
    "unknown alias": ("x: *base\n", "1:4", 'no anchor "&base" precedes this alias', "put quotes around it"),
    "at sign": ("x: @a\n", "1:4", 'a value cannot start with "@"', "put quotes around it"),
    "escape": ('x: "\\d"\n', "1:5", "a backslash in double quotes must start an escape such as \\n", "write \\\\"),
    "control character": ("x: a\x07\n", "1:5", "the control character U+0007 is not allowed", ""),
    "item beside a key": ("x: - a\n", "1:4", 'a list item ("- ") cannot start here', "on a line of its own"),
    "template": ("x: {{ .Values.x }}\n", "1:5", "a key must be text, not a list or mapping", "helm template"),
    "template in a name": ("x: {{ .x }}-a\n", "1:12", "a key is expected here", "helm template"),
}


@pytest.mark.parametrize("text, place, reason, hint", SYNTAX.values(), ids=SYNTAX)
def test_problems_of_syntax(text, place, reason, hint):
    problem = reading(text).problems[0]
    assert str(problem.place) == f"<stdin>:{place}"
    assert (problem.subject, problem.reason) == ("the first document", reason)
    assert hint in problem.hint
    assert bool(problem.hint) == bool(hint)


def test_a_quote_that_is_open_in_its_document():
    [problem] = reading("a: 1\n---\nb: 'x\n---\n").problems[:1]
    assert str(problem).splitlines()[0] == (
        "<stdin>:3:4: the second document: the single-quoted string that starts here is not closed in its document"
    )


def test_a_syntax_problem_shows_the_line_and_a_caret():
    [problem] = reading("a:\n- b\n\tname: x\n").problems
    assert problem.excerpt == " name: x\n^"


def test_one_bad_document_does_not_hide_the_others():
    found = reading(f"{POD}---\na: [\n---\n{POD}---\n\tb\n---\n{POD}kind: B\n")
    assert kinds(found) == ["Pod", "Pod", "B"]
    assert [problem.place.line for problem in found.problems] == [4, 9, 13]


def test_long_json_with_a_mistake_is_not_tried_as_yaml(monkeypatch):
    monkeypatch.setattr("felixpy.manifests.reading.documents._SURELY_JSON", 10)
    assert told('{"apiVersion": "v1", "kind" "A"}') == ["1:29: the first document: a colon is expected"]


def test_many_problems_are_counted_instead_of_told():
    problems = reading(f"{POD}x: 1\nx: 2\n---\n" * 150).problems
    assert len(problems) == 101
    assert problems[-1].reason == "there are 50 more problems in this file"


def test_readers_do_not_outlive_reading():
    """In a run without garbage collection, a cycle would keep all texts in memory."""
    gc.collect()
    gc.disable()
    try:
        found = [reading(text) for text in (PLACES, '{"apiVersion": "v1", "kind": "A", "x": 1, "x": 2}', "a: [")]
        kept = [each for each in gc.get_objects() if str(type(each).__module__).startswith("felixpy.manifests.")]
    finally:
        gc.enable()
    assert not {type(each).__name__ for each in kept} & {"_FileReader", "Yaml", "Reader", "Value", "Unreadable"}
    assert len(found) == 3
