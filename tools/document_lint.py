"""Renew the page of each check and the index of them in docs/lint.

    python tools/document_lint.py [--check]

Each page has an example in YAML, what `felixpy lint` says about it (renewed here), and how to write it instead. The
pods that the examples are about are in docs/lint/shop.yaml. With --check nothing is written: the exit status tells
whether everything is up to date, and the first difference is shown.
"""

from __future__ import annotations

import difflib
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple

from felixpy.linting import CHECKS, lint
from felixpy.manifests import load
from felixpy.reports import Run
from felixpy.reports.result import heading

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "lint"
PODS = (FOLDER / "shop.yaml").read_text()
INDEX = FOLDER / "README.md"
EXAMPLE = re.compile(r"```yaml\n(?P<example>.*?)```\n\n```text\n(?P<says>.*?)```\n", re.DOTALL)
INSTEAD = re.compile(r"## Instead\n\n```yaml\n(?P<instead>.*?)```\n", re.DOTALL)
TABLE = re.compile(r"(?<=<!-- checks -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)


class Page(NamedTuple):
    """The examples of one page; both "" where it has none."""

    example: str
    instead: str


def read(code: str) -> Page:
    text = (FOLDER / f"{code}.md").read_text()
    example, instead = EXAMPLE.search(text), INSTEAD.search(text)
    return Page(example["example"] if example else "", instead["instead"] if instead else "")


def check(code: str, manifests: str) -> Run:
    """What the check says about manifests, together with the pods of shop.yaml."""
    text = f"{manifests}---\n{PODS}"
    return lint(load(["-"], stdin=io.StringIO(text)), checks=[CHECKS[code]])


def says(code: str, manifests: str) -> str:
    lines = [heading(result).replace("<stdin>", "example.yaml") for result in check(code, manifests).failures]
    return "".join(f"{line}\n" for line in lines)


def renewed_page(code: str, text: str) -> str:
    found = EXAMPLE.search(text)
    if not found:
        return text
    return text[: found.start("says")] + says(code, found["example"]) + text[found.end("says") :]


def renewed_index(text: str) -> str:
    rows = ["| check | level | finds |", "|---|---|---|"]
    for code, one in CHECKS.items():
        level = one.level + (", optional" if one.optional else "")
        rows.append(f"| [{code}]({code}.md) {one.name} | {level} | {one.summary} |")
    return TABLE.sub(lambda _: "\n".join(rows) + "\n", text)


def main() -> int:
    checking = "--check" in sys.argv[1:]
    stale = 0
    pages = [(FOLDER / f"{code}.md", code) for code in CHECKS]
    for file, code in [*pages, (INDEX, "")]:
        text = file.read_text()
        new = renewed_page(code, text) if code else renewed_index(text)
        if new == text:
            continue
        stale = 1
        if checking:
            name = f"docs/lint/{file.name}"
            lines = difflib.unified_diff(text.splitlines(True), new.splitlines(True), name, f"{name}, renewed", n=1)
            sys.stdout.writelines(lines)
        else:
            file.write_text(new)
    return stale if checking else 0


if __name__ == "__main__":
    sys.exit(main())
