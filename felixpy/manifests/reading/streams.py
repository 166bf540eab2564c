"""Common to the readers of large files, which keep only a window in memory."""

from __future__ import annotations

from typing import Any

from felixpy.model import Source


class GivenUp(Exception):
    """The exact reader has to read this file."""


Object = tuple[dict[str, Any], Source]
