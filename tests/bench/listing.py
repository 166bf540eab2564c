"""Time of a list of pods through ``kubectl``, beside that of reading the same JSON from a file.

The stand-in of `tests/cluster` answers from a process of its own. CPU seconds are those of felixpy and of the kubectl
processes that it starts. Reading is `felixpy.load`; the other rows are whole processes that render a node. ``python -m
tests.bench.listing``; ``--pages-alone`` starts a kubectl for every page.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address
from multiprocessing.synchronize import Event
from pathlib import Path
from time import perf_counter
from typing import Any

import felixpy
from felixpy.kubectl import Kubectl, listing
from felixpy.manifests.reading.objects import KindObjects
from tests.bench.clusters import FIRST_ADDRESS, namespace, pod, service_account
from tests.cluster.standin import StandIn, serving, write_kubeconfig

PODS_OF_A_NAMESPACE = 1000
PODS_OF_A_NODE = 20
FIRST_NODE, FIRST_TUNNEL = IPv4Address("172.16.0.1"), IPv4Address("10.63.0.1")
CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready", "NetworkUnavailable")


def node(number: int) -> dict[str, Any]:
    """A node as kubelet and calico-node write it."""
    address = str(FIRST_NODE + number)
    images = [
        {"names": [f"registry.example/image-{index}@sha256:{index:064}"], "sizeBytes": index} for index in range(50)
    ]
    beats = [{"type": kind, "status": "False", "lastHeartbeatTime": "2026-01-01T00:00:00Z"} for kind in CONDITIONS]
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": f"node{number}", "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": f"node{number}"},
            "annotations": {
                "projectcalico.org/IPv4Address": f"{address}/16",
                "projectcalico.org/IPv4VXLANTunnelAddr": str(FIRST_TUNNEL + number),
            },
        },
        "spec": {"podCIDR": "10.244.0.0/24"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": f"node{number}"}],
            "conditions": beats, "images": images, "nodeInfo": {"kubeletVersion": "v1.32.0"},
        },
    }  # fmt: skip


def objects(pods: int) -> Iterator[dict[str, Any]]:
    """Nodes, namespaces, and pods with the fields that an API server adds."""
    yield from map(node, range(-(-pods // PODS_OF_A_NODE)))
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


def timed(call: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and CPU seconds of this process and its children."""
    before, start = os.times(), perf_counter()
    call()
    after = os.times()
    return perf_counter() - start, sum(after[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.listing", description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", type=int, default=100_000, help="how many pods; default 100,000")
    parser.add_argument("--pages-alone", action="store_true", help="start a kubectl for every page, and read only")
    wanted = parser.parse_args()
    gc.disable()  # as commands do
    if wanted.pages_alone:
        listing.PAGES_ALONE = wanted.pods
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "cluster.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects(wanted.pods))}))
        with served(wanted.pods, folder) as kubeconfig:
            rows = [("reading", partial(_load, kubeconfig, wanted.pods), partial(_read, file, wanted.pods))]
            if not wanted.pages_alone:
                rows.append(("render", partial(_render, "--kubeconfig", kubeconfig), partial(_render, file)))
            for words, through, directly in rows:
                _show(f"{words}, {wanted.pods} pods", timed(through), timed(directly))


def _show(words: str, through: tuple[float, float], directly: tuple[float, float]) -> None:
    for way, (seconds, used) in (("through kubectl", through), ("from a file", directly)):
        print(f"{words} {way:<16} {seconds:6.1f} s, {used:6.1f} s of CPU")
    print(f"ratio {through[0] / directly[0]:.2f} by the clock, {through[1] / directly[1]:.2f} of CPU")


def _load(kubeconfig: Path, pods: int) -> None:
    found = listing.list_cluster(Kubectl(kubeconfig=str(kubeconfig)))
    given = [KindObjects(name, items) for name, items in listing.groups(found)]
    assert len(felixpy.load(given, expand=False, strict=False).workloads) == pods


def _read(file: Path, pods: int) -> None:
    assert len(felixpy.load([file], expand=False).workloads) == pods


def _render(*arguments: object) -> None:
    command = [sys.executable, "-m", "felixpy", "render", "--node", "node0", "-q", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
