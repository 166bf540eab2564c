"""Files → objects as dicts, each with its place; text that is not YAML, JSON or an object becomes a problem."""

from __future__ import annotations

import gc
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple, Protocol, TextIO

from felixpy.errors import Place, Problem
from felixpy.manifests.reading import blocks, jsontext
from felixpy.manifests.reading.deferred import Yaml
from felixpy.manifests.reading.files import MARKS, File, Input, LargeFile, Unintelligible, gather_parts
from felixpy.manifests.reading.pieces import MAX_OBJECT, Flaw, Unreadable, Value, content, cut
from felixpy.manifests.reading.places import Texts
from felixpy.manifests.reading.positions import line_and_column
from felixpy.manifests.reading.sieves import NoSieve, Sieve
from felixpy.manifests.reading.streams import GivenUp, Object
from felixpy.manifests.validation.findings import TEMPLATE
from felixpy.model import Source

MAX_PROBLEMS = 100
"""The maximum of problems reported for one file."""


_JSON = ("{", "---", "\n", " ")
"""How JSON may begin, a stream of documents included."""

_FEW = 2**18
"""Characters up to which the exact reader is quicker: importing another one takes as long as reading twice as many."""

_SURELY_JSON = 2**20
"""What is JSON for so long a stretch is JSON with a mistake, not YAML."""


class Document(NamedTuple):
    """One object as it was written. Lists are split, and their items have apiVersion and kind."""

    data: dict[str, Any]
    source: Source


@dataclass
class Reading:
    """The result of reading: objects in the order of files, problems, and the texts by file name."""

    documents: list[Document] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    texts: Texts = field(default_factory=Texts)
    starts: dict[str, list[int]] = field(default_factory=dict)
    """Where each document with any content begins, by file name."""

    def ordinal(self, source: Source) -> str:
        """Which document of its file an object is, or is an item of: "the third document"."""
        return ordinal(bisect_right(self.starts.get(source.file, []), source.start))

    def order(self, source: Source) -> tuple[int, int]:
        """A sort key for sources in the order in which they were read, those without a file last."""
        return self._numbers.get(source.file, len(self._numbers)), source.start

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.texts)}

    def again(self, wanted: Iterable[tuple[object, Source]]) -> Iterator[tuple[dict[str, Any], Source]]:
        """Read objects again that a sieve took."""
        for name, sources in groupby((source for _, source in wanted), key=lambda source: source.file):
            listed, file = list(sources), self.texts.files[name]
            if isinstance(file, File):
                read = _whole(file.text)
                yield from ((read(source.start, source.end), source) for source in listed)
                continue
            pieces = file.spans([(each.start, each.end) for each in listed])
            for (piece, before), source in zip(pieces, listed, strict=True):
                text = piece if piece.startswith("{") else " " * before + piece  # YAML depends on indentation
                yield _whole(text)(len(text) - len(piece), len(text)), source


def _whole(text: str) -> Callable[[int, int], Any]:
    """A function that reads an object between two offsets, which was read without problems before."""
    yaml = Yaml(text)
    json = jsontext.Reader(text, yaml.value)

    def read(start: int, end: int) -> Any:
        if text[start] == "{":
            with suppress(jsontext.NotJson):
                return json.documents(start, end)[0].data
        return yaml.value(start, end).data

    return read


_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]


def ordinal(number: int) -> str:
    """The number of a document in its file, in words.

    >>> ordinal(3), ordinal(11)
    ('the third document', 'document 11')
    """
    return f"the {_ORDINALS[number - 1]} document" if 1 <= number <= 10 else f"document {number}"


def subject(data: dict[str, Any]) -> str:
    """Kind and name of an object as far as they are there: ``NetworkPolicy shop/web``."""
    metadata = data.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    name = "/".join(str(named[key]) for key in ("namespace", "name") if named.get(key))
    return " ".join(str(part) for part in (data.get("kind"), name) if part)


Progress = Callable[[str, int], None]
"""Called with a file's name and the bytes or characters read so far."""


def _silent(name: str, number: int) -> None:
    pass


def read(
    paths: Sequence[Input],
    *,
    stdin: TextIO | None = None,
    sieve: Sieve | None = None,
    progress: Progress = _silent,
) -> Reading:
    """Read all manifests in `paths`; every file is read, and every problem is reported.

    Objects that `sieve` takes are not among the documents.
    """
    sieve = sieve or NoSieve()
    files, problems = gather_parts(paths, stdin)
    reading = Reading(problems=problems)
    with no_garbage_collection():
        for file in files:
            reading.texts.files[file.name] = file
            if _read_stream(file, reading, sieve, progress):
                continue
            try:
                whole = file if isinstance(file, File) else File(file.name, file.text, file.named)
            except Unintelligible as wrong:
                reading.problems.append(wrong.problem(file.name))
            else:
                reading.texts.files[file.name] = whole
                _FileReader(whole, reading, sieve).read(progress)
    return reading


