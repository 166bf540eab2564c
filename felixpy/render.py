"""Renders a plan with the templates: one template call for each chain, then a pass that adds titles."""

from __future__ import annotations

import os
import re
import stat
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

import jinja2
from msgspec import structs

from felixpy.calico_versions import CalicoVersion
from felixpy.layouts import IPTABLES, Layout
from felixpy.patterns import Pattern, hole
from felixpy.plan.values import ChainPlan, Facts, Plan, TablePlan
from felixpy.ruleset import Chain, Ruleset, Table

NATIVE_RULE = "add rule"
"""The prefix of a template line in nft's syntax; all others are in the syntax of iptables-restore."""

NUMBER_SIGN = "#"
"""The prefix of a template line with the number of the policy rule that the next lines render."""

RETURN = "--jump RETURN"
_COMMENTS = re.compile(r'(?:-m comment --comment "[^"]*" ?)*')
_FIRST_COMMENT = re.compile(r"\{#\s*(.*?)\s*#\}", re.DOTALL)


def template_root() -> Path:
    """Return the folder of the templates: in the package once installed, next to the package in a checkout."""
    packaged = Path(__file__).parent / "templates"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "templates"


def _bytecode_cache() -> jinja2.BytecodeCache | None:
    """Return a cache of compiled templates in the user's cache folder, None if that is not possible.

    Compiling the templates takes as long as compiling a small cluster. Jinja checks each entry against the template's
    text. Since cached code is executed, a folder that other users can write to is not used.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "felixpy" / "templates"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    status = folder.stat()
    if (
        status.st_uid != os.geteuid()
        or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        or not os.access(folder, os.W_OK)
    ):
        return None
    return jinja2.FileSystemBytecodeCache(str(folder))


class TemplateFault(Exception):
    """A template uses a fact that its chain does not have, or has a syntax error; says file, line and reason."""


def _line_of(wrong: Exception, path: Path) -> int:
    """Return the number of the line of a template's text where an error occurred."""
    found = [frame.lineno or 1 for frame in traceback.extract_tb(wrong.__traceback__) if Path(frame.filename) == path]
    return found[-1] if found else 1


class _InlineIncludes(jinja2.FileSystemLoader):
    """Loads templates with each ``include`` line replaced by the text of its partial.

    The output is the same, but an include at run time copies the whole context, which takes as long as ten rules.
    """

    _INCLUDE = re.compile(r'^%\s*include "(?P<name>[^"]+)"\n', re.MULTILINE)

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, path, is_current = super().get_source(environment, template)
        return self._INCLUDE.sub(lambda found: self.get_source(environment, found["name"])[0], source), path, is_current

    def lines(self, environment: jinja2.Environment, template: str) -> Iterator[tuple[Path, int]]:
        """Yield the (file, line) of each line of a template's text with its partials included."""
        source, path, _ = super().get_source(environment, template)
        for number, line in enumerate(source.splitlines(keepends=True), start=1):
            if found := self._INCLUDE.fullmatch(line):
                yield from self.lines(environment, found["name"])
            else:
                yield Path(path), number

    def paths(self, environment: jinja2.Environment, template: str) -> Iterator[Path]:
        """Yield the file of a template, then those of its partials."""
        yield from dict.fromkeys(path for path, _ in self.lines(environment, template))


@cache
def _environment(folders: tuple[str, ...]) -> jinja2.Environment:
    """Return the environment of some template folders, cached so that each process compiles templates once."""
    root = template_root()
    return jinja2.Environment(
        loader=_InlineIncludes([root / folder for folder in folders]),
        line_statement_prefix="%",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        auto_reload=False,
        bytecode_cache=_bytecode_cache(),
    )


