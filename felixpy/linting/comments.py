"""Comments in manifests that switch checks off: ``# felixpy: ignore[FX101]``.

A comment after a value applies to what begins on its line, one on a separate line to what begins on the next line. It
also applies to everything inside that value; so a comment above an object applies to the whole object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from felixpy.errors import Path
from felixpy.linting.checks import CHECKS
from felixpy.linting.finding import Finding
from felixpy.model import Cluster, Source

_COMMENT = re.compile(r"(?:^|[ \t])#[ \t]*felixpy:[ \t]*ignore(?![\w-])(?:\[(?P<codes>[^\]\n]*)\])?", re.IGNORECASE)
_IDLE = re.compile(r"^[ \t]*(?:#.*)?$|^---")
"""Lines without a value: empty ones, comments and ``---``."""

ALL = frozenset(CHECKS)


@dataclass(slots=True)
class Comment:
    """The codes in a comment, and the line (from 1) that it applies to."""

    file: str
    line: int
    about: int
    codes: frozenset[str]
    unknown: tuple[str, ...]
    used: set[str] = field(default_factory=set)


class Comments:
    """All such comments of the files of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.all = [comment for name, text in cluster.texts.items() for comment in _read(name, text)]
        self._by_line: dict[str, dict[int, list[Comment]]] = {}
        for comment in self.all:
            self._by_line.setdefault(comment.file, {}).setdefault(comment.about, []).append(comment)

    def silence(self, code: str, finding: Finding) -> bool:
        """Whether a comment switches the finding off; it then counts as used."""
        lines = self._by_line.get(finding.source.file)
        if not lines or not any(code in comment.codes for comments in lines.values() for comment in comments):
            return False
        silenced = False
        for line in _lines(self._cluster, finding.source, finding.path):
            for comment in lines.get(line, ()):
                if code in comment.codes:
                    comment.used.add(code)
                    silenced = True
        return silenced


def _lines(cluster: Cluster, source: Source, path: Path) -> Iterator[int]:
    """The lines on which an object, and everything in it that a path leads through, begins."""
    yield source.line
    for length in range(1, len(path) + 1):
        step = path[length - 1]
        by_key = isinstance(step, str)
        yield _line_of_key(cluster, source, path[:length]) if by_key else cluster.where(source, path[:length]).line
    yield cluster.where(source, path).line


def _line_of_key(cluster: Cluster, source: Source, path: Path) -> int:
    """The line of ``key:``, as a value that is a block begins below it."""
    line = cluster.where(source, path).line
    text = cluster.texts.get(source.file)
    key = path[-1]
    lines = text.splitlines() if text else []
    for number in range(line, source.line - 1, -1):
        if number <= len(lines) and re.match(rf"[ \t-]*[\"']?{re.escape(str(key))}[\"']?[ \t]*:", lines[number - 1]):
            return number
    return line


def _read(name: str, text: str) -> Iterator[Comment]:
    if "felixpy:" not in text.lower():
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        for found in _COMMENT.finditer(line):
            about = number
            if _IDLE.match(line):
                about = next((at for at in range(number + 1, len(lines) + 1) if not _IDLE.match(lines[at - 1])), 0)
            codes, unknown = _codes(found["codes"])
            yield Comment(name, number, about, codes, unknown)


def _codes(given: str | None) -> tuple[frozenset[str], tuple[str, ...]]:
    """The valid codes of a comment (all codes if it names none), and the invalid ones."""
    if given is None:
        return ALL, ()
    words = [word.strip() for word in given.split(",") if word.strip()]
    known = {code for word in words for code in CHECKS if code.startswith(word.upper())}
    return frozenset(known), tuple(word for word in words if not any(code.startswith(word.upper()) for code in CHECKS))


def complaints(comments: Iterable[Comment], ran: Mapping[str, object]) -> Iterator[tuple[Comment, str]]:
    """Complaints on comments with unknown codes, and on comments without effect although their checks ran."""
    for comment in comments:
        if comment.unknown:
            yield comment, f"there is no check {', '.join(comment.unknown)}"
        elif not comment.used and comment.codes and comment.codes <= set(ran):
            yield comment, "this comment switches nothing off"
