"""Made-up clusters of several sizes, always the same ones: what the benchmarks read.

A name stands for its objects for good. Should a shape have to change, it gets a new name, so that figures of different
days stay comparable; `tests/bench/test_clusters.py` holds the checksums.
``python -m tests.bench.clusters SHAPE FOLDER FORM`` writes one.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

Manifest = dict[str, Any]

APPS = ("frontend", "backend", "db", "cache", "worker", "api", "queue", "cron")
FIRST_ADDRESS = IPv4Address("10.64.0.1")
PODS_OF_A_NODE = 110


class Shape(NamedTuple):
    """How big a cluster is; `local` pods, drawn at random, run on node1 and are what gets rendered.

    `nodes` spreads all pods evenly over so many nodes instead. `isolated` namespaces belong to customers who let in
    their own pods only, instead of drawing on the usual mixture of policies.
    """

    namespaces: int
    pods: int
    policies: int
    global_policies: int
    local: int = 0
    nodes: int = 0
    isolated: bool = False

    @property
    def objects(self) -> int:
        """A namespace brings a service account along."""
        return self.namespaces * (2 + self.pods + self.policies) + self.global_policies


SHAPES = {
    "S": Shape(20, 10, 3, 5, local=30),
    "M": Shape(100, 20, 5, 20, local=110),
    "L": Shape(1000, 20, 5, 50, local=110),
    "XL": Shape(2500, 100, 4, 0, local=200),
    "tenants": Shape(10_000, 5, 2, 0, local=100, isolated=True),
    "nodes200": Shape(1000, 20, 5, 50, nodes=200),
}

RULES = {
    "10k rules": Shape(100, 20, 5, 20, local=210),
    "100k rules": Shape(1000, 20, 5, 20, local=2130),
}
"""Nodes by the number of rules that they have in one family."""


def objects(shape: Shape) -> Iterator[Manifest]:
    """All objects: namespace by namespace, then the global policies."""
    total = shape.namespaces * shape.pods
    local = set(random.Random(1).sample(range(total), shape.local))
    for space in range(shape.namespaces):
        yield namespace(space)
        yield service_account(space)
        for index in range(shape.pods):
            number = space * shape.pods + index
            if shape.nodes:
                node = f"node{1 + number % shape.nodes}"
            else:
                node = "node1" if number in local else f"node{2 + number // PODS_OF_A_NODE}"
            yield pod(space, index, node, str(FIRST_ADDRESS + number))
        policy = isolation if shape.isolated else mixture
        yield from (policy(space, index) for index in range(shape.policies))
    yield from (guard(index) for index in range(shape.global_policies))


def as_list(manifests: Iterable[Manifest]) -> Iterator[str]:
    """One List of Kubernetes, as ``kubectl get -o json`` prints it."""
    yield json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})


def as_lines(manifests: Iterable[Manifest]) -> Iterator[str]:
    """A YAML stream in which each document is one line of JSON."""
    return (f"---\n{json.dumps(manifest)}\n" for manifest in manifests)


def as_blocks(manifests: Iterable[Manifest]) -> Iterator[str]:
    """A YAML stream as people write it."""
    return ("---\n" + "".join(f"{line}\n" for line in block(manifest)) for manifest in manifests)


FORMS = {"json": as_list, "lines": as_lines, "yaml": as_blocks}


def place(folder: Path, form: str) -> Path:
    """The file in a folder that a form is written to."""
    return folder / f"manifests.{'json' if form == 'json' else 'yaml'}"


def write(shape: Shape, folder: Path, form: str) -> Path:
    """Write the cluster in one of the forms; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = place(folder, form)
    with file.open("w") as out:
        out.writelines(FORMS[form](objects(shape)))
    return file


