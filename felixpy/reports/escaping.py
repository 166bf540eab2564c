"""Text of the input made harmless for where it is printed."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def line(text: str) -> str:
    """One line for a terminal or a log: control and direction characters become escapes.

    >>> line("a\\nb")
    'a\\\\x0ab'
    """
    return _CONTROL.sub(_escape, text)


def xml(text: str) -> str:
    """Text that an XML 1.0 document may hold, before its markup characters are escaped."""
    return _NOT_XML.sub(_escape, text)


def command(text: str, *, prop: bool = False) -> str:
    """Data or, stricter, a property of a workflow command of GitHub (``::error file=…::…``).

    >>> command("50% of\\nall"), command("a:b,c", prop=True)
    ('50%25 of%0Aall', 'a%3Ab%2Cc')
    """
    kept = "\n".join(line(part) for part in re.split(r"\r\n|\r|\n", text))
    found = kept.replace("%", "%25").replace("\n", "%0A")
    return found.replace(":", "%3A").replace(",", "%2C") if prop else found
