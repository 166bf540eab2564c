"""libyaml's error messages, reworded so that they help to correct the text."""

from __future__ import annotations

import contextlib
import re
from typing import Any, NamedTuple

import yaml

from felixpy.manifests.reading.pieces import Unreadable
from felixpy.manifests.validation.findings import TEMPLATE, is_template

SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

TAB = "a tab character is used for indentation; YAML allows only blanks"
TRUNCATED = "the file seems to be truncated"


class _Words(NamedTuple):
    reason: str
    hint: str = ""


_COLON = _Words(
    "a colon starts a mapping here, where none can be",
    'check the indentation, and put quotes around text that contains ": "',
)
_PROBLEMS = {
    "mapping values are not allowed in this context": _COLON,
    "mapping values are not allowed here": _COLON,
    "mapping keys are not allowed in this context": _Words('a "? " key cannot stand here'),
    "block sequence entries are not allowed in this context": _Words(
        'a list item ("- ") cannot start here', "a list begins on a line of its own"
    ),
    "could not find expected ':'": _Words("this is not a key, it has no colon", "check the indentation of the line"),
    "expected key": _Words(
        "a key is expected here", "the line is indented differently from its neighbours, or a quote above is not closed"
    ),
    "found unexpected ':'": _Words("a colon cannot stand here", "put quotes around text that contains it"),
    "expected <block end>": _Words("a key is expected here", "the line is indented differently from its neighbours"),
    "expected '-' indicator": _Words(
        'a list item ("- ") is expected here', "the line is indented as the list is, but does not start with a dash"
    ),
    "expected node content": _Words("a value is expected here"),
    "expected <document start>": _Words(
        "there is text after the end of the document", 'documents are separated by a line "---"'
    ),
    "expected comment or line break": _Words('text cannot follow ">" or "|" on the same line'),
    "found unknown escape character": _Words(
        "a backslash in double quotes must start an escape such as \\n", "use single quotes, or write \\\\"
    ),
    "expected alphabetic or numeric character": _Words(
        "* and & start an alias or anchor here", "if text is meant, put quotes around it"
    ),
    "found invalid Unicode character escape code": _Words("the \\u escape is not a character"),
    "found unexpected document indicator": _Words("a quoted string is not closed before the document ends"),
    "expected hexdecimal number": _Words("a \\x or \\u escape lacks some of its digits"),
    "expected whitespace or line break": _Words("a blank must follow the tag"),
    "could not find expected directive name": _Words('a line that begins with "%" is a directive of YAML'),
    "found undefined tag handle": _Words("the tag is not known", "if text is meant, put quotes around it"),
    "found incompatible YAML document": _Words("this version of YAML is not known", "1.1 and 1.2 are"),
    "found a tab character where an indentation space is expected": _Words(TAB),
    "found a tab character that violates indentation": _Words(TAB),
}

_STARTS_NOTHING = {
    "\t": _Words(TAB),
    "@": _Words('a value cannot start with "@"', "put quotes around it"),
    "`": _Words("a value cannot start with a backtick", "put quotes around it"),
    "%": _Words('a value cannot start with "%"', "put quotes around it"),
}

_ALIAS = re.compile(r"[\w-]*")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def explained(wrong: yaml.YAMLError, text: str, start: int, end: int) -> Unreadable:
    """A parser's error about the text between two offsets, reworded."""
    if not isinstance(wrong, yaml.MarkedYAMLError):
        found = _UNPRINTABLE.search(text, start, end)
        if not found:
            return Unreadable(start, str(wrong).splitlines()[0])
        return Unreadable(found.start(), f"the control character U+{ord(found[0]):04X} is not allowed")
    at = _offset(wrong.problem_mark, start)
    since = _offset(wrong.context_mark, start) if wrong.context_mark else at
    problem, context = str(wrong.problem or ""), str(wrong.context or "")
    if not text[at:end].strip() and (left_open := _left_open(text, start, end, since, context)):
        begun, what = left_open
        reason = f"{what} that starts here is not closed"
        reason += " in its document" if text[end:].strip() else f"; {TRUNCATED}"
        return Unreadable(begun, reason, reached=at)
    if problem.startswith("found character") and problem.endswith("cannot start any token"):
        words = _STARTS_NOTHING.get(text[at : at + 1], _Words("nothing can start with this character"))
    elif problem.startswith("found undefined alias"):
        name = _ALIAS.match(text, at + 1)[0]  # type: ignore[index]  # it matches nothing at least
        words = _Words(f'no anchor "&{name}" precedes this alias', "if text is meant, put quotes around it")
    elif "expected ','" in problem:
        closing = "]" if "sequence" in context else "}"
        line = text.count("\n", 0, since) + 1
        words = _Words(f'"," or "{closing}" is expected here', f"the bracket is in line {line}")
    else:
        words = _PROBLEMS.get(_normal(problem), _Words(f"{problem} {context}".strip()))
    place = since if "expected ':'" in problem else at
    return Unreadable(place, words.reason, template_hint(text, place) or words.hint)


def _normal(problem: str) -> str:
    """The error message in libyaml's wording, for messages of PyYAML's own parser."""
    return problem.removeprefix("did not find ").replace("expected the ", "expected ").partition(", but")[0]


def template_hint(text: str, offset: int) -> str:
    """A hint if a problem is on a line with a placeholder of a Helm or Jinja template."""
    return TEMPLATE if is_template(_line(text, offset)) else ""


def _left_open(text: str, start: int, end: int, since: int, context: str) -> tuple[int, str] | None:
    """(offset, message) for an unterminated quoted string or bracket at the end of a text, else None."""
    if "quoted scalar" in context:
        return since, "the double-quoted string" if text[since : since + 1] == '"' else "the single-quoted string"
    brackets: list[int] = []
    with contextlib.suppress(yaml.YAMLError):
        for token in yaml.scan(text[start:end], Loader=SafeLoader):
            if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
                brackets.append(start + token.start_mark.index)
            elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and brackets:
                brackets.pop()
    return (brackets[-1], f'the bracket "{text[brackets[-1]]}"') if brackets else None


def _offset(mark: object, start: int) -> int:
    index = getattr(mark, "index", 0)
    return start + int(index)


def _line(text: str, offset: int) -> str:
    end = text.find("\n", offset)
    return text[text.rfind("\n", 0, offset) + 1 : end if end >= 0 else len(text)]
