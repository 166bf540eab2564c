"""Whatever is named as a file is read within limits, or refused at once."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from felixpy import reading
from felixpy.manifests.reading import files
from felixpy.reading import UnreadableFile, read_bytes, read_saved, read_stdin
from tests.commands import caller
from tests.conformance.recordings import ROOT

MANIFESTS = ROOT / "k8s" / "shop-three-tiers" / "manifests.yaml"
NO_FILE = "not a file but a pipe, socket or device"


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/tty"):
        with pytest.raises(UnreadableFile, match=f"{NO_FILE}|no such device"):
            read_bytes(path)


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (2**20 + 1))
    for read in (
        lambda: read_bytes(tmp_path / "a", limit=2**20),
        lambda: read_stdin(io.BytesIO(b"x" * 2**21), limit=2**20),
    ):
        with pytest.raises(UnreadableFile, match="larger than 1 MiB"):
            read()


def test_an_open_descriptor_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"*filter\r\nCOMMIT\r\n")
    os.close(writer)
    assert read_saved(f"/dev/fd/{reader}") == "*filter\nCOMMIT\n"
    os.close(reader)


@pytest.mark.parametrize(
    "words",
    [
        ("verify", MANIFESTS, "--node", "node1", "--rules"),
        ("verify", MANIFESTS, "--node", "node1", "--rules", "RULES", "--ipsets"),
        ("trace", "shop/a", "shop/b", MANIFESTS, "--rules"),
        ("matrix", MANIFESTS, "--rules"),
        ("render", MANIFESTS, "--node", "node1", "--host-file"),
        ("validate",),
        ("convert",),
        ("test",),
    ],
)
@pytest.mark.parametrize("endless", [False, True])
def test_every_command_refuses_them(words, endless, capsys, monkeypatch, tmp_path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("*filter\nCOMMIT\n")
    bad = tmp_path / "bad"
    if endless:
        monkeypatch.setattr(files, "MAX_SIZE", reading.MAX_SIZE)
        with bad.open("wb") as file:
            file.truncate(2**28 + 1)
    else:
        os.mkfifo(bad)
    call = caller(capsys, monkeypatch)
    answer = call(*(rules if word == "RULES" else word for word in words), bad)
    assert (answer.status, answer.out) == (2, "")
    assert str(bad) in answer.err
    assert ("larger than" if endless else NO_FILE) in answer.err
