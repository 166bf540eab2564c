"""Files as they stand in a revision of the git repository around the current folder: ``git:REV:path``.

REV is whatever git takes for a commit. As in git itself, the path counts from the top of the repository, or with
``./`` in front from the current folder; without a path the current folder is meant.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from felixpy.errors import EnvironmentMissing, UsageError

PREFIX = "git:"
REGULAR = ("100644", "100755")
"""Modes of files; what is left are symbolic links and submodules, whose content is a name."""


class Blob(NamedTuple):
    """A file of a revision. `path` is relative to what was asked for, "" if that is the file itself."""

    path: str
    content: bytes


def is_revision(path: str) -> bool:
    """Whether a path means a revision rather than a file.

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


def files(path: str) -> Iterator[Blob]:
    """The file that ``git:REV:path`` names, or every file below the folder, sorted by path.

    Raises UsageError for an unknown revision or path, EnvironmentMissing without git.
    """
    revision, inside = parse(path)
    _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", wrong=f"{path}: {_UNKNOWN}")
    # A slash at the end is a habit of shells; git knows no such path.
    place = f"{revision}:{inside.rstrip('/') or '.'}" if inside.strip("./") else f"{revision}:{inside}"
    missing = f"{path}: revision {revision} has no such file or folder"
    kind = _git("cat-file", "-t", place, wrong=missing).decode().strip()
    if kind == "blob":
        yield Blob("", _git("cat-file", "blob", place))
        return
    listed = _git("ls-tree", "-r", "-z", "--full-tree", place, wrong=missing)
    entries = [_entry(line) for line in listed.decode(errors="surrogateescape").split("\0") if line]
    regular = sorted((name, identity) for mode, identity, name in entries if mode in REGULAR)
    contents = _contents([identity for _, identity in regular])
    yield from (Blob(name, content) for (name, _), content in zip(regular, contents, strict=True))


_UNUSABLE = ("not a git repository", "dubious ownership")
"""What git says when it is not about the revision."""

_UNKNOWN = "git knows no such revision here"


def _entry(line: str) -> tuple[str, str, str]:
    """Mode, object and path of ``100644 blob 83baae… shop/web.yaml``, a tab before the path."""
    head, _, name = line.partition("\t")
    mode, _, identity = head.split(" ")
    return mode, identity, name


def _contents(identities: Sequence[str]) -> Iterator[bytes]:
    """Many files by one process: each answer is a line with the size, the content and a line's end."""
    answer = _git("cat-file", "--batch", text="".join(f"{identity}\n" for identity in identities).encode())
    start = 0
    for _ in identities:
        end = answer.index(b"\n", start)
        size = int(answer[start:end].rsplit(b" ", 1)[1])
        yield answer[end + 1 : end + 1 + size]
        start = end + size + 2


def _git(*arguments: str, text: bytes = b"", wrong: str = "") -> bytes:
    """What git prints. Raises UsageError with `wrong`, or what git said, when it fails."""
    try:
        done = subprocess.run(["git", *arguments], input=text, capture_output=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        raise EnvironmentMissing("git is missing, which git:REVISION:PATH needs; install git") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        unusable = not wrong or any(words in said for words in _UNUSABLE)
        raise UsageError(said.partition("\n")[0] if unusable else wrong)
    return done.stdout
