"""The files that the given paths include, and their text."""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple, TextIO, TypeAlias, cast

from felixpy import reading, revisions
from felixpy.errors import Place, Problem
from felixpy.manifests.reading import archives

_PLAIN = (".yaml", ".yml", ".json", ".jsonl", ".ndjson")
SUFFIXES = (*_PLAIN, *(f"{suffix}.gz" for suffix in _PLAIN))
"""How the names of manifests end, in lower case; the last two are JSON lines."""

MAX_SIZE = 8 * 2**30
"""Bytes of one file. No dump is that large: this ends streams that have no end. Objects have a limit of their own."""

_GZIP = b"\x1f\x8b"
_EXPANSION = 200
"""How many times its size a compressed file may become beyond `_ALWAYS` bytes.

Dumps become 10 to 50 times as large; deflate can reach 1032 times, which only files made for it do.
"""
_ALWAYS = 256 * 2**20

NO_MANIFESTS = f"the folder holds no manifests ({', '.join(_PLAIN)}, each also with .gz)"

STDIN = "<stdin>"

MARKS = ("apiVersion", "kind:")
"""A file of a folder without these words has no object: it is left out with one warning, whatever else it is."""

_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
    (b"", "utf-8", "UTF-8"),
)
"""Byte order marks with codec and name; YAML allows both encodings, without a mark it is UTF-8."""


class File(NamedTuple):
    """A file's text; `named`: the file itself was given, not a folder above it.

    It can be given in place of a path, for text from elsewhere.
    """

    name: str
    text: str
    named: bool

    def chunks(self) -> Iterator[bytes]:
        """The text in pieces."""
        content = self.text.encode("utf-8", "surrogatepass")
        return (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))


CHUNK = 2**16
"""Bytes of a file that are looked at together."""


class LargeFile:
    """A large file, which is read in pieces, and again on demand, and not kept in memory."""

    def __init__(self, name: str, path: str, named: bool) -> None:
        self.name, self.path, self.named = name, path, named

    @property
    def text(self) -> str:
        """All of it. Raises Unintelligible."""
        return _decoded(_unpacked(_content(self.path, None)))

    def opened(self) -> io.BufferedReader:
        """The file from its beginning. Raises OSError."""
        return open(self.path, "rb")

    def chunks(self) -> Iterator[bytes]:
        """What the file holds, unpacked, in pieces. Raises OSError, EOFError, zlib.error."""
        with self.opened() as file:
            if not file.peek(2).startswith(_GZIP):
                yield from iter(lambda: file.read(CHUNK), b"")
                return
            import gzip

            left = _expanded_limit(os.fstat(file.fileno()).st_size)
            with gzip.GzipFile(fileobj=file) as unpacked:
                while (chunk := unpacked.read(CHUNK)) and (left := left - len(chunk)) >= 0:
                    yield chunk
            if left < 0:
                raise EOFError

    def spans(self, wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[str, int]]:
        """The characters between pairs of ascending offsets, and how many precede them on their line."""
        decode = codecs.getincrementaldecoder("utf-8")().decode
        chunks, window, at, before = map(decode, self.chunks()), "", 0, 0
        for start, end in wanted:
            while at + len(window) < end and (chunk := next(chunks, "")):
                dropped = min(max(start - at, 0), len(window))
                before = _column(window, dropped, before)
                window, at = window[dropped:] + chunk, at + dropped
            yield window[start - at : end - at], _column(window, start - at, before)


class SpooledFile(LargeFile):
    """Large standard input, kept in a temporary file. Pickling it for another process includes the whole text."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        super().__init__(name, name, True)
        with file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def __reduce__(self) -> tuple[type[File], tuple[str, str, bool]]:
        return File, (self.name, self.text, self.named)

    @property
    def text(self) -> str:
        """All of it. Raises Unintelligible."""
        with self.opened() as file:
            return _decoded(_unpacked(file.read()))

    def opened(self) -> io.BufferedReader:
        """The file from its beginning, independent of other readers."""
        return io.BufferedReader(_FromStart(self._descriptor))


class _FromStart(io.RawIOBase):
    """Reads an open file from its beginning without changing its position."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._at = descriptor, 0

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def _column(window: str, at: int, before: int) -> int:
    """The number of characters before a place on its line; `before` are those before the window on its first line."""
    newline = window.rfind("\n", 0, at)
    return at - newline - 1 if newline >= 0 else before + at


Input: TypeAlias = str | os.PathLike[str] | File


class _Candidate(NamedTuple):
    shown: str
    path: str
    named: bool
    content: bytes | None = None
    """Of files in a git revision, which come all at once."""


