"""What a process that follows a cluster for long holds: a cluster whose objects change again and again, at one size.

Pods and policies give way to others with names, addresses and labels that never were before, as in a running cluster;
namespaces get other labels. ``python -m tests.bench.growth --changes 100000`` prints how many blocks of memory are in
use, and of how much the process consists, every so often.
"""

from __future__ import annotations

import argparse
import copy
import gc
import sys
import time
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from random import Random

from felixpy.live import Change, LiveCluster
from felixpy.manifests.following import Following
from felixpy.manifests.loading import Options
from felixpy.manifests.reading.documents import Document
from felixpy.manifests.reading.objects import placed
from tests.bench.clusters import FIRST_ADDRESS, SHAPES, Manifest, Shape, objects

NODES = ("node1", "node2")
SEED = 1
PAGE_BYTES = 4096

Changes = dict[str, dict[Hashable, Document | None]]


class Churn:
    """A cluster of one size, some nodes of which are kept in step through manifests, as ``felixpy watch`` does it."""

    def __init__(self, shape: Shape, plane: str, nodes: Sequence[str] = NODES) -> None:
        self._draw, self._steps = Random(SEED), 0
        self._items = {key_of(item): item for item in objects(shape)}
        self._keys = {kind: [key for key in self._items if key[0] == kind] for kind in {key[0] for key in self._items}}
        groups: dict[str, dict[Hashable, Document]] = {}
        for key, item in self._items.items():
            groups.setdefault(key[0], {})[key] = placed(f"churn/{key[0]}", item)
        self._following = Following(groups, Options(expanding=False))
        self._live = LiveCluster(self._following.cluster, dataplane=plane)
        for node in nodes:
            self._live.add(node)

    def step(self) -> None:
        """One object changes, or gives way to another one."""
        self._steps += 1
        step = self._following.take(next(self._changes()))
        assert step.changes is not None, "everything was loaded again"
        self._live.apply([Change(*pair) for pair in step.changes], step.cluster)
        assert not self._live.failed

    def _changes(self) -> Iterator[Changes]:
        kind = self._draw.choices(("Pod", "NetworkPolicy", "Namespace"), (80, 17, 3))[0]
        place = self._draw.randrange(len(self._keys[kind]))
        before = self._keys[kind][place]
        item = copy.deepcopy(self._items.pop(before))
        self._become_new(item)
        after = self._keys[kind][place] = key_of(item)
        self._items[after] = item
        yield {kind: {before: None, after: placed(f"churn/{kind}", item)}}

    def _become_new(self, item: Manifest) -> None:
        new, metadata = f"n{self._steps}", item["metadata"]
        if item["kind"] == "Pod":
            address = str(FIRST_ADDRESS + 2**20 + self._steps)
            item["status"] |= {"podIP": address, "podIPs": [{"ip": address}]}
            metadata["labels"]["pod-template-hash"] = new
        if item["kind"] == "NetworkPolicy":
            item["spec"]["podSelector"] = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [new]}]}
        if item["kind"] == "Namespace":
            metadata["labels"]["revision"] = new
        else:
            metadata["name"] = new


def key_of(item: Manifest) -> tuple[str, str, str]:
    metadata = item["metadata"]
    return item["kind"], metadata.get("namespace", ""), metadata["name"]


def blocks() -> int:
    """Blocks of memory in use: all values of Python, whatever they are."""
    gc.collect()
    return sys.getallocatedblocks()


def megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", default="S", help=f"of {', '.join(SHAPES)}; default S")
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=10_000)
    parser.add_argument("--dataplane", default="iptables", help="iptables (default) or nftables")
    wanted = parser.parse_args()
    churn, start = Churn(SHAPES[wanted.shape], wanted.dataplane), time.process_time()
    print(f"{'changes':>9}{'blocks':>10}{'MB':>8}{'CPU s':>8}")
    for number in range(wanted.changes + 1):
        if number % wanted.every == 0:
            used = time.process_time() - start
            print(f"{number:>9}{blocks():>10}{megabytes():>8.1f}{used:>8.1f}", flush=True)
        churn.step()


if __name__ == "__main__":
    main()
