"""How much processor time `felixpy lint` takes on a made-up cluster, check by check.

    python -m tests.bench.lint [SHAPE]

The first check that needs sets of packets pays for finding them out.
"""

from __future__ import annotations

import gc
import resource
import sys
import tempfile
from pathlib import Path
from time import process_time

from felixpy.linting import CHECKS, lint
from felixpy.manifests import load
from tests.bench.clusters import SHAPES, write


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "L"
    with tempfile.TemporaryDirectory() as folder:
        file = write(SHAPES[name], Path(folder), "lines")
        gc.disable()  # as the command line does
        started = process_time()
        cluster = load([file])
        print(f"{name}: {SHAPES[name].objects} objects, loaded in {process_time() - started:.2f} s")
        started = process_time()
        run = lint(cluster, timed=lambda code, seconds: print(f"  {code} {CHECKS[code].name:28}{seconds:7.2f} s"))
        found = ", ".join(f"{number} {level}" for level, number in run.counts().items()) or "nothing"
        print(f"linted in {process_time() - started:.2f} s, {found}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
