"""Chains that differ in names only: rendered once with holes, then filled with the names of each chain.

The chains of two pods with the same number of policies have the same rules, except for names of chains. A template gets
a `Hole` in place of each name and prints it like any text; its output is a `Pattern`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import NoReturn

from msgspec import Struct

from felixpy.ruleset import Chain, Origin

MARK = "\x1a"
"""The delimiter around the number of a hole; names of objects, chains and sets cannot contain it."""

_HOLE = re.compile(f"cali-{MARK}(\\d+){MARK}")


class Hole(str):
    """A placeholder for a name in a chain's text. A template may print it; comparing it raises TypeError."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a template may print a name but not test it: chains share their text")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __len__ = __contains__ = __getitem__ = __iter__ = __mod__ = __add__ = _refuse
    __hash__ = str.__hash__


def hole(number: int) -> Hole:
    """Return the hole for a chain's own name (0) or for one of its other names, counted from 1."""
    return Hole(f"cali-{MARK}{number}{MARK}")


class Splice(Struct, frozen=True, dict=True):
    """A text with holes."""

    text: str

    @cached_property
    def _parts(self) -> list[str]:
        return _HOLE.split(self.text)

    @cached_property
    def _form(self) -> str:
        return "%s".join(part.replace("%", "%%") for part in self._parts[::2])

    @cached_property
    def _choose(self) -> Callable[[Sequence[str]], object]:
        numbers = [int(number) for number in self._parts[1::2]]
        return itemgetter(*numbers) if numbers else lambda values: ()

    def fill(self, values: Sequence[str]) -> str:
        """Return the text with its holes replaced by `values`.

        >>> Splice(f"-A {hole(0)} -j {hole(1)}").fill(("cali-tw-a", "cali-pi-b"))
        '-A cali-tw-a -j cali-pi-b'
        """
        return self._form % self._choose(values)


class Pattern:
    """The rules of chains that differ in names only, from one template. `names` is the number of other names."""

    def __init__(self, template: str, names: int, bodies: Sequence[str], numbers: Sequence[int]) -> None:
        self.numbers = tuple(numbers)
        self.chain = _Nameless(hole(0), tuple(bodies), self.numbers, Origin(words=""), template, names=names)
        """The common chain, with holes for names and hashes."""
        self._bodies = Splice("\n".join(bodies))
        self._texts: dict[tuple[int, bool], Splice] = {}
        self._targets: Splice | None = None

    def draw(self, name: str, names: Sequence[str], origin: Origin, seed: str = "") -> DrawnChain:
        """Return the chain with its own name and the others filled in."""
        bodies = tuple(self._bodies.fill((name, *names)).split("\n")) if self.numbers else ()
        return DrawnChain(
            name, bodies, self.numbers, origin, self.chain.template, seed, pattern=self, names=(name, *names)
        )

    def text(self, family: int, *, restore: bool) -> Splice:
        """Return all rules in one syntax, Felix's (`restore`) or the kernel's, with holes."""
        key = (family, restore)
        if key not in self._texts:
            self._texts[key] = Splice(self.chain.text(family, restore=restore))
        return self._texts[key]

    @property
    def targets(self) -> Splice:
        """The chains that rules jump or go to, one per line, with holes."""
        if self._targets is None:
            self._targets = Splice("\n".join(self.chain.targets))
        return self._targets


class _Nameless(Chain, frozen=True, eq=False, kw_only=True):
    """The common part of the chains of a pattern. `names` is the number of names that each has besides its own."""

    names: int

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """Holes for hashes, numbered after those of the names."""
        return tuple(hole(self.names + number) for number in range(1, len(self.bodies) + 1))


class DrawnChain(Chain, frozen=True, eq=False, kw_only=True):
    """A chain made from a pattern. `names` are its own name and the others, which fill the holes in its rules."""

    pattern: Pattern
    names: tuple[str, ...]

    @cached_property
    def rejects(self) -> bool:
        """As in `Chain`."""
        return self.pattern.chain.rejects

    def _spelt(self, family: int, *, restore: bool) -> str:
        return self.pattern.text(family, restore=restore).fill((*self.names, *self.hashes))

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Felix's chains that rules of this one jump or go to."""
        return tuple(self.pattern.targets.fill(self.names).split())
