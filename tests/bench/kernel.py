"""How long it takes to put rules and sets into a kernel: ``python -m tests.bench.kernel``, as root.

Everything happens in network namespaces that are made for it. What felixpy does is set beside what the bare tools need
for the same input: one ``ipset restore``, and one ``iptables-restore`` for each family. felixpy's time runs from
compiled rules to the last command's end: finding the backend, reading what is there, planning and writing.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, ParamSpec, TypeVar

import felixpy
from felixpy.config import Setting
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.program import Program
from felixpy.dataplane.tools import Tools, choose, look
from felixpy.dataplane.wanted import Wanted
from felixpy.kernel import LOCK_FILE, Machine, open_machine
from tests.bench.clusters import Manifest, Shape, objects
from tests.netns.namespace import BACKENDS, TOOLS, fresh_namespace, obstacle

P = ParamSpec("P")
R = TypeVar("R")

HERE = felixpy.Host(interfaces={})
NODE = "node1"
RULES = {
    "10k rules": Shape(100, 20, 5, 20, local=210),
    "100k rules": Shape(1000, 20, 5, 20, local=2130),
}
"""Nodes by the number of rules they have in IPv4, the only family that is on."""

MEMBERS = 100_000
LIMIT = 1.3
"""What felixpy may take, with what the bare tools take as 1."""

CHANGE_LIMIT = 0.3
"""Seconds for the change of one policy on a node with 10,000 legacy rules."""


class Row(NamedTuple):
    """Best times in seconds of one thing that was done; `bare` is None where the tools alone cannot do it."""

    what: str
    backend: str
    bare: float | None
    felixpy: float
    summary: str

    def __str__(self) -> str:
        bare = "" if self.bare is None else f"{self.bare:.3f}"
        ratio = "" if self.bare is None else f"{self.felixpy / self.bare:.2f}"
        return f"{self.what:<26}{self.backend:<8}{bare:>8}{self.felixpy:>9.3f}{ratio:>7}   {self.summary}"


HEAD = f"{'':<26}{'backend':<8}{'bare s':>8}{'felixpy':>9}{'ratio':>7}"


def compiled(manifests: Iterator[Manifest]) -> felixpy.Ruleset:
    """The rules of the node."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "manifests.json")
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))
        cluster = felixpy.load([file])
    return felixpy.compile(cluster, NODE, host=HERE, settings=[Setting("Ipv6Support", "false")])


def crowd(members: int) -> Iterator[Manifest]:
    """A cluster in which one policy lets so many networks in."""
    networks = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(members)]
    api = "projectcalico.org/v3"
    yield from objects(Shape(1, 1, 0, 0, local=1))
    metadata = {"name": "crowd", "labels": {"crowd": "yes"}}
    yield {"apiVersion": api, "kind": "GlobalNetworkSet", "metadata": metadata, "spec": {"nets": networks}}
    rule = {"action": "Allow", "source": {"selector": "crowd == 'yes'"}}
    spec = {"selector": "all()", "types": ["Ingress"], "ingress": [rule]}
    yield {"apiVersion": api, "kind": "GlobalNetworkPolicy", "metadata": {"name": "in"}, "spec": spec}


def with_one_more_port(shape: Shape) -> Iterator[Manifest]:
    """The same cluster, in which one policy lets another port in."""
    changed = False
    for manifest in objects(shape):
        if manifest["kind"] == "GlobalNetworkPolicy" and not changed:
            manifest["spec"]["ingress"][1]["destination"]["ports"].append(7)
            changed = True
        yield manifest


@contextmanager
def fresh_machine() -> Iterator[Machine]:
    """felixpy's view of a namespace with nothing in it."""
    with fresh_namespace(), open_machine(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net") as machine:
        yield machine


def timed(action: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> tuple[float, R]:
    """Seconds and result of one call. Like the commands of felixpy, it runs without the collector of cycles."""
    gc.collect()
    gc.disable()
    start = perf_counter()
    result = action(*arguments, **named)
    seconds = perf_counter() - start
    gc.enable()
    return seconds, result


def bare(machine: Machine, program: Program, backend: str) -> None:
    """What the tools alone do with the same input, in as few calls as there can be."""
    machine.run("ipset", "restore", text="".join(fill.text for fill in program.fills))
    for family, tool in TOOLS.items():
        if text := "".join(change.text for change in program.tables if change.family == family):
            done = machine.run(f"{tool}-{backend}-restore", "--noflush", "--wait", "10", text=text)
            assert not done.status, done.errors


def enforce(machine: Machine, ruleset: felixpy.Ruleset, backend: str) -> Program:
    """What ``felixpy apply`` does once it has the rules."""
    with machine.locked(10):
        answers = look(machine)
        choose(answers)
        return IptablesEnforcer(Tools(machine, backend, 10, answers), machine.scratch).apply(Wanted.of(ruleset)).program


def fresh(what: str, manifests: Callable[[], Iterator[Manifest]], backend: str, runs: int) -> Row:
    """Into an empty namespace. Each run compiles anew: nothing that one prepared may help the next."""
    ours, theirs, summary = [], [], ""
    for _ in range(runs):
        ruleset = compiled(manifests())
        with fresh_machine() as machine:
            ours.append(timed(enforce, machine, ruleset, backend)[0])
        with fresh_machine() as machine:
            program = IptablesEnforcer(Tools(machine, backend)).plan(Wanted.of(ruleset))
            theirs.append(timed(bare, machine, program, backend)[0])
            summary = program.summary()
    return Row(what, backend, min(theirs), min(ours), summary)


def change(what: str, before: Shape, after: Callable[[], Iterator[Manifest]], backend: str, runs: int) -> Row:
    """From one set of rules to the next."""
    seconds, summary = [], ""
    with fresh_machine() as machine:
        for _ in range(runs):
            enforce(machine, compiled(objects(before)), backend)
            needed, program = timed(enforce, machine, compiled(after()), backend)
            seconds.append(needed)
            summary = program.summary()
    return Row(what, backend, None, min(seconds), summary)


def rows(runs: int, wanted: set[str]) -> Iterator[Row]:
    """All measurements."""
    ten = RULES["10k rules"]
    for backend in BACKENDS:
        for name, shape in RULES.items():
            if name in wanted:
                # What is over soon is measured more often: other programs disturb it more.
                yield fresh(name, partial(objects, shape), backend, 3 * runs if shape is ten else runs)
        if "members" in wanted:
            yield fresh("100k set members", partial(crowd, MEMBERS), backend, runs)
        if "change" in wanted:
            yield change("one policy of 10k rules", ten, partial(with_one_more_port, ten), backend, runs)
            yield change("nothing of 10k rules", ten, partial(objects, ten), backend, runs)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kernel", description=__doc__.partition("\n")[0])
    kinds = [*RULES, "members", "change"]
    parser.add_argument("--only", default=",".join(kinds), help=f"of {', '.join(kinds)}; default all")
    parser.add_argument("--runs", type=int, default=3, help="runs for each figure, of which the best counts; default 3")
    asked = parser.parse_args()
    if reason := obstacle():
        print(f"no kernel to measure: {reason}", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {LOCK_FILE: f"{folder}/felixpy.lock", "XTABLES_LOCKFILE": f"{folder}/xtables.lock"}
        print(HEAD, flush=True)
        for row in rows(asked.runs, set(asked.only.split(","))):
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
