"""Findings of checks and converters about one object, before file and line are known."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from felixpy.errors import Path

Severity = Literal["error", "refused", "warning"]
"""refused: the API server does not take it, though it can be read. An error, unless loading is lenient."""


class Complaint(NamedTuple):
    """A problem with one value: reason, hint and severity."""

    reason: str
    hint: str = ""
    severity: Severity = "error"
    excerpt: str = ""


class Finding(NamedTuple):
    """A complaint about the value at `path` inside an object.

    `unknown`: the field itself is unknown. `quoted`: text is expected, and the value would be text in quotes, so the
    hint is its spelling in the file.
    """

    path: Path
    reason: str
    hint: str = ""
    severity: Severity = "error"
    excerpt: str = ""
    unknown: bool = False
    quoted: bool = False


class Ignored(Exception):
    """Raised by a converter: the API takes the object, Calico or Felix then treat it as absent."""

    def __init__(self, path: Path, reason: str, hint: str = "") -> None:
        self.finding = Finding(path, reason, hint, "warning")
        super().__init__(reason)


def shown(value: Any) -> str:
    """A scalar as it is written in a manifest.

    >>> shown("web"), shown(80), shown(True)
    ('"web"', '80', 'true')
    """
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


TEMPLATE = 'this looks like a template; render it first, such as with "helm template", jinja2 or envsubst'
_PLACEHOLDER = re.compile(r"\{\{|\{%|\$\{\w+\}")


def is_template(text: str) -> bool:
    """Whether a text has a placeholder of a template.

    >>> [is_template(text) for text in ("{{ .Values.name }}", "{% if x %}", "${NAME}", "a{b}")]
    [True, True, True, False]
    """
    return _PLACEHOLDER.search(text) is not None


KINDS_OF_VALUES: dict[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}


def kind_of(value: Any) -> str:
    """The type of a value, in words."""
    return KINDS_OF_VALUES.get(type(value), type(value).__name__)
