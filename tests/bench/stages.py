"""Where the time of one rendering goes: ``python -m tests.bench.stages FILE NODE`` prints seconds by stage as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import felixpy
from felixpy import compiler
from felixpy.manifests import loading
from felixpy.plan import Planner
from felixpy.render import Renderer

STAGES = ("read", "model", "resolve", "plan", "render", "print")
"""In the order of the flow. What a stage takes excludes the stages it calls."""

INNER = {"read": (loading, "read_given"), "plan": (Planner, "plan"), "render": (Renderer, "render")}
"""Stages that run inside another function → where that function is looked up."""


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block, without that of stages inside it."""
        start, inside = perf_counter(), sum(self.seconds.values())
        yield
        self.seconds[name] += perf_counter() - start - (sum(self.seconds.values()) - inside)

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return timed


def measure(file: str, node: str) -> dict[str, float]:
    """Render one node and tell how long each stage took."""
    clock = Clock()
    for name, (place, attribute) in INNER.items():
        setattr(place, attribute, clock.wrapped(name, getattr(place, attribute)))
    with clock.stage("model"):
        cluster = felixpy.load([file])
    with clock.stage("resolve"):
        ruleset = compiler.compile(cluster, node)
    with clock.stage("print"):
        size = len(ruleset.ipset_save()) + sum(len(ruleset.save(family)) for family in ruleset.families)
    assert size
    return clock.seconds


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:3])))
