"""Kubernetes quantities and DSCP values, which occur in annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_UP, Context, Decimal

from felixpy.remembered import remembered

SUFFIXES: Mapping[str, Decimal] = {
    **{suffix: Decimal(10) ** power for suffix, power in zip(["n", "u", "m", "", "k", "M", "G", "T", "P", "E"],
                                                              [-9, -6, -3, 0, 3, 6, 9, 12, 15, 18], strict=True)},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], start=1)},
}  # fmt: skip

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:[eE](?P<power>[+-]?\d{1,3})|(?P<suffix>[A-Za-z]{0,2}))", re.ASCII
)
_CONTEXT = Context(prec=400, rounding=ROUND_UP)


@remembered(1024)
def quantity(text: str) -> int | None:
    """A quantity as a whole number, rounded away from zero; None if it is not a quantity. (apimachinery/resource)

    >>> [quantity(text) for text in ("1500m", "2.5", "1e2", "20k", "1Ki", "-1", "fast")]
    [2, 3, 100, 20000, 1024, -1, None]
    """
    found = _QUANTITY.fullmatch(text)
    if not found or len(text) > 100:
        return None
    if found["power"]:
        scale = Decimal(10) ** int(found["power"])
    elif found["suffix"] in SUFFIXES:
        scale = SUFFIXES[found["suffix"]]
    else:
        return None
    return int(_CONTEXT.multiply(Decimal(found["number"]), scale).to_integral_value(ROUND_UP))


DSCP_NAMES: Mapping[str, int] = {
    "DF": 0,
    "EF": 46,
    **{f"CS{number}": 8 * number for number in range(7)},
    **{f"AF{number}{drop}": 8 * number + 2 * drop for number in range(1, 5) for drop in range(1, 4)},
}
"""Names of DSCP values that Calico knows; CS7 is not among them."""


def dscp(text: str) -> int | None:
    """A DSCP value from its number or its name in any case; None if it is neither.

    >>> [dscp(text) for text in ("46", "af41", "64", "gold")]
    [46, 34, None, None]
    """
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) < 5 else 64
        return number if number < 64 else None
    return DSCP_NAMES.get(text.upper())
