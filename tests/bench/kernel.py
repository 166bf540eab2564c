"""How long it takes to put rules and sets into a kernel: ``python -m tests.bench.kernel``, as root.

Everything happens in network namespaces that are made for it. What felixpy does is set beside what the bare tools need
for the same input: one ``ipset restore``, and one ``iptables-restore`` for each family, or ``nft -f -``. felixpy's time
runs from compiled rules to the last command's end: finding the backend, reading what is there, planning and writing.
"Watched" is the change alone, by an enforcer that knows what it wrote before, as in ``felixpy apply --watch``. Of a
change that is not watched, "bare" is what the tools need to print the tables alone. On nftables felixpy need not print
them if nobody has changed any rule of nftables in the namespace since it last wrote them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, ParamSpec, TypeVar

import felixpy
from felixpy.config import Setting
from felixpy.dataplane.backends import EnforcerOptions, enforcer_of, find, goal_of
from felixpy.dataplane.enforcer import AnyEnforcer, Program
from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.dataplane.nftables.memory import FOLDER as MEMORY
from felixpy.kernel import LOCK_FILE, Machine, open_machine
from felixpy.nftables import NftRuleset
from tests.bench.clusters import RULES, Manifest, Shape, objects
from tests.netns.namespace import BACKENDS, TOOLS, fresh_namespace, obstacle

P = ParamSpec("P")
R = TypeVar("R")

HERE = felixpy.Host(interfaces={})
NODE = "node1"
MEMBERS = 100_000


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
        return f"{self.what:<26}{self.backend:<10}{bare:>8}{self.felixpy:>9.3f}{ratio:>7}   {self.summary}"


HEAD = f"{'':<26}{'backend':<10}{'bare s':>8}{'felixpy':>9}{'ratio':>7}"


def compiled(manifests: Iterator[Manifest], backend: str) -> felixpy.Ruleset:
    """The rules of the node, with their hashes, which those of nftables get when their tables are first asked for."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "manifests.json")
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))
        cluster = felixpy.load([file])
    plane = NFTABLES if backend == NFTABLES else "iptables"
    settings = [Setting("Ipv6Support", "false")]
    ruleset = felixpy.compile(cluster, NODE, host=HERE, dataplane=plane, settings=settings)
    if isinstance(ruleset, NftRuleset):
        assert ruleset.nft_tables
    return ruleset


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


def bare(machine: Machine, inputs: Sequence[tuple[str, str]], backend: str) -> None:
    """What the tools alone do with the same input, in as few calls as there can be."""
    if backend == NFTABLES:
        for command, text in inputs:
            done = machine.run(*command.split(), text=text)
            assert not done.status, done.errors
        return
    machine.run("ipset", "restore", text="".join(text for command, text in inputs if command == "ipset restore"))
    for tool in TOOLS.values():
        if text := "".join(text for command, text in inputs if command.startswith(f"{tool}-")):
            done = machine.run(f"{tool}-{backend}-restore", "--noflush", "--wait", "10", text=text)
            assert not done.status, done.errors


def printed(machine: Machine, backend: str) -> None:
    """What the bare tools need to print the tables of IPv4, the only family that is on."""
    command = ("nft", "-s", "list", "table", "ip", "calico") if backend == NFTABLES else (f"iptables-{backend}-save",)
    assert not machine.run(*command).status


def enforce(machine: Machine, ruleset: felixpy.Ruleset, backend: str) -> tuple[AnyEnforcer, Program]:
    """What ``felixpy apply`` does once it has the rules."""
    with machine.locked(10):
        options = EnforcerOptions(10, find(machine).answers)
        enforcer = enforcer_of(machine, backend, machine.scratch, options=options)
        return enforcer, enforcer.apply(goal_of(ruleset)).program


def watched(machine: Machine, enforcer: AnyEnforcer, ruleset: felixpy.Ruleset) -> Program:
    """What ``felixpy apply --watch`` does."""
    with machine.locked(10):
        found: Program = enforcer.apply(goal_of(ruleset)).program
    return found


def fresh(what: str, manifests: Callable[[], Iterator[Manifest]], backend: str, runs: int) -> Row:
    """Into an empty namespace. Each run compiles anew: nothing that one prepared may help the next."""
    ours, theirs, summary = [], [], ""
    for _ in range(runs):
        ruleset = compiled(manifests(), backend)
        with fresh_machine() as machine:
            ours.append(timed(enforce, machine, ruleset, backend)[0])
        with fresh_machine() as machine:
            enforcer = enforcer_of(machine, backend)
            program = enforcer.plan(goal_of(ruleset))
            inputs = list(enforcer.inputs(program))
            theirs.append(timed(bare, machine, inputs, backend)[0])
            summary = program.summary()
    return Row(what, backend, min(theirs), min(ours), summary)


def change(
    what: str, before: Shape, after: Callable[[], Iterator[Manifest]], backend: str, runs: int, *, watch: bool = False
) -> Row:
    """From one set of rules to the next."""
    seconds, listing, summary = [], [], ""
    with fresh_machine() as machine:
        for _ in range(runs):
            enforcer, _ = enforce(machine, compiled(objects(before), backend), backend)
            goal = compiled(after(), backend)
            listing.append(timed(printed, machine, backend)[0])
            if watch:
                needed, program = timed(watched, machine, enforcer, goal)
            else:
                needed, (_, program) = timed(enforce, machine, goal, backend)
            seconds.append(needed)
            summary = program.summary()
    return Row(what, backend, None if watch else min(listing), min(seconds), summary)


def rows(runs: int, wanted: set[str]) -> Iterator[Row]:
    """All measurements."""
    ten = RULES["10k rules"]
    for backend in (*BACKENDS, NFTABLES):
        for name, shape in RULES.items():
            if name in wanted:
                # What is over soon is measured more often: other programs disturb it more.
                yield fresh(name, partial(objects, shape), backend, 3 * runs if shape is ten else runs)
        if "members" in wanted:
            yield fresh("100k set members", partial(crowd, MEMBERS), backend, runs)
        if "change" in wanted:
            one = partial(with_one_more_port, ten)
            yield change("one policy of 10k rules", ten, one, backend, runs)
            yield change("the same, watched", ten, one, backend, runs, watch=True)
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
        os.environ[MEMORY] = f"{folder}/nftables"
        print(HEAD, flush=True)
        for row in rows(asked.runs, set(asked.only.split(","))):
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
