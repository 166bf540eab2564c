"""Plan + templates → text. One template call for each chain; titles are a pass over the lines."""

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
"""Begins a template line that is spelt as for nft; all others are spelt as for iptables-restore."""

NUMBER_SIGN = "#"
"""Begins a template line that numbers the policy rule drawn below it."""

RETURN = "--jump RETURN"
_COMMENTS = re.compile(r'(?:-m comment --comment "[^"]*" ?)*')
_FIRST_COMMENT = re.compile(r"\{#\s*(.*?)\s*#\}", re.DOTALL)


def template_root() -> Path:
    """Beside the package's modules once installed, beside the package in a checkout."""
    packaged = Path(__file__).parent / "templates"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "templates"


def _bytecode_cache() -> jinja2.BytecodeCache | None:
    """Compiled templates in the user's cache folder: compiling them anew takes as long as a small cluster's rules.

    Jinja checks each against the template's text. Where the folder cannot be made, or others may write into it, there
    is no cache: what is in it is run.
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
    """A template names a fact that its chain does not have, or is not a template: its file, line and what is wrong."""


def _line_of(wrong: Exception, path: Path) -> int:
    """The line of a template's text in which an error arose."""
    found = [frame.lineno or 1 for frame in traceback.extract_tb(wrong.__traceback__) if Path(frame.filename) == path]
    return found[-1] if found else 1


class _InlineIncludes(jinja2.FileSystemLoader):
    """Puts partials in the place of their ``include`` lines before compiling.

    An include at run time copies the whole context, which costs as much as ten rules; the text is the same.
    """

    _INCLUDE = re.compile(r'^%\s*include "(?P<name>[^"]+)"\n', re.MULTILINE)

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, path, is_current = super().get_source(environment, template)
        return self._INCLUDE.sub(lambda found: self.get_source(environment, found["name"])[0], source), path, is_current

    def lines(self, environment: jinja2.Environment, template: str) -> Iterator[tuple[Path, int]]:
        """The file and line that each line of a template's text comes from, after partials were put in their places."""
        source, path, _ = super().get_source(environment, template)
        for number, line in enumerate(source.splitlines(keepends=True), start=1):
            if found := self._INCLUDE.fullmatch(line):
                yield from self.lines(environment, found["name"])
            else:
                yield Path(path), number

    def paths(self, environment: jinja2.Environment, template: str) -> Iterator[Path]:
        """The file of a template, then those of its partials."""
        yield from dict.fromkeys(path for path, _ in self.lines(environment, template))


@cache
def _environment(folders: tuple[str, ...]) -> jinja2.Environment:
    """Templates are compiled once for each process, however many clusters it renders."""
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
    """The templates of one Calico version, and what they were already asked to draw.

    Chains that several nodes, tables or families share are one `ChainPlan` and so are drawn once.
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
        """Draw every chain that is reached from the kernel's chains."""
        tables = {(table.family, table.name): self._table(table) for table in plan.tables}
        return Ruleset(node=plan.node, calico_version=self.calico_version.name, tables=tables, sets=plan.sets)

    def purpose(self, template: str) -> str:
        """What a template says about itself in its first comment."""
        source, _, _ = self._loader.get_source(self._environment, f"{template}.j2")
        found = _FIRST_COMMENT.match(source)
        return found[1] if found else ""

    def files(self, template: str) -> tuple[str, ...]:
        """The file that draws a template's chains, then those it includes: ``v3.29/filter/cali-tw.j2`` …"""
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
        """What the template of a chain draws. Raises TemplateFault, which names the line at fault."""
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
        """Draw one chain, or find it among those already drawn."""
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
        """What the chains with these facts are but for their names; the title, "" for none, counts as the last."""
        known = self._patterns.get(plan.facts)
        if known is None:
            title = str(hole(len(plan.names) + 1)) if plan.title else ""
            nameless = structs.replace(plan, name=hole(0), title=title)
            bodies, numbers = _rules(nameless, self._text(nameless))
            known = self._patterns[plan.facts] = Pattern(plan.template, len(plan.names) + 1, bodies, numbers)
        return known


def _rules(plan: ChainPlan, text: str) -> tuple[list[str], list[int]]:
    """Rules without ``-A chain``, and the number of the policy rule that each belongs to (-1 for none)."""
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
    """What Felix does to a policy's or profile's chain: returns at the end go, the first rule gets the title."""
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
    """Every template of a Calico version with what it says about itself."""
    root = template_root()
    names = {
        path.relative_to(root / folder).with_suffix("").as_posix()
        for folder in calico_version.templates
        for path in (root / folder).rglob("*.j2")
    }
    return {name: renderer.purpose(name) for name in sorted(names) if "_" not in name.rpartition("/")[2][:1]}
