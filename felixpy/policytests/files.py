"""Test files → values. Errors in a file are problems with a place, as in manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal, NamedTuple, TypeAlias

from felixpy import reading
from felixpy.errors import InputError, Path, Place, Problem, UsageError
from felixpy.manifests.reading.pieces import Unreadable, cut
from felixpy.manifests.reading.positions import line_and_column, locate, locate_items
from felixpy.manifests.validation.findings import Complaint, Finding
from felixpy.manifests.validation.shapes import Anything, ListOf, MapOf, Object, Shape, flag, one_of, text
from felixpy.model import Source
from felixpy.selector import SelectorError, parse

SUFFIX = ".felixtest.yaml"

Verdict = Literal["allow", "deny"]


class PodChoice(NamedTuple):
    """Pods chosen by namespace ("" for any) and by a Calico selector ("" for all)."""

    namespace: str
    selector: str

    def __str__(self) -> str:
        parts = [f"namespace {self.namespace}" if self.namespace else "", self.selector]
        return "pods with " + ", ".join(part for part in parts if part) if any(parts) else "all pods"


End: TypeAlias = str | PodChoice
"""A source or destination: a name, an address, a CIDR, a service, ``internet``, ``host``, or a choice of pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Connections that are expected to be allowed or denied: from every source to every destination on every port.

    With `some` one of them is enough. `by` is the policy that must decide, "" for any. `ports` are written as for
    ``felixpy trace`` (``5432``, ``53/udp``, ``icmp``, a name); without any it is a ping.
    """

    sources: tuple[End, ...]
    destinations: tuple[End, ...]
    ports: tuple[str, ...]
    expect: Verdict
    by: str
    some: bool
    note: str
    place: Place

    @property
    def title(self) -> str:
        """A title such as ``shop/web → shop/db 5432: allow``."""
        ends = (", ".join(map(str, each)) for each in (self.sources, self.destinations))
        ports = f" {', '.join(self.ports)}" if self.ports else ""
        return f"{' → '.join(ends)}{ports}: {self.expect}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTest:
    """One test file. Paths of `manifests` are as written; `matrix` is the table that must match, None without one.

    `unchanged_since` is a git revision since which no flow may have opened or closed but those in `changes`.
    """

    name: str
    file: str
    place: Place
    manifests: tuple[str, ...] = ()
    node: str = ""
    calico_version: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    expectations: tuple[Expectation, ...] = ()
    matrix: str | None = None
    matrix_place: Place | None = None
    unchanged_since: str = ""
    unchanged_place: Place | None = None
    changes: tuple[str, ...] = ()


# --- what a file may say


def _selector(value: str) -> Complaint | None:
    try:
        parse(value)
    except SelectorError as wrong:
        return Complaint(f"not a valid selector: {wrong}")
    return None


_PODS = Object({"namespace": text(), "selector": text(_selector), "labels": MapOf(text())})


class _End(Shape):
    """A name or a choice of pods, or a list of these."""

    expects = "a name, an address, a mapping with namespace, selector or labels, or a list of these"

    def compiled(self) -> Any:
        return lambda value: not list(self.findings(value, ()))

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        if isinstance(value, list):
            if not value:
                yield Finding(path, "at least one end is needed")
            for number, each in enumerate(value):
                yield from self._one(each, (*path, number))
        else:
            yield from self._one(value, path)

    def _one(self, value: Any, path: Path) -> Iterator[Finding]:
        if isinstance(value, dict):
            yield from _PODS.findings(value, path)
        elif not isinstance(value, str) or not value:
            yield self.mistyped(value, path)


class _Port(Shape):
    """A number, a name, either with a protocol, or ``icmp``."""

    expects = "a port such as 443, 53/udp, https or icmp"

    def compiled(self) -> Any:
        return lambda value: not list(self.findings(value, ()))

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        from felixpy.topology.question import parse_target

        if isinstance(value, bool) or not isinstance(value, int | str):
            yield self.mistyped(value, path)
            return
        try:
            parse_target(f"ns/pod:{value}")
        except UsageError as wrong:
            yield Finding(path, str(wrong).partition(": ")[2])


_EXPECTATION = Object(
    {
        "from": _End(),
        "to": _End(),
        "ports": ListOf(_Port(), "ports"),
        "expect": one_of("allow", "deny", what="unknown verdict"),
        "by": text(),
        "some": flag(),
        "note": text(),
    },
    required=("from", "to", "expect"),
)
TEST = Object(
    {
        "apiVersion": one_of("felixpy/v1"),
        "kind": one_of("PolicyTest"),
        "name": text(),
        "manifests": ListOf(text(), "paths"),
        "node": text(),
        "calico-version": text(),
        "settings": MapOf(Anything()),
        "expectations": ListOf(_EXPECTATION, "expectations"),
        "matrix": text(),
        "unchanged-since": text(),
        "changes": ListOf(text(), "flows"),
    }
)


# --- reading


def find(paths: Sequence[str]) -> list[str]:
    """The test files in paths: files, and folders with everything below. Raises UsageError.

    Hidden folders are left out, as with manifests.
    """
    found: dict[str, None] = {}
    for name in paths or ["."]:
        path = FilePath(name)
        if path.is_dir():
            below = (each for each in path.rglob(f"*{SUFFIX}") if not _hidden(each.relative_to(path)))
            found.update({str(each): None for each in sorted(below)})
        elif path.exists():
            found[name] = None
        else:
            raise UsageError(f"{name}: there is no such file or folder")
    if not found:
        where = ", ".join(paths) or "this folder"
        raise UsageError(f"no test files (*{SUFFIX}) in {where}; felixpy test --init writes a first one")
    return list(found)


def _hidden(path: FilePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_tests(files: Iterable[str]) -> list[PolicyTest]:
    """The tests in all files. Raises InputError with all problems of all files."""
    tests: list[PolicyTest] = []
    problems: list[Problem] = []
    for file in files:
        try:
            tests += _Reader(file).tests()
        except InputError as wrong:
            problems += wrong.problems
    if problems:
        raise InputError(problems)
    return tests


class _Reader:
    """Reads one file; it may hold several documents, each a test."""

    def __init__(self, file: str) -> None:
        self._file = file
        try:
            self._text = reading.read_text(file)
        except reading.UnreadableFile as wrong:
            raise InputError([Problem(place=Place(file), reason=wrong.reason, hint=wrong.hint)]) from wrong

    def tests(self) -> list[PolicyTest]:
        from felixpy.manifests.reading.yamltext import Reader

        reader = Reader(self._text)
        found, problems = [], []
        try:
            values = [value for start, end in cut(self._text) for value in reader.documents(start, end)]
        except Unreadable as wrong:
            place = Place(self._file, *line_and_column(self._text, wrong.flaw.offset))
            raise InputError([Problem(place=place, reason=wrong.flaw.reason, hint=wrong.flaw.hint)]) from wrong
        for data, start, end, parts, flaws in values:
            if data is None and parts is None:
                continue
            data = [] if parts is not None else data
            source = Source(self._file, line_and_column(self._text, start)[0], start, end)
            problems += [
                Problem(place=Place(self._file, *line_and_column(self._text, flaw.offset)), reason=flaw.reason)
                for flaw in flaws
            ]
            findings = list(TEST.findings(data, ()))
            problems += [self._problem(source, finding) for finding in findings]
            if not findings and not flaws:
                found.append(self._test(TEST.normal(data), source))
        if problems:
            raise InputError(problems)
        return found

    def _place(self, source: Source, path: Path, *, key: bool = False) -> Place:
        return Place(self._file, *locate(self._text, source, path, key=key))

    def _problem(self, source: Source, finding: Finding) -> Problem:
        return Problem(
            place=self._place(source, finding.path, key=finding.unknown),
            path=finding.path,
            reason=finding.reason,
            hint=finding.hint,
        )

    def _test(self, data: Mapping[str, Any], source: Source) -> PolicyTest:
        expectations = data.get("expectations") or ()
        places = locate_items(self._text, source, ("expectations",)) if expectations else []
        return PolicyTest(
            name=data.get("name") or FilePath(self._file).name.removesuffix(SUFFIX),
            file=self._file,
            place=Place(self._file, source.line),
            manifests=tuple(data.get("manifests") or ()),
            node=data.get("node", ""),
            calico_version=data.get("calico-version", ""),
            settings=tuple((name, _plain(value)) for name, value in (data.get("settings") or {}).items()),
            expectations=tuple(
                _expectation(each, Place(self._file, *place)) for each, place in zip(expectations, places, strict=True)
            ),
            matrix=data.get("matrix"),
            matrix_place=self._place(source, ("matrix",)) if "matrix" in data else None,
            unchanged_since=data.get("unchanged-since", ""),
            unchanged_place=self._place(source, ("unchanged-since",)) if "unchanged-since" in data else None,
            changes=tuple(data.get("changes") or ()),
        )


def _plain(value: Any) -> str:
    """The value of a setting as text, as in Felix's environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _expectation(data: Mapping[str, Any], place: Place) -> Expectation:
    return Expectation(
        sources=tuple(_ends(data["from"])),
        destinations=tuple(_ends(data["to"])),
        ports=tuple(map(str, data.get("ports") or ())),
        expect=data["expect"],
        by=data.get("by", ""),
        some=data.get("some", False),
        note=data.get("note", ""),
        place=place,
    )


def _ends(value: Any) -> Iterator[End]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str):
            yield each
            continue
        labels = [f'{name} == "{value}"' for name, value in (each.get("labels") or {}).items()]
        selector = each.get("selector", "")
        parts = [*labels, *([f"({selector})" if labels else selector] if selector else [])]
        yield PodChoice(each.get("namespace", ""), " && ".join(parts))
