"""Which files are read, and as what."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

import pytest
import yaml

from felixpy import reading
from felixpy.manifests.reading import documents as documents_module
from felixpy.manifests.reading import files
from felixpy.manifests.reading.documents import Reading, read
from felixpy.manifests.reading.files import File
from felixpy.manifests.reading.places import Places
from tests.manifests import manifest

POD = "apiVersion: v1\nkind: Pod\n"
MANIFEST = "(is this a Kubernetes manifest?)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files = {
        "b.yaml": "apiVersion: v1\nkind: B\n",
        "a.YML": "apiVersion: v1\nkind: A\n",
        "sub/c.json": '{"apiVersion": "v1", "kind": "C"}',
        ".git/d.yaml": "apiVersion: v1\nkind: Hidden\n",
        "readme.txt": "hello",
        "values.yaml": "replicas: 3\n---\n- x\n",
        "none/x.txt": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def outcome(*paths: str) -> tuple[list[str], list[str]]:
    found = read(paths)
    return [f"{data['kind']} {source.file}" for data, source in found.documents], [str(p) for p in found.problems]


SKIPPED = "warning: skipped: nothing in it is a Kubernetes object (apiVersion and kind are missing)"


@pytest.mark.usefixtures("folder")
def test_which_files_are_read():
    everything = ["A a.YML", "B b.yaml", "C sub/c.json"]
    assert outcome() == (everything, [f"values.yaml: {SKIPPED}"])
    assert outcome(".") == (everything, [f"values.yaml: {SKIPPED}"])
    assert outcome("sub") == (["C sub/c.json"], [])
    assert outcome("sub/") == (["C sub/c.json"], [])
    assert outcome("b.yaml", "./b.yaml", "sub", "sub/../b.yaml") == (["B b.yaml", "C sub/c.json"], [])
    assert outcome(".git/d.yaml") == (["Hidden .git/d.yaml"], [])


@pytest.mark.usefixtures("folder")
def test_all_problems_of_files_are_told_together():
    reason = f"apiVersion and kind are missing {MANIFEST}"
    no_object = "a Kubernetes object is expected, not"
    assert outcome("nowhere.yaml", "none", "readme.txt", "values.yaml", "b.yaml") == (
        ["B b.yaml"],
        [
            "none: the folder holds no manifests (.yaml, .yml, .json, .jsonl, .ndjson, each also with .gz)",
            "nowhere.yaml: there is no such file or folder",
            f"readme.txt:1:1: the first document: {no_object} text {MANIFEST}",
            f"values.yaml:1:1: the first document: {reason}",
            f"values.yaml:3:3: item 1 of the second document: {no_object} text {MANIFEST}",
        ],
    )
    assert outcome(".", "values.yaml")[1][0] == f"values.yaml:1:1: the first document: {reason}"


def test_a_stranger_beside_objects_is_a_problem_in_folders_too(folder):
    (folder / "b.yaml").write_text("apiVersion: v1\nkind: B\n---\nreplicas: 3\n")
    assert "b.yaml:4:1: the second document: apiVersion and kind are missing" in "\n".join(outcome()[1])


ENCODED = {
    "byte order mark": (b"\xef\xbb\xbfapiVersion: v1\nkind: A\n", ["A x"], []),
    "utf-16": ("apiVersion: v1\nkind: A\n".encode("utf-16"), ["A x"], []),
    "utf-16, big end": (b"\xfe\xff" + '{"apiVersion": "v1", "kind": "A"}'.encode("utf-16-be"), ["A x"], []),
    "latin-1": ("a: 1\nb: ü\n".encode("latin-1"), [], ["x:2: byte 0xfc is not UTF-8 (save the file as UTF-8)"]),
    "binary": (b"\x7fELF\x00\x01\xff", [], ["x: a binary file, not text"]),
    "nul": (b"a: \x00", [], ["x: a binary file, not text (it has NUL characters)"]),
}  # fmt: skip


@pytest.mark.parametrize("content, documents, problems", ENCODED.values(), ids=ENCODED)
def test_encodings(folder, content, documents, problems):
    (folder / "x").write_bytes(content)
    assert outcome("x") == (documents, problems)


def test_standard_input_and_what_the_shell_opens():
    source = io.TextIOWrapper(io.BytesIO(POD.encode()), encoding="ascii")
    assert read(["-"], stdin=source).documents[0].data["kind"] == "Pod"
    reader, writer = os.pipe()
    os.write(writer, POD.encode())
    os.close(writer)
    try:
        assert read([f"/dev/fd/{reader}"]).documents[0].data["kind"] == "Pod"
    finally:
        os.close(reader)


TWO_LINES = '{"apiVersion": "v1", "kind": "A"}\n{"apiVersion": "v1", "kind": "B"}\n'


def test_compressed_files_and_json_lines(folder):
    for name in ("none/a.jsonl", "none/b.NDJSON"):
        (folder / name).write_text(TWO_LINES)
    for name in ("none/c.json.gz", "none/d.ndjson.gz", "dump"):
        (folder / name).write_bytes(gzip.compress(TWO_LINES.encode()))
    (folder / "none/e.yaml.gz").write_bytes(gzip.compress(POD.encode()) + gzip.compress(b"metadata: {name: x}\n"))
    names = ["none/a.jsonl", "none/b.NDJSON", "none/c.json.gz", "none/d.ndjson.gz"]
    pairs = [f"{kind} {name}" for name in names for kind in "AB"]
    assert outcome("none") == ([*pairs, "Pod none/e.yaml.gz"], [])
    assert outcome("dump") == (["A dump", "B dump"], [])
    source = io.TextIOWrapper(io.BytesIO(gzip.compress(POD.encode())))
    assert read(["-"], stdin=source).documents[0].data["kind"] == "Pod"
    assert [document.source.line for document in read(["none/c.json.gz"]).documents] == [1, 2]


def test_compressed_files_that_are_damaged_or_explode(folder, monkeypatch):
    (folder / "cut.json.gz").write_bytes(gzip.compress(os.urandom(5000))[:-9])
    (folder / "odd.yaml.gz").write_bytes(b"\x1f\x8b\x08" + b"x" * 50)
    assert [problem.split(":")[1] for problem in outcome("cut.json.gz", "odd.yaml.gz")[1]] == [" damaged gzip data"] * 2
    monkeypatch.setattr(files, "_ALWAYS", 2**20)
    (folder / "bomb.yaml.gz").write_bytes(gzip.compress(b"#" * 2**23))
    assert outcome("bomb.yaml.gz")[1] == [
        "bomb.yaml.gz: uncompressed it is larger than 1 MiB (split it into several files)"
    ]


def test_one_object_has_a_limit_and_a_file_has_none(folder, monkeypatch):
    large = '{"apiVersion": "v1", "kind": "A", "data": "' + "x" * 2000 + '"}'
    items = ", ".join(['{"apiVersion": "v1", "kind": "B"}'] * 100)
    listed = f'{{"apiVersion": "v1", "kind": "List", "items": [{items}]}}'
    monkeypatch.setattr(documents_module, "MAX_OBJECT", 1000)
    (folder / "x.json").write_text(f"{listed}\n{large}\n")
    kinds, problems = outcome("x.json")
    assert kinds == ["B x.json"] * 100
    assert len(problems) == 1
    assert problems[0].startswith("x.json:2:1: the second document (v1, A): an object of 0 MiB; at most 0 MiB are read")


def test_a_file_is_read_in_pieces_when_its_size_is_unknown(folder, monkeypatch):
    monkeypatch.setattr(reading, "_CHUNK", 7)
    (folder / "x.json").write_text(TWO_LINES)
    assert outcome("x.json") == (["A x.json", "B x.json"], [])
    assert [found.data["kind"] for found in read(["-"], stdin=io.StringIO(TWO_LINES)).documents] == ["A", "B"]


def test_json_alone_does_without_the_reader_of_yaml(folder):
    (folder / "x.yaml").write_text('---\n{"apiVersion": "v1", "kind": "A"}\n---\n{"apiVersion": "v1", "kind": "B"}\n')
    code = (
        "import sys; from felixpy.manifests.reading.documents import read; found = read(['x.yaml', 'sub']);"
        "print(len(found.documents), found.problems, 'felixpy.manifests.reading.yamltext' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "3 [] False\n"


def test_without_the_c_parser_there_is_one_warning(folder, monkeypatch):
    monkeypatch.setattr("felixpy.manifests.reading.yamlnodes.HAS_C_PARSER", False)
    documents, problems = outcome("a.YML", "b.yaml")
    assert len(documents) == 2
    assert problems == [
        "a.YML: warning: PyYAML was installed without its C parser, reading YAML takes ten times as long"
        " (install libyaml)"
    ]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", [json.dumps, lambda items: yaml.safe_dump(items, width=2**20)])
def test_large_standard_input_is_not_kept(
    packed: bool, layout: Callable[[object], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = [manifest("v1", "Pod", f"web-{number}", {"nodeName": "n", "hostNetwork": "no"}) for number in range(50)]
    text = layout({"apiVersion": "v1", "kind": "List", "items": pods}).encode()

    def told() -> tuple[Reading, list[str]]:
        source = io.BytesIO(gzip.compress(text) if packed else text)
        found = read(["-"], stdin=cast("TextIO", source))
        places = Places(found.texts)
        return found, [str(places.find(each.source, ("spec", "hostNetwork"))) for each in found.documents]

    whole, in_whole = told()
    monkeypatch.setattr(files, "_LARGE", 1000)
    monkeypatch.setattr(files, "_LARGE_PACKED", 100)
    spooled, in_spooled = told()
    assert isinstance(spooled.texts.files["<stdin>"], files.SpooledFile)
    assert (spooled.documents, in_spooled) == (whole.documents, in_whole)
    assert len(set(in_whole)) == 50
    assert pickle.loads(pickle.dumps(spooled.texts.files["<stdin>"])) == File("<stdin>", text.decode(), True)
