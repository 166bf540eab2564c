"""The real API server of Kubernetes, over etcd, on loopback; what `make cluster-tests` compares the stand-in with.

The binary is built by `tests/cluster/apiserver` (see there); `ETCD` and the server keep all they write in one folder.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.cluster.standin import CALICO, GROUPS, write_certificate

ADMIN, READER = "admin-token", "reader-token"
PATIENCE_SECONDS = 120.0
ROLE = Path(__file__).parents[2] / "docs" / "cluster-role.yaml"


@dataclass
class Server:
    """A running API server; objects are written as an administrator."""

    address: str
    authority: Path

    def put(self, item: dict[str, Any]) -> None:
        """Create an object, or replace it; a status is written, too."""
        path = self._collection(item)
        name = f"{path}/{item['metadata']['name']}"
        found = self.request("GET", name, missing=True)
        if found:
            item = {**item, "metadata": {**item["metadata"], "resourceVersion": found["metadata"]["resourceVersion"]}}
            kept = self.request("PUT", name, item)
        else:
            kept = self.request("POST", path, item)
        if "status" in item and item["kind"] in ("Pod", "Node"):
            self.request("PUT", f"{name}/status", {**kept, "status": item["status"]})

    def delete(self, item: Mapping[str, Any]) -> None:
        self.request("DELETE", f"{self._collection(item)}/{item['metadata']['name']}?gracePeriodSeconds=0")

    def _collection(self, item: Mapping[str, Any]) -> str:
        version = item["apiVersion"]
        served = {**{key: dict(value) for key, value in GROUPS.items()}, "crd.projectcalico.org/v1": dict(CALICO)}
        served["apiextensions.k8s.io/v1"] = {"customresourcedefinitions": ("CustomResourceDefinition", False)}
        served["rbac.authorization.k8s.io/v1"] = {
            "clusterroles": ("ClusterRole", False), "clusterrolebindings": ("ClusterRoleBinding", False),
        }  # fmt: skip
        plural = next(plural for plural, (kind, _) in served[version].items() if kind == item["kind"])
        namespace = item["metadata"].get("namespace", "")
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        return root + (f"/namespaces/{namespace}" if namespace else "") + f"/{plural}"

    def request(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> dict[str, Any]:
        """The server's answer; {} for what is missing if that may be."""
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.address}{path}", content, headers, method=method)
        try:
            with urlopen(request, context=ssl.create_default_context(cafile=str(self.authority)), timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except HTTPError as wrong:
            if missing and wrong.code == 404:
                return {}
            raise AssertionError(f"{method} {path}: {wrong.code} {wrong.read().decode()}") from wrong


def rights() -> Iterator[dict[str, Any]]:
    """The documented ClusterRole, and its binding to the reader."""
    import yaml

    yield from yaml.safe_load_all(ROLE.read_text())
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "felixpy"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "felixpy"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "felixpy"}],
    }


@contextmanager
def running(binary: Path, folder: Path) -> Iterator[Server]:
    """etcd and the API server while the block runs, with Calico's custom resources defined."""
    with ExitStack() as running:
        peer, client, port = _free_ports(3)
        running.enter_context(_process(
            folder / "etcd.log", "etcd", "--data-dir", str(folder / "etcd"),
            "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--unsafe-no-fsync",
        ))  # fmt: skip
        _keys(folder)
        (folder / "tokens.csv").write_text(f"{ADMIN},admin,1,system:masters\n{READER},felixpy,2,\n")
        running.enter_context(_process(
            folder / "apiserver.log", str(binary), f"--etcd-servers=http://127.0.0.1:{client}",
            "--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder / 'pki'}",
            f"--tls-cert-file={folder / 'server.crt'}", f"--tls-private-key-file={folder / 'server.key'}",
            f"--service-account-key-file={folder / 'accounts.key'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            "--service-cluster-ip-range=10.96.0.0/16",
        ))  # fmt: skip
        server = Server(f"https://127.0.0.1:{port}", folder / "server.crt")
        _wait_for(server, "/api/v1/namespaces/default")
        for plural, (kind, namespaced) in CALICO.items():
            server.put(_definition(plural, kind, namespaced=namespaced))
        for plural in CALICO:
            _wait_for(server, f"/apis/crd.projectcalico.org/v1/{plural}")
        yield server


def _definition(plural: str, kind: str, *, namespaced: bool) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.crd.projectcalico.org"},
        "spec": {
            "group": "crd.projectcalico.org",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def _keys(folder: Path) -> None:
    """A certificate, and a key for service accounts."""
    write_certificate(folder)
    subprocess.run(["openssl", "genrsa", "-out", folder / "accounts.key", "2048"], check=True, capture_output=True)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _process(log: Path, *command: str) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:  # on a busy machine; what it keeps is thrown away
                process.kill()
                process.wait()


def _wait_for(server: Server, path: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            server.request("GET", path)
        except (URLError, AssertionError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        else:
            return
