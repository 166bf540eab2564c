"""The formats of reports, read back by other readers than ours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml

from felixpy.errors import Place
from felixpy.reports import FORMATS, Related, Result, RuleInfo, Run, write

SCHEMA = json.loads((Path(__file__).parents[2] / "fixtures" / "schemas" / "sarif-2.1.0.json").read_text())

HOSTILE = "a\n::error::b\x1b[31m%0A]]><x>&\"'\u202e#\x00 | `"

RULE = RuleInfo("FX101", "policy-selects-nothing", "warning", "A policy applies to none.", "# FX101\n")
RUN = Run(
    kind="LintReport",
    suite="felixpy lint",
    version="1",
    rules={RULE.id: RULE},
    results=(
        Result(
            name="FX101", rule="FX101", level="warning", place=Place("shop/a b.yaml", 3, 7), subject="NetworkPolicy x",
            path=("spec", "ingress", 0), message="selects nothing", hint="did you mean web?",
            related=(Related(Place("c.yaml", 1), "there"),),
        ),
        Result(name="a test", place=Place("<stdin>"), message=HOSTILE, subject=HOSTILE, details=(HOSTILE,)),
        Result(name="told", level="info", message="only told"),
        Result(name="fine", status="passed", seconds=0.25),
        Result(name="left out", status="skipped", message="no root"),
    ),
)  # fmt: skip


def test_counts_and_thresholds() -> None:
    assert RUN.counts() == {"error": 1, "warning": 1, "info": 1}
    mild = Run(kind="", suite="", version="", results=[result for result in RUN.results if result.level == "info"])
    assert (RUN.fails("error"), mild.fails("warning"), mild.fails("info"), RUN.fails(None)) == (
        True,
        False,
        True,
        False,
    )


def test_text_is_one_line_for_each_result_and_a_summary() -> None:
    lines = write(RUN, "text").splitlines()
    place = "shop/a b.yaml:3:7: warning: FX101: NetworkPolicy x: spec.ingress[0]"
    assert lines[0] == f"{place}: selects nothing (did you mean web?)"
    assert lines[1] == "    c.yaml:1: there"
    assert lines[-1] == "felixpy lint: 1 error, 1 warning, 1 info"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", write(RUN, "text"))


def test_sarif_fits_its_published_schema() -> None:
    log = json.loads(write(RUN, "sarif"))
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    results = log["runs"][0]["results"]
    assert [result["level"] for result in results] == ["warning", "error", "note"]
    place = results[0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "shop/a%20b.yaml"}, "region": {"startLine": 3, "startColumn": 7}}
    assert results[0]["relatedLocations"][0]["message"] == {"text": "there"}


def test_sarif_without_rules_and_results_fits_too() -> None:
    empty = Run(kind="LintReport", suite="felixpy lint", version="1", results=())
    jsonschema.Draft4Validator(SCHEMA).validate(json.loads(write(empty, "sarif")))


def test_fingerprints_stay_when_lines_move() -> None:
    def fingerprint(line: int) -> object:
        moved = Result(name="FX101", place=Place("a.yaml", line), message="m")
        run = Run(kind="", suite="", version="", results=[moved])
        return json.loads(write(run, "sarif"))["runs"][0]["results"][0]["partialFingerprints"]

    assert fingerprint(3) == fingerprint(9)


def test_junit_is_xml_with_a_case_for_each_result() -> None:
    suite = ET.fromstring(write(RUN, "junit"))[0]
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "skipped": "2",
    }
    outcomes = [[child.tag for child in case] for case in suite]
    assert outcomes == [["failure"], ["failure"], ["skipped"], [], ["skipped"]]
    assert suite[3].get("time") == "0.250"
    assert (suite[0].get("file"), suite[0].get("line")) == ("shop/a b.yaml", "3")


def test_tap_counts_its_results() -> None:
    version, plan, *rest = write(RUN, "tap").splitlines()
    assert (version, plan) == ("TAP version 13", "1..5")
    points = [re.match(r"(not )?ok (\d+) - (.*?)(?: # SKIP (.*))?$", one) for one in rest if not one.startswith(" ")]
    assert [bool(found and found[1]) for found in points] == [True, True, False, False, False]
    assert [found and found[2] for found in points] == ["1", "2", "3", "4", "5"]
    assert points[4] is not None
    assert points[4][4] == "no root"
    block = "\n".join(rest[rest.index("  ---") + 1 : rest.index("  ...")])
    assert yaml.safe_load(block)["at"] == "shop/a b.yaml:3:7"


def test_github_annotations_take_one_line_each_and_nothing_escapes_them() -> None:
    lines = write(RUN, "github").splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("::warning file=shop/a b.yaml,line=3,col=7,title=felixpy FX101::NetworkPolicy x: spec")
    assert lines[1].startswith("::error file=<stdin>,title=felixpy a test::")
    assert [one.split(" ")[0] for one in lines] == ["::warning", "::error", "::notice"]
    assert "\x1b" not in lines[1]
    assert "%250A" in lines[1]


def test_json_keeps_every_failed_result() -> None:
    document: dict[str, Any] = json.loads(write(RUN, "json"))
    assert document["summary"] == {"error": 1, "warning": 1, "info": 1}
    first = document["results"][0]
    assert first["place"] == {"file": "shop/a b.yaml", "line": 3, "column": 7}
    assert first["path"] == "spec.ingress[0]"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_write_a_run_without_results(name: str) -> None:
    assert write(Run(kind="K", suite="s", version="1", results=()), name).count("FX") == 0


def test_other_parsers_read_junit_and_tap_alike() -> None:
    from junitparser import Error, Failure, JUnitXml
    from tap.parser import Parser  # type: ignore[import-untyped]

    suites = JUnitXml.fromstring(write(RUN, "junit").encode())
    cases = [case for suite in suites for case in suite]
    assert len(cases) == 5
    lines = list(Parser().parse_text(write(RUN, "tap")))
    assert [line.category for line in lines[:2]] == ["version", "plan"]
    tests = [line for line in lines if line.category == "test"]
    assert len(tests) == 5
    failed = [case for case in cases if any(isinstance(result, Failure | Error) for result in case.result)]
    assert len(failed) == sum(not line.ok for line in tests) > 0
