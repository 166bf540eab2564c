"""``felixpy render --all-nodes``: output as each node completes, progress while it runs, a summary at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import typer

from felixpy.cli import invocation
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.ending import LACKING
from felixpy.errors import Problem, many, natural
from felixpy.fleet import NodeOutcome, print_nodes, render_nodes
from felixpy.ruleset import Ruleset
from felixpy.workers import Workers


def write_all(compiler: Compiler, folder: Path, hands: Workers, *, settings: Sequence[Setting], quiet: bool) -> None:
    """Render all nodes into folders; exit status 2 if any of them failed."""
    outcomes = render_nodes(compiler, folder, hands, settings=settings)
    _tell(outcomes, f"written to {folder}", quiet=quiet)


def print_all(
    compiler: Compiler, text: Callable[[Ruleset], str], hands: Workers, *, settings: Sequence[Setting], quiet: bool
) -> None:
    """Print all nodes in the order of their names; exit status 2 if any of them failed."""
    outcomes = print_nodes(compiler, text, hands, settings=settings)
    _tell(_printed(outcomes), "printed", quiet=quiet)


def _printed(outcomes: Iterable[NodeOutcome]) -> Iterator[NodeOutcome]:
    for outcome in outcomes:
        if outcome.text:
            invocation.emit(outcome.text)
        yield outcome


def _tell(outcomes: Iterable[NodeOutcome], done: str, *, quiet: bool) -> None:
    nodes = rules = 0
    findings: dict[Problem, None] = {}
    failed: list[NodeOutcome] = []
    for outcome in outcomes:
        nodes, rules = nodes + 1, rules + outcome.rules
        findings.update(dict.fromkeys(outcome.findings))
        if outcome.error:
            failed.append(outcome)
    invocation.warn(findings, quiet=quiet)
    for outcome in sorted(failed, key=lambda each: natural(each.node)):
        invocation.tell(f"felixpy: node {outcome.node}: {outcome.error}")
    if not quiet:
        invocation.tell(f"felixpy: {nodes - len(failed)} of {many(nodes, 'node')} {done}, {many(rules, 'rule')}")
    if any(outcome.lost for outcome in failed):
        invocation.tell("felixpy: a process that the system ends usually had no memory left; --jobs 1 needs the least")
        raise typer.Exit(LACKING)
    if failed or not nodes:
        raise typer.Exit(2)
