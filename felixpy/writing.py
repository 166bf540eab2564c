"""Write files safely: only inside the given folder, never through a link, atomically.

Users who can write into the folder, or who chose the names, cannot make felixpy, which may be root, write elsewhere:
folders are opened one by one without following links, temporary files have unguessable names and must not exist, and a
file is put in place with rename, which replaces a link and does not follow it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from felixpy.errors import UsageError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


Content = str | bytes | Iterable[bytes]
"""What is in a file; large contents can be in pieces."""


def write_files(folder: Path, files: Mapping[str, Content], *, below: str = "", mode: int = 0o644) -> None:
    """Write files into a folder, or into a new or existing folder `below` it; all of them or none.

    `folder` itself may be a link, since the user gave it; `below` and the names of files may not. All files are
    complete on disk before the first one is put in place. Raises UsageError if that fails; previous files are then
    unchanged.
    """
    names = (below, *files) if below else tuple(files)
    for name in names:
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise UsageError(f"{folder}: {name!r} cannot be the name of a file in it; nothing was written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _opened(folder, below) as place:
            _write(place, files, mode)
    except OSError as wrong:
        where = folder / below if below else folder
        raise UsageError(f"{where}: cannot be written: {wrong.strerror}; no file in it was changed") from wrong


def write_file(path: Path, content: Content, *, mode: int = 0o644) -> None:
    """Write one file atomically. Raises UsageError if that fails."""
    write_files(path.parent, {path.name: content}, mode=mode)


@contextmanager
def _opened(folder: Path, below: str) -> Iterator[int]:
    outer = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
    try:
        if not below:
            yield outer
            return
        with suppress(FileExistsError):
            os.mkdir(below, dir_fd=outer)
        inner = os.open(below, _FOLDER, dir_fd=outer)
        try:
            yield inner
        finally:
            os.close(inner)
    finally:
        os.close(outer)


def _refuse_other_than_a_file(place: int, name: str) -> None:
    """Raise OSError if a folder or a device has the name: a rename would replace /dev/null."""
    try:
        found = os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        raise OSError(errno.EEXIST, f"{name} is there and is not a file")


def _pieces(content: Content) -> Iterable[bytes]:
    if isinstance(content, str):
        return (content.encode("utf-8", "surrogateescape"),)
    return (content,) if isinstance(content, bytes) else content


def _write(place: int, files: Mapping[str, Content], mode: int) -> None:
    unfinished: dict[str, str] = {}
    for name in files:
        _refuse_other_than_a_file(place, name)
    try:
        for name, content in files.items():
            unfinished[name] = f".{secrets.token_hex(8)}.new"
            with os.fdopen(os.open(unfinished[name], _NEW, mode, dir_fd=place), "wb") as file:
                file.writelines(_pieces(content))
                file.flush()
                os.fsync(file.fileno())
        for name in files:
            os.rename(unfinished[name], name, src_dir_fd=place, dst_dir_fd=place)
            del unfinished[name]
        os.fsync(place)
    finally:
        for temporary in unfinished.values():
            with suppress(OSError):
                os.unlink(temporary, dir_fd=place)
