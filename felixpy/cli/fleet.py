"""``felixpy render --all-nodes``: progress while it runs, a summary at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from felixpy.cli import invocation, progress
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import many
from felixpy.fleet import render_nodes


def render_all(
    compiler: Compiler, folder: Path, *, settings: Sequence[Setting], jobs: int, dask: str | None, quiet: bool
) -> None:
    """Render all nodes; exit status 2 if any of them failed."""
    total = len(compiler.cluster.node_names())

    def step(ready: int) -> None:
        progress.count(ready, total, "nodes")

    outcomes = render_nodes(compiler, folder, settings=settings, jobs=jobs, dask=dask, done=step)
    invocation.warn(dict.fromkeys(finding for outcome in outcomes for finding in outcome.findings), quiet=quiet)
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        invocation.tell(f"felixpy: node {outcome.node}: {outcome.error}")
    written = len(outcomes) - len(failed)
    rules = sum(outcome.rules for outcome in outcomes)
    if not quiet:
        nodes = many(len(outcomes), "node")
        invocation.tell(f"felixpy: {written} of {nodes} written to {folder}, {many(rules, 'rule')}")
    if failed or not outcomes:
        raise typer.Exit(2)
