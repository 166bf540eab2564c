"""Archives among the paths of a call."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from felixpy.errors import InputError
from felixpy.manifests import load
from felixpy.manifests.reading.archives import BadArchive, members
from tests.manifests import namespace, pod

FILES = {
    "gather/core/pods.json": json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace(), pod()]}).encode(),
    "gather/log.txt": b"\xff",
    "gather/strange.yaml": b"name: \xff",
    "gather/.git/x.yaml": b"{",
}


def packed(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.TGZ", "a.zip"])
def test_manifests_in_an_archive(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / name, FILES)
    cluster = load(path)
    assert [each.name for each in cluster.workloads] == ["web"]
    assert [each.reason for each in cluster.warnings if "skipped" in each.reason] == [
        "skipped gather/strange.yaml (byte 0xff is not UTF-8)"
    ]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
@pytest.mark.parametrize("cut", [0, 20, 60])
def test_a_broken_archive(tmp_path: Path, name: str, cut: int) -> None:
    path = packed(tmp_path / name, FILES)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="archive"):
        load(path)


def test_an_archive_without_manifests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the archive holds no manifests"):
        load(packed(tmp_path / "a.tar", {"log.txt": b""}))


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar.gz", {"a.json": bytes(600), "b.json": bytes(600)})
    with pytest.raises(BadArchive, match="larger than"):
        list(members(str(path), lambda name: True, limit=1000))


@pytest.mark.parametrize("archived", [False, True])
def test_foreign_files_of_a_support_bundle_are_skipped(tmp_path: Path, archived: bool) -> None:
    """Logs, binaries and texts in other encodings, each with one warning; what looks like a manifest has to be one."""
    bundle = tmp_path / "must-gather"
    bundle.mkdir()
    (bundle / "pods.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
    foreign = {
        "log.yaml": b"2026 log line: {{{\n", "events.json": b'{"level":"info"}\nnot json',
        "core.yaml": b"\xff\xfe\x00x",
        "latin.yaml": b"\xe4\xf6", "values.yaml": b"a: 1\n",
    }  # fmt: skip
    for name, content in foreign.items():
        (bundle / name).write_bytes(content)
    path = Path(shutil.make_archive(str(tmp_path / "bundle"), "gztar", bundle)) if archived else bundle
    cluster = load([path])
    assert "kns.shop" in cluster.profiles
    told = [problem for problem in cluster.warnings if "skipped" in problem.reason]
    assert len(told) == len(foreign)
    (bundle / "log.yaml").write_bytes(b"apiVersion: v1\nkind: {{{\n")
    with pytest.raises(InputError):
        load([bundle])
