"""What is read quickly is what is read exactly: values, messages and places."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml

from felixpy.manifests import load
from felixpy.manifests.reading import documents, files, yamlstream, yamltext
from felixpy.manifests.reading.files import File
from tests.bench import clusters, fat
from tests.readers import Indented, Plain, compare, exactly, outcome

pytestmark = pytest.mark.property


def test_readers_agree_about_manifests_with_something_wrong() -> None:
    assert list(compare(10 * hypothesis.settings().max_examples)) == []


def test_many_of_them_are_read_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the comparison would be one of the exact reader with itself."""
    quick, read = [], documents._read_stream

    def counted(*given: Any) -> bool:
        quick.append(read(*given))
        return quick[-1]

    monkeypatch.setattr(documents, "_read_stream", counted)
    list(compare(200, seed=1))
    assert sum(quick) > 50


@pytest.mark.parametrize("kind", ["plain", "gzip"])
def test_a_large_file_says_the_same_as_a_small_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not kept: places in it are found in a second reading."""
    import gzip

    given = [*fat.pods(40)]
    given[7]["metadata"]["annotations"]["qos.projectcalico.org/dscp"] = "é"
    given[9]["metadata"] |= {"name": given[8]["metadata"]["name"], "namespace": given[8]["metadata"]["namespace"]}
    for layout in (
        "".join(fat.as_kubectl_prints(iter(given))),
        json.dumps({"kind": "List", "apiVersion": "v1", "items": given}),
        yaml.dump({"apiVersion": "v1", "items": given, "kind": "List"}, Dumper=Plain),
        yaml.dump({"apiVersion": "v1", "items": given, "kind": "List"}, Dumper=Indented),
        yaml.dump_all(given, Dumper=Plain, explicit_start=True),
    ):
        file = tmp_path / "dump"
        file.write_bytes(gzip.compress(layout.encode()) if kind == "gzip" else layout.encode())
        small = load([file])
        with monkeypatch.context() as patched:
            patched.setattr(files, "_LARGE", 1000)
            patched.setattr(files, "_LARGE_PACKED", 1000)
            patched.setattr(yamlstream, "WINDOW", 10_000)
            large = load([file])
        assert isinstance(large.texts.files[str(file)], files.LargeFile)  # type: ignore[attr-defined]
        assert large.warnings == small.warnings
        assert [warning.place.column for warning in small.warnings if warning.place.column]
        for workload in small.workloads[::7]:
            place = small.where(workload.source, ("status", "podIP"))
            assert place.column
            assert large.where(workload.source, ("status", "podIP")) == place
        with exactly():
            assert load([file]).warnings == small.warnings


def test_what_is_compared_includes_messages() -> None:
    assert _outcome('{"kind": "Pod", "apiVersion": "v1"}') != _outcome('{"kind": "Pod", "apiVersion": "v2"}')


def _outcome(text: str) -> object:
    return outcome(File("dump", text, True))


def test_objects_of_one_kind_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = [each for each in clusters.objects(clusters.SHAPES["S"]) if each["kind"] != "GlobalNetworkPolicy"]
    pods = [*fat.pods(50)]
    for pod in pods:
        del pod["metadata"]["managedFields"]  # as kubectl prints pods, unless it is asked for them
    heading = {"apiVersion": "v1", "items": pods, "kind": "List", "metadata": {"resourceVersion": ""}}
    parsed, parse = [], yamltext.Reader._nodes

    def counted(reader: yamltext.Reader, piece: str, offset: int) -> Iterator[Any]:
        parsed.append(piece)
        return parse(reader, piece, offset)

    monkeypatch.setattr(yamltext.Reader, "_nodes", counted)
    for text in ("".join(clusters.as_blocks(objects)), yaml.safe_dump(heading, width=10**6)):
        parsed.clear()
        read = documents.read([File("dump", text, True)])
        assert len(read.documents) >= 50
        assert 0 < len(parsed) < 12
