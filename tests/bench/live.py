"""Cost of changes to a node's rules that are kept in step, beside that of a fresh compile: time and memory.

``python -m tests.bench.live [--shape L]`` prints medians over many changes of each sort, how many changes a second go
through one by one and in bursts, and what a process holds after a compile and after `felixpy.Live` was made.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from msgspec.structs import replace

import felixpy
from felixpy.live import Change, Live
from felixpy.model import Cluster, Policy, Profile, Workload
from tests.bench.clusters import SHAPES, write

NODE = "node1"
CHANGES = 40
BURST = 1000


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def relabelled(pod: Workload, number: int) -> Workload:
    return replace(pod, labels={**pod.labels, "app": "frontend" if number % 2 else "db", "version": f"v{number % 5}"})


class Changes:
    """Objects of a cluster that change again and again."""

    def __init__(self, cluster: Cluster) -> None:
        self.pods = {(each.namespace, each.name): each for each in cluster.workloads}
        self.local = [key for key, each in self.pods.items() if each.node == NODE]
        self.remote = [key for key, each in self.pods.items() if each.node != NODE]
        self.policies = {each.key: each for each in cluster.policies}
        self.profiles = {each.name: each for each in cluster.profiles.values() if each.name.startswith("kns.")}

    def relabel(self, keys: list[tuple[str, str]]) -> Iterator[list[Change]]:
        for number, key in enumerate(cycle(keys)):
            old, self.pods[key] = self.pods[key], relabelled(self.pods[key], number)
            yield [Change(old, self.pods[key])]

    def come_and_go(self, keys: list[tuple[str, str]]) -> Iterator[list[Change]]:
        for key in cycle(keys):
            yield [Change(self.pods[key], None)]
            yield [Change(None, self.pods[key])]

    def policy(self) -> Iterator[list[Change]]:
        """A policy of each namespace loses or gets back its last rule."""
        whole = dict(self.policies)
        for key in cycle(whole):
            old = self.policies[key]
            new: Policy = replace(old, inbound=old.inbound[:-1]) if old.inbound == whole[key].inbound else whole[key]
            self.policies[key] = new
            yield [Change(old, new)]

    def namespace(self) -> Iterator[list[Change]]:
        for number, name in enumerate(cycle(self.profiles)):
            old = self.profiles[name]
            new: Profile = replace(old, labels={**old.labels, "pcns.tenant": f"t{number % 50}"})
            self.profiles[name] = new
            yield [Change(old, new)]

    def bursts(self) -> Iterator[list[Change]]:
        single = self.relabel(self.remote)
        while True:
            yield [change for changes in islice(single, BURST) for change in changes]


def measured(live: Live, changes: Iterator[list[Change]], count: int) -> list[float]:
    """CPU seconds of each change: others may use the machine, too."""
    found = []
    for change in islice(changes, count):
        start = process_time()
        live.apply(change)
        found.append(process_time() - start)
    return found


def memory(path: Path, keep: Callable[[Cluster], Any]) -> float:
    """The most that a process held that loaded a cluster and kept something of it, in megabytes."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        cluster = felixpy.load([path])
        kept = keep(cluster)
        os.write(writer, str(megabytes()).encode())
        os._exit(0 if kept else 1)
    os.waitpid(child, 0)
    return float(os.read(reader, 100))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.live", description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", default="L", help=f"of {', '.join(SHAPES)}; default L")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write(SHAPES[wanted.shape], Path(folder), "json")
        compiled = memory(path, lambda cluster: felixpy.compile(cluster, NODE))
        kept = memory(path, lambda cluster: Live(cluster, NODE))
        cluster = felixpy.load([path])
    print(f"memory: compile {compiled:.0f} MB, Live {kept:.0f} MB, ratio {kept / compiled:.2f}")
    start = process_time()
    felixpy.compile(cluster, NODE)
    print(f"a fresh compile: {(process_time() - start) * 1e3:.0f} ms")
    gc.disable()
    live, changes = Live(cluster, NODE), Changes(cluster)
    rows = (
        ("pod elsewhere, relabelled", changes.relabel(changes.remote), CHANGES),
        ("pod elsewhere, gone or new", changes.come_and_go(changes.remote), CHANGES),
        ("pod of the node, relabelled", changes.relabel(changes.local), CHANGES),
        ("pod of the node, gone or new", changes.come_and_go(changes.local), CHANGES),
        ("policy", changes.policy(), CHANGES),
        ("namespace label", changes.namespace(), CHANGES),
        (f"{BURST} pods at once", changes.bursts(), 5),
    )
    print(f"{'change':<32}{'median ms':>10}{'worst ms':>10}")
    for words, of_sort, count in rows:
        found = measured(live, of_sort, count)
        print(f"{words:<32}{statistics.median(found) * 1e3:>10.1f}{max(found) * 1e3:>10.1f}")
    start = perf_counter()
    count = 5 * BURST
    used = sum(measured(live, changes.relabel(changes.remote), count))
    print(
        f"one by one: {count / used:.0f} changes a second of CPU, {count / (perf_counter() - start):.0f} by the clock"
    )


if __name__ == "__main__":
    main()
