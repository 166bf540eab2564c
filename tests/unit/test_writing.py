"""Files are written inside of one folder, completely or not at all, and through no link."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from felixpy.errors import UsageError
from felixpy.writing import write_file, write_files


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/x", "a/b", "a\0b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a file"):
        write_files(tmp_path, {name: "x"})
    if name:
        with pytest.raises(UsageError, match="cannot be the name of a file"):
            write_files(tmp_path, {"a": "x"}, below=name)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("iptables.save", ".iptables.save.new"):
        (out / name).symlink_to(target)
    write_files(out, {"iptables.save": "new"})
    assert target.read_text() == "mine"
    assert (out / "iptables.save").read_text() == "new"
    assert not (out / "iptables.save").is_symlink()


def test_a_node_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "n1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="n1: cannot be written"):
        write_files(tmp_path / "out", {"iptables.save": "new"}, below="n1")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_devices_and_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "b")
    for name in ("a", "b"):
        with pytest.raises(UsageError, match="cannot be written"):
            write_file(tmp_path / name, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_leaves_every_old_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    names = ["a", "b", "c"]
    for name in names:
        (tmp_path / name).write_text("old")
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device; no file in it was changed"):
        write_files(tmp_path, dict.fromkeys(names, "new"))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "old")
