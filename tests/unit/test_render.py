"""Drawing chains: what templates may rely on, which chains are drawn, hashes, titles, numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import defstruct
from msgspec.structs import replace

from felixpy import render
from felixpy.calico_versions import V3_32
from felixpy.plan.values import ChainPlan, Facts, Plan, TablePlan
from felixpy.render import Renderer, purposes
from felixpy.ruleset import Origin, hashes

Templates = Callable[..., Renderer]
SOMEWHERE = Origin(words="somewhere")


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Templates]:
    """A renderer for templates given as texts; a second folder may be given, which is searched first."""
    monkeypatch.setattr(render, "template_root", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    render._environment.cache_clear()

    def make(base: Mapping[str, str], newer: Mapping[str, str] | None = None) -> Renderer:
        for folder, texts in (("base", base), ("newer", newer or {})):
            for name, text in texts.items():
                file = tmp_path / folder / f"{name}.j2"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        return Renderer(replace(V3_32, templates=("newer", "base")))

    yield make
    render._environment.cache_clear()


def plan(name: str, template: str = "", title: str = "", seed: str = "", **fields: Any) -> ChainPlan:
    facts: Any = defstruct("MadeUp", fields, bases=(Facts,), frozen=True, kw_only=True)(**fields)
    return ChainPlan(name=name, template=template or name, facts=facts, origin=SOMEWHERE, title=title, seed=seed)


def test_a_template_sees_its_facts_and_the_chains_name(templates: Templates) -> None:
    text = "{# why #}\n% for port in ports\n-A {{ chain }} --dport {{ port }}\n% endfor\n-A {{ chain }}\n"
    chain = templates({"filter/cali-x": text}).chain(plan("cali-y", "filter/cali-x", ports=(80, 443)))
    assert (chain.name, chain.template) == ("cali-y", "filter/cali-x")
    assert chain.bodies == ("--dport 80", "--dport 443", "")
    assert chain.hashes == tuple(hashes("cali-y", chain.bodies))


def test_a_seed_takes_the_place_of_the_name_in_hashes(templates: Templates) -> None:
    chain = templates({"FORWARD": "-A FORWARD --jump ACCEPT\n"}).chain(plan("FORWARD", seed="FORWARD*appends*"))
    assert chain.hashes == tuple(hashes("FORWARD*appends*", ["--jump ACCEPT"]))


@pytest.mark.parametrize(
    "text", ["-A {{ chain }}{{ missing }}\n", "% if fact.missing\n% endif\n", "{{ fact.missing }}"]
)
def test_a_fact_that_is_missing_is_an_error(templates: Templates, text: str) -> None:
    with pytest.raises(render.TemplateFault):
        templates({"cali-x": text}).chain(plan("cali-x", fact=SOMEWHERE))


def test_nothing_is_escaped(templates: Templates) -> None:
    chain = templates({"cali-x": '-A {{ chain }} -m comment --comment "{{ fact }}"\n'}).chain(
        plan("cali-x", fact="<&'>")
    )
    assert chain.bodies == ('-m comment --comment "<&\'>"',)


@pytest.mark.parametrize("line", ["--jump DROP", " -A cali-x --jump DROP", "-A cali-z --jump DROP", "COMMIT"])
def test_a_line_that_is_no_rule_of_the_chain_is_refused(templates: Templates, line: str) -> None:
    """Nothing that slipped into a fact may become a line of its own."""
    with pytest.raises(AssertionError, match="does not begin with"):
        templates({"cali-x": "-A {{ chain }} {{ fact }}\n"}).chain(plan("cali-x", fact=f"--jump DROP\n{line}"))


def test_numbers_belong_to_the_rules_below_them(templates: Templates) -> None:
    rule = "-A {{ chain }} --jump"
    text = f"{rule} a\n#0\n{rule} b\n{rule} c\n#7\n{rule} d\n"
    chain = templates({"cali-x": text}).chain(plan("cali-x"))
    assert list(chain.rules()) == list(zip(chain.bodies, chain.hashes, (-1, 0, 0, 7), strict=True))


@pytest.mark.parametrize(
    "rules, expected",
    [
        ([], ["{title}"]),
        (["--jump RETURN"], ["{title}"]),
        (["-p tcp --jump RETURN", "--jump RETURN"], ["{title}"]),
        (["--jump ACCEPT", "-p tcp --jump RETURN"], ["{title} --jump ACCEPT"]),
        (["--jump RETURN", "--jump ACCEPT"], ["{title} --jump RETURN", "--jump ACCEPT"]),
        (['-m comment --comment "a b" --jump DROP'], ['-m comment --comment "a b" {title} --jump DROP']),
        (
            ['-m comment --comment "a" -m comment --comment "b" -p tcp --jump DROP'],
            ['-m comment --comment "a" -m comment --comment "b" {title} -p tcp --jump DROP'],
        ),
        (['-m comment --comment "a"'], ['-m comment --comment "a" {title}']),
        (
            ['-p tcp -m comment --comment "late" --jump DROP'],
            ['{title} -p tcp -m comment --comment "late" --jump DROP'],
        ),
    ],
)
def test_a_titled_chain_loses_trailing_returns_and_begins_with_its_title(
    templates: Templates, rules: list[str], expected: list[str]
) -> None:
    text = "% for rule in rules\n#3\n-A {{ chain }} {{ rule }}\n% endfor\n"
    chain = templates({"cali-pi": text}).chain(plan("cali-pi-x", "cali-pi", title="Profile x ingress", rules=rules))
    title = '-m comment --comment "Profile x ingress"'
    assert list(chain.bodies) == [body.format(title=title) for body in expected]
    drawn = [body for body in chain.bodies if body != title]
    assert chain.numbers == ((3,) * len(drawn) if drawn else (-1,))


def test_without_a_title_returns_stay(templates: Templates) -> None:
    chain = templates({"cali-x": "-A {{ chain }} --jump RETURN\n"}).chain(plan("cali-x"))
    assert chain.bodies == ("--jump RETURN",)


def test_a_plan_is_drawn_once_however_often_it_is_asked_for(templates: Templates) -> None:
    renderer = templates({"cali-x": "-A {{ chain }} --jump DROP\n"})
    once = plan("cali-x")
    assert renderer.chain(once) is renderer.chain(once)
    assert renderer.chain(plan("cali-x")) is not renderer.chain(once)


JUMPS = "% for target in targets\n-A {{ chain }} --{{ verb }} {{ target }}\n% endfor\n"


def table(*targets: str) -> TablePlan:
    made = TablePlan(name="filter", family=4)
    made.inserted["INPUT"] = plan("INPUT", "jumps", verb="jump", targets=targets)
    for name, verb, leads in (
        ("cali-a", "goto", ("cali-b",)),
        ("cali-b", "jump", ("cali-c", "DROP")),
        ("cali-c", "jump", ("cali-a", "cali-c")),
        ("cali-far", "jump", ("cali-further",)),
        ("cali-further", "jump", ()),
        ("cali-B", "jump", ()),
    ):
        made.add(plan(name, "jumps", verb=verb, targets=leads))
    return made


@pytest.mark.parametrize(
    "targets, needed, expected",
    [
        ((), [], []),
        (("ACCEPT",), [], []),
        (("cali-a",), [], ["cali-a", "cali-b", "cali-c"]),
        (("cali-c", "cali-B"), [], ["cali-B", "cali-a", "cali-b", "cali-c"]),
        ((), ["cali-far"], ["cali-far", "cali-further"]),
    ],
)
def test_chains_are_drawn_as_far_as_jumps_reach_and_sorted_by_bytes(
    templates: Templates, targets: tuple[str, ...], needed: list[str], expected: list[str]
) -> None:
    made = table(*targets)
    made.needed.extend(needed)
    ruleset = templates({"jumps": JUMPS}).render(Plan(node="n", calico_version="d", tables=(made,), sets=()))
    assert [chain.name for chain in ruleset.tables[4, "filter"].chains] == expected


def test_a_jump_to_nowhere_is_an_error(templates: Templates) -> None:
    with pytest.raises(KeyError, match="cali-nowhere"):
        templates({"jumps": JUMPS}).render(Plan(node="n", calico_version="d", tables=(table("cali-nowhere"),), sets=()))


def test_an_era_overrides_whole_files_of_its_neighbour(templates: Templates) -> None:
    rule = "-A {{ chain }} --jump"
    base = {"cali-x": f"{{# old #}}\n{rule} OLD\n", "_part": f"{{# part #}}\n{rule} PART\n"}
    newer = {"cali-x": f"{{# new #}}\n{rule} NEW\n", "_part": f"{{# other #}}\n{rule} NEWPART\n"}
    renderer = templates({**base, "cali-y": '{# same #}\n% include "_part.j2"\n'}, newer)
    assert renderer.chain(plan("cali-x")).bodies == ("--jump NEW",)
    assert renderer.chain(plan("cali-y")).bodies == ("--jump NEWPART",)
    assert renderer.files("cali-y") == ("base/cali-y.j2", "newer/_part.j2")
    assert dict(purposes(renderer.calico_version, renderer)) == {"cali-x": "new", "cali-y": "same"}


def test_what_a_template_says_about_itself(templates: Templates) -> None:
    renderer = templates({"cali-x": "{# Two\nlines. #}\n-A x\n", "cali-y": "-A x\n"})
    assert (renderer.purpose("cali-x"), renderer.purpose("cali-y")) == ("Two\nlines.", "")
