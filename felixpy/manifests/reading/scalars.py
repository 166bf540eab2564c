"""The values of YAML scalars by the rules of Kubernetes' YAML reader, which differ from PyYAML's.

Kubernetes converts YAML to JSON first (sigs.k8s.io/yaml on go-yaml v2), so every value becomes text, a number, a
boolean or null. Numbers without a fraction are ints here in any spelling: Go writes 1e3 as 1000.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
import sys
from decimal import Decimal

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
for _word in ("y", "yes", "true", "on"):
    _WORDS |= dict.fromkeys((_word, _word.capitalize(), _word.upper()), True)
for _word in ("n", "no", "false", "off"):
    _WORDS |= dict.fromkeys((_word, _word.capitalize(), _word.upper()), False)

for _word in (".inf", ".Inf", ".INF"):
    _WORDS |= {_word: math.inf, f"+{_word}": math.inf, f"-{_word}": -math.inf}
_WORDS |= dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan)

_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")

_LONGEST_INTEGER = 67
"""A sign, a base prefix and 64 binary digits. What is longer than that does not fit 64 bits."""

_WHOLE = 1e21
"""From here on Go writes a float with an exponent, which no integer field accepts."""


class Refused(ValueError):
    """A scalar that Kubernetes' reader refuses."""


def plain(text: str) -> Scalar:
    """The value of an unquoted scalar.

    >>> [plain(word) for word in ("on", "022", "0o22", "089", "1_000", "1e3", "53:54", "2024-01-01", "~")]
    [True, 18, 18, 89, 1000, 1000, '53:54', '2024-01-01', None]
    """
    return _stored(_resolved(text), text)


def number(digits: str) -> int | float:
    """The value of a number with a fraction or exponent in JSON."""
    value = _stored(float(digits), digits)
    assert isinstance(value, int | float)
    return value


def _resolved(text: str) -> Scalar:
    """The value of an unquoted scalar in go-yaml v2. (resolve.go)

    Underscores in numbers are dropped; 0x, 0o, 0b and a leading 0 give the base; an integer that exceeds 64 bits is a
    float, and a float that overflows is text.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    if len(digits) <= _LONGEST_INTEGER and _INTEGER.fullmatch(digits):
        value = _integer(digits)
        if -(2**63) <= value < (2**63 if digits[0] in "+-" else 2**64):
            return value
    fraction = float(digits) if _FLOAT.fullmatch(digits) else math.inf
    return text if math.isinf(fraction) else fraction


def _integer(digits: str) -> int:
    unsigned = digits.lstrip("+-")
    octal = len(unsigned) > 1 and unsigned[0] == "0" and unsigned.isdigit()
    return int(digits, 8 if octal else 0)


def _stored(value: Scalar, text: str) -> Scalar:
    """A value as JSON represents it: a float without a fraction becomes an int, infinity is refused."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise Refused(f"{text} is not a number that Kubernetes can store")
    if not value.is_integer() or abs(value) >= _WHOLE:
        return value
    return int(value) if abs(value) < 1e16 else int(Decimal(repr(value)))  # the digits that are printed, then zeros


def plain_key(text: str) -> str:
    """An unquoted key as text: in the conversion to JSON Go formats numbers and booleans. (sigs.k8s.io/yaml)

    >>> [plain_key(key) for key in ("on", "1", "0x10", "1.50", "1e6", "app")]
    ['true', '1', '16', '1.5', '1e+06', 'app']
    """
    return _spelled_out(_resolved(text))


def _spelled_out(value: Scalar) -> str:
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _shortest(value)
    if isinstance(value, int) and value < 2**63:
        return str(value)
    raise Refused("a key must be text" + (", not null" if value is None else ""))


def _shortest(value: float) -> str:
    """Go's FormatFloat(value, 'g', -1, 32): the fewest digits that identify this 32-bit number."""
    try:
        packed = struct.pack("f", value)
    except OverflowError:
        packed = struct.pack("f", math.copysign(math.inf, value))
    if not math.isfinite(near := struct.unpack("f", packed)[0]):
        return ".nan" if math.isnan(near) else ".inf" if near > 0 else "-.inf"
    digits = next(n for n in range(9) if n == 8 or struct.pack("f", float(f"{near:.{n}e}")) == packed)
    spelling = f"{near:.{digits}e}"
    exponent = int(spelling.partition("e")[2])
    return spelling if not -4 <= exponent < 6 else f"{near:.{max(digits - exponent, 0)}f}"


_STANDARD = "tag:yaml.org,2002:"


def tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit tag, such as ``!!str 80``, whether or not it is quoted."""
    return _stored(_as_tagged(tag, text), text)


def tagged_key(tag: str, text: str) -> str:
    """A key with an explicit tag, as text."""
    return _spelled_out(_as_tagged(tag, text))


def _as_tagged(tag: str, text: str) -> Scalar:
    name = tag.removeprefix(_STANDARD) if tag.startswith(_STANDARD) else ""
    if name not in _TAGS:
        raise Refused(f"the tag {spelled(tag)} is not known")
    if name == "binary":
        return _binary(text)
    if name in ("str", "timestamp"):
        return text
    value = _resolved(text)
    if name == "float" and type(value) is int and value < 2**63:
        return float(value)
    if type(value) is not _TAGS[name]:
        raise Refused(f'"{text[:40]}" does not fit its tag {spelled(tag)}')
    return value


_TAGS = {
    "str": str,
    "timestamp": str,
    "binary": str,
    "merge": str,
    "int": int,
    "float": float,
    "bool": bool,
    "null": type(None),
}
"""Standard tags and their types. Dates are text in Kubernetes."""


def check(tag: str, collection: str) -> None:
    """Refuse a tag other than the standard one on a collection (map or list)."""
    if tag != {"map": "tag:yaml.org,2002:map", "list": "tag:yaml.org,2002:seq"}[collection]:
        raise Refused(f"the tag {spelled(tag)} is not known for a {collection}")


def spelled(tag: str) -> str:
    """A tag in its short form, such as ``!!str``."""
    return "!!" + tag.removeprefix(_STANDARD) if tag.startswith(_STANDARD) else tag


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.splitlines()), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        raise Refused("the value of !!binary is not base64") from None
