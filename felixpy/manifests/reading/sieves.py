"""What may keep objects of large files in a form of its own, so that their documents need not be kept."""

from __future__ import annotations

from typing import Any, Protocol

from felixpy.model import Source


class Sieve(Protocol):
    """Keeps objects of a dump in a form of its own, so that they need not stay documents."""

    def take(self, data: dict[str, Any], source: Source) -> bool:
        """Keep an object whose text is beyond doubt, or leave it."""

    def take_text(self, text: bytes, source: Source) -> bool:
        """Keep an object by its JSON text if nothing of it gets lost, or leave it."""

    def mark(self) -> int:
        """How many objects there are."""

    def forget(self, mark: int) -> None:
        """Drop all that came after a mark: their file has to be read again."""


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
