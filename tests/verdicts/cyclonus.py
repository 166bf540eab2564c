"""The truth tables of cyclonus: cases, and the manifests that each of their steps stands for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[2] / "fixtures" / "verdicts" / "cyclonus-230.json.gz"
CASES: list[dict[str, Any]] = json.loads(gzip.decompress(TABLE.read_bytes()))
CELLS = 123_669

NODE = "node1"

CONTAINER = {
    "name": "serve",
    "ports": [
        {"name": f"serve-{port}-{protocol.lower()}", "containerPort": port, "protocol": protocol}
        for protocol in ("TCP", "UDP", "SCTP")
        for port in (80, 81)
    ],
}


def title(case: dict[str, Any]) -> str:
    """What a test about a case is called."""
    return f"{case['index']}: {case['description']}"


def on_one_node(pod: dict[str, Any]) -> str:
    return NODE


def manifests(step: dict[str, Any], node_of: Callable[[dict[str, Any]], str] = on_one_node) -> dict[str, Any]:
    """One List with the state of the cluster in a step; `node_of` says where a pod of the table runs."""
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in step["namespaces"].items()
    ]
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod["Name"], "namespace": pod["NS"], "labels": pod["Labels"]},
            "spec": {"nodeName": node_of(pod), "containers": [CONTAINER]},
            "status": {"podIPs": [{"ip": pod["IP"]}]},
        }
        for pod in step["pods"]
    ]
    policies = [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"} | policy for policy in step["policies"]]
    return {"apiVersion": "v1", "kind": "List", "items": [*namespaces, *pods, *policies]}


def service(text: str) -> tuple[str, int]:
    """What a table of pairs is about, ``TCP/80`` or the like: the protocol in lower case, and the port."""
    protocol, _, port = text.partition("/")
    return protocol.lower(), int(port)
