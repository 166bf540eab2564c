"""Lines for a terminal: wrapped or cut to its width, verdicts in colour. In a pipe lines are unchanged."""

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
"""Colours of the words before the first two blanks of a line. Colour only repeats what the words say."""


RULE = "-A "
"""Rules stay on one line, so that they can be copied."""

_GLUE = "\0"
_UNIT = re.compile(r"\[\w+ [^][ ]+(?: \d+)?\]")
"""A rule's or chain's place, such as ``[filter cali-FORWARD 3]``, which is not broken across lines."""


def fitted(line: str, *, cut: bool = False) -> str:
    """A line for stdout: on a terminal it is wrapped, or cut, and verdicts are coloured; otherwise unchanged."""
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
    """A message for stderr; on a terminal its first line is wrapped, and the lines below are kept as they are."""
    line, feed, below = text.partition("\n")
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return f"{line if len(line) <= width else _folded(line, '', width)}{feed}{below}"


def _folded(text: str, indent: str, width: int) -> str:
    """A line wrapped to a width; long words such as paths are not broken."""
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
    """A text in a colour if stdout is a terminal, unless TERM is dumb or NO_COLOR is set (no-color.org)."""
    declined = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if declined or not sys.stdout.isatty() else f"\x1b[{colour}m{text}\x1b[0m"


def page(lines: Iterable[str], *, cut: bool = False) -> str:
    """Lines, fitted and joined to one text."""
    return "".join(f"{fitted(line, cut=cut)}\n" for line in lines)