def gather(paths: Sequence[Input], stdin: TextIO | None = None) -> tuple[list[File], list[Problem]]:
    """Read all files in `paths`: files, folders with everything below, ``-`` for standard input.

    ``git:REV:path`` is a file or folder in a revision. Without paths it is the current folder. A file reached twice is
    read once, at its first place. Raises UsageError for a revision or a path in it that is not there.
    """
    files, problems = _gathered(paths, stdin, keep=True)
    return [file for file in files if isinstance(file, File)], problems


def gather_parts(paths: Sequence[Input], stdin: TextIO | None = None) -> tuple[list[File | LargeFile], list[Problem]]:
    """As `gather`, but large files are not read yet."""
    return _gathered(paths, stdin, keep=False)


def _gathered(
    paths: Sequence[Input], stdin: TextIO | None, *, keep: bool
) -> tuple[list[File | LargeFile], list[Problem]]:
    problems: list[Problem] = []
    found: dict[object, _Candidate] = {}
    files: list[File | LargeFile] = [path for path in paths if isinstance(path, File)]
    for path in paths or ["."]:
        if isinstance(path, File):
            continue
        for candidate in _candidates(os.fsdecode(path), problems):
            key = _identity(candidate.path)
            earlier = found.get(key, candidate)
            found[key] = earlier._replace(named=earlier.named or candidate.named)
    for candidate in found.values():
        if not keep and candidate.content is None and _is_large(candidate.path):
            files.append(LargeFile(candidate.shown, candidate.path, candidate.named))
            continue
        content = b""
        try:
            if candidate.path == "-" and not keep:
                given = _spooled(stdin)
                if not isinstance(given, bytes):
                    files.append(SpooledFile(candidate.shown, given))
                    continue
                content = given
            else:
                content = _content(candidate.path, stdin) if candidate.content is None else candidate.content
            content = _unpacked(content)
            files.append(File(candidate.shown, _decoded(content), candidate.named))
        except Unintelligible as wrong:
            foreign = bool(content) and not candidate.named and not any(mark.encode() in content for mark in MARKS)
            problems.append(wrong.skipped(candidate.shown) if foreign else wrong.problem(candidate.shown))
    return files, problems


class Unintelligible(Exception):
    """A file cannot be decoded; the message says why, and from which line on if that is known."""

    def __init__(self, reason: str, hint: str = "", line: int = 0) -> None:
        self.reason, self.hint, self.line = reason, hint, line

    def skipped(self, name: str) -> Problem:
        """The warning for a file in a folder, which is skipped."""
        reason = f"skipped: nothing in it is a Kubernetes object ({self.reason})"
        return Problem(place=Place(name, self.line), reason=reason, severity="warning")

    def problem(self, name: str) -> Problem:
        """The error for a file of that name."""
        return Problem(place=Place(name, self.line), reason=self.reason, hint=self.hint)


_LARGE, _LARGE_PACKED = 32 * 2**20, 4 * 2**20
"""Bytes from which on a file, or a compressed one, is not kept as a whole."""


