"""Reading files that were named by somebody: with a limit, and without waiting for a pipe that nobody writes to.

Files of manifests, dumps and descriptions of a machine all come in through here.
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
    """Why a file cannot be read, and what to do about it."""

    def __init__(self, reason: str, hint: str = "") -> None:
        self.reason, self.hint = reason, hint
        super().__init__(f"{reason} ({hint})" if hint else reason)


def read_bytes(path: str | os.PathLike[str], *, limit: int = MAX_SIZE) -> bytes:
    """The content of a file. Raises Unreadable for what is not a file, is too large or cannot be read.

    What is opened is looked at once it is open, so no other file can take its place in between.
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
    """All of standard input, or of another open file. Raises Unreadable if it is closed or too large."""
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
    """All of standard input: a temporary file without a name if it has more bytes than are to be kept in memory.

    `kept` says from the first bytes how many that are. Raises Unreadable as `read_stdin` does.
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
    """The rest of an open file. Raises Unreadable when it has more than `limit` bytes, OSError."""
    return b"".join(_chunks(file, limit, _step(file)))


def _chunks(file: IO[Any], limit: int, step: int) -> Iterator[bytes]:
    """The same in pieces. Asking for all that is allowed would reserve that much memory."""
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
    """Bytes to read at once: a little more than a file on disk has, so that it comes in one piece."""
    if getattr(file, "raw", None) is None:
        return _CHUNK
    try:
        return max(os.fstat(file.fileno()).st_size + 1, _CHUNK)
    except (OSError, ValueError):
        return _CHUNK


def read_text(path: str | os.PathLike[str], *, limit: int = MAX_SIZE) -> str:
    """The text of a file in UTF-8, with its line ends as they are. Raises Unreadable."""
    content = read_bytes(path, limit=limit)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        reason = f"byte 0x{content[wrong.start]:02x} in line {line} is not UTF-8"
        raise UnreadableFile(reason, "save the file as UTF-8") from None


def read_saved(path: str | os.PathLike[str], *, limit: int = MAX_SIZE) -> str:
    """The text of a dump; "-" is standard input. Bytes that are no UTF-8 become U+FFFD. Raises Unreadable."""
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
    """What the system said, as the end of a sentence."""
    text = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)
    return text[:1].lower() + text[1:]
