"""The places of values in the texts that were read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from felixpy.errors import Path, Place
from felixpy.manifests.reading.files import File, LargeFile
from felixpy.manifests.reading.positions import locate
from felixpy.model import Source

_PLAIN = re.compile(r"[^\s\[\]{},#\"'][^\[\]{},#\"\n]*")
"""A scalar without quotes, up to what ends it."""


class Texts(Mapping[str, str]):
    """The texts of files by name. Those of large files are read again on demand."""

    def __init__(self, files: Mapping[str, File | LargeFile] | None = None) -> None:
        self.files = {**(files or {})}

    def __getitem__(self, name: str) -> str:
        return self.files[name].text

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


class Places:
    """Finds places in the texts that were read. As clusters keep it, it refers to nothing else."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts

    def find(self, source: Source, path: Path, *, key: bool = False) -> Place:
        """File, line and column of the value at a path of an object, or of its key."""
        file = self.texts.files.get(source.file)
        if file is None:
            return Place(source.file, source.line)
        if isinstance(file, File) or not source.end:
            return Place(source.file, *locate(file.text if source.end else "", source, path, key=key))
        [(piece, before)] = file.spans([(source.start, source.end)])
        if piece.startswith(("{", "[")):
            line, column = locate(piece, Source(source.file, source.line, 0, len(piece)), path, key=key)
            return Place(source.file, line, column + before if line == source.line else column)
        placed = " " * before + piece
        return Place(source.file, *locate(placed, Source(source.file, source.line, before, len(placed)), path, key=key))

    def in_quotes(self, place: Place) -> str:
        """A hint to quote the plain scalar at a place, with its original spelling; "" if there is none."""
        lines = self.texts.get(place.file, "").splitlines()
        line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
        written = _PLAIN.match(line, max(place.column - 1, 0))
        return f'write "{written[0].rstrip()}"' if written else ""
