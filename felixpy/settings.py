"""Felix's parameters described for people: what ``felixpy settings`` and docs/settings.md show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from felixpy.config import Config
from felixpy.parameters import FailsafePort


class Described(NamedTuple):
    """A parameter for people: Felix's name, the FelixConfiguration field ("" if none), default, what it changes."""

    name: str
    field: str
    default: str
    effect: str


def described() -> Iterator[Described]:
    """Every parameter that changes rules or sets, in the order of `Config`."""
    for field in dataclasses.fields(Config):
        yield Described(
            field.metadata["name"], field.metadata["field"], _spelt(field.default), field.metadata["effect"]
        )


def _spelt(value: object) -> str:
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, FailsafePort):
        return f"{value.protocol}:{value.port}"
    if isinstance(value, tuple):
        is_range = all(isinstance(item, int) for item in value)
        return (":" if is_range else ",").join(map(_spelt, value))
    if isinstance(value, bool):
        return str(value).lower()
    return hex(value) if isinstance(value, int) and value > 0xFFFFFFF else str(value)
