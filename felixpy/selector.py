"""The selector language: text → tree → canonical text, and whether a tree matches labels.

Felix names IP sets after the hash of the canonical text, so that every character of it matters. The grammar, one
production for each method of `_Parser`:

    selector := "" | or END
    or       := and ("||" and)*
    and      := op ("&&" op)*
    op       := "!"* prim
    prim     := has(L) | all() | global() | "(" or ")" | L OPERATOR STRING | L "in" set | L "not in" set
    set      := "{" [STRING ("," STRING)* [","]] "}"

Spaces and tabs separate words, line breaks do not. Operator words are recognised only directly after a label, so a
label may be named ``contains``. Strings have no escapes. (libcalico-go/lib/selector)
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha224
from typing import TypeAlias

from msgspec import Struct

from felixpy.errors import FelixpyError
from felixpy.remembered import remembered

MAX_LABEL = 512
"""Longest label name in bytes (Calico's tokenizer)."""

MAX_DEPTH = 200
"""The maximum nesting of parentheses; Calico has no limit."""


class SelectorError(FelixpyError):
    """A selector that does not parse: `reason`, a `hint` or "", and the `position` (0-based) in `text`."""

    def __init__(self, text: str, position: int, reason: str, hint: str = "") -> None:
        self.text, self.position, self.reason, self.hint = text, position, reason, hint
        super().__init__(f"{reason}\n{self.excerpt}")

    @property
    def excerpt(self) -> str:
        """The selector on one line, with a caret below the position of the error."""
        shown = self.text.replace("\n", " ").replace("\t", " ")
        return f"{shown}\n{' ' * self.position}^"


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


class LabelTest(Struct, frozen=True):
    """One condition on one label. `operand` is a text, a sorted tuple of texts for in / not in, or "" for has."""

    label: str
    operator: str
    operand: str | tuple[str, ...] = ""

    def __str__(self) -> str:
        if self.operator == "has":
            return f"has({self.label})"
        if isinstance(self.operand, tuple):
            return f"{self.label} {self.operator} {{{', '.join(map(_quoted, self.operand))}}}"
        return f"{self.label} {self.operator} {_quoted(self.operand)}"


class Everything(Struct, frozen=True):
    """``all()`` or ``global()``; both are true of every endpoint."""

    name: str = "all"

    def __str__(self) -> str:
        return f"{self.name}()"


class Not(Struct, frozen=True):
    """The opposite of its operand; two of them cancel out while parsing."""

    operand: Node

    def __str__(self) -> str:
        return f"!{self.operand}"


class And(Struct, frozen=True):
    """All of two or more operands."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return f"({' && '.join(map(str, self.operands))})"


class Or(Struct, frozen=True):
    """Any of two or more operands."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return f"({' || '.join(map(str, self.operands))})"


Node: TypeAlias = LabelTest | Everything | Not | And | Or

Comparison: TypeAlias = Callable[[str, str | tuple[str, ...]], bool]

COMPARE: Mapping[str, Comparison] = {
    "==": lambda value, operand: value == operand,
    "!=": lambda value, operand: value != operand,
    "contains": lambda value, operand: operand in value,  # type: ignore[operator]
    "starts with": lambda value, operand: value.startswith(operand),
    "ends with": lambda value, operand: value.endswith(operand),
    "in": lambda value, operand: value in operand,
    "not in": lambda value, operand: value not in operand,
    "has": lambda value, operand: True,
}
"""What each operator says about a label's value."""

TRUE_WHEN_ABSENT = frozenset({"!=", "not in"})
"""Operators that hold for an endpoint without the label."""


def matches(node: Node, labels: Mapping[str, str]) -> bool:
    """Whether an endpoint with these labels (inherited ones included) is selected."""
    if isinstance(node, LabelTest):
        value = labels.get(node.label)
        if value is None:
            return node.operator in TRUE_WHEN_ABSENT
        return COMPARE[node.operator](value, node.operand)
    if isinstance(node, And):
        return all(matches(operand, labels) for operand in node.operands)
    if isinstance(node, Or):
        return any(matches(operand, labels) for operand in node.operands)
    if isinstance(node, Not):
        return not matches(node.operand, labels)
    return True


def tests(node: Node) -> Iterator[LabelTest]:
    """Every condition in the tree, from left to right."""
    if isinstance(node, LabelTest):
        yield node
    elif isinstance(node, Not):
        yield from tests(node.operand)
    elif isinstance(node, And | Or):
        for operand in node.operands:
            yield from tests(operand)


def uses_global(node: Node) -> bool:
    """Whether ``global()`` occurs anywhere."""
    if isinstance(node, Everything):
        return node.name == "global"
    if isinstance(node, Not):
        return uses_global(node.operand)
    return isinstance(node, And | Or) and any(uses_global(operand) for operand in node.operands)


def prefixed(node: Node, prefix: str) -> Node:
    """The same tree with `prefix` in front of every label name.

    >>> str(prefixed(parse("team == 'a' && has(tier)"), "pcns."))
    '(pcns.team == "a" && has(pcns.tier))'
    """
    if isinstance(node, LabelTest):
        return LabelTest(prefix + node.label, node.operator, node.operand)
    if isinstance(node, Not):
        return Not(prefixed(node.operand, prefix))
    if isinstance(node, And | Or):
        return type(node)(tuple(prefixed(operand, prefix) for operand in node.operands))
    return node


def make_id(prefix: str, content: str) -> str:
    """Felix's identifier for long contents: a short prefix and 38 characters of hash.

    >>> make_id("s", "all()")
    's:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug'
    """
    digest = sha224(f"{prefix}:{content}".encode()).digest()
    return f"{prefix}:{urlsafe_b64encode(digest).decode().rstrip('=')}"


@remembered(1 << 16)
def parse(text: str) -> Node:
    """Parse a selector; "" selects everything.

    >>> str(parse("a == 'b' && ! has(c)"))
    '(a == "b" && !has(c))'

    Raises SelectorError.
    """
    return _Parser(text).selector()


@remembered(1 << 16)
def canonical(text: str) -> str:
    """The canonical text, which Felix hashes. Raises SelectorError.

    >>> canonical("a in {'z', 'x', 'z'}")
    'a in {"x", "z"}'
    """
    return str(parse(text))


def canonical_prefixed(text: str, prefix: str) -> str:
    """Canonical text with prefixed labels, or "" when `text` does not parse, as Calico's converters do."""
    try:
        return str(prefixed(parse(text), prefix))
    except SelectorError:
        return ""


_TOKEN = re.compile(
    r"""[ \t]*(?:
      (?P<function>(?:has|all|global)\()
    | (?P<label>[A-Za-z0-9_./-]+)
    | (?P<string>"[^"]*"|'[^']*')
    | (?P<symbol>==|!=|&&|\|\||[!(){},])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_OPERATOR = re.compile(
    r"[ \t]*(?:(?P<symbol>==|!=)|(?P<word>contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in)(?![A-Za-z0-9_./-]))"
)
_WORDS = {"startswith": "starts with", "endswith": "ends with", "notin": "not in"}


class _Parser:
    """A recursive descent parser; `kind` and `value` are those of the next token, `start` is its offset."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.depth = 0
        self.kind = self.value = ""
        self.start = 0
        self.advance()

    def advance(self) -> None:
        found = _TOKEN.match(self.text, self.position)
        if not found:
            raise self._unreadable(len(self.text[self.position :]) - len(self.text[self.position :].lstrip(" \t")))
        self.kind = found.lastgroup or ""
        self.start, self.position = found.span(self.kind)
        self.value = found[self.kind]

    def _unreadable(self, blanks: int) -> SelectorError:
        at = self.position + blanks
        character = self.text[at]
        if character in "\r\n":
            hint = 'the value may come from a "|" block; use ">-" or quotes'
            return SelectorError(self.text, at, "contains a line break; only blanks and tabs may separate words", hint)
        if character in "'\"":
            return SelectorError(self.text, at, f"unterminated string literal starting at {self.text[at:]}")
        twice = {"=": "==", "&": "&&", "|": "||"}.get(character)
        if twice:
            hint = f"{twice} was probably meant"
            return SelectorError(self.text, at, f"not a valid selector: a single {character} is not an operator", hint)
        return SelectorError(self.text, at, f"not a valid selector: unexpected character {character!r}")

    def fail(self, expected: str, hint: str = "") -> SelectorError:
        found = f"found {self.value!r}" if self.value else "the selector ends here"
        return SelectorError(self.text, self.start, f"expected {expected}, {found}", hint)

    def expect(self, symbol: str) -> None:
        if self.value != symbol or self.kind != "symbol":
            raise self.fail(f'"{symbol}"')
        self.advance()

    def accept(self, symbol: str) -> bool:
        if self.kind == "symbol" and self.value == symbol:
            self.advance()
            return True
        return False

    def selector(self) -> Node:
        """selector := "" | or END"""
        if self.kind == "end":
            return Everything()
        node = self.any_of()
        if self.kind != "end":
            raise self.fail('"&&", "||" or the end')
        return node

    def any_of(self) -> Node:
        """or := and ("||" and)*"""
        operands = [self.all_of()]
        while self.accept("||"):
            operands.append(self.all_of())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def all_of(self) -> Node:
        """and := op ("&&" op)*"""
        operands = [self.negatable()]
        while self.accept("&&"):
            operands.append(self.negatable())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def negatable(self) -> Node:
        """op := "!"* prim        an even number of "!" cancels"""
        negate = False
        while self.accept("!"):
            negate = not negate
        node = self.primary()
        return Not(node) if negate else node

    def primary(self) -> Node:
        """prim := has(L) | all() | global() | "(" or ")" | L OPERATOR STRING | L "in" set | L "not in" set"""
        if self.kind == "label":
            return self.test()
        if self.kind == "function":
            return self.function()
        if self.accept("("):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise SelectorError(self.text, self.start, f"parentheses are nested deeper than {MAX_DEPTH}")
            node = self.any_of()
            self.depth -= 1
            self.expect(")")
            return node
        if self.kind == "string":
            raise self.fail("a label name first", "the label stands on the left, the text on the right")
        raise self.fail("a condition")

    def function(self) -> Node:
        """has(L) | all() | global()"""
        name = self.value[:-1]
        self.advance()
        if name != "has":
            self.expect(")")
            return Everything(name)
        if self.kind != "label":
            raise self.fail("a label name in has()")
        label = self.label()
        self.advance()
        self.expect(")")
        return LabelTest(label, "has")

    def label(self) -> str:
        if len(self.value) > MAX_LABEL:
            raise SelectorError(self.text, self.start, f"label names have at most {MAX_LABEL} characters")
        return self.value

    def test(self) -> Node:
        """L OPERATOR STRING | L "in" set | L "not in" set"""
        label = self.label()
        found = _OPERATOR.match(self.text, self.position)
        if not found:
            raise self._operator_missing(label)
        self.position = found.end()
        operator = found["symbol"] or re.sub(r"[ \t]+", "", found["word"])
        operator = _WORDS.get(operator, operator)
        self.advance()
        if operator in ("in", "not in"):
            return LabelTest(label, operator, self.members())
        if self.kind != "string":
            raise self.fail("a text in quotes")
        operand = self.value[1:-1]
        self.advance()
        return LabelTest(label, operator, operand)

    def _operator_missing(self, label: str) -> SelectorError:
        rest = self.text[self.position :]
        blanks = len(rest) - len(rest.lstrip(" \t"))
        following = rest[blanks : blanks + 1]
        at = self.position + blanks
        if following == "=":
            hint = "== was probably meant"
            return SelectorError(
                self.text, at, f"not a valid selector: the single = after {label} is not an operator", hint
            )
        if following in ("\n", "\r"):
            return self._unreadable(blanks)
        hint = f"has({label}) was perhaps meant" if following in ("", ")", "&", "|") else ""
        return SelectorError(self.text, at, "expected an operator after the label", hint)

    def members(self) -> tuple[str, ...]:
        """set := "{" [STRING ("," STRING)* [","]] "}"    sorted by bytes, each value once"""
        self.expect("{")
        values: set[str] = set()
        while not self.accept("}"):
            if self.kind != "string":
                raise self.fail("a text in quotes")
            values.add(self.value[1:-1])
            self.advance()
            if not self.accept(","):
                self.expect("}")
                break
        return tuple(sorted(values, key=str.encode))
