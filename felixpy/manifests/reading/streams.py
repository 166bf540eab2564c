"""What readers of large files have in common, of which no more than a window is held."""

from __future__ import annotations

from typing import Any

from felixpy.model import Source


class GivenUp(Exception):
    """The exact reader has to read this file."""


Object = tuple[dict[str, Any], Source]
