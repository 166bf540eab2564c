"""A stand-in for the API server: discovery, lists in pages, single objects, watches with bookmarks, and its faults.

It keeps objects by resource in memory and speaks plain HTTP on loopback, so that a real kubectl can talk to it. The
tests that use it run against a real API server as well (`make cluster-tests`), which keeps it honest.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

GROUPS: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "v1": {
        "namespaces": ("Namespace", False), "pods": ("Pod", True), "serviceaccounts": ("ServiceAccount", True),
        "nodes": ("Node", False), "services": ("Service", True), "configmaps": ("ConfigMap", True),
        "secrets": ("Secret", True),
    },
    "apps/v1": {"daemonsets": ("DaemonSet", True)},
    "discovery.k8s.io/v1": {"endpointslices": ("EndpointSlice", True)},
    "networking.k8s.io/v1": {"networkpolicies": ("NetworkPolicy", True), "ingresses": ("Ingress", True)},
}  # fmt: skip
"""What every API server has: (kind, whether in namespaces) by API version and plural name."""

CALICO: Mapping[str, tuple[str, bool]] = {
    "networkpolicies": ("NetworkPolicy", True),
    "globalnetworkpolicies": ("GlobalNetworkPolicy", False),
    "tiers": ("Tier", False),
    "networksets": ("NetworkSet", True),
    "globalnetworksets": ("GlobalNetworkSet", False),
    "hostendpoints": ("HostEndpoint", False),
    "ippools": ("IPPool", False),
    "felixconfigurations": ("FelixConfiguration", False),
    "bgpconfigurations": ("BGPConfiguration", False),
    "clusterinformations": ("ClusterInformation", False),
}


@dataclass
class Faults:
    """What goes wrong. Resources are plural names."""

    forbidden: set[str] = field(default_factory=set)
    unauthorized: bool = False
    latency_seconds: float = 0.0
    cut_after_bytes: int | None = None
    """Answers end in the middle."""
    overloaded: int = 0
    """How many of the next answers are 503."""
    expire_pages: int = 0
    """How many continue tokens are refused with 410."""
    from_item: int = 0
    """Lists are answered as they should be up to this item."""
    instead: bytes | None = None
    """What comes in the place of every answer."""
    tokens: set[str] | None = None
    """The only bearer tokens that are accepted."""


Key = tuple[str, str]


class StandIn:
    """The objects and the history of a cluster; `address` is where it answers."""

    def __init__(self, calico: str = "projectcalico.org/v3") -> None:
        groups: dict[str, Mapping[str, tuple[str, bool]]] = dict(GROUPS)
        if calico:
            groups[calico] = CALICO
        self.groups = groups
        self.faults = Faults()
        self.root = ""
        """What stands before every path, as behind a gateway of several clusters."""
        self.requests: list[tuple[str, str]] = []
        """(method, path with query) of every request."""
        self._objects: dict[Key, dict[tuple[str, str], dict[str, Any]]] = {}
        self._sorted: dict[Key, list[dict[str, Any]]] = {}
        """The objects of resources in the order of pages, as of one revision."""
        self._sorted_at = 0
        self._json: dict[tuple[str, ...], tuple[dict[str, Any], bytes]] = {}
        self._events: list[tuple[int, Key, str, dict[str, Any]]] = []
        self._oldest = 0
        self._revision = 1
        self._changed = threading.Condition()
        self.address = ""

    # --- contents

    def resource_of(self, item: Mapping[str, Any]) -> Key:
        version = item["apiVersion"]
        return next((version, plural) for plural, (kind, _) in self.groups[version].items() if kind == item["kind"])

    def put(self, item: dict[str, Any]) -> None:
        """Create an object, or replace it."""
        key = self.resource_of(item)
        with self._changed:
            self._revision += 1
            metadata = {**item["metadata"], "resourceVersion": str(self._revision)}
            name = metadata.get("namespace", ""), metadata["name"]
            known = self._objects.setdefault(key, {})
            verb = "MODIFIED" if name in known else "ADDED"
            known[name] = {**item, "metadata": metadata}
            self._events.append((self._revision, key, verb, known[name]))
            self._changed.notify_all()

    def delete(self, item: Mapping[str, Any]) -> None:
        key = self.resource_of(item)
        name = item["metadata"].get("namespace", ""), item["metadata"]["name"]
        with self._changed:
            self._revision += 1
            gone = self._objects[key].pop(name)
            gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self._revision)}}
            self._events.append((self._revision, key, "DELETED", gone))
            self._changed.notify_all()

    def compact(self) -> None:
        """Forget the history, so that watches from older revisions get 410."""
        with self._changed:
            self._events.clear()
            self._oldest = self._revision
            self._changed.notify_all()

    # --- answers

    def discovery(self, path: str) -> dict[str, Any] | None:
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            names = sorted({version.split("/")[0] for version in self.groups if "/" in version})
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(name) for name in names]}
        version = path.removeprefix("/apis/") if path.startswith("/apis/") else path.removeprefix("/api/")
        if version not in self.groups:
            return None
        resources = [
            {"name": plural, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind,
             "verbs": ["get", "list", "watch"]}
            for plural, (kind, namespaced) in self.groups[version].items()
        ]  # fmt: skip
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}

    def _group(self, name: str) -> dict[str, Any]:
        versions = [
            {"groupVersion": version, "version": version.split("/")[1]}
            for version in self.groups
            if version.startswith(f"{name}/")
        ]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def locate(self, path: str) -> tuple[Key, str, str] | None:
        """Resource, namespace and name of a path; None for one that the server does not know."""
        parts = path.strip("/").split("/")
        version, rest = (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        if version not in self.groups or not rest or rest[0] not in self.groups[version]:
            return None
        return (version, rest[0]), namespace, rest[1] if len(rest) > 1 else ""

    def items(self, key: Key, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        if self._sorted_at != self._revision:
            self._sorted, self._sorted_at = {}, self._revision
        if key not in self._sorted:
            self._sorted[key] = [item for _, item in sorted(self._objects.get(key, {}).items())]
        if not namespace and not selector:
            return self._sorted[key]
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        return [
            item
            for item in self._sorted[key]
            if namespace in ("", item["metadata"].get("namespace", ""))
            and wanted.items() <= (item["metadata"].get("labels") or {}).items()
        ]

    def page(self, key: Key, namespace: str, query: Mapping[str, str]) -> bytes:
        with self._changed:
            found = self.items(key, namespace, query.get("labelSelector", ""))
            revision = self._revision
        start = int(query.get("continue", "0"))
        limit = int(query.get("limit", "0")) or len(found)
        kind = self.groups[key[0]][key[1]][0]
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if start + limit < len(found):
            metadata |= {"continue": str(start + limit), "remainingItemCount": len(found) - start - limit}
        head = json.dumps({"kind": f"{kind}List", "apiVersion": key[0], "metadata": metadata})
        items = b",".join(map(self._encoded, found[start : start + limit]))
        return head[:-1].encode() + b', "items": [' + items + b"]}"

    def _encoded(self, item: dict[str, Any]) -> bytes:
        """An object as JSON, written once for all answers."""
        metadata = item["metadata"]
        name = item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"]
        known = self._json.get(name)
        if known is None or known[0] is not item:
            known = self._json[name] = item, json.dumps(item).encode()
        return known[1]

    def events(self, key: Key, namespace: str, since: int, deadline: float) -> Iterator[dict[str, Any]]:
        """Changes after a revision as they happen, a bookmark first and every second, until the deadline."""
        while True:
            with self._changed:
                if since < self._oldest:
                    yield {"type": "ERROR", "object": status(410, "Expired", "too old resource version")}
                    return
                found = [event for event in self._events if event[0] > since]
                if not found:
                    self._changed.wait(timeout=min(1.0, max(0.0, deadline - time.monotonic())))
                    # A bookmark promises that everything up to its revision has been told.
                    found = [event for event in self._events if event[0] > since]
                if not found and since < self._oldest:
                    continue
                revision = self._revision
            for number, changed, verb, item in found:
                since = number
                if changed == key and namespace in ("", item["metadata"].get("namespace", "")):
                    yield {"type": verb, "object": item}
            if not found:
                kind = self.groups[key[0]][key[1]][0]
                metadata = {"resourceVersion": str(revision)}
                yield {"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": key[0], "metadata": metadata}}
                since = max(since, revision)
            if time.monotonic() >= deadline:
                return


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _faults = Faults()
    """Those of the request."""

    def log_message(self, *arguments: object) -> None:
        pass

    def _refuse(self) -> None:
        self.server.cluster.requests.append((self.command, self.path))
        self._send(405, status(405, "MethodNotAllowed", "the stand-in is read-only"))

    do_POST = do_PUT = do_PATCH = do_DELETE = _refuse  # noqa: N815 - names that the library calls

    def do_GET(self) -> None:
        cluster = self.server.cluster
        cluster.requests.append((self.command, self.path))
        if not self.path.startswith(cluster.root):
            self._send(404, status(404, "NotFound", "there is no such cluster"))
            return
        address = urlsplit(self.path.removeprefix(cluster.root))
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        late = int(query.get("continue", "0")) >= cluster.faults.from_item
        faults = self._faults = cluster.faults if late else Faults()
        time.sleep(faults.latency_seconds)
        if faults.instead is not None:
            self._send(200, faults.instead)
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if faults.unauthorized or (faults.tokens is not None and token not in faults.tokens):
            self._send(401, status(401, "Unauthorized", "Unauthorized"))
            return
        if faults.overloaded:
            faults.overloaded -= 1
            self._send(503, status(503, "ServiceUnavailable", "the server is currently unable to handle the request"))
            return
        if (answer := cluster.discovery(address.path)) is not None:
            self._send(200, answer)
            return
        located = cluster.locate(address.path)
        if located is None:
            self._send(404, status(404, "NotFound", "the server could not find the requested resource"))
            return
        self._resource(*located, query)

    def _resource(self, key: Key, namespace: str, name: str, query: Mapping[str, str]) -> None:
        cluster = self.server.cluster
        plural = key[1]
        if plural in self._faults.forbidden:
            group = key[0].split("/")[0] if "/" in key[0] else ""
            scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            words = f'{plural} is forbidden: User "dev" cannot list resource "{plural}" in API group "{group}" {scope}'
            self._send(403, status(403, "Forbidden", words))
        elif name:
            found = [item for item in cluster.items(key, namespace) if item["metadata"]["name"] == name]
            missing = status(404, "NotFound", f'{plural} "{name}" not found')
            self._send(200 if found else 404, found[0] if found else missing)
        elif query.get("watch") in ("1", "true"):
            self._watch(key, namespace, query)
        elif "continue" in query and self._faults.expire_pages:
            self._faults.expire_pages -= 1
            self._send(410, status(410, "Expired", "The provided continue parameter is too old"))
        else:
            self._send(200, cluster.page(key, namespace, query))

    def _watch(self, key: Key, namespace: str, query: Mapping[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        deadline = time.monotonic() + float(query.get("timeoutSeconds", "3600"))
        try:
            for event in self.server.cluster.events(key, namespace, int(query.get("resourceVersion") or 0), deadline):
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _send(self, code: int, answer: Mapping[str, Any] | bytes) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self._faults.cut_after_bytes
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None and cut < len(body):
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    cluster: StandIn


@contextmanager
def serving(cluster: StandIn, keys: Path | None = None) -> Iterator[StandIn]:
    """Answer on a free port of loopback while the block runs; over TLS with the keys in a folder."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.cluster = cluster
    if keys:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys / "server.crt", keys / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    cluster.address = f"{'https' if keys else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_certificate(folder: Path) -> None:
    """``server.crt`` and ``server.key`` for loopback; the certificate signs itself."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "server.key", "-out", folder / "server.crt"],
        check=True, capture_output=True,
    )  # fmt: skip


def write_kubeconfig(path: Path, address: str, *, token: str = "token", authority: str = "") -> Path:
    """A kubeconfig file with one context, ``test``."""
    cluster: dict[str, Any] = {"server": address}
    if authority:
        cluster["certificate-authority"] = authority
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return path
