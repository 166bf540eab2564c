"""The interface for keeping objects of large files in a compact form, so that their documents need not be kept."""

from __future__ import annotations

from typing import Any, Protocol

from felixpy.model import Source


class Sieve(Protocol):
    """Keeps objects of a file in a compact form instead of as documents."""

    def take(self, data: dict[str, Any], source: Source) -> bool:
        """Keep an object that was parsed exactly, if possible; return whether it was kept."""

    def take_text(self, text: bytes, source: Source) -> bool:
        """Keep an object by its JSON text, if that loses nothing; return whether it was kept."""

    def mark(self) -> int:
        """The number of objects kept so far."""

    def forget(self, mark: int) -> None:
        """Drop all objects kept after a mark: their file has to be read again."""


class NoSieve:
    """A sieve that takes nothing."""

    def take(self, data: dict[str, Any], source: Source) -> bool:
        return False

    def take_text(self, text: bytes, source: Source) -> bool:
        return False

    def mark(self) -> int:
        return 0

    def forget(self, mark: int) -> None:
        pass
