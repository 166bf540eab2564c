"""Time and memory of ``felixpy matrix`` and ``felixpy diff --flows``: ``python -m tests.bench.flows``.

Clusters are made up, always the same ones: `mixed` draws on a handful of roles in every namespace, `unrelated` has as
many kinds of pods as pods, so that nothing that was found out about one helps with another.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from tests.bench.__main__ import CHECKOUT, FELIXPY, Run
from tests.bench.clusters import FIRST_ADDRESS, Manifest, Shape, as_lines, namespace, objects, service_account

PODS_OF_A_SPACE = 20
PODS_OF_A_NODE = 50
CALLERS = 3
"""Other workloads that an unrelated one lets in."""


class Size(NamedTuple):
    """A cluster by its number of pods and what they are like."""

    kind: str
    pods: int

    def manifests(self) -> Iterator[Manifest]:
        if self.kind == "mixed":
            return objects(Shape(self.pods // PODS_OF_A_SPACE, PODS_OF_A_SPACE, 5, 20, nodes=self.nodes))
        return unrelated(self.pods, self.nodes)

    @property
    def nodes(self) -> int:
        return max(1, self.pods // PODS_OF_A_NODE)


def unrelated(pods: int, nodes: int) -> Iterator[Manifest]:
    """Pods of which each has a label, a port and a policy of its own."""
    draw = random.Random(pods)
    spaces = -(-pods // PODS_OF_A_SPACE)
    for space in range(spaces):
        yield namespace(space)
        yield service_account(space)
    for number in range(pods):
        space = number // PODS_OF_A_SPACE
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"own-{number}", "namespace": f"team-{space}", "labels": {"app": f"own-{number}"}},
            "spec": {
                "nodeName": f"node{1 + number % nodes}",
                "serviceAccountName": "default",
                "containers": [{"name": "c", "image": "i"}],
            },
            "status": {"phase": "Running", "podIP": str(IPv4Address(int(FIRST_ADDRESS) + number))},
        }
        callers = [
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": f"own-{other}"}}}
            for other in draw.sample(range(pods), CALLERS)
        ]
        block = {"cidr": f"172.16.{number % 250}.0/24", "except": [f"172.16.{number % 250}.{number // 250}/32"]}
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"own-{number}", "namespace": f"team-{space}"},
            "spec": {
                "podSelector": {"matchLabels": {"app": f"own-{number}"}},
                "ingress": [
                    {"from": callers, "ports": [{"port": 10000 + number}]},
                    {"from": [{"ipBlock": block}], "ports": [{"port": 20000 + number, "protocol": "UDP"}]},
                ],
            },
        }


class Figure(NamedTuple):
    """One measurement."""

    what: str
    size: Size
    seconds: float
    median: float
    megabytes: float


def write(size: Size, folder: Path) -> tuple[Path, Path]:
    """The cluster, and the cluster less one policy in the middle."""
    manifests = list(size.manifests())
    policies = [number for number, each in enumerate(manifests) if each["kind"] == "NetworkPolicy"]
    gone = policies[len(policies) // 2]
    files = folder / "all.yaml", folder / "less.yaml"
    for file, kept in zip(files, (manifests, [*manifests[:gone], *manifests[gone + 1 :]]), strict=True):
        file.write_text("".join(as_lines(kept)))
    return files


COMMANDS = {
    "matrix of pods, csv": ("matrix", "{all}", "--by", "pod", "-o", "csv"),
    "matrix of pods, lines": ("matrix", "{all}", "--by", "pod", "-o", "lines"),
    "diff --flows": ("diff", "{all}", "{less}", "--flows"),
}


def run(*words: str, expected: int) -> Run:
    """Run felixpy to its end, its output thrown away. Exit status 1 of a diff says that there is a difference."""
    start = perf_counter()
    process = subprocess.Popen((*FELIXPY, *words), cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise subprocess.CalledProcessError(process.returncode, words)
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(size: Size, runs: int) -> Iterator[Figure]:
    """Every command as a whole process."""
    with tempfile.TemporaryDirectory() as folder:
        whole, less = write(size, Path(folder))
        for what, command in COMMANDS.items():
            words = [word.format(all=whole, less=less) for word in command]
            expected = 1 if words[0] == "diff" else 0
            found = [run(*words, "--quiet", expected=expected) for _ in range(runs)]
            seconds = [one.seconds for one in found]
            megabytes = max(one.megabytes for one in found)
            yield Figure(what, size, min(seconds), statistics.median(seconds), megabytes)


def table(figures: Sequence[Figure]) -> str:
    """The figures aligned."""
    lines = [f"{'what':<24}{'cluster':<12}{'pods':>6}{'best s':>8}{'median s':>10}{'MB':>6}"]
    lines += [
        f"{one.what:<24}{one.size.kind:<12}{one.size.pods:>6}{one.seconds:>8.2f}{one.median:>10.2f}{one.megabytes:>6.0f}"
        for one in figures
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.flows", description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="500,1000,2000", help="numbers of pods; default 500,1000,2000")
    parser.add_argument("--kinds", default="mixed,unrelated", help="kinds of clusters; default both")
    parser.add_argument("--runs", type=int, default=3, help="processes for each figure; default 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    wanted = parser.parse_args()
    figures: list[Figure] = []
    for kind in wanted.kinds.split(","):
        for pods in map(int, wanted.sizes.split(",")):
            for figure in measure(Size(kind, pods), wanted.runs):
                print(f"{figure.what}, {kind} {pods}: {figure.seconds:.2f} s", file=sys.stderr)
                figures.append(figure)
    print(table(figures))
    if wanted.json:
        wanted.json.write_text(json.dumps([{**one._asdict(), "size": one.size._asdict()} for one in figures]) + "\n")


if __name__ == "__main__":
    main()
