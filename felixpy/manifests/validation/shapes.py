"""The schema of manifests: tables of fields, with a fast check and detailed messages.

Every shape has three methods. `compiled` returns a fast function that tests whether a value is clean: valid, complete,
without nulls and without warnings. `findings` yields all errors and warnings for a value. `normal` returns the value as
an API server would store it: without nulls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import msgspec

from felixpy.errors import Path
from felixpy.manifests.validation.findings import TEMPLATE, Complaint, Finding, is_template, kind_of, shown
from felixpy.remembered import remembered

Clean = Callable[[Any], bool]
Complain = Callable[[Any], Complaint | None]
Relation = Callable[[Any, Path], Iterable[Finding]]
"""A check across several fields of one object; it sees the object only when its fields are sound."""


class Shape(ABC):
    """Base of all shapes. `expects` completes "… is expected"; `zero` replaces null inside a list."""

    expects: str = "a value"
    zero: Any = None

    @abstractmethod
    def compiled(self) -> Clean:
        """A fast function that tests whether a value has no findings."""

    @abstractmethod
    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        """All findings for a value that is not null."""

    def normal(self, value: Any) -> Any:
        """The value without nulls."""
        return value

    def mistyped(self, value: Any, path: Path, hint: str = "") -> Finding:
        return Finding(path, f"{self.expects} is expected, {kind_of(value)} was found", hint)


class Anything(Shape):
    """A field that is not validated; it may be null."""

    def compiled(self) -> Clean:
        return lambda value: True

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        return iter(())


class Scalar(Shape):
    """A single value of one of `types`, checked by `complain`."""

    def __init__(
        self, expects: str, types: tuple[type, ...], complain: Complain | None = None, zero: Any = None
    ) -> None:
        self.expects, self.types, self.complain, self.zero = expects, types, complain, zero

    def compiled(self) -> Clean:
        types, complain = frozenset(self.types), self.complain
        if complain is None:
            return lambda value: type(value) in types
        return lambda value: type(value) in types and complain(value) is None

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        if type(value) in self.types:
            complaint = self.complain(value) if self.complain else None
            if complaint and isinstance(value, str) and is_template(value):
                complaint = complaint._replace(hint=TEMPLATE)
            if complaint:
                yield Finding(path, *complaint)
        elif isinstance(value, list | dict):
            yield self.mistyped(value, path)
        elif self.types == (str,):
            yield self.mistyped(value, path)._replace(quoted=True)
        else:
            yield Finding(path, f"{shown(value)}: must be {self.expects}")


def _entry(shape: Shape) -> tuple[type | None, Complain | None, Clean | None]:
    """The parts of a shape, for speed: scalars of one type are checked in place, without a call for each value."""
    if isinstance(shape, Scalar) and len(shape.types) == 1:
        return shape.types[0], shape.complain, None
    return None, None, shape.compiled()


def text(complain: Complain | None = None) -> Scalar:
    """A string."""
    return Scalar("a string", (str,), complain, "")


def flag() -> Scalar:
    """true or false."""
    return Scalar("true or false", (bool,))


def number() -> Scalar:
    """A number, maybe with a fraction."""
    return Scalar("a number", (int, float))


def integer(low: int, high: int, what: str = "must be") -> Scalar:
    """A whole number from `low` to `high`; the complaint is `what` "from … to …"."""

    def complain(value: int) -> Complaint | None:
        return None if low <= value <= high else Complaint(f"{value}: {what} from {low} to {high}")

    return Scalar("a whole number", (int,), complain)


def one_of(*words: str, what: str = "unknown") -> Scalar:
    """One of some words, case-sensitive."""
    allowed = frozenset(words)
    *head, tail = words
    listed = f"{', '.join(head)} or {tail}" if head else f"{tail} is the only one"
    if len(words) > 3:
        listed = f"one of {', '.join(words)}"

    def complain(value: str) -> Complaint | None:
        return None if value in allowed else Complaint(f"{shown(value)}: {what}", listed)

    return Scalar("a string", (str,), complain, "")


class ListOf(Shape):
    """A list; `of` names its items in messages. `repeated` makes the complaint on a duplicate value."""

    def __init__(self, item: Shape, of: str = "", repeated: Complain | None = None) -> None:
        self.item, self.repeated = item, repeated
        self.expects = f"a list of {of}" if of else "a list"
        self.zero = []

    def compiled(self) -> Clean:
        clean, repeated = self.item.compiled(), self.repeated

        def check(value: Any) -> bool:
            if type(value) is not list:
                return False
            for item in value:
                if not clean(item):
                    return False
            return repeated is None or len(value) < 2 or len(set(value)) == len(value)

        return check

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        if not isinstance(value, list):
            yield self.mistyped(value, path, _missing_list(value))
            return
        for index, item in enumerate(value):
            yield from self.item.findings(self.item.zero if item is None else item, (*path, index))
            if self.repeated and item in value[:index]:
                complaint = self.repeated(item)
                if complaint:
                    yield Finding((*path, index), *complaint)

    def normal(self, value: Any) -> Any:
        return [self.item.normal(self.item.zero if item is None else item) for item in value]


def _missing_list(value: Any) -> str:
    """A hint for a value that should be a list."""
    if isinstance(value, dict):
        return f'a "-" is missing before {next(iter(value))}' if value else ""
    return f"write [{value}]"


class MapOf(Shape):
    """A mapping with free keys, such as labels; `complain` checks keys. Null values are treated as empty texts."""

    expects = "a mapping"

    def __init__(self, value: Shape, complain: Complain | None = None, relations: Sequence[Relation] = ()) -> None:
        self.value, self.complain, self.relations = value, complain, relations

    def compiled(self) -> Clean:
        complain_of_key, relations = self.complain, tuple(self.relations)
        kind, complain, clean = _entry(self.value)

        def check(value: Any) -> bool:
            if type(value) is not dict:
                return False
            for key, item in value.items():
                if clean is None:
                    if type(item) is not kind or (complain is not None and complain(item) is not None):
                        return False
                elif not clean(item):
                    return False
                if complain_of_key is not None and complain_of_key(key) is not None:
                    return False
            return not relations or _silent(relations, value)

        return check

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        if not isinstance(value, dict):
            yield self.mistyped(value, path)
            return
        found: list[Finding] = []
        for key, item in value.items():
            complaint = self.complain(key) if self.complain else None
            if complaint:
                found.append(Finding((*path, key), *complaint))
            if item is not None:
                found += self.value.findings(item, (*path, key))
        yield from found or _related(self.relations, self.normal(value), path)

    def normal(self, value: Any) -> Any:
        return {key: self.value.normal("" if item is None else item) for key, item in value.items()}


_encode = msgspec.json.Encoder().encode


def _remembering(clean: Clean) -> Clean:
    """The function with a cache by the text of values."""

    @remembered(1 << 14)
    def is_clean(text: bytes) -> bool:
        return clean(msgspec.json.decode(text))

    def check(value: Any) -> bool:
        try:
            text = _encode(value)
        except (msgspec.MsgspecError, ValueError, OverflowError):
            return clean(value)
        return is_clean(text)

    return check


def _silent(relations: Sequence[Relation], value: Any) -> bool:
    for relation in relations:
        for _ in relation(value, ()):
            return False
    return True


def _related(relations: Sequence[Relation], value: Any, path: Path) -> Iterator[Finding]:
    for relation in relations:
        yield from relation(value, path)


class Object(Shape):
    """A mapping with known fields.

    `opened` allows unknown fields; otherwise they are findings, with the nearest known name, or with the message in
    `elsewhere` for fields of other kinds. `effect` describes the effect of dropping an unknown field. `relations` are
    checks across fields. Values that `repeat`, such as the rules of policies in many namespaces, are checked once:
    clean ones are cached by their text.
    """

    expects = "a mapping"

    def __init__(
        self,
        fields: Mapping[str, Shape],
        required: Sequence[str] = (),
        relations: Sequence[Relation] = (),
        *,
        opened: bool = False,
        elsewhere: Mapping[str, str] = MappingProxyType({}),
        effect: Callable[[Mapping[str, Any], str], str] | None = None,
        repeat: bool = False,
    ) -> None:
        self.fields, self.required, self.relations = fields, required, relations
        self.opened, self.elsewhere, self.effect, self.repeat = opened, elsewhere, effect, repeat
        self.zero = {}

    def compiled(self) -> Clean:
        get = {name: _entry(shape) for name, shape in self.fields.items()}.get
        required, relations, opened = frozenset(self.required), tuple(self.relations), self.opened

        def check(value: Any) -> bool:
            if type(value) is not dict:
                return False
            for key, item in value.items():
                entry = get(key)
                if entry is None:
                    if opened:
                        continue
                    return False
                kind, complain, clean = entry
                if clean is None:
                    if type(item) is not kind or (complain is not None and complain(item) is not None):
                        return False
                elif not clean(item):
                    return False
            if not required <= value.keys():
                return False
            return not relations or _silent(relations, value)

        return _remembering(check) if self.repeat else check

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        if not isinstance(value, dict):
            yield self.mistyped(value, path)
            return
        found: list[Finding] = []
        for key, item in value.items():
            shape = self.fields.get(key)
            if shape is None:
                found += [] if self.opened else [self._unknown(key, value, path)]
            elif item is not None:
                found += shape.findings(item, (*path, key))
        for key in self.required:
            if value.get(key) is None:
                found.append(Finding((*path, key), "required field is missing"))
        yield from found
        if all(finding.severity != "error" for finding in found):
            yield from _related(self.relations, self.normal(value), path)

    def _unknown(self, key: str, value: Mapping[str, Any], path: Path) -> Finding:
        hint = self.elsewhere.get(key, "")
        if not hint:
            near = get_close_matches(str(key), self.fields, 1, 0.7)
            hint = f"{near[0]} was probably meant" if near else ""
        effect = self.effect(value, key) if self.effect else ""
        reason = f"unknown field; {effect}" if effect else "unknown field"
        return Finding((*path, key), reason, hint, "refused", unknown=True)

    def normal(self, value: Any) -> Any:
        fields = self.fields
        return {
            key: fields[key].normal(item) if key in fields else item for key, item in value.items() if item is not None
        }
