"""Write test files: a first one, and existing ones with an updated table."""

from __future__ import annotations

import re
from collections.abc import Iterable

from felixpy.policytests.files import PolicyTest

HEAD = """\
# Written by felixpy test --init from the connections of today. Every change of them now fails the test;
# felixpy test --update takes them over.
"""


def first_file(name: str, manifests: Iterable[str], table: Iterable[str]) -> str:
    """A test file with the table of all connections.

    >>> print(first_file("shop", ["shop/"], ["shop/web => shop/db : TCP 5432"]), end="")
    # Written by felixpy test --init from the connections of today. Every change of them now fails the test;
    # felixpy test --update takes them over.
    name: shop
    manifests: [shop/]
    matrix: |
      shop/web => shop/db : TCP 5432
    """
    paths = ", ".join(manifests)
    listed = f"manifests: [{paths}]\n" if paths else ""
    return f"{HEAD}name: {name}\n{listed}matrix: |\n{_block(table)}"


def _block(table: Iterable[str]) -> str:
    return "".join(f"  {line}\n" for line in table)


def renewed(text: str, test: PolicyTest, table: Iterable[str]) -> str:
    """The text of a file whose test has a table as a block (``matrix: |``), with the table replaced.

    Raises ValueError if the table has another form.
    """
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    start = test.matrix_place.line if test.matrix_place else 0
    if not start or not lines[start - 1].rstrip().endswith(("|", "|-", "|+")):
        raise ValueError("the table is not written as a block: begin it with matrix: |")
    end = start
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return "".join([*lines[:start], _block(table), *lines[end:]])
