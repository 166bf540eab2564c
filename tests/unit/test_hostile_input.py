"""Texts made to crash a reader or to keep it busy: each ends in bounded time, with one clear problem."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

from felixpy.errors import Problem
from felixpy.manifests.reading import files
from felixpy.manifests.reading.documents import Reading, read
from felixpy.manifests.reading.pieces import MAX_DEPTH, MAX_NODES

HEAD = "apiVersion: v1\nkind: A\n"
DEEP = f"lists and mappings are nested more than {MAX_DEPTH} deep"
SECONDS = 20
"""Far more than any of these takes, far less than what they are made for."""


def reading(text: str) -> Reading:
    started = time.monotonic()
    found = read(["-"], stdin=io.StringIO(text))
    assert time.monotonic() - started < SECONDS
    return found


def problem(text: str) -> Problem:
    found = reading(text)
    assert found.documents == []
    [only] = found.problems
    return only


def bomb(levels: int, width: int) -> str:
    """Each anchor is a list of the one before, several times."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]" for level in range(1, levels)]
    return HEAD + "\n".join(lines) + "\n"


NESTED = {
    "brackets": HEAD + "x: " + "[" * 100_000 + "]" * 100_000,
    "brackets alone": "[" * 100_000,
    "braces": HEAD + "x: " + "{a: " * 100_000,
    "dashes": "- " * 100_000 + "x",
    "dashes far apart": "".join("-" + " " * (number % 7 + 1) for number in range(1000)) + "x",
    "question marks": "? " * 100_000 + "x",
    "indentation": "".join(f"{' ' * level}k:\n" for level in range(1000)),
    "lists at the same indentation": "".join(f"{' ' * level}k:\n{' ' * level}-\n" for level in range(300)),
    "json objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "json arrays": "[" * 100_000 + "]" * 100_000,
    "json, not too deep for its scanner": '{"apiVersion": "v1", "kind": "A", "x": ' + "[" * 300 + "]" * 300 + "}",
    "json lists in lists": '{"kind": "List", "items": [' * 100_000,
}


@pytest.mark.parametrize("text", NESTED.values(), ids=NESTED)
def test_deep_nesting(text):
    assert problem(text).reason == DEEP


@pytest.mark.parametrize("inner, problems", [(MAX_DEPTH - 1, 0), (MAX_DEPTH, 1)])
@pytest.mark.parametrize("style", ["brackets", "indentation", "dashes", "json"])
def test_what_is_just_deep_enough(style, inner, problems):
    """`inner` collections, the last one empty, inside of the object."""
    text = {
        "brackets": f"{HEAD}x: " + "[" * inner + "]" * inner,
        "indentation": HEAD + "".join(f"{' ' * level}k:\n" for level in range(inner - 1)) + " " * (inner - 1) + "k: {}",
        "dashes": f"{HEAD}x:\n  " + "- " * (inner - 1) + "[]",
        "json": '{"apiVersion": "v1", "kind": "A", "x": ' + "[" * inner + "]" * inner + "}",
    }[style]
    assert len(reading(text).problems) == problems


ALIASES = {
    "billion laughs": (bomb(10, 10), f"aliases make it more than {MAX_NODES:,} values"),
    "long chain": (bomb(3000, 1), f"aliases make it nested more than {MAX_DEPTH} deep"),
    "in itself": (f"{HEAD}x: &x [*x]\n", "an alias refers to a value that contains it"),
    "in itself, further down": (f"{HEAD}x: &x {{p: [1, {{q: *x}}]}}\n", "an alias refers to a value that contains it"),
    "merged into itself": (f"{HEAD}x: &x {{<<: *x}}\n", "an alias refers to a value that contains it"),
}


@pytest.mark.parametrize("text, reason", ALIASES.values(), ids=ALIASES)
def test_aliases(text, reason):
    found = problem(text)
    assert found.reason == reason
    assert found.place.line > 2


def test_small_bombs_add_up_over_a_file():
    text = "---\n".join([bomb(6, 10)] * 30)
    found = reading(text)
    assert 5 < len(found.documents) < 25
    assert {problem.reason for problem in found.problems} == {f"aliases make it more than {MAX_NODES:,} values"}


