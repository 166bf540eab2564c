"""Where values stand in the texts that were read."""

from __future__ import annotations

import re
from collections.abc import Mapping

from felixpy.errors import Path, Place
from felixpy.manifests.reading.positions import locate
from felixpy.model import Source

_PLAIN = re.compile(r"[^\s\[\]{},#\"'][^\[\]{},#\"\n]*")
"""A scalar without quotes, up to what ends it."""


class Places:
    """Finds places in the texts that were read. A cluster keeps it, so it keeps nothing else alive."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts

    def find(self, source: Source, path: Path, *, key: bool = False) -> Place:
        """File, line and column of the value at a path of an object, or of its key."""
        text = self.texts.get(source.file)
        if text is None:
            return Place(source.file, source.line)
        return Place(source.file, *locate(text, source, path, key=key))

    def in_quotes(self, place: Place) -> str:
        """Advice to put the plain scalar at a place into quotes, as it is written there; "" if there is none."""
        lines = self.texts.get(place.file, "").splitlines()
        line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
        written = _PLAIN.match(line, max(place.column - 1, 0))
        return f'write "{written[0].rstrip()}"' if written else ""
