"""Descriptions of Felix's parameters, as ``felixpy settings`` and docs/settings.md show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from felixpy.config import Config, Parameter


class DescribedParameter(NamedTuple):
    """A description: Felix's name, the FelixConfiguration field ("" if none), default, effect."""

    name: str
    field: str
    default: str
    effect: str


def described() -> Iterator[DescribedParameter]:
    """Every parameter that changes rules or sets, in the order of `Config`."""
    for field in dataclasses.fields(Config):
        row: Parameter = field.metadata["parameter"]
        yield DescribedParameter(row.name, row.field, row.default or "none", row.effect)
