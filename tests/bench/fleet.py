"""Time and memory of ``felixpy render --all-nodes`` by the number of nodes: ``python -m tests.bench.fleet``.

Nodes have 50 pods each, and there are two policies for every five nodes: 5,000 nodes are 250,000 pods and 2,000
policies. In `own` clusters policies admit pods of their own namespace, so that a node's rules and sets have the same
size whatever the cluster's; in `all` clusters they name all pods of the cluster, as a policy does that admits DNS to
every namespace, so that the sets of every node hold all pods. Inputs are made by `tests.bench.clusters`, always the
same ones.

Figures are CPU seconds of all processes together, so that others on the machine count little; `ms/node` leaves out what
is done once. A fleet that scales costs the same for each node, however many there are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

from felixpy.cli.invocation import load_cluster
from felixpy.compiler import Compiler
from felixpy.manifests.loading import Options
from tests.bench.__main__ import CHECKOUT, FELIXPY
from tests.bench.clusters import Shape, place, write

PODS_OF_A_NODE = 50
OUTPUTS = ("files", "stdout")


class Spent(NamedTuple):
    """What a process and its children took."""

    wall: float
    cpu: float
    megabytes: float
    """The most that one process had."""


def own(nodes: int) -> Shape:
    """Policies that admit pods of their own namespace."""
    return Shape(nodes * PODS_OF_A_NODE // 250, 250, 2, 0, nodes=nodes, isolated=True)


def everybody(nodes: int) -> Shape:
    """Policies that name all pods as well."""
    return Shape(nodes * PODS_OF_A_NODE // 125, 125, 1, 0, nodes=nodes)


SHAPES = {"own": own, "all": everybody}


def spent(*words: str) -> Spent:
    """Run felixpy to its end, its output thrown away."""
    start = perf_counter()
    process = subprocess.Popen((*FELIXPY, *words, "--quiet"), cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return Spent(perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def once(file: str) -> float:
    """CPU seconds of what is done before the first node: reading, and preparing for many nodes."""
    cluster = load_cluster([file], Options(), quiet=True)
    Compiler(cluster).prepare()
    return process_time()


def apart(*words: str) -> bytes:
    """What a part of this benchmark prints in a process of its own, as a child's peak begins at its parent's size."""
    command = (sys.executable, "-m", "tests.bench.fleet", *words)
    return subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE).stdout


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", default="50,200", help="numbers of nodes; default 50,200; 5000 takes long")
    parser.add_argument("--shapes", default="own,all", help="of own, all; default both")
    parser.add_argument("--output", choices=OUTPUTS, default="files", help="where rules go; default files")
    parser.add_argument("--jobs", default="2", help="processes; default 2")
    parser.add_argument("--write", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--once", metavar="FILE", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.once:
        print(once(wanted.once))
        return
    if wanted.write:
        write(SHAPES[wanted.shapes](int(wanted.nodes)), wanted.write, "json")
        return
    titles = f"{'policies':<9}{'nodes':>6}{'pods':>9}{'once s':>8}{'wall s':>8}{'CPU s':>8}{'ms/node':>9}{'MB':>7}"
    print(f"{titles}{'MB/node':>9}", flush=True)
    for shape in wanted.shapes.split(","):
        for nodes in map(int, wanted.nodes.split(",")):
            print(row(shape, nodes, wanted.output, wanted.jobs), flush=True)


def row(shape: str, nodes: int, output: str, jobs: str) -> str:
    """One cluster."""
    with tempfile.TemporaryDirectory() as folder:
        apart("--write", folder, "--shapes", shape, "--nodes", str(nodes))
        file, out = str(place(Path(folder), "json")), Path(folder) / "out"
        words = ("--output-dir", str(out)) if output == "files" else ()
        done = float(apart("--once", file))
        every = spent("render", file, "--all-nodes", "--jobs", jobs, *words)
        size = sum(each.stat().st_size for each in out.rglob("*.*")) / nodes / 1e6 if words else 0
    each = (every.cpu - done) / nodes * 1000
    return (
        f"{shape:<9}{nodes:>6}{nodes * PODS_OF_A_NODE:>9}{done:>8.1f}{every.wall:>8.1f}{every.cpu:>8.1f}"
        f"{each:>9.1f}{every.megabytes:>7.0f}{size:>9.2f}"
    )


if __name__ == "__main__":
    main()
