"""The YAML reader, imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from felixpy.manifests.reading.pieces import Value

if TYPE_CHECKING:
    from felixpy.manifests.reading import yamltext


class Yaml:
    """The YAML reader, imported on first use: importing PyYAML takes 50 ms, which JSON input saves."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._reader: yamltext.Reader | None = None
        self.slow = False

    def documents(self, start: int, end: int) -> list[Value]:
        return self._ready().documents(start, end)

    def value(self, start: int, end: int) -> Value:
        return self._ready().value(start, end)

    def item(self, start: int, end: int) -> list[Value]:
        return self._ready().item(start, end)

    def _ready(self) -> yamltext.Reader:
        if self._reader is None:
            from felixpy.manifests.reading import yamlnodes, yamltext

            self._reader = yamltext.Reader(self._text)
            self.slow = not yamlnodes.HAS_C_PARSER
        return self._reader
