"""Files in a revision of the git repository around the current folder: ``git:REV:path``.

REV is anything that git resolves to a commit. As in git, the path is relative to the top of the repository, or with
``./`` in front to the current folder; without a path it is the current folder.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from felixpy.errors import EnvironmentMissing, UsageError

PREFIX = "git:"
REGULAR = ("100644", "100755")
"""Modes of files; what is left are symbolic links and submodules, whose content is a name."""


class Blob(NamedTuple):
    """A file of a revision. `path` is relative to the given path, "" if that is the file itself."""

    path: str
    content: bytes


def is_revision(path: str) -> bool:
    """Whether a path is in a git revision, not a file.

    >>> is_revision("git:HEAD~1:shop/"), is_revision("shop/git:1")
    (True, False)
    """
    return path.startswith(PREFIX)


def parse(path: str) -> tuple[str, str]:
    """Revision and path of ``git:REV:path``. Raises UsageError without a revision.

    >>> parse("git:main:shop/web.yaml"), parse("git:v1.2")
    (('main', 'shop/web.yaml'), ('v1.2', './'))
    """
    revision, _, inside = path.removeprefix(PREFIX).partition(":")
    if not revision or revision.startswith("-"):
        raise UsageError(f"{path}: write git:REVISION:PATH, such as git:main:shop/")
    return revision, inside or "./"


def files(path: str, wanted: Callable[[str], bool] = bool, *, limit: int = 2**28) -> Iterator[Blob]:
    """The file that ``git:REV:path`` names, or every `wanted` file below the folder, sorted by path.

    `wanted` gets paths relative to the folder. Raises UsageError for an unknown revision or path and for a file of more
    than `limit` bytes, EnvironmentMissing without git.
    """
    revision, inside = parse(path)
    _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", wrong=f"{path}: {_UNKNOWN}")
    # Shell completion adds a slash at the end, which git does not accept.
    place = f"{revision}:{inside.rstrip('/') or '.'}" if inside.strip("./") else f"{revision}:{inside}"
    missing = f"{path}: revision {revision} has no such file or folder"
    kind = _git("cat-file", "-t", place, wrong=missing).decode().strip()
    if kind == "blob":
        _check_size(path, int(_git("cat-file", "-s", place)), limit)
        yield Blob("", _git("cat-file", "blob", place))
        return
    listed = _git("ls-tree", "-r", "-z", "-l", "--full-tree", place, wrong=missing)
    entries = [_entry(line) for line in listed.decode(errors="surrogateescape").split("\0") if line]
    chosen = sorted(entry for entry in entries if entry.mode in REGULAR and wanted(entry.name))
    for entry in chosen:
        _check_size(f"{path}: {entry.name}", int(entry.size), limit)
    contents = _contents([entry.identity for entry in chosen])
    yield from (Blob(entry.name, content) for entry, content in zip(chosen, contents, strict=True))


_UNUSABLE = ("not a git repository", "dubious ownership")
"""What git says when it is not about the revision."""

_UNKNOWN = "git knows no such revision here"


class _Entry(NamedTuple):
    """A line of ``git ls-tree -l``; `size` is in bytes, ``-`` for entries that are not files."""

    name: str
    mode: str
    identity: str
    size: str


def _entry(line: str) -> _Entry:
    """Parse a line such as ``100644 blob 83baae…     120 shop/web.yaml``, with a tab before the path."""
    head, _, name = line.partition("\t")
    mode, _, identity, size = head.split()
    return _Entry(name, mode, identity, size)


def _check_size(words: str, size: int, limit: int) -> None:
    """Raise UsageError for a file that is too large, before git outputs all of it."""
    if size > limit:
        raise UsageError(f"{words}: larger than {limit >> 20} MiB (split it into several files)")


def _contents(identities: Sequence[str]) -> Iterator[bytes]:
    """The contents of files by one git process: each answer is a line with the size, the content and a line end."""
    answer = _git("cat-file", "--batch", text="".join(f"{identity}\n" for identity in identities).encode())
    start = 0
    for _ in identities:
        end = answer.index(b"\n", start)
        size = int(answer[start:end].rsplit(b" ", 1)[1])
        yield answer[end + 1 : end + 1 + size]
        start = end + size + 2


def _git(*arguments: str, text: bytes = b"", wrong: str = "") -> bytes:
    """The output of git. Raises UsageError with `wrong`, or git's message, if it fails."""
    try:
        done = subprocess.run(["git", *arguments], input=text, capture_output=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        raise EnvironmentMissing("git is missing, which git:REVISION:PATH needs; install git") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        unusable = not wrong or any(words in said for words in _UNUSABLE)
        raise UsageError(said.partition("\n")[0] if unusable else wrong)
    return done.stdout
