"""Read files given by the user: with a size limit, and without blocking on pipes that have no writer.

All files of manifests, dumps and host descriptions are read here.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

MAX_SIZE = 256 * 2**20
"""Largest file in bytes: some half a million objects, or two million rules. Stops endless devices."""

_OPEN_DESCRIPTOR = re.compile(r"/dev/stdin|(/dev|/proc/self)/fd/\d+")
"""Paths of what the shell has opened for us, such as ``<(helm template shop)``: pipes that surely have a writer."""


class UnreadableFile(Exception):
    """A file cannot be read; the message says why, with a hint."""

    def __init__(self, reason: str, hint: str = "") -> None:
        self.reason, self.hint = reason, hint
        super().__init__(f"{reason} ({hint})" if hint else reason)


def read_bytes(path: str | os.PathLike[str], *, limit: int = MAX_SIZE) -> bytes:
    """The content of a file. Raises UnreadableFile for paths that are not files, are too large or cannot be read.

    The type is checked after opening, so that the file cannot be replaced in between.
    """
    name = os.fspath(path)
    try:
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC | (0 if _OPEN_DESCRIPTOR.fullmatch(name) else os.O_NONBLOCK))
    except FileNotFoundError:
        raise UnreadableFile("there is no such file or folder") from None
    except (OSError, ValueError) as wrong:
        raise UnreadableFile(f"cannot be read: {told(wrong)}") from None
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableFile("is a folder")
        if not stat.S_ISREG(mode) and not _OPEN_DESCRIPTOR.fullmatch(name):
            raise UnreadableFile("not a file but a pipe, socket or device", 'standard input is written "-"')
        try:
            return limited(file, limit)
        except OSError as wrong:
            raise UnreadableFile(f"cannot be read: {told(wrong)}") from None


def read_stdin(stdin: IO[Any] | None = None, *, limit: int = MAX_SIZE) -> bytes:
    """All of standard input, or of another open file. Raises UnreadableFile if it is closed or too large."""
    source = stdin or sys.stdin
    if source is None:
        raise UnreadableFile("standard input is closed")
    try:
        return limited(getattr(source, "buffer", source), limit)
    except OSError as wrong:
        raise UnreadableFile(f"cannot be read: {told(wrong)}") from None


def spool_stdin(
    stdin: IO[Any] | None = None, *, kept: Callable[[bytes], int], limit: int = MAX_SIZE
) -> bytes | IO[bytes]:
    """All of standard input, in an unnamed temporary file if it exceeds the limit for memory.

    `kept` returns that limit in bytes from the first bytes. Raises UnreadableFile as `read_stdin` does.
    """
    from tempfile import TemporaryFile

    source = stdin or sys.stdin
    if source is None:
        raise UnreadableFile("standard input is closed")
    chunks, size, file = [], 0, None
    try:
        for chunk in _chunks(getattr(source, "buffer", source), limit, _CHUNK):
            size += len(chunk)
            if file is None:
                chunks.append(chunk)
                if size <= kept(chunks[0]):
                    continue
                chunk, file = b"".join(chunks), TemporaryFile()  # noqa: SIM115 - who reads it closes it
            file.write(chunk)
        if file:
            file.flush()
    except OSError as wrong:
        raise UnreadableFile(f"cannot be read: {told(wrong)}") from None
    return file or b"".join(chunks)


_CHUNK = 4 * 2**20


def limited(file: IO[Any], limit: int) -> bytes:
    """The rest of an open file. Raises UnreadableFile if it has more than `limit` bytes, OSError."""
    return b"".join(_chunks(file, limit, _step(file)))


def _chunks(file: IO[Any], limit: int, step: int) -> Iterator[bytes]:
    """As `limited`, in pieces: reading `limit` bytes at once would reserve that much memory."""
    left = limit + 1
    while left > 0:
        asked = min(left, step)
        content = file.read(asked)
        chunk = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        yield chunk
        left -= len(chunk)
        if len(content) < asked:
            break
    if left <= 0:
        raise UnreadableFile(f"larger than {limit >> 20} MiB", "split it into several files")


def _step(file: IO[Any]) -> int:
    """Bytes to read at once: slightly more than the size of a regular file, so that it is read in one piece."""
    if getattr(file, "raw", None) is None:
        return _CHUNK
    try:
        return max(os.fstat(file.fileno()).st_size + 1, _CHUNK)
    except (OSError, ValueError):
        return _CHUNK


def read_text(path: str | os.PathLike[str], *, limit: int = MAX_SIZE) -> str:
    """The text of a UTF-8 file, with its original line ends. Raises UnreadableFile."""
    content = read_bytes(path, limit=limit)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        reason = f"byte 0x{content[wrong.start]:02x} in line {line} is not UTF-8"
        raise UnreadableFile(reason, "save the file as UTF-8") from None


def read_saved(path: str | os.PathLike[str], *, limit: int = MAX_SIZE) -> str:
    """The text of a dump; "-" is standard input. Invalid UTF-8 becomes U+FFFD. Raises UnreadableFile."""
    content = read_stdin(limit=limit) if os.fspath(path) == "-" else read_bytes(path, limit=limit)
    return content.decode("utf-8", "replace").replace("\r\n", "\n")


def lines_of(text: str) -> list[str]:
    r"""The lines of a text as the tools of netfilter end them: by a line feed, which a carriage return may precede.

    Unlike `str.splitlines` this leaves characters alone that only Unicode takes for the end of a line; a comment of a
    rule or of a set's member may hold them.

    >>> lines_of("a\u2028b\r\nc\x85d\n"), lines_of("")
    (['a\u2028b', 'c\x85d'], [])
    """
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def told(wrong: Exception) -> str:
    """The operating system's error message, as the end of a sentence."""
    text = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)
    return text[:1].lower() + text[1:]
