"""Results as a SARIF 2.1.0 log, which code scanning services read. (docs.oasis-open.org/sarif/sarif/v2.1.0)"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from felixpy.errors import Place, spell
from felixpy.reports.result import Level, Result, RuleInfo, Run

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS: Mapping[Level, str] = {"error": "error", "warning": "warning", "info": "note"}


def sarif(run: Run) -> Iterator[str]:
    """One run with its rules and the failed results."""
    known = {code: index for index, code in enumerate(run.rules)}
    driver: dict[str, Any] = {"name": "felixpy", "version": run.version, "rules": list(map(_rule, run.rules.values()))}
    if not known:
        del driver["rules"]
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(result, known) for result in run.failures],
            }
        ],
    }
    yield json.dumps(document, indent=2, ensure_ascii=False)


def _rule(rule: RuleInfo) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "defaultConfiguration": {"level": LEVELS[rule.level]},
    }
    if rule.help:
        found["help"] = {"text": rule.help, "markdown": rule.help}
    return found


def _result(result: Result, known: Mapping[str, int]) -> dict[str, Any]:
    parts = [result.message, f"({result.hint})" if result.hint else "", *result.details]
    found: dict[str, Any] = {
        "level": LEVELS[result.level],
        "message": {"text": " ".join(part for part in parts if part)},
        "partialFingerprints": {"felixpy/v1": _fingerprint(result)},
    }
    if result.rule:
        found |= {"ruleId": result.rule}
        found |= {"ruleIndex": known[result.rule]} if result.rule in known else {}
    else:
        found["ruleId"] = result.name
    location: dict[str, Any] = {"physicalLocation": _physical(result.place)} if result.place else {}
    if result.subject:
        name = ": ".join(filter(None, (result.subject, spell(result.path))))
        location["logicalLocations"] = [{"fullyQualifiedName": name}]
    if location:
        found["locations"] = [location]
    if result.related:
        found["relatedLocations"] = [
            {"physicalLocation": _physical(place), "message": {"text": message}} for place, message in result.related
        ]
    return found


def _physical(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = {"artifactLocation": {"uri": _uri(place.file)}}
    if place.line:
        found["region"] = {"startLine": place.line} | ({"startColumn": place.column} if place.column else {})
    return found


def _uri(file: str) -> str:
    """A relative reference, as services resolve it in the repository; absolute paths as file URIs."""
    quoted = quote(file, errors="backslashreplace")
    return f"file://{quoted}" if PurePosixPath(file).is_absolute() else quoted


def _fingerprint(result: Result) -> str:
    """A fingerprint that does not depend on the line, so that services recognise a finding that moved."""
    file = result.place.file if result.place else ""
    parts = (result.name, file, result.subject, spell(result.path))
    return sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]
