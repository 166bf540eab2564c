"""Chains that differ in names only: holes that nobody may look at, texts in which they are filled."""

from __future__ import annotations

import jinja2
import pytest

from felixpy.patterns import Pattern, Splice, hole
from felixpy.ruleset import Chain, Origin

HERE = Origin(words="here")
BODIES = (
    '-m comment --comment "100% of it" --in-interface eth0 --jump %s',
    "-m mark --mark 0/0x20000 --jump %s",
    "--jump REJECT",
    '-m comment --comment "%s" --goto %s',
)


def test_a_text_with_holes_is_filled_in() -> None:
    text = Splice(f"{hole(2)} 5% of {hole(0)} and {hole(2)}")
    assert text.fill(("a", "b", "c")) == "c 5% of a and c"
    assert Splice("100 %s %%").fill(("a",)) == "100 %s %%"
    assert Splice(hole(1)).fill(("a", "b")) == "b"


@pytest.mark.parametrize("template", ["{{ 'x' if name }}", "{{ name == 'a' }}", "{{ name | length }}", "{{ name[0] }}"])
def test_a_template_that_looks_at_a_name_is_at_fault(template: str) -> None:
    with pytest.raises((TypeError, jinja2.UndefinedError)):
        jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(template).render(name=hole(1))


def test_a_template_may_write_a_name() -> None:
    found = jinja2.Environment(autoescape=True).from_string("-A {{ name }} -j x").render(name=hole(0))
    assert Splice(found).fill(("cali-y",)) == "-A cali-y -j x"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize(
    "names", [("cali-a", "cali-b", "Policy x", "cali-c"), ("cali-b", "cali-b", "a b:c/d@e, 100%", "cali-b")]
)
def test_a_chain_of_a_pattern_is_the_chain_drawn_alone(names: tuple[str, ...], family: int, restore: bool) -> None:
    text = "\n".join(BODIES).replace("100%", "100%%")
    bodies = tuple((text % names).split("\n"))
    with_holes = (text % tuple(map(hole, range(1, 5)))).split("\n")
    numbers = (0, 0, 1, -1)
    drawn = Pattern("cali-x", len(names), with_holes, numbers).draw("cali-own", names, HERE)
    alone = Chain("cali-own", bodies, numbers, HERE, "cali-x")
    assert (drawn.bodies, drawn.hashes, drawn.numbers) == (alone.bodies, alone.hashes, alone.numbers)
    assert drawn.text(family, restore=restore) == alone.text(family, restore=restore)
    assert drawn.targets == alone.targets


def test_a_pattern_without_rules() -> None:
    drawn = Pattern("cali-x", 0, (), ()).draw("cali-own", (), HERE)
    assert (drawn.bodies, drawn.hashes, drawn.targets) == ((), (), ())
    assert drawn.text(4, restore=False) == Chain("cali-own", (), (), HERE, "cali-x").text(4, restore=False)
