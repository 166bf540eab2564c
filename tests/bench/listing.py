"""Time of a list of pods through ``kubectl``, beside that of reading the same JSON from a file.

The stand-in of `tests/cluster` answers from a process of its own. CPU seconds are those of felixpy and of the kubectl
processes that it starts. ``python -m tests.bench.listing``
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from time import perf_counter
from typing import Any

import felixpy
from felixpy.kubectl import Kubectl, list_cluster
from felixpy.kubectl.listing import groups
from felixpy.manifests.reading.objects import KindObjects
from tests.bench.clusters import FIRST_ADDRESS, namespace, pod, service_account
from tests.cluster.standin import StandIn, serving, write_kubeconfig

PODS_OF_A_NAMESPACE = 1000
PODS_OF_A_NODE = 20


def objects(pods: int) -> Iterator[dict[str, Any]]:
    """Namespaces, and pods with the fields that an API server adds."""
    for space in range(-(-pods // PODS_OF_A_NAMESPACE)):
        yield namespace(space)
        yield service_account(space)
    managed: list[dict[str, Any]] = [
        {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
         "fieldsType": "FieldsV1", "fieldsV1": {f"f:{part}": {f"f:{name}": {} for name in "abcdefgh"}
                                                for part in ("metadata", "spec", "status")}}
        for manager in ("kube-controller-manager", "kubelet")
    ]  # fmt: skip
    for number in range(pods):
        space, index = divmod(number, PODS_OF_A_NAMESPACE)
        item = pod(space, index, f"node{number // PODS_OF_A_NODE}", str(FIRST_ADDRESS + number))
        item["metadata"] |= {"uid": f"00000000-0000-0000-0000-{number:012}", "managedFields": managed}
        yield item


@contextmanager
def served(pods: int, folder: Path) -> Iterator[Path]:
    """A stand-in with so many pods, in a process of its own; the kubeconfig that leads to it."""
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    path = folder / "kubeconfig"
    process = context.Process(target=_serve, args=(pods, path, ready, done))
    process.start()
    ready.wait()
    try:
        yield path
    finally:
        done.set()
        process.join()


def _serve(pods: int, path: Path, ready: Event, done: Event) -> None:
    cluster = StandIn()
    for item in objects(pods):
        cluster.put(item)
    with serving(cluster):
        write_kubeconfig(path, cluster.address)
        ready.set()
        done.wait()


def timed(call: Callable[[], felixpy.Cluster]) -> tuple[float, float, felixpy.Cluster]:
    """Seconds by the clock, CPU seconds of this process and its children, and what was read."""
    before, start = os.times(), perf_counter()
    found = call()
    after = os.times()
    used = sum(after[:4]) - sum(before[:4])
    return perf_counter() - start, used, found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.listing", description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", type=int, default=100_000, help="how many pods; default 100,000")
    wanted = parser.parse_args()
    gc.disable()  # as commands do
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served(wanted.pods, folder) as kubeconfig:
            listed = timed(lambda: _load(kubeconfig))
        file = folder / "cluster.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects(wanted.pods))}))
        read = timed(lambda: felixpy.load([file], expand=False))
    assert len(listed[2].workloads) == len(read[2].workloads) == wanted.pods
    for words, (seconds, used, _) in (("through kubectl", listed), ("from a file", read)):
        print(f"{wanted.pods} pods {words:<16} {seconds:6.1f} s, {used:6.1f} s of CPU")
    print(f"ratio {listed[0] / read[0]:.2f} by the clock, {listed[1] / read[1]:.2f} of CPU")


def _load(kubeconfig: Path) -> felixpy.Cluster:
    listing = list_cluster(Kubectl(kubeconfig=str(kubeconfig)))
    return felixpy.load([KindObjects(name, items) for name, items in groups(listing)], expand=False, strict=False)


if __name__ == "__main__":
    main()