def _watched(file: File | LargeFile, progress: Progress) -> Iterator[bytes]:
    done = 0
    for chunk in file.chunks():
        done += len(chunk)
        progress(file.name, done)
        yield chunk


def _read_stream(file: File | LargeFile, reading: Reading, sieve: Sieve, progress: Progress) -> bool:
    """Read a JSON file or a large YAML file with the fast readers; False if the exact reader has to read it."""
    if isinstance(file, File) and (len(file.text) < _FEW or not file.text.startswith(_JSON)):
        return False
    from felixpy.manifests.reading import jsonstream

    if _taken(jsonstream.Stream(file.name, _watched(file, progress), sieve), file, reading, sieve):
        return True
    if isinstance(file, File):
        return False
    from felixpy.manifests.reading import yamlstream

    return _taken(yamlstream.Stream(file.name, _watched(file, progress)), file, reading, sieve)


class _Stream(Protocol):
    """Yields batches of a file's objects, each to be processed before the next. Raises GivenUp.

    `starts` are the characters where documents begin.
    """

    starts: list[int]

    def __iter__(self) -> Iterator[Iterable[Object]]: ...


def _taken(stream: _Stream, file: File | LargeFile, reading: Reading, sieve: Sieve) -> bool:
    """Take all objects of a stream, or none."""
    documents: list[Document] = []
    mark, take = sieve.mark(), sieve.take
    try:
        for objects in stream:
            documents += [Document(data, source) for data, source in objects if not take(data, source)]
    except (GivenUp, OSError, EOFError, zlib.error):
        sieve.forget(mark)
        return False
    if not (stream.starts or isinstance(file, File)):
        return False
    reading.starts[file.name] = stream.starts
    reading.documents += documents
    return True


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Disable garbage collection while millions of objects are made, none of which is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _FileReader:
    def __init__(self, file: File, reading: Reading, sieve: Sieve) -> None:
        self._file, self._text, self._reading = file, file.text, reading
        self._starts = reading.starts[file.name] = []
        self._problems: list[Problem] = []
        self._documents: list[Document] = []
        self._strangers: list[Problem] = []
        self._untold = 0
        self._yaml = Yaml(file.text)
        self._json = jsontext.Reader(file.text, self._yaml.value)
        self._blocks = blocks.Reader(file.text, self._yaml.item)
        self._line, self._counted = 1, 0
        self._take_elsewhere, self._last = sieve.take, -1

    def read(self, progress: Progress) -> None:
        for start, end in cut(self._text):
            progress(self._file.name, start)
            begin = content(self._text, start, end)
            if begin == end:
                continue
            try:
                values = self._blocks.documents(begin, end) or self._values(start, begin, end)
            except Unreadable as wrong:
                self._starts.append(begin)
                self._tell(wrong.flaw, self._ordinal(), excerpt=True)
                continue
            for value in values:
                self._starts.append(value.start)
                self._take(value, {})
        self._finish()

    def _finish(self) -> None:
        """Report the problems of a file; one in a folder that has no object at all is skipped with a warning."""
        foreign = not (self._file.named or self._documents) and not any(mark in self._text for mark in MARKS)
        if self._problems and foreign:
            reason = f"skipped: nothing in it is a Kubernetes object ({self._problems[0].reason})"
            place = self._problems[0].place
            self._problems, self._untold = [Problem(place=place, reason=reason, severity="warning")], 0
        elif self._strangers and not (self._file.named or self._documents or self._problems):
            reason = "skipped: nothing in it is a Kubernetes object (apiVersion and kind are missing)"
            self._problems = [Problem(place=Place(self._file.name), reason=reason, severity="warning")]
        else:
            self._problems += self._strangers
        if self._untold:
            reason = f"there are {self._untold} more problems in this file"
            self._problems.append(Problem(place=Place(self._file.name, self._line), reason=reason))
        if self._yaml.slow:
            self._warn_slow()
        self._reading.problems += self._problems
        self._reading.documents += self._documents

    def _values(self, start: int, begin: int, end: int) -> list[Value]:
        """The values of one document. JSON is tried first if possible: parsing it is ten times as fast."""
        if self._text[begin] not in "{[":
            return self._yaml.documents(start, end)
        try:
            return self._json.documents(begin, end)
        except jsontext.NotJson as wrong:
            if wrong.offset - begin > _SURELY_JSON:
                raise Unreadable(wrong.offset, wrong.reason) from None
            try:
                return self._yaml.documents(start, end)
            except Unreadable as other:
                if other.reached >= wrong.offset:
                    raise
                raise Unreadable(wrong.offset, wrong.reason) from None

    def _take(self, value: Value, inherited: dict[str, Any], number: int = 0) -> None:
        """Keep an object, or those of a list; items of a PodList get apiVersion and kind from their list.

        `number` is that of an item.
        """
        data, start, end, parts, flaws = value
        if flaws:
            self._tell_flaws(value, number)
            if any(flaw.hint == TEMPLATE for flaw in flaws):
                return
        if parts is not None:
            typed = _type_of_items(data)
            for count, part in enumerate(parts, 1):
                self._take(part, typed, count)
            return
        if type(data) is not dict:
            self._tell_stranger(value, number, f"a Kubernetes object is expected, not {_named(data)}")
            return
        if end - start > MAX_OBJECT:
            reason = f"an object of {(end - start) >> 20} MiB; at most {MAX_OBJECT >> 20} MiB are read"
            self._tell(Flaw(start, reason, "the API server takes no more than 3 MiB"), self._described(data, number))
            return
        for key, given in inherited.items():
            data[key] = data.get(key) or given
        version, kind = data.get("apiVersion"), data.get("kind")
        if version and kind and type(version) is type(kind) is str:
            source = Source(self._file.name, self._line_of(start), start, end)
            # An aliased value has the place of its anchor.
            taken = start > self._last and not flaws and self._take_elsewhere(data, source)
            self._last = max(self._last, start)
            if not taken:
                self._documents.append(Document(data, source))
        elif "apiVersion" not in data and "kind" not in data:
            self._tell_stranger(value, number, "apiVersion and kind are missing")
        else:
            self._tell(Flaw(start, _incomplete(version, kind)), self._described(data, number))

    def _line_of(self, offset: int) -> int:
        """The line of an offset, counted from the last object, not from the start; only aliases lead backwards."""
        if offset < self._counted:
            self._line, self._counted = 1, 0
        self._line += self._text.count("\n", self._counted, offset)
        self._counted = offset
        return self._line

    def _ordinal(self, number: int = 0) -> str:
        """The document that is being read, or an item of it, in words."""
        return (f"item {number} of " if number else "") + ordinal(len(self._starts))

    def _described(self, data: dict[str, Any], number: int) -> str:
        """An object without a complete name, in words: its number, kind and name, as far as known."""
        metadata = data.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        known = [data.get("apiVersion"), data.get("kind"), f"name {name}" if name else None]
        told = ", ".join(part for part in known if isinstance(part, str) and part)
        return self._ordinal(number) + (f" ({told})" if told else "")

    def _tell_stranger(self, value: Value, number: int, reason: str) -> None:
        flaw = Flaw(value.start, reason, "is this a Kubernetes manifest?")
        self._tell(flaw, self._ordinal(number), among=self._strangers)

    def _tell_flaws(self, value: Value, number: int) -> None:
        data = value.data
        named = subject(data) if isinstance(data, dict) and data.get("kind") else ""
        for flaw in value.flaws:
            self._tell(flaw, named or self._ordinal(number))

    def _tell(self, flaw: Flaw, named: str, *, excerpt: bool = False, among: list[Problem] | None = None) -> None:
        """Keep a problem for the end of the file, or only count it when there are many."""
        if len(self._problems) + len(self._strangers) >= MAX_PROBLEMS:
            self._untold += 1
            return
        problem = Problem(
            place=Place(self._file.name, *line_and_column(self._text, flaw.offset)),
            subject=named,
            path=flaw.path,
            reason=flaw.reason,
            hint=flaw.hint,
            excerpt=_excerpt(self._text, flaw.offset) if excerpt else "",
        )
        (self._problems if among is None else among).append(problem)

    def _warn_slow(self) -> None:
        reason = "PyYAML was installed without its C parser, reading YAML takes ten times as long"
        problem = Problem(place=Place(self._file.name), reason=reason, hint="install libyaml", severity="warning")
        if all(known.reason != reason for known in self._reading.problems):
            self._reading.problems.append(problem)


def _incomplete(version: object, kind: object) -> str:
    fields = {"apiVersion": version, "kind": kind}
    missing = [key for key, value in fields.items() if value in (None, "")]
    wrong = [f"{key} must be text" for key, value in fields.items() if key not in missing and type(value) is not str]
    absent = [f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"] if missing else []
    return ", ".join(absent + wrong)


def _type_of_items(data: dict[str, Any] | None) -> dict[str, Any]:
    """apiVersion and kind for the items of a PodList or the like; {} for bare arrays and kind List."""
    kind = data["kind"] if data else "List"
    return {} if kind == "List" else {"apiVersion": (data or {}).get("apiVersion"), "kind": kind.removesuffix("List")}


def _named(data: object) -> str:
    names = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", type(None): "null"}
    return names.get(type(data), "this")


def _excerpt(text: str, offset: int) -> str:
    """The line around an offset and a caret below it."""
    start = text.rfind("\n", 0, offset) + 1
    shown = max(start, offset - 60)
    end = text.find("\n", offset, offset + 60)
    line = text[shown : end if end >= 0 else offset + 60].rstrip().expandtabs(1)
    return f"{line}\n{' ' * (offset - shown)}^" if line else ""
