"""Pods with all that a cluster writes into them: what ``kubectl get pods -A -o json`` prints, some 16 kB for each.

``python -m tests.bench.fat NUMBER FILE`` writes such a List; the same number always gives the same bytes.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]

FIRST_ADDRESS = IPv4Address("10.64.0.1")
PODS_OF_A_NODE = 110
WORKLOADS = 500
NAMESPACES = 100
BEGAN = "2026-01-01T00:00:00Z"
VARIABLES = range(3)


def pods(number: int) -> Iterator[Manifest]:
    """So many pods of 500 workloads in 100 namespaces, 110 of them on each node."""
    draw = random.Random(7)
    return (pod(index, draw) for index in range(number))


def as_kubectl_prints(manifests: Iterator[Manifest]) -> Iterator[str]:
    """A List, four blanks for each level."""
    yield '{\n    "apiVersion": "v1",\n    "items": ['
    between = "\n"
    for manifest in manifests:
        yield between + "        " + json.dumps(manifest, indent=4).replace("\n", "\n        ")
        between = ",\n"
    yield '\n    ],\n    "kind": "List",\n    "metadata": {\n        "resourceVersion": ""\n    }\n}\n'


def pod(number: int, draw: random.Random) -> Manifest:
    workload, address = number % WORKLOADS, str(FIRST_ADDRESS + number)
    uid = f"{draw.getrandbits(32):08x}-{number & 0xFFFF:04x}"
    made_by = f"app-{workload}-7c5ddbdf54"
    container = f"containerd://{draw.getrandbits(256):064x}"
    image = f"registry.example.com/main@sha256:{draw.getrandbits(256):064x}"
    conditions = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "annotations": {
                "cni.projectcalico.org/containerID": f"{draw.getrandbits(256):064x}",
                "cni.projectcalico.org/podIP": f"{address}/32",
                "cni.projectcalico.org/podIPs": f"{address}/32",
            },
            "creationTimestamp": BEGAN,
            "generateName": f"{made_by}-",
            "labels": {"app": f"app-{workload}", "pod-template-hash": "7c5ddbdf54", "tenant": f"t{workload % 50}"},
            "managedFields": [_managed_spec(uid), _managed_status()],
            "name": f"{made_by}-{number:05x}",
            "namespace": f"team-{workload % NAMESPACES}",
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "blockOwnerDeletion": True,
                    "controller": True,
                    "kind": "ReplicaSet",
                    "name": made_by,
                    "uid": uid,
                }
            ],
            "resourceVersion": str(1000 + number),
            "uid": uid,
        },
        "spec": _spec(workload, f"kube-api-access-{uid[:5]}", f"node{1 + number // PODS_OF_A_NODE}"),
        "status": {
            "conditions": [
                {"lastProbeTime": None, "lastTransitionTime": BEGAN, "status": "True", "type": condition}
                for condition in conditions
            ],
            "containerStatuses": [
                {
                    "containerID": container,
                    "image": "registry.example.com/main:1",
                    "imageID": image,
                    "lastState": {},
                    "name": name,
                    "ready": True,
                    "restartCount": 0,
                    "started": True,
                    "state": {"running": {"startedAt": BEGAN}},
                }
                for name in ("main",)
            ],
            "hostIP": str(IPv4Address("192.168.0.1") + number // PODS_OF_A_NODE),
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "qosClass": "Burstable",
            "startTime": BEGAN,
        },
    }


def _spec(workload: int, token: str, node: str) -> Manifest:
    return {
        "containers": [
            {
                "env": [{"name": f"VAR_{number}", "value": f"value-{number}-{workload}"} for number in VARIABLES],
                "image": f"registry.example.com/main:{workload}",
                "imagePullPolicy": "IfNotPresent",
                "livenessProbe": {
                    "failureThreshold": 3,
                    "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "timeoutSeconds": 1,
                },
                "name": "main",
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                "resources": {
                    "limits": {"cpu": "1", "memory": "1Gi"},
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                },
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "volumeMounts": [
                    {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": token, "readOnly": True},
                    {"mountPath": "/etc/config", "name": "config"},
                ],
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "nodeName": node,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "serviceAccount": "default",
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30,
        "tolerations": [
            {
                "effect": "NoExecute",
                "key": f"node.kubernetes.io/{state}",
                "operator": "Exists",
                "tolerationSeconds": 300,
            }
            for state in ("not-ready", "unreachable")
        ],
        "volumes": [
            {
                "name": token,
                "projected": {
                    "defaultMode": 420,
                    "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                        {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
                    ],
                },
            },
            {"configMap": {"defaultMode": 420, "name": f"app-{workload}"}, "name": "config"},
        ],
    }


def _fields(*names: str, **inner: Manifest) -> Manifest:
    return {".": {}, **{f"f:{name}": {} for name in names}, **{f"f:{name}": each for name, each in inner.items()}}


def _managed_spec(uid: str) -> Manifest:
    probe = _fields("failureThreshold", "periodSeconds", "successThreshold", "timeoutSeconds")
    probe["f:httpGet"] = _fields("path", "port", "scheme")
    container = _fields("image", "imagePullPolicy", "name", "terminationMessagePath", "terminationMessagePolicy")
    container["f:env"] = {
        ".": {},
        **{f'k:{{"name":"VAR_{number}"}}': _fields("name", "value") for number in VARIABLES},
    }
    container["f:livenessProbe"] = probe
    container["f:ports"] = {
        ".": {},
        'k:{"containerPort":8080,"protocol":"TCP"}': _fields("containerPort", "name", "protocol"),
    }
    container["f:resources"] = _fields(
        limits=_fields("cpu", "memory"),
        requests=_fields("cpu", "memory"),
    )
    written = {
        "f:metadata": {
            "f:generateName": {},
            "f:labels": _fields("app", "pod-template-hash", "tenant"),
            "f:ownerReferences": {".": {}, f'k:{{"uid":"{uid}"}}': {}},
        },
        "f:spec": {
            "f:containers": {'k:{"name":"main"}': container},
            **_fields("dnsPolicy", "enableServiceLinks", "restartPolicy", "schedulerName", "securityContext"),
        },
    }
    return _managed("kube-controller-manager", written)


def _managed_status() -> Manifest:
    conditions = ("ContainersReady", "Initialized", "Ready")
    written = {
        "f:status": {
            "f:conditions": {
                f'k:{{"type":"{condition}"}}': _fields("lastProbeTime", "lastTransitionTime", "status", "type")
                for condition in conditions
            },
            **_fields("containerStatuses", "hostIP", "phase", "podIP", "startTime"),
            "f:podIPs": {".": {}},
        }
    }
    return {**_managed("kubelet", written), "subresource": "status"}


def _managed(manager: str, written: Manifest) -> Manifest:
    return {
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": written,
        "manager": manager,
        "operation": "Update",
        "time": BEGAN,
    }


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w") as out:
        out.writelines(as_kubectl_prints(pods(int(sys.argv[1]))))
