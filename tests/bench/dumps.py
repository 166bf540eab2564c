"""Time and memory of the commands that read saved rules: ``python -m tests.bench.dumps``.

Nodes are those of `tests.bench.clusters`, their dumps what ``felixpy render`` prints of them. What ``render`` takes is
set beside, as every other command compiles the node as well. "20 damages" is a dump in which twenty rules are missing.
Figures are CPU seconds of whole processes, the best of several runs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench.__main__ import CHECKOUT, FELIXPY, Run, run
from tests.bench.clusters import RULES, Shape, place, write

NODE = ("--node", "node1", "--set", "Ipv6Support=false", "--quiet")
NODES = {"100 pods": Shape(100, 20, 5, 20, local=100), "100k rules": RULES["100k rules"]}
DAMAGES = 20


class Task(NamedTuple):
    """A command, what it reads on standard input, and the exit status that it has to have."""

    what: str
    words: Sequence[str]
    stdin: Path | None = None
    status: int = 0


class Saved(NamedTuple):
    """A node's manifests and dumps."""

    manifests: Path
    rules: Path
    sets: Path
    listing: Path
    damaged: Path


def saved(shape: Shape, folder: Path) -> Saved:
    """Write a cluster, and the dumps of its node."""
    found = Saved(*(folder / name for name in ("manifests.json", "rules", "sets", "listing", "damaged")))
    write(shape, folder, "json")
    assert found.manifests == place(folder, "json")
    for file, form in ((found.rules, ()), (found.sets, ("--ipsets",)), (found.listing, ("--dataplane", "nftables"))):
        with file.open("w") as out:
            words = (*FELIXPY, "render", str(found.manifests), *NODE, *form)
            subprocess.run(words, cwd=CHECKOUT, check=True, stdout=out)
    found.damaged.write_text("".join(damaged(found.rules.read_text().splitlines(keepends=True))))
    return found


def damaged(lines: Sequence[str]) -> Iterator[str]:
    """A dump in which rules of policies are missing, drawn at random."""
    rules = [number for number, line in enumerate(lines) if line.startswith("-A cali-pi-")]
    gone = set(random.Random(1).sample(rules, DAMAGES))
    return (line for number, line in enumerate(lines) if number not in gone)


def two_pods(manifests: Path) -> list[str]:
    """The first pods of the node, by name."""
    pods = [
        f"{each['metadata']['namespace']}/{each['metadata']['name']}"
        for each in json.loads(manifests.read_text())["items"]
        if each["kind"] == "Pod" and each["spec"]["nodeName"] == "node1"
    ]
    return pods[:2]


def tasks(node: Saved, *, big: bool) -> Iterator[Task]:
    """What is measured about a node; that with many rules has too many endpoints to judge findings by the dozen."""
    given = (str(node.manifests), *NODE)
    dumps = ("--ipsets", str(node.sets), "--rules")
    source, destination = two_pods(node.manifests)
    yield Task("render", ("render", *given))
    yield Task("annotate", ("annotate", *given), node.rules)
    yield Task("annotate, nft list", ("annotate", *given), node.listing)
    yield Task("trace --rules", ("trace", source, f"{destination}:8080", *dumps, str(node.rules), *given))
    yield Task("verify", ("verify", *dumps, str(node.rules), *given))
    if not big:
        yield Task(f"verify, {DAMAGES} damages", ("verify", *dumps, str(node.damaged), *given), status=1)


def measured(task: Task, runs: int, checkout: Path) -> Run:
    """The best time of some runs, and the most memory."""
    done = [run(*FELIXPY, *task.words, checkout=checkout, stdin=task.stdin, status=task.status) for _ in range(runs)]
    return Run(min(one.seconds for one in done), min(one.cpu for one in done), max(one.megabytes for one in done))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dumps", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", default=",".join(NODES), help=f"of {', '.join(NODES)}; default all")
    parser.add_argument("--runs", type=int, default=3, help="processes for each figure; default 3")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turns")
    wanted = parser.parse_args()
    print(f"{'node':<12}{'':<22}{'CPU s':>7}{'before':>8}{'MB':>6}{'before':>8}", flush=True)
    for name in wanted.nodes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            node = saved(NODES[name], Path(folder))
            for task in tasks(node, big=name in RULES):
                print(row(name, task, wanted.runs, wanted.against), flush=True)


def row(node: str, task: Task, runs: int, against: Path | None) -> str:
    """One line of the table."""
    ours = measured(task, runs, CHECKOUT)
    theirs = measured(task, runs, against) if against else None
    seconds, megabytes = (f"{theirs.cpu:.2f}", f"{theirs.megabytes:.0f}") if theirs else ("", "")
    return f"{node:<12}{task.what:<22}{ours.cpu:>7.2f}{seconds:>8}{ours.megabytes:>6.0f}{megabytes:>8}"


if __name__ == "__main__":
    main()
