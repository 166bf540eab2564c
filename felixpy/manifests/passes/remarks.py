"""Findings of passes about objects, before file, line and severity are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from felixpy.errors import Problem
from felixpy.manifests.reading.places import Places
from felixpy.manifests.validation.findings import Finding
from felixpy.model import Source

Values = TypeVar("Values")


class Remark(NamedTuple):
    """A finding about one object. `subject` is the object in words: ``NetworkPolicy shop/web``."""

    source: Source
    subject: str
    finding: Finding


Remarks = Sequence[Remark | Problem]


class Remarked:
    """The remarks of the passes of one run, in order.

    `strict`: whether what an API server would refuse is an error; None counts as true.
    """

    def __init__(self, strict: bool | None) -> None:
        self.strict = strict
        self.failed = False
        self._remarks: list[Remark | Problem] = []

    def keep(self, result: tuple[Values, Remarks]) -> Values:
        """Record the remarks of a pass and return its values."""
        values, remarks = result
        self._remarks += remarks
        self.failed = self.failed or any(self._severity(remark) == "error" for remark in remarks)
        return values

    def keep_unless_failed(self, result: tuple[Values, Remarks]) -> Values:
        """As `keep`, for a pass whose remarks may be wrong after errors: they are dropped if there are errors."""
        values, remarks = result
        return self.keep((values, () if self.failed else remarks))

    def problems(self, places: Places) -> list[Problem]:
        """All remarks with their places, each once: pods made from one template have the same place."""
        told: set[tuple[Source, Finding]] = set()
        problems = []
        for remark in self._remarks:
            if isinstance(remark, Problem):
                problems.append(remark)
            elif (remark.source, remark.finding) not in told:
                told.add((remark.source, remark.finding))
                problems.append(self._problem(remark, places))
        return problems

    def _severity(self, remark: Remark | Problem) -> str:
        if isinstance(remark, Problem):
            return remark.severity
        lenient = remark.finding.severity == "refused" and self.strict is False
        return "warning" if lenient or remark.finding.severity == "warning" else "error"

    def _problem(self, remark: Remark, places: Places) -> Problem:
        finding = remark.finding
        place = places.find(remark.source, finding.path, key=finding.unknown)
        return Problem(
            place=place,
            subject=remark.subject,
            path=finding.path,
            reason=finding.reason,
            hint=places.in_quotes(place) if finding.quoted else finding.hint,
            severity="warning" if self._severity(remark) == "warning" else "error",
            excerpt=finding.excerpt,
        )
