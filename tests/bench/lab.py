"""Time of a lab of fifty pods: brought up, brought up again, every pair tried, taken down.

    python -m tests.bench.lab [--pods 50] [--backend legacy]

Each figure is one whole process, the best of several. Beside it stands how long the same namespaces, wires and
addresses take with plain ``ip`` commands, without any policy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.netns.namespace import obstacle

NAME = "felixpy-bench"
PORT = 8080


def objects(pods: int) -> Iterator[dict[str, Any]]:
    """Pods on two nodes, dual-stack, and a policy for one half of them."""
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    for number in range(pods):
        addresses = f"10.65.{number // 250}.{number % 250 + 1}", f"fd00::{number + 1:x}"
        container = {"name": "c", "image": "i", "ports": [{"containerPort": PORT}]}
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "namespace": "shop", "labels": {"half": f"h{number % 2}"}},
            "spec": {"nodeName": f"node{number % 2}", "containers": [container]},
            "status": {"podIPs": [{"ip": address} for address in addresses]},
        }
    half = {"podSelector": {"matchLabels": {"half": "h0"}}}
    yield {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "half", "namespace": "shop"},
        "spec": {**half, "ingress": [{"from": [half]}]},
    }


def plain(pods: int) -> list[str]:
    """The commands of ip that make as many namespaces, wires and addresses."""
    lines = []
    for number in range(pods):
        name = f"{NAME}-{number}"
        lines += [
            f"ip netns add {name}",
            f"ip link add bench{number} type veth peer name eth0 netns {name}",
            f"ip link set bench{number} up",
            f"ip -n {name} link set eth0 up",
            f"ip -n {name} address add 10.99.{number // 250}.{number % 250 + 1}/32 dev eth0",
            f"ip -n {name} address add fd99::{number + 1:x}/128 dev eth0 nodad",
        ]
    return lines


def timed(*command: str) -> float:
    start = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return perf_counter() - start


def figures(pods: int, backend: str, folder: Path) -> Iterator[tuple[str, float]]:
    """What was done, and how many seconds it took."""
    file = folder / "pods.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects(pods))}))
    lab = (sys.executable, "-m", "felixpy", "lab")
    name = ("--name", NAME)
    yield "up", timed(*lab, "up", str(file), *name, "--backend", backend)
    yield "up again", timed(*lab, "up", str(file), *name)
    yield f"all {pods * pods} pairs tried", timed(*lab, "probe", *name, "--all", "--port", f"{PORT}/tcp")
    yield "down", timed(*lab, "down", *name)
    yield "plain ip commands", timed("unshare", "-n", "sh", "-ec", "\n".join(plain(pods)))
    timed("sh", "-c", "; ".join(f"ip netns del {NAME}-{number}" for number in range(pods)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lab", description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", type=int, default=50)
    parser.add_argument("--backend", default="legacy", choices=["legacy", "nft"])
    parser.add_argument("--runs", type=int, default=3)
    wanted = parser.parse_args()
    if reason := obstacle():
        print(f"a lab cannot be measured here: {reason}", file=sys.stderr)
        return
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as text:
        os.environ["FELIXPY_LAB_DIR"] = f"{text}/labs"
        for _ in range(wanted.runs):
            for what, seconds in figures(wanted.pods, wanted.backend, Path(text)):
                best[what] = min(seconds, best.get(what, seconds))
    bare = best["plain ip commands"]
    for what, seconds in best.items():
        print(f"{wanted.pods} pods, {wanted.backend}: {what:<24} {seconds:6.2f} s  {seconds / bare:5.2f} × plain ip")


if __name__ == "__main__":
    main()
