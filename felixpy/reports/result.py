"""The results of a run, independent of the format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from felixpy.described import Answer
from felixpy.errors import Path, Place, many, spell
from felixpy.escape import terminal

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")
"""From the gravest down."""

Status = Literal["failed", "passed", "skipped"]


class Related(NamedTuple):
    """Another place that helps to understand a result."""

    place: Place
    message: str


class RuleInfo(NamedTuple):
    """A check: `id` such as FX101, a `name` in words with hyphens, one sentence, and the page in Markdown."""

    id: str
    name: str
    level: Level
    summary: str
    help: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finding of a linter, or the outcome of a test.

    `name` identifies it for people (a rule's code, a test's name), `rule` in `Run.rules`. `subject` is the object and
    `path` the place inside it. `details` are more lines about a failure. `level` applies to failed results only.
    """

    name: str
    message: str = ""
    status: Status = "failed"
    level: Level = "error"
    place: Place | None = None
    rule: str = ""
    subject: str = ""
    path: Path = ()
    hint: str = ""
    details: tuple[str, ...] = ()
    related: tuple[Related, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Run(Answer):
    """One run of one command. `kind` is that of the JSON document, `suite` the name of the JUnit suite."""

    kind: str
    suite: str
    version: str
    results: Sequence[Result]
    rules: Mapping[str, RuleInfo] = field(default_factory=dict)

    def _lines(self) -> Iterable[str]:
        return text(self)

    def _headline(self) -> str:
        return summary(self)

    def _table(self) -> Iterable[Sequence[str]]:
        """The failures."""
        if self.failures:
            yield "where", "level", "check", "object", "message"
        for one in self.failures:
            where = " ".join(filter(None, (one.subject, spell(one.path))))
            yield str(one.place or ""), one.level, one.name, where, one.message

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if result.status == "failed"]

    def counts(self) -> dict[Level, int]:
        """The number of failed results by level, most severe first, without levels that have none."""
        counted = Counter(result.level for result in self.failures)
        return {level: counted[level] for level in LEVELS if counted[level]}

    def fails(self, threshold: Level | None) -> bool:
        """Whether a result failed at this level or a more severe one; None means never."""
        if threshold is None:
            return False
        grave = LEVELS[: LEVELS.index(threshold) + 1]
        return any(result.level in grave for result in self.failures)


def text(run: Run) -> Iterator[str]:
    """``file:line:column: level: FX101: object: path: message (hint)``, then a summary line."""
    for result in run.failures:
        yield from _lines(result)
    yield summary(run)


def _lines(result: Result) -> Iterator[str]:
    yield terminal(heading(result))
    for detail in result.details:
        yield f"    {terminal(detail)}"
    for related in result.related:
        yield f"    {terminal(f'{related.place}: {related.message}')}"


def heading(result: Result) -> str:
    """A failed result on one line."""
    place = str(result.place) if result.place else ""
    parts = [place, result.level, result.name, result.subject, spell(result.path), result.message]
    return ": ".join(part for part in parts if part) + (f" ({result.hint})" if result.hint else "")


def summary(run: Run) -> str:
    """The numbers of failed results by level, in words."""
    counts = [many(number, level) if level != "info" else f"{number} info" for level, number in run.counts().items()]
    return f"{run.suite}: {', '.join(counts) if counts else 'no findings'}"