def _is_large(path: str) -> bool:
    """Whether a path is a regular file that is too large to keep in memory."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size < _LARGE_PACKED:
            return False
        with open(path, "rb") as file:
            return found.st_size >= (_LARGE_PACKED if file.read(2) == _GZIP else _LARGE)
    except (OSError, ValueError):
        return False


def _candidates(path: str, problems: list[Problem]) -> Iterator[_Candidate]:
    if path == "-":
        yield _Candidate(STDIN, "-", True)
    elif revisions.is_revision(path):
        found = list(_of_revision(path))
        if not found:
            problems.append(Problem(place=Place(_printable(path)), reason=NO_MANIFESTS))
        yield from found
    elif os.path.isdir(path):
        below = sorted(_walk(path, problems), key=lambda name: name.split(os.sep))
        if not below:
            problems.append(Problem(place=Place(_printable(path)), reason=NO_MANIFESTS))
        for name in below:
            yield _Candidate(_printable(os.path.normpath(name) if path == "." else name), name, False)
    elif archives.is_archive(path) and os.path.isfile(path):
        yield from _of_archive(path, problems)
    else:
        yield _Candidate(_printable(path), path, True)


def _of_archive(path: str, problems: list[Problem]) -> Iterator[_Candidate]:
    """The manifests in an archive, selected as in `_walk`; those that are not text are skipped with a warning."""
    place, found, strange = Place(_printable(path)), 0, []
    try:
        for name, content in archives.members(path, _is_manifest, limit=reading.MAX_SIZE):
            try:
                _decoded(content)
            except Unintelligible as wrong:
                strange.append(f"{_printable(name)} ({wrong.reason})")
                continue
            found += 1
            yield _Candidate(_printable(f"{path}/{name}"), f"{path}/{name}", False, content)
    except archives.BadArchive as wrong:
        problems.append(Problem(place=place, reason=str(wrong)))
        return
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        problems.append(Problem(place=place, reason=f"skipped {strange[0]}{more}", severity="warning"))
    if not found:
        problems.append(Problem(place=place, reason=NO_MANIFESTS.replace("folder", "archive")))


def _of_revision(path: str) -> Iterator[_Candidate]:
    """The manifests in a revision, selected as in `_walk`."""
    for name, content in revisions.files(path, _is_manifest, limit=MAX_SIZE):
        if not name:
            yield _Candidate(_printable(path), path, True, content)
        else:
            shown = f"{path}{'' if path.endswith(('/', ':')) else '/' if path.count(':') > 1 else ':'}{name}"
            yield _Candidate(_printable(shown), shown, False, content)


def _is_manifest(name: str) -> bool:
    """Whether a file below a folder is read, by its path from there."""
    *folders, base = name.split("/")
    return base.lower().endswith(SUFFIXES) and not any(folder.startswith(".") for folder in folders)


def _walk(top: str, problems: list[Problem]) -> Iterator[str]:
    """Manifests below a folder. Hidden folders are skipped: version control, and the copies in mounted ConfigMaps."""

    def unreadable(wrong: OSError) -> None:
        reason = f"the folder cannot be read: {reading.told(wrong)}"
        problems.append(Problem(place=Place(_printable(os.fsdecode(wrong.filename))), reason=reason))

    for folder, subfolders, names in os.walk(top, onerror=unreadable):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (os.path.join(folder, name) for name in names if name.lower().endswith(SUFFIXES))


def _identity(path: str) -> object:
    """A value that is equal for two paths of the same file; for a missing file the path."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return path
    return found.st_dev, found.st_ino


def _content(path: str, stdin: TextIO | None) -> bytes:
    try:
        if path == "-":
            return reading.read_stdin(stdin, limit=MAX_SIZE)
        return reading.read_bytes(path, limit=MAX_SIZE)
    except reading.UnreadableFile as wrong:
        hint = wrong.hint or (_revision_hint(path) if not os.path.lexists(path) else "")
        raise Unintelligible(wrong.reason, hint) from None


def _spooled(stdin: TextIO | None) -> bytes | IO[bytes]:
    """Standard input, in a temporary file if it is large."""
    try:
        return reading.spool_stdin(
            stdin, kept=lambda begin: _LARGE_PACKED if begin.startswith(_GZIP) else _LARGE, limit=MAX_SIZE
        )
    except reading.UnreadableFile as wrong:
        raise Unintelligible(wrong.reason, wrong.hint) from None


_OF_GIT = re.compile(r"(?!git:|cluster:)[\w./~^@{}-]+:[^:]*")
"""How git itself names a file of a revision, such as ``HEAD~1:shop/web.yaml``."""


def _revision_hint(path: str) -> str:
    return f"a revision of git is written git:{path}" if _OF_GIT.fullmatch(path) else ""


def _expanded_limit(size: int) -> int:
    """The size limit for the content of a compressed file of so many bytes."""
    return min(MAX_SIZE, max(_ALWAYS, _EXPANSION * size))


def _unpacked(content: bytes) -> bytes:
    """Content, decompressed if its first bytes are those of gzip."""
    if not content.startswith(_GZIP):
        return content
    import gzip
    import zlib
    from io import BytesIO

    limit = _expanded_limit(len(content))
    try:
        with gzip.GzipFile(fileobj=BytesIO(content)) as file:
            return reading.limited(cast("IO[bytes]", file), limit)
    except reading.UnreadableFile as wrong:
        raise Unintelligible(f"uncompressed it is {wrong.reason}", wrong.hint) from None
    except (OSError, EOFError, zlib.error) as wrong:
        raise Unintelligible(f"damaged gzip data: {reading.told(wrong)}") from None


def _decoded(content: bytes) -> str:
    codec, name = next((codec, name) for mark, codec, name in _ENCODINGS if content.startswith(mark))
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as wrong:
        if b"\0" in content[:4096]:
            raise Unintelligible("a binary file, not text") from None
        line = content.count(b"\n", 0, wrong.start) + 1
        reason = f"byte 0x{content[wrong.start]:02x} is not {name}"
        raise Unintelligible(reason, "save the file as UTF-8", line) from None
    if "\0" in text:
        raise Unintelligible("a binary file, not text (it has NUL characters)")
    return text


def _printable(name: str) -> str:
    """A file name that can be printed: bytes that are not valid UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
