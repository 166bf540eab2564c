"""Time and memory of ``felixpy render``, as a table: ``make bench``, or ``python -m tests.bench --help``.

Absolute times belong to one machine on one day; ratios travel better, so the cost of an object is set beside the cost
of one in the next smaller cluster. A compiler that scales has ratios about 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from tests.bench.clusters import FORMS, SHAPES, place
from tests.bench.stages import STAGES

CHECKOUT = Path(__file__).parents[2]
FELIXPY = (sys.executable, "-m", "felixpy")
NODE = "node1"
FAT, FAT_PODS = "fat", 20_000
"""Pods with all that a cluster writes into them; some 300 MB, in the form of kubectl only."""


class Run(NamedTuple):
    """One whole process."""

    seconds: float
    cpu: float
    megabytes: float


class Row(NamedTuple):
    """What is known of one cluster in one form."""

    shape: str
    form: str
    objects: int
    best: float
    median: float
    cpu: float
    megabytes: float
    stages: dict[str, float]
    before: float | None = None
    """CPU seconds of the other checkout."""


def run(*command: str, checkout: Path = CHECKOUT, stdin: Path | None = None, status: int = 0) -> Run:
    """Run a process to its end, its output thrown away; memory is the most that it ever held.

    Raises CalledProcessError for any other exit status.
    """
    start = perf_counter()
    with Path(stdin or os.devnull).open() as given:
        process = subprocess.Popen(
            command, cwd=checkout, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    _, ended, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(ended)
    if process.returncode != status:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def write(shape: str, form: str, folder: Path) -> int:
    """Write a cluster, in a process of its own as a child's peak begins at its parent's size; returns its objects."""
    if shape == FAT:
        run(sys.executable, "-m", "tests.bench.fat", str(FAT_PODS), str(place(folder, "json")))
        return FAT_PODS
    run(sys.executable, "-m", "tests.bench.clusters", shape, str(folder), form)
    return SHAPES[shape].objects


def measure(shape: str, form: str, runs: int, folder: Path, against: Path | None) -> Row:
    """Measure one cluster, in turns with another checkout if one is given."""
    objects = write(shape, form, folder)
    file = place(folder, form)
    command = (*FELIXPY, "render", "-f", str(file), "--node", NODE)
    rendered, others = [], []
    for _ in range(runs):
        rendered.append(run(*command))
        others += [run(*command, checkout=against)] if against else []
    stages = subprocess.run(
        [sys.executable, "-m", "tests.bench.stages", file, NODE],
        cwd=CHECKOUT, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    return Row(
        shape,
        form,
        objects,
        min(one.seconds for one in rendered),
        statistics.median(one.seconds for one in rendered),
        min(one.cpu for one in rendered),
        max(one.megabytes for one in rendered),
        json.loads(stages.stdout),
        min((one.cpu for one in others), default=None),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows aligned; `ratio` compares the time of one object with that of the row before in the same form."""
    columns = f"{'shape':<10}{'form':<7}{'objects':>8}{'best s':>8}{'median s':>10}{'CPU s':>7}"
    columns += f"{'before':>8}{'µs/each':>9}{'ratio':>7}{'MB':>6}"
    lines = [f"{columns}   share of:" + "".join(f"{stage:>9}" for stage in STAGES)]
    before: dict[str, float] = {}
    for row in rows:
        each = row.best / row.objects * 1e6
        ratio = f"{each / before[row.form]:.2f}" if row.form in before else ""
        whole = sum(row.stages.values())
        shares = "".join(f"{row.stages[stage] / whole:>9.0%}" for stage in STAGES)
        lines.append(
            f"{row.shape:<10}{row.form:<7}{row.objects:>8}{row.best:>8.2f}{row.median:>10.2f}{row.cpu:>7.2f}"
            f"{'' if row.before is None else format(row.before, '.2f'):>8}{each:>9.0f}{ratio:>7}"
            f"{row.megabytes:>6.0f}{'':>12}{shares}"
        )
        before[row.form] = each
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--shapes", default=f"S,M,L,{FAT}", help=f"of {', '.join(SHAPES)}, {FAT}; default S,M,L,{FAT}")
    parser.add_argument("--forms", default=",".join(FORMS), help=f"of {', '.join(FORMS)}; default all")
    parser.add_argument("--runs", type=int, default=5, help="processes for each figure; default 5")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    wanted = parser.parse_args()
    helps = [run(*FELIXPY, "--help").seconds for _ in range(2 * wanted.runs)]
    print(f"felixpy --help: best {min(helps) * 1e3:.0f} ms, median {statistics.median(helps) * 1e3:.0f} ms", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for form in wanted.forms.split(","):
            for shape in wanted.shapes.split(","):
                if shape == FAT and form != "json":
                    continue
                rows.append(measure(shape, form, wanted.runs, Path(folder), wanted.against))
                print(f"{shape} {form}: {rows[-1].best:.2f} s", file=sys.stderr)
    print(table(rows))
    if wanted.json:
        figures = {"help": helps, "rows": [row._asdict() for row in rows]}
        wanted.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