class Renderer:
    """Renders plans with the templates of one Calico version, and caches the chains.

    Chains that several nodes, tables or families share are one `ChainPlan`, which is rendered once.
    """

    def __init__(self, calico_version: CalicoVersion, layout: Layout = IPTABLES) -> None:
        self.calico_version = calico_version
        self._environment = _environment((*layout.templates, *calico_version.templates))
        self._drawn: WeakKeyDictionary[ChainPlan, Chain] = WeakKeyDictionary()
        self._patterns: WeakKeyDictionary[Facts, Pattern] = WeakKeyDictionary()

    @property
    def _loader(self) -> _InlineIncludes:
        loader = self._environment.loader
        assert isinstance(loader, _InlineIncludes)
        return loader

    def render(self, plan: Plan) -> Ruleset:
        """Return the rules of all chains that are reachable from the kernel's chains. Raises TemplateFault."""
        tables = {(table.family, table.name): self._table(table) for table in plan.tables}
        return Ruleset(node=plan.node, calico_version=self.calico_version.name, tables=tables, sets=plan.sets)

    def purpose(self, template: str) -> str:
        """Return the description of a template from its first comment."""
        source, _, _ = self._loader.get_source(self._environment, f"{template}.j2")
        found = _FIRST_COMMENT.match(source)
        return found[1] if found else ""

    def files(self, template: str) -> tuple[str, ...]:
        """Return the files of a template, its partials last: ``v3.29/filter/cali-tw.j2`` …"""
        paths = self._loader.paths(self._environment, f"{template}.j2")
        return tuple(dict.fromkeys(path.relative_to(template_root()).as_posix() for path in paths))

    def _table(self, table: TablePlan) -> Table:
        inserted = {name: self.chain(plan) for name, plan in table.inserted.items()}
        appended = {name: self.chain(plan) for name, plan in table.appended.items()}
        reached: dict[str, Chain] = {}
        open_chains: list[Chain] = [*inserted.values(), *appended.values()]
        names = [*table.needed, *(chain for targets in table.maps.values() for chain in targets.values())]
        while names or open_chains:
            names.extend(target for chain in open_chains for target in chain.targets)
            open_chains.clear()
            while names:
                name = names.pop()
                if name not in reached:
                    reached[name] = self.chain(table.chains[name])
                    open_chains.append(reached[name])
        chains = tuple(reached[name] for name in sorted(reached, key=str.encode))
        return Table(table.name, table.family, inserted, appended, chains, table.maps)

    def _text(self, plan: ChainPlan) -> str:
        """Return the output of a chain's template. Raises TemplateFault with the line of the error."""
        name = f"{plan.template}.j2"
        try:
            return self._environment.get_template(name).render({**structs.asdict(plan.facts), "chain": plan.name})
        except jinja2.TemplateNotFound:
            raise
        except jinja2.TemplateError as wrong:
            lines = [*self._loader.lines(self._environment, name)]
            number = wrong.lineno if isinstance(wrong, jinja2.TemplateSyntaxError) else _line_of(wrong, lines[0][0])
            path, line = lines[min(number, len(lines)) - 1]
            raise TemplateFault(f"{path.relative_to(template_root())}:{line}: {wrong.message}") from wrong

    def chain(self, plan: ChainPlan) -> Chain:
        """Return one chain, from the cache if it is there. Raises TemplateFault."""
        drawn = self._drawn.get(plan)
        if drawn is None:
            if plan.shared:
                drawn = self._pattern(plan).draw(plan.name, (*plan.names, plan.title), plan.origin, plan.seed)
            else:
                bodies, numbers = _rules(plan, self._text(plan))
                drawn = Chain(plan.name, tuple(bodies), tuple(numbers), plan.origin, plan.template, plan.seed)
            self._drawn[plan] = drawn
        return drawn

    def _pattern(self, plan: ChainPlan) -> Pattern:
        """Return the pattern of all chains with these facts, names left open; the last name is the title, or ""."""
        known = self._patterns.get(plan.facts)
        if known is None:
            title = str(hole(len(plan.names) + 1)) if plan.title else ""
            nameless = structs.replace(plan, name=hole(0), title=title)
            bodies, numbers = _rules(nameless, self._text(nameless))
            known = self._patterns[plan.facts] = Pattern(plan.template, len(plan.names) + 1, bodies, numbers)
        return known


def _rules(plan: ChainPlan, text: str) -> tuple[list[str], list[int]]:
    """Return the rules without ``-A chain``, and for each the number of its policy rule (-1 for none)."""
    heads = (f"-A {plan.name}", f"{NATIVE_RULE} {plan.name}")
    bodies: list[str] = []
    numbers: list[int] = []
    number = -1
    for line in text.split("\n"):
        if line.startswith(NUMBER_SIGN):
            number = int(line[1:])
        elif line:
            head = heads[line.startswith(NATIVE_RULE)]
            if line != head and not line.startswith(f"{head} "):
                raise AssertionError(f"template {plan.template}: {line!r} does not begin with {head!r}")
            bodies.append(line[len(head) + 1 :])
            numbers.append(number)
    if plan.title:
        _finish(bodies, numbers, plan.title)
    return bodies, numbers


def _finish(bodies: list[str], numbers: list[int], title: str) -> None:
    """Finish the chain of a policy or profile as Felix does: remove returns at the end, put the title on rule 1."""
    while bodies and bodies[-1].endswith(RETURN):
        bodies.pop()
        numbers.pop()
    if not bodies:
        bodies.append("")
        numbers.append(-1)
    first = bodies[0]
    found = _COMMENTS.match(first)
    comments = (found[0] if found else "").rstrip(" ")
    rest = first[len(comments) :].lstrip(" ")
    bodies[0] = " ".join(part for part in (comments, f'-m comment --comment "{title}"', rest) if part)


def purposes(calico_version: CalicoVersion, renderer: Renderer) -> Mapping[str, str]:
    """Return the description of every template of a Calico version."""
    root = template_root()
    names = {
        path.relative_to(root / folder).with_suffix("").as_posix()
        for folder in calico_version.templates
        for path in (root / folder).rglob("*.j2")
    }
    return {name: renderer.purpose(name) for name in sorted(names) if "_" not in name.rpartition("/")[2][:1]}