def block(value: Manifest) -> Iterator[str]:
    """A mapping as the lines of block YAML. Texts are quoted where JSON would quote them: that is always right."""
    for key, item in value.items():
        match item:
            case dict() if item:
                yield f"{key}:"
                yield from (f"  {line}" for line in block(item))
            case [dict(), *_]:
                yield f"{key}:"
                for element in item:
                    lines = list(block(element)) or ["{}"]
                    yield from (f"{'- ' if at == 0 else '  '}{line}" for at, line in enumerate(lines))
            case _:
                yield f"{key}: {scalar(item)}"


def scalar(value: object) -> str:
    plain = isinstance(value, str) and value.replace("-", "").isalnum() and value[0].isalpha()
    return str(value) if plain else json.dumps(value)


def namespace(space: int) -> Manifest:
    name = f"team-{space}"
    labels = {"kubernetes.io/metadata.name": name, "tenant": f"t{space % 50}", "env": ("prod", "dev")[space % 2]}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def service_account(space: int) -> Manifest:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": f"team-{space}"}}


def pod(space: int, index: int, node: str, address: str) -> Manifest:
    app = APPS[index % len(APPS)]
    port = {"name": "http", "containerPort": 8080 + index % 3, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-{index}",
            "namespace": f"team-{space}",
            "labels": {"app": app, "version": f"v{index % 3}", "tenant": f"t{space % 50}"},
        },
        "spec": {
            "nodeName": node,
            "serviceAccountName": "default",
            "containers": [{"name": "c", "image": "i", "ports": [port]}],
        },
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def mixture(space: int, index: int) -> Manifest:
    """A policy with a bit of everything: peers here and elsewhere, blocks with holes, named and numbered ports."""
    app, peer = APPS[index % len(APPS)], APPS[(index + 1) % len(APPS)]
    neighbour = {"podSelector": {"matchLabels": {"app": peer}}}
    tenant = {
        "namespaceSelector": {"matchLabels": {"tenant": f"t{space % 50}"}},
        "podSelector": {"matchLabels": {"app": "api"}},
    }
    second = 16 + index % 8
    hole = {"cidr": f"172.{second}.0.0/16", "except": [f"172.{second}.{space % 250}.0/24"]}
    ports = [{"protocol": "TCP", "port": "http"}, {"protocol": "TCP", "port": 443 + index}]
    spec = {
        "podSelector": {"matchLabels": {"app": app}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [neighbour, tenant], "ports": ports}, {"from": [{"ipBlock": hole}]}],
        "egress": [
            {"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "UDP", "port": 53}]},
            {"to": [neighbour]},
        ],
    }
    return network_policy(space, f"allow-{peer}-to-{app}-{index}", spec)


def isolation(space: int, index: int) -> Manifest:
    """A customer's policy: the first one closes the namespace, the others open it to its own pods."""
    if index == 0:
        return network_policy(space, "close", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    own: list[Manifest] = [{"podSelector": {}}]
    dns = {"to": [{"ipBlock": {"cidr": "10.96.0.10/32"}}], "ports": [{"protocol": "UDP", "port": 53}]}
    spec = {"podSelector": {}, "ingress": [{"from": own}], "egress": [{"to": own}, dns]}
    return network_policy(space, f"own-{index}", {**spec, "policyTypes": ["Ingress", "Egress"]})


def network_policy(space: int, name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": f"team-{space}"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def guard(index: int) -> Manifest:
    """A Calico policy over all namespaces."""
    deny = {"action": "Deny", "source": {"nets": [f"198.51.{index % 100}.0/24"]}}
    allow = {
        "action": "Allow",
        "protocol": "TCP",
        "source": {"selector": f"tenant == 't{index % 50}'"},
        "destination": {"ports": [8080, "9000:9100"]},
    }
    apps = f"'{APPS[index % 8]}', '{APPS[(index + 3) % 8]}'"
    spec = {
        "order": 100 + index,
        "selector": f"app in {{{apps}}} && tenant != 't{index}'",
        "types": ["Ingress"],
        "ingress": [deny, allow],
    }
    metadata = {"name": f"guard-{index}"}
    return {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": metadata, "spec": spec}


if __name__ == "__main__":
    write(SHAPES[sys.argv[1]], Path(sys.argv[2]), sys.argv[3])
