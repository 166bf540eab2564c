"""Felix's parameters described for people: what ``felixpy settings`` and docs/settings.md show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from felixpy.config import Config, Parameter


class DescribedParameter(NamedTuple):
    """A parameter for people: Felix's name, the FelixConfiguration field ("" if none), default, what it changes."""

    name: str
    field: str
    default: str
    effect: str


def described() -> Iterator[DescribedParameter]:
    """Every parameter that changes rules or sets, in the order of `Config`."""
    for field in dataclasses.fields(Config):
        row: Parameter = field.metadata["parameter"]
        yield DescribedParameter(row.name, row.field, row.default or "none", row.effect)
