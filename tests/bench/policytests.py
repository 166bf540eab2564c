"""How much processor time `felixpy test` takes for 10,000 expectations about a made-up cluster.

    python -m tests.bench.policytests [SHAPE]

Every expectation is about one connection of two pods drawn at random, and holds.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import tempfile
from pathlib import Path
from time import process_time

from felixpy.manifests import load
from felixpy.policytests import Runner, read_tests
from tests.bench.clusters import SHAPES, write

EXPECTATIONS = 10_000
PORTS = ("5432", "8080", "53/udp")


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "M"
    with tempfile.TemporaryDirectory() as folder:
        cluster = load([write(SHAPES[name], Path(folder), "lines")])
        drawn = random.Random(7)
        pods = [f"{pod.namespace}/{pod.name}" for pod in cluster.workloads]
        asked = [(*drawn.sample(pods, 2), drawn.choice(PORTS)) for _ in range(EXPECTATIONS)]
        today = Runner(cluster=cluster)
        expectations = [
            {
                "from": source,
                "to": destination,
                "ports": [port],
                "expect": today.answer(source, destination, port).verdict,
            }
            for source, destination, port in asked
        ]
        file = Path(folder, "many.felixtest.yaml")
        file.write_text(json.dumps({"name": "many", "expectations": expectations}))
        gc.disable()  # as the command line does
        started = process_time()
        (test,) = read_tests([str(file)])
        print(f"{name}: {EXPECTATIONS} expectations read in {process_time() - started:.2f} s")
        runner = Runner(cluster=cluster)
        started = process_time()
        for node in cluster.node_names():
            runner.nodes.get(node)
        print(f"{len(cluster.node_names())} nodes compiled in {process_time() - started:.2f} s")
        started = process_time()
        outcomes = [runner.expectation(each) for each in test.expectations]
        passed = sum(outcome.passed for outcome in outcomes)
        print(f"expectations tried in {process_time() - started:.2f} s, {passed} of them hold")


if __name__ == "__main__":
    main()
