"""``felixpy render --all-nodes``: progress while it runs, a summary at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from felixpy.cli import invocation
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import many
from felixpy.fleet import render_nodes

REDRAW_SECONDS = 0.1


class _Progress:
    """Nodes done of nodes in all, on a terminal only, gone at the end."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.shown = sys.stderr.isatty()
        self.drawn = 0.0

    def step(self, ready: int) -> None:
        now = time.monotonic()
        if self.shown and now - self.drawn > REDRAW_SECONDS:
            self.drawn = now
            print(f"\r{ready}/{self.total} nodes", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.shown and self.drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def render_all(
    compiler: Compiler, folder: Path, *, settings: Sequence[Setting], jobs: int, dask: str | None, quiet: bool
) -> None:
    """Render all nodes; exit status 2 if any of them failed."""
    progress = _Progress(len(compiler.cluster.node_names()))
    outcomes = render_nodes(compiler, folder, settings=settings, jobs=jobs, dask=dask, done=progress.step)
    progress.clear()
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
