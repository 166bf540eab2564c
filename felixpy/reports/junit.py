"""Results as JUnit XML, which test dashboards read: one test case for each result."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from felixpy.errors import spell
from felixpy.escape import visible
from felixpy.reports.result import Result, Run, heading


def junit(run: Run) -> Iterator[str]:
    """A single suite; failed results are failures, those of level info are skipped tests with a message."""
    grave = [result for result in run.failures if result.level != "info"]
    skipped = [result for result in run.results if result.status == "skipped" or _informs(result)]
    counts = {"tests": len(run.results), "failures": len(grave), "errors": 0, "skipped": len(skipped)}
    attributes = {name: str(number) for name, number in counts.items()}
    suites = ET.Element("testsuites", attributes)
    suite = ET.SubElement(suites, "testsuite", {"name": visible(run.suite), **attributes})
    for result in run.results:
        _add(suite, result)
    ET.indent(suites)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield ET.tostring(suites, encoding="unicode")


def _informs(result: Result) -> bool:
    return result.status == "failed" and result.level == "info"


def _add(suite: ET.Element, result: Result) -> None:
    name = ": ".join(part for part in (result.name, result.subject, spell(result.path)) if part)
    attributes = {"classname": visible(result.rule or suite.get("name", "")), "name": visible(name)}
    if result.seconds is not None:
        attributes["time"] = f"{result.seconds:.3f}"
    if result.place:
        attributes["file"] = visible(result.place.file)
        if result.place.line:
            attributes["line"] = str(result.place.line)
    case = ET.SubElement(suite, "testcase", attributes)
    message = visible(result.message)
    if result.status == "skipped" or _informs(result):
        ET.SubElement(case, "skipped", {"message": message})
    elif result.status == "failed":
        failure = ET.SubElement(case, "failure", {"message": message, "type": result.level})
        related = (f"{place}: {words}" for place, words in result.related)
        failure.text = "\n".join(map(visible, (heading(result), *result.details, *related)))
