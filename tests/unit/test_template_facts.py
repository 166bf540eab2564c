"""A template names only the fields of its facts, down to the fields of their parts, and every field is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from jinja2 import nodes

from felixpy import render
from felixpy.calico_versions import CALICO_VERSIONS, V3_32, CalicoVersion
from felixpy.compiler import Compiler
from felixpy.config import Config
from felixpy.layouts import IPTABLES, LAYOUTS, NFTABLES, Layout
from felixpy.model import Host
from felixpy.plan import Plan
from felixpy.plan.facts import RuleContext
from felixpy.plan.templates import FACTS
from felixpy.plan.values import Facts
from felixpy.render import template_root
from tests.clusters import cluster
from tests.unit.test_templates import THINGS

ALWAYS = {"chain": str}
"""What every template may name."""


class Searched(NamedTuple):
    """A Calico version and a data plane, as they are searched for templates."""

    calico_version: CalicoVersion
    layout: Layout

    def __str__(self) -> str:
        return f"{self.calico_version.name} {self.layout.name}"

    @property
    def templates(self) -> set[str]:
        """Templates of chains: without those that are only included."""
        root = template_root()
        folders = [root / folder for folder in (*self.layout.templates, *self.calico_version.templates)]
        files = [file.relative_to(folder) for folder in folders for file in folder.rglob("*.j2")]
        return {file.with_suffix("").as_posix() for file in files if not file.name.startswith("_")}

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(vars(RuleContext(Config(wireguard_v4=True), self.calico_version, self.layout).mark))

    def parsed(self, template: str) -> nodes.Template:
        """A template with its partials in their places."""
        environment = render._environment((*self.layout.templates, *self.calico_version.templates))
        assert environment.loader is not None
        return environment.parse(environment.loader.get_source(environment, f"{template}.j2")[0])


ALL = [*(Searched(calico_version, IPTABLES) for calico_version in CALICO_VERSIONS.values()), Searched(V3_32, NFTABLES)]


def fields(kind: Any) -> dict[str, Any]:
    """The fields of a kind of values with their types."""
    hints = get_type_hints(kind)
    names = kind._fields if hasattr(kind, "_fields") else kind.__struct_fields__
    return {name: hints[name] for name in names}


def element(kind: Any) -> Any:
    """What a sequence consists of."""
    assert issubclass(get_origin(kind) or object, Sequence), f"{kind} is looped over"
    return get_args(kind)[0]


class Names:
    """Resolves what a template names to types. `wrong` are names that lead nowhere, `used` the fields named."""

    def __init__(self, facts: type[Facts], marks: frozenset[str]) -> None:
        self.marks = marks
        self.wrong: list[str] = []
        self.used: set[str] = set()
        self._facts = fields(facts)

    def check(self, node: nodes.Node, scope: dict[str, Any]) -> None:
        if isinstance(node, nodes.For):
            looped = self.type_of(node.iter, scope)
            target = node.target
            assert isinstance(target, nodes.Name)
            inner = {**scope, target.name: element(looped) if looped else None}
            for child in (*node.body, *node.else_):
                self.check(child, inner)
        elif isinstance(node, nodes.Expr):
            self.type_of(node, scope)
        else:
            for child in node.iter_child_nodes():
                self.check(child, scope)

    def type_of(self, node: nodes.Node, scope: dict[str, Any]) -> Any:
        """The type of an expression, None if it is not known."""
        if isinstance(node, nodes.Name):
            if node.name in scope:
                return scope[node.name]
            if node.name not in self._facts:
                self.wrong.append(f"{node.lineno}: {node.name}")
                return None
            self.used.add(node.name)
            return self._facts[node.name]
        if isinstance(node, nodes.Getattr):
            of = self.type_of(node.node, scope)
            return self._attribute(of, node) if of else None
        for child in node.iter_child_nodes():
            self.type_of(child, scope)
        return None

    def _attribute(self, of: Any, node: nodes.Getattr) -> Any:
        if of is SimpleNamespace:
            if node.attr not in self.marks:
                self.wrong.append(f"{node.lineno}: mark.{node.attr}")
            return str
        if node.attr not in fields(of):
            self.wrong.append(f"{node.lineno}: {of.__name__}.{node.attr}")
            return None
        return fields(of)[node.attr]


def names(searched: Searched, template: str) -> Names:
    found = Names(FACTS[template], searched.marks)
    found.check(searched.parsed(template), dict(ALWAYS))
    return found


@pytest.mark.parametrize("searched", ALL, ids=str)
def test_a_template_names_only_the_fields_of_its_facts(searched: Searched) -> None:
    wrong = {name: found for name in sorted(searched.templates) if (found := names(searched, name).wrong)}
    assert wrong == {}


def test_every_template_has_facts_and_every_fact_is_named() -> None:
    assert {name for searched in ALL for name in searched.templates} == set(FACTS)
    named: dict[type[Facts], set[str]] = {kind: set() for kind in FACTS.values()}
    for searched in ALL:
        for template in searched.templates:
            named[FACTS[template]] |= names(searched, template).used
    assert {kind.__name__: set(fields(kind)) - used for kind, used in named.items() if set(fields(kind)) - used} == {}


def plans() -> Iterator[Plan]:
    eth = {"eth0": (), "eth1": (), "kube-ipvs0": ()}
    for layout in LAYOUTS.values():
        compiler = Compiler(cluster(*THINGS, service_cidrs=("10.96.0.0/12",)), dataplane=layout.name)
        resolution = compiler.resolve("node1", Host(interfaces=eth))
        yield compiler._planner(resolution.config, layout).plan(resolution, compiler.calico_version)


def test_chains_are_planned_with_the_facts_of_their_template() -> None:
    planned = [
        chain
        for plan in plans()
        for table in plan.tables
        for chain in (*table.inserted.values(), *table.appended.values(), *table.chains.values())
    ]
    assert {chain.template for chain in planned} == set(FACTS)
    assert {chain.template for chain in planned if type(chain.facts) is not FACTS[chain.template]} == set()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("% for tier in tiers\n{{ tier.name }}{{ tier.colour }}\n% endfor\n", ["2: TierFacts.colour"]),
        ("{{ mark.accept }} {{ mark.blue }} {{ chain }}\n", ["1: mark.blue"]),
        ("% if nothing\n% endif\n", ["1: nothing"]),
    ],
)
def test_the_check_finds_names_that_lead_nowhere(text: str, wrong: list[str]) -> None:
    found = Names(FACTS["filter/cali-tw"], Searched(V3_32, IPTABLES).marks)
    found.check(render._environment(V3_32.templates).parse(text), dict(ALWAYS))
    assert found.wrong == wrong
