"""Finds what is probably wrong in policies that are valid.

    checks      the table: a row for each check
    subject     the cluster, with what several checks need to know
    addresses, terms, views, chains, reach   exact sets of packets, and what decides about them
    comments    comments in manifests that switch checks off

>>> from io import StringIO
>>> from felixpy.manifests import load
>>> policy = '''{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x, namespace: shop},
... spec: {podSelector: {}, policyTypes: [Ingress], egress: [{}]}}'''
>>> [result.name for result in lint(load(["-"], stdin=StringIO(policy))).results if result.status == "failed"]
['FX108']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import process_time

from felixpy.calico_versions import V3_32, CalicoVersion
from felixpy.config import Setting
from felixpy.errors import Place
from felixpy.linting.checks import CHECKS, choose
from felixpy.linting.comments import Comments, complaints
from felixpy.linting.finding import Check, Finding
from felixpy.linting.pages import page
from felixpy.linting.subject import LintOptions, Subject
from felixpy.model import Cluster
from felixpy.reports import Related, Result, RuleInfo, Run

__all__ = ["CHECKS", "Check", "Finding", "LintOptions", "choose", "lint", "page"]

COMMENT = RuleInfo("FX100", "idle-comment", "info", "A comment that switches checks off has no effect.")


def lint(
    cluster: Cluster,
    *,
    checks: Sequence[Check] | None = None,
    calico_version: CalicoVersion = V3_32,
    settings: Sequence[Setting] = (),
    options: LintOptions | None = None,
    dataplane: str | None = None,
    timed: Callable[[str, float], None] | None = None,
) -> Run:
    """Run checks (by default all that are not optional) on a cluster.

    Findings are sorted by file and line; checks without findings are results that passed. `settings`, `calico_version`
    and `dataplane` are those of `felixpy.compile`. `timed` is called with the code of each check and its seconds of CPU
    time; shared results count for the first check that needs them.
    """
    from felixpy import __version__

    chosen = choose() if checks is None else checks
    subject = Subject(cluster, calico_version=calico_version, settings=settings, options=options, dataplane=dataplane)
    comments = Comments(cluster)
    results: list[Result] = []
    for check in chosen:
        started = process_time()
        found = [_result(cluster, check, one) for one in check.find(subject) if not comments.silence(check.code, one)]
        results += found or [Result(name=check.code, rule=check.code, status="passed")]
        if timed:
            timed(check.code, process_time() - started)
    results += _idle(comments, chosen)
    rules = {check.code: _info(check) for check in chosen} | {COMMENT.id: COMMENT}
    return Run(kind="LintReport", suite="felixpy lint", version=__version__, results=_sorted(results), rules=rules)


def _sorted(results: list[Result]) -> list[Result]:
    return sorted(
        results, key=lambda result: (result.place or Place(""), result.name, result.path and str(result.path))
    )


def _result(cluster: Cluster, check: Check, finding: Finding) -> Result:
    return Result(
        name=check.code,
        rule=check.code,
        level=finding.level or check.level,
        place=cluster.where(finding.source, finding.path),
        subject=finding.subject,
        path=finding.path,
        message=finding.message,
        hint=finding.hint,
        related=tuple(Related(cluster.where(spot.source, spot.path), spot.words) for spot in finding.related),
    )


def _info(check: Check) -> RuleInfo:
    return RuleInfo(check.code, check.name, check.level, check.summary, page(check.code))


def _idle(comments: Comments, chosen: Sequence[Check]) -> Iterator[Result]:
    ran = {check.code: check for check in chosen}
    for comment, message in complaints(comments.all, ran):
        place = Place(comment.file, comment.line)
        yield Result(name=COMMENT.id, rule=COMMENT.id, level=COMMENT.level, place=place, message=message)
