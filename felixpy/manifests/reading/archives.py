"""Manifests in archives: .tar, .tar.gz, .tgz and .zip, as support bundles and must-gather come."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from felixpy import reading

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")


class BadArchive(Exception):
    """An archive cannot be read; the message says why."""


def is_archive(path: str) -> bool:
    """Whether a file's name is that of an archive.

    >>> is_archive("must-gather.tar.gz"), is_archive("cluster.json.gz")
    (True, False)
    """
    return path.lower().endswith(SUFFIXES)


def members(path: str, wanted: Callable[[str], bool], *, limit: int = reading.MAX_SIZE) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the regular files that are wanted by name, in the archive's order.

    `limit` is for all of them together, in bytes unpacked. Raises BadArchive.
    """
    found = _opened(path, wanted, limit)
    left = limit
    for name, content in found:
        left -= len(content)
        if left < 0:
            raise BadArchive(f"unpacked, its manifests are larger than {limit >> 20} MiB")
        yield name, content


def _opened(path: str, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    from tarfile import TarError
    from zipfile import BadZipFile

    unpack = _zipped if path.lower().endswith(".zip") else _tarred
    try:
        yield from unpack(path, wanted, limit)
    # What is raised for archives that are damaged, encrypted or packed in a way that the libraries do not know.
    except (OSError, EOFError, TarError, BadZipFile, zlib.error, RuntimeError, NotImplementedError) as wrong:
        raise BadArchive(f"the archive cannot be read: {reading.told(wrong)}") from None


def _tarred(path: str, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    import tarfile

    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.isreg() and wanted(_relative(member.name)) and (file := archive.extractfile(member)):
                yield _relative(member.name), file.read(limit + 1)


def _zipped(path: str, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir() and wanted(_relative(member.filename)):
                with archive.open(member) as file:
                    yield _relative(member.filename), file.read(limit + 1)


def _relative(name: str) -> str:
    return name.removeprefix("./")
