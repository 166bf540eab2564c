"""A selector's printed form is read back as the same selector, however it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.selector import And, Everything, Node, Not, Or, canonical, matches, parse
from felixpy.selector import LabelTest as Condition
from tests.property.strategies import labels, selectors

pytestmark = pytest.mark.property


def written(node: Node, draw: st.DataObject) -> str:
    """The selector as somebody might write it: other quotes, blanks, needless parentheses and negations."""

    def any_of(*choices: str) -> str:
        return draw.draw(st.sampled_from(choices))

    def quoted(value: str) -> str:
        if '"' in value or "'" in value:
            return f"'{value}'" if '"' in value else f'"{value}"'
        quote = any_of('"', "'")
        return f"{quote}{value}{quote}"

    def inside(operand: Node) -> str:
        text = written(operand, draw)
        return f"({text})" if isinstance(operand, And | Or) else text

    blank = any_of("", " ", "\t ")
    match node:
        case Condition(label, "has"):
            return f"has({blank}{label}{blank})"
        case Condition(label, operator, tuple(values)):
            members = [*values, *values[:1]][:: draw.draw(st.sampled_from((1, -1)))]
            comma = any_of(",", ", ")
            return f"{label} {operator.replace(' ', any_of('', ' '))}{blank}{{{comma.join(map(quoted, members))}}}"
        case Condition(label, operator, str(value)):
            return f"{label} {operator.replace(' ', any_of('', ' ', '  '))}{blank}{quoted(value)}"
        case Everything(name):
            return f"{name}({blank})"
        case Not(operand):
            return f"{any_of('!', '! ', '!!!')}{inside(operand)}"
        case And(operands):
            text = f"{blank}&&{blank}".join(map(inside, operands))
        case Or(operands):
            text = f"{blank}||{blank}".join(map(inside, operands))
    return any_of(text, f"({text})")


@given(selectors)
def test_printing_and_reading_gives_the_same_tree(node: Node) -> None:
    assert parse(str(node)) == node
    assert canonical(str(node)) == str(node)


@given(selectors, st.data())
def test_all_spellings_have_one_canonical_text(node: Node, draw: st.DataObject) -> None:
    assert canonical(written(node, draw)) == str(node)


@given(selectors, labels)
def test_negation_is_the_opposite(node: Node, given_labels: dict[str, str]) -> None:
    assert matches(parse(f"!({node})"), given_labels) is not matches(node, given_labels)


@given(selectors, selectors, labels)
def test_groups_mean_what_they_say(left: Node, right: Node, given_labels: dict[str, str]) -> None:
    one, other = matches(left, given_labels), matches(right, given_labels)
    assert matches(parse(f"{left} && {right}"), given_labels) is (one and other)
    assert matches(parse(f"{left} || {right}"), given_labels) is (one or other)
