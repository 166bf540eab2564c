"""Exceptions and problems, with messages for people.

FelixpyError            root of all; `exit_code` is what the command line ends with
├── InputError          manifests or settings are wrong; carries every `Problem` of the run (2)
├── UsageError          the command was called in a way that has no answer (2)
├── EnvironmentMissing  no root, a tool or a namespace is missing (3)
└── KernelRefused       iptables-restore or ipset refused the text (4)

`felixpy.ending` reports all others: output that cannot be written (74), faults of felixpy itself (70).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from felixpy.escape import visible

Path = tuple[str | int, ...]
"""Where a value sits inside its object: ``("spec", "ingress", 2, "ports", 0)``."""


class Place(NamedTuple):
    """A spot in a file; line and column count from 1, 0 means "not known"."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        known = [str(number) for number in (self.line, self.column) if number]
        return ":".join([visible(self.file), *known])


class Source(NamedTuple):
    """Where an object was read: its file, first line, and the range of characters in that file."""

    file: str
    line: int
    start: int = 0
    end: int = 0

    def beginning(self, path: Path) -> Place:
        """The place where the object begins, whatever the path inside it."""
        return Place(self.file, self.line)


def spell(path: Path) -> str:
    """A path in an object as text.

    >>> spell(("spec", "ingress", 2, "ports", 0))
    'spec.ingress[2].ports[0]'
    >>> spell(("metadata", "labels", "app.kubernetes.io/name"))
    'metadata.labels[app.kubernetes.io/name]'
    """
    text = ""
    for step in path:
        if isinstance(step, int) or not step.replace("_", "a").replace("-", "a").isalnum():
            text += f"[{visible(str(step))}]"
        else:
            text += f".{step}" if text else step
    return text


def many(number: int, noun: str) -> str:
    """A number with its noun in singular or plural.

    >>> many(1, "rule"), many(0, "rule"), many(2, "policy")
    ('1 rule', '0 rules', '2 policies')
    """
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding about the input: where, in which object, what is wrong, what to do."""

    place: Place
    subject: str = ""
    path: Path = ()
    reason: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    excerpt: str = ""
    """Lines shown below the message, such as a selector and a caret under it."""

    def __str__(self) -> str:
        text = self._told("warning" if self.severity == "warning" else "")
        return text + "".join(f"\n    {visible(line)}" for line in self.excerpt.split("\n") if self.excerpt)

    @property
    def sentence(self) -> str:
        """The problem as one line, without its severity and the excerpt of the file."""
        return self._told("")

    def _told(self, severity: str) -> str:
        head = (str(self.place), severity, self.subject, spell(self.path), self.reason)
        text = ": ".join(visible(part) for part in head if part)
        return text + (f" ({visible(self.hint)})" if self.hint else "")


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems by file and line; those of one line keep their order."""
    return sorted(problems, key=lambda problem: problem.place)


class FelixpyError(Exception):
    """Root of felixpy's exceptions."""

    exit_code = 2


class InputError(FelixpyError):
    """Manifests or settings are wrong; `problems` holds all findings of the run."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sort_problems(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[Sequence[Problem]]]:
        """Processes send it to each other."""
        return type(self), (self.problems,)

    @property
    def errors(self) -> list[Problem]:
        """The problems without the warnings among them."""
        return [problem for problem in self.problems if problem.severity == "error"]


class UsageError(FelixpyError):
    """The request itself has no answer, such as an unknown node."""


class EnvironmentMissing(FelixpyError):
    """Something outside felixpy is missing: root, a tool, a namespace."""

    exit_code = 3


class KernelRefused(FelixpyError):
    """The kernel's tools refused what was handed to them."""

    exit_code = 4


def natural(name: str) -> list[tuple[bool, str]]:
    """A sort key that compares numbers in names by value.

    >>> sorted(["node10", "node2", "edge"], key=natural)
    ['edge', 'node2', 'node10']
    """
    return [(part.isdigit(), part.zfill(20) if part.isdigit() else part) for part in re.split(r"(\d+)", name)]


MOST_NODES = 8
"""Nodes that a message names; the rest is counted."""


def few(names: Iterable[str], most: int = MOST_NODES) -> str:
    """Names for a message: in natural order, the first `most` of them and how many more there are.

    >>> few(["node10", "node2", "node1"]), few(["b", "a", "c"], 2)
    ('node1, node2, node10', 'a, b and 1 more')
    """
    ordered = sorted(names, key=natural)
    rest = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {rest} more" if rest > 0 else "")


def unknown_node(node: str, known: Sequence[str]) -> str:
    """The message for a node that is not in the input, with the nearest names.

    >>> unknown_node("node3", ["node1", "edge"])
    "there is no node 'node3' in the input; did you mean node1? Known are edge, node1"
    """
    from difflib import get_close_matches

    close = get_close_matches(node, known, n=3)
    hint = f" did you mean {' or '.join(close)}? Known" if close else " known"
    return f"there is no node {node!r} in the input;{hint} are {few(known)}"
