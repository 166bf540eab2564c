"""How large values show themselves in a Python session and in a notebook: what they hold, not all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import fields
from typing import Any

from felixpy.escape import visible, xml


class Described:
    """A dataclass whose repr is one line: its short texts, and how much of everything else."""

    __slots__ = ()

    def _described(self) -> Iterator[tuple[str, str]]:
        this: Any = self
        for field in fields(this):
            value = getattr(this, field.name)
            if field.name.startswith("_") or not field.repr:
                continue
            if isinstance(value, str):
                if value:
                    yield field.name, value
            elif isinstance(value, Sized) and len(value):
                yield field.name, str(len(value))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={visible(value)}" for name, value in self._described())
        return f"<{type(self).__name__} {inside}>" if inside else f"<{type(self).__name__}, empty>"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        rows = "".join(f"<tr><th>{xml(name)}</th><td>{xml(value)}</td></tr>" for name, value in self._described())
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"
