"""Lines for a terminal: folded or cut to its width, the verdict in colour. In a pipe they stay as they are."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping

from felixpy.escape import terminal

GREEN, RED, YELLOW = "32", "31", "33"

COLOURS: Mapping[str, str] = {
    "ALLOWED": GREEN,
    "DENIED": RED,
    "EQUAL": GREEN,
    "DIFFERENT": RED,
    "LETS THROUGH": RED,
    "MAYBE LETS THROUGH": RED,
    "DROPS": YELLOW,
    "MAYBE DROPS": YELLOW,
    "REWRITES": YELLOW,
}
"""First words of lines, which two blanks end, and their colours; the words say it as well."""


RULE = "-A "
"""Rules stay on one line, so that they can be copied."""

_GLUE = "\0"
_UNIT = re.compile(r"\[\w+ [^][ ]+(?: \d+)?\]")
"""A rule's or chain's place, such as ``[filter cali-FORWARD 3]``, which is not torn apart."""


def fitted(line: str, *, cut: bool = False) -> str:
    """A line for whatever stdout is: on a terminal it is folded, or cut, and a verdict has its colour."""
    line = terminal(line)
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    text = line.lstrip()
    if len(line) <= width or text.startswith(RULE):
        shown = line
    elif cut:
        shown = f"{line[: width - 1]}…"
    else:
        shown = _folded(text, line[: len(line) - len(text)], width)
    word = shown.partition("  ")[0]
    return painted(word, COLOURS[word]) + shown[len(word) :] if word in COLOURS else shown


def talk(text: str) -> str:
    """What is said on stderr; on a terminal its first line is folded, and lines below keep their columns."""
    line, feed, below = text.partition("\n")
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return f"{line if len(line) <= width else _folded(line, '', width)}{feed}{below}"


def _folded(text: str, indent: str, width: int) -> str:
    """A line of several; long words such as paths are not torn apart either."""
    whole = _UNIT.sub(lambda unit: unit[0].replace(" ", _GLUE), text)
    lines = textwrap.wrap(
        whole,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(lines).replace(_GLUE, " ")


def painted(text: str, colour: str) -> str:
    """A text in a colour if stdout is a terminal, unless that or somebody declined it (no-color.org)."""
    declined = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if declined or not sys.stdout.isatty() else f"\x1b[{colour}m{text}\x1b[0m"


def page(lines: Iterable[str], *, cut: bool = False) -> str:
    """Many lines as one text."""
    return "".join(f"{fitted(line, cut=cut)}\n" for line in lines)
