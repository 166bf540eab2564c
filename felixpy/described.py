"""Short representations of large values in Python sessions and notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import fields
from typing import Any

from felixpy.escape import visible, xml


class Described:
    """A dataclass whose repr is one line: its short texts, and the sizes of everything else."""

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


class Answer:
    """An answer: `str` is the output of the command, `repr` its first line; in notebooks it is a table."""

    __slots__ = ()

    def _lines(self) -> Iterable[str]:
        """The lines that the command prints, the headline first."""
        raise NotImplementedError

    def _table(self) -> Iterable[Sequence[str]]:
        """The rows of a table, its head first; without any row the text is shown."""
        return ()

    def _headline(self) -> str:
        return next(iter(self._lines()), "")

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {visible(' '.join(self._headline().split()))}>"

    def _repr_html_(self) -> str:
        """A table for notebooks, or the text."""
        head, *rows = [*self._table()] or [()]
        if not rows:
            return f"<pre>{xml(str(self))}</pre>"
        lines = [f"<tr>{''.join(f'<th>{xml(cell)}</th>' for cell in head)}</tr>"]
        lines += (f"<tr>{''.join(f'<td>{xml(cell)}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table><caption>{xml(self._headline())}</caption>{''.join(lines)}</table>"