def test_aliases_within_reason_are_fine():
    found = reading(bomb(4, 10))
    assert found.problems == []
    assert found.documents[0].data["a3"][9][9][9] == ["x"]


def test_too_many_values(monkeypatch):
    monkeypatch.setattr("felixpy.manifests.reading.yamlnodes.MAX_NODES", 1000)
    found = problem(f"{HEAD}x:\n" + "- 1\n" * 1000)
    assert found.reason == "the document has more than 1,000 values"
    assert reading(f"{HEAD}x:\n" + "- 1\n" * 900).problems == []


def test_a_mistake_in_a_list_that_is_too_large_as_a_whole_is_found(monkeypatch):
    monkeypatch.setattr("felixpy.manifests.reading.yamlnodes.MAX_NODES", 1000)
    monkeypatch.setattr("felixpy.manifests.reading.yamltext._LONG", 0)
    item = "- apiVersion: v1\n  kind: A\n"
    assert reading("kind: List\nitems:\n" + item * 300).problems == []
    found = problem("kind: List\nitems:\n" + item * 300 + "- a: b: c\n" + item)
    assert (found.place.line, found.place.column) == (603, 7)


HARMLESS = {
    "blanks": " " * 10**7,
    "line breaks": "\n" * 10**7,
    "comments": "#\n" * 10**6,
    "separators": "---\n" * 10**5,
    "blanks between comments": "# a\n" + " " * 10**7 + "\n# b",
}


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_much_of_nothing(text):
    found = reading(text)
    assert (found.documents, found.problems) == ([], [])


GIGANTIC = {
    "plain": f"{HEAD}x: {'x' * 10**7}",
    "quoted": f'{HEAD}x: "{"x " * (5 * 10**6)}"',
    "block": f"{HEAD}x: |\n  " + "x\n  " * 10**6,
    "json": '{"apiVersion": "v1", "kind": "A", "x": "' + "x" * 10**7 + '"}',
    "digits": f"{HEAD}x: " + "9" * 10**6,
    "json digits": '{"apiVersion": "v1", "kind": "A", "x": ' + "9" * 10**5 + "}",
}


@pytest.mark.parametrize("text", GIGANTIC.values(), ids=GIGANTIC)
def test_gigantic_scalars(text):
    found = reading(text)
    assert found.problems == []
    assert len(found.documents[0].data["x"]) >= 10**5


BROKEN = {
    "one long key": "a" * 10**6 + ": b",
    "colons": "a: " * 10**5,
    "tabs": "\t" * 10**6 + "a",
    "quotes": '"' * 100_001,
    "open brackets": "- [\n" * 10**4,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_long_nonsense(text):
    assert len(str(problem(text))) < 500


def test_a_million_empty_items_are_not_told_one_by_one():
    found = reading("[" + "{}," * 10**5 + "{}]")
    assert len(found.problems) == 101
    assert found.problems[-1].reason == "there are 99901 more problems in this file"


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    found = read([str(tmp_path), "/dev/zero"])
    assert [(Path(problem.place.file).name, problem.reason) for problem in found.problems] == [
        ("gone.yaml", "there is no such file or folder"),
        ("loop.yaml", "cannot be read: too many levels of symbolic links"),
        ("pipe.yaml", "not a file but a pipe, socket or device"),
        ("zero", "not a file but a pipe, socket or device"),
    ]


def test_endless_input_is_cut_off(monkeypatch):
    monkeypatch.setattr(files, "MAX_SIZE", 2**20)
    with Path("/dev/zero").open(encoding="utf-8") as zeros:
        found = read(["-"], stdin=zeros)
    assert [problem.reason for problem in found.problems] == ["larger than 1 MiB"]


def test_names_of_files_that_are_no_text_can_be_printed(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("- [")
    [found] = read([tmp_path]).problems
    assert str(found).encode().startswith(os.fsencode(tmp_path) + b"/\\udcff.yaml:1:3: ")
