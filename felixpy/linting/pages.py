"""The page about each check: in docs/lint of a checkout, next to this module if installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "pages", _HERE.parents[1] / "docs" / "lint")


@cache
def page(code: str) -> str:
    """The Markdown text of a check's page; "" if it has none."""
    for folder in _FOLDERS:
        file = folder / f"{code}.md"
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return ""
