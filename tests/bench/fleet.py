"""Time and memory of ``felixpy render --all-nodes`` by the number of nodes: ``python -m tests.bench.fleet``.

Nodes have 50 pods each, and there are two policies for every five nodes: 5,000 nodes are 250,000 pods and 2,000
policies. Figures are CPU seconds of all processes together, less those of reading the input and of what is done once,
so that others on the machine count little. A fleet that scales costs the same for each node, however many there are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from tests.bench.__main__ import CHECKOUT, FELIXPY
from tests.bench.clusters import Shape, write

PODS_OF_A_NODE = 50
PODS_OF_A_NAMESPACE = 125


class Spent(NamedTuple):
    """What a process and its children took."""

    wall: float
    cpu: float
    megabytes: float
    """The most that one process had."""


def fleet(nodes: int) -> Shape:
    return Shape(nodes * PODS_OF_A_NODE // PODS_OF_A_NAMESPACE, PODS_OF_A_NAMESPACE, 1, 0, nodes=nodes)


def spent(*words: str) -> Spent:
    """Run felixpy to its end, its output thrown away."""
    start = perf_counter()
    process = subprocess.Popen((*FELIXPY, *words, "--quiet"), cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return Spent(perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", default="50,100,200", help="numbers of nodes; default 50,100,200; 5000 takes long")
    parser.add_argument("--jobs", default="2", help="processes; default 2")
    wanted = parser.parse_args()
    print(f"{'nodes':>6}{'pods':>9}{'wall s':>9}{'CPU s':>9}{'ms/node':>9}{'MB':>7}")
    for nodes in map(int, wanted.nodes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            file = str(write(fleet(nodes), Path(folder), "json"))
            one = spent("render", file, "--node", "node1")
            every = spent("render", file, "--all-nodes", "--output-dir", f"{folder}/out", "--jobs", wanted.jobs)
        each = (every.cpu - one.cpu) / nodes * 1000
        pods = nodes * PODS_OF_A_NODE
        print(f"{nodes:>6}{pods:>9}{every.wall:>9.1f}{every.cpu:>9.1f}{each:>9.1f}{every.megabytes:>7.0f}", flush=True)


if __name__ == "__main__":
    main()
