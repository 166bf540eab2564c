"""``felixpy watch``: what changes of a cluster and of files do to rules, told as they happen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from felixpy.kubectl import Kubectl, list_cluster, watch
from felixpy.kubectl.watch import Mirror
from tests.cluster.conftest import RunningCluster
from tests.cluster.standin import StandIn
from tests.cluster.test_running_cluster import running_pod
from tests.manifests import CALICO, manifest, namespace
from tests.schemas import checked

PATIENCE_SECONDS = 20.0


def policy(port: int, **metadata: Any) -> dict[str, Any]:
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": [{"port": port}]}]}
    return manifest("networking.k8s.io/v1", "NetworkPolicy", "db", spec, "shop", **metadata)


OBJECTS = [
    namespace("shop"),
    manifest("v1", "Node", "node1"),
    running_pod("web", "10.244.0.10"),
    running_pod("db", "10.244.0.11"),
    policy(5432),
]


class Watching:
    """``felixpy watch`` in a process of its own, and what it prints."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "felixpy", "watch", *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FELIX")}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self._lines: Queue[str] = Queue()
        self.said: list[str] = []
        targets = ((self.process.stdout, self._lines.put), (self.process.stderr, self.said.append))
        self._readers = [threading.Thread(target=self._read, args=each, daemon=True) for each in targets]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, put: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                put(line.rstrip("\n"))

    def ready(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not any("Ctrl-C ends that" in line for line in self.said):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.05)

    def until(self, words: str) -> list[str]:
        """The lines up to one with these words."""
        found: list[str] = []
        while not any(words in line for line in found):
            found.append(self._lines.get(timeout=PATIENCE_SECONDS))
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_SECONDS)


@pytest.fixture
def watching() -> Iterator[Callable[..., Watching]]:
    started: list[Watching] = []

    def start(*arguments: object) -> Watching:
        started.append(Watching(*arguments))
        started[-1].ready()
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture
def shop(cluster: RunningCluster) -> RunningCluster:
    for item in OBJECTS:
        cluster.objects.put(item)
    return cluster


def test_changes_of_a_cluster(shop: RunningCluster, watching, tmp_path: Path) -> None:
    log = tmp_path / "hook"
    watch = watching("--kubeconfig", shop.kubeconfig, "--node", "node1", "--flows", "--exec", f"cat >> {log}")
    shop.objects.put(policy(5433))
    lines = watch.until("5433")
    text = "\n".join(lines)
    assert "NetworkPolicy shop/db changed" in lines[0]
    assert "node1: chain cali-pi-" in text
    assert "(ingress rules of " in text
    assert watch.stop() == 0
    (document,) = map(checked, log.read_text().splitlines())
    assert document["objects"][0]["kind"] == "NetworkPolicy"
    assert document["flows"]


def test_a_line_of_json_for_each_change(shop: RunningCluster, watching) -> None:
    watch = watching("--kubeconfig", shop.kubeconfig, "-o", "json")
    shop.objects.put(running_pod("db2", "10.244.0.12"))
    (line,) = watch.until('"db2"')
    document = checked(line)
    # The API server of Kubernetes takes a pod's status in a second request.
    assert (document["objects"][0]["action"], {each["name"] for each in document["objects"]}) == ("added", {"db2"})
    (node,) = document["nodes"]
    assert node["node"] == "node1"
    assert node["chains"]
    shop.objects.delete(running_pod("db2", "10.244.0.12"))
    found = watch.until('"deleted"')
    assert json.loads(found[-1])["objects"][0]["name"] == "db2"
    assert watch.stop() == 0


def test_changes_of_files(tmp_path: Path, watching) -> None:
    path = tmp_path / "shop.json"

    def write(port: int) -> None:
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*OBJECTS[:-1], policy(port)]}))

    write(5432)
    watch = watching(tmp_path)
    write(5433)
    assert "file " in watch.until("chain cali-pi-")[0]
    path.write_text('{"apiVersion": ')
    assert watch.until("the rules stay as they were")
    write(5432)
    assert watch.until("chain cali-pi-")
    assert watch.stop() == 0


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_node_that_changes_its_data_plane(tmp_path: Path, watching, output: str) -> None:
    """The rules of the one go, those of the other come; afterwards changes are those of the new one."""

    def write(port: int, *more: object) -> None:
        items = [*OBJECTS[:-1], policy(port), *more]
        (tmp_path / "shop.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    mode = manifest(CALICO, "FelixConfiguration", "default", {"nftablesMode": "Enabled"})
    write(5432)
    watch = watching(tmp_path, "-o", output)
    write(5432, mode)
    if output == "text":
        line = watch.until("nftables data plane from now on")[-1]
        assert re.search(r": \d+ chains of it take the place of \d+ chains of iptables$", line)
    else:
        (node,) = checked(watch.until('"dataplane"')[-1])["nodes"]
        assert node["dataplane"] == {"before": "iptables", "after": "nftables"}
        actions = {(each["table"], each["chain"], each["change"]) for each in node["chains"]}
        assert {("filter", "cali-FORWARD", "removed"), ("filter", "cali-FORWARD", "added")} <= actions
        assert {action for *_, action in actions} == {"added", "removed"}
    write(5433, mode)
    assert "pi-knp/shop/" in watch.until("chain" if output == "json" else "chain cali-pi-")[-1]
    write(5433)
    assert watch.until("iptables data plane from now on" if output == "text" else '"after": "iptables"')
    assert watch.stop() == 0


def test_what_cannot_be_watched(tmp_path: Path, kubeconfig: Path) -> None:
    for arguments in (("-",), ("git:main:x",), (tmp_path, "--kubeconfig", kubeconfig)):
        command = [sys.executable, "-m", "felixpy", "watch", *map(str, arguments)]
        assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 2


# --- the mirror


@pytest.fixture
def mirror(stand_in: StandIn, kubeconfig: Path) -> Iterator[Mirror]:
    for item in OBJECTS:
        stand_in.put(item)
    kubectl = Kubectl(kubeconfig=str(kubeconfig))
    troubles: list[str] = []
    found = Mirror(kubectl, list_cluster(kubectl), troubles.append)
    found.start()
    yield found
    found.stop()


def wait_for(mirror: Mirror, *expected: str) -> None:
    """All of these changes, in any order, and no others."""
    told: list[str] = []
    end = time.monotonic() + PATIENCE_SECONDS
    while set(told) != set(expected):
        assert time.monotonic() < end, told
        told += map(str, mirror.changes(0.5))
    assert sorted(told) == sorted(expected)


def names(mirror: Mirror, resource: str) -> set[str]:
    return {name for _, name in mirror._objects[resource]}


def test_who_changed_it(mirror: Mirror, stand_in: StandIn) -> None:
    writers = {"argocd": "2026-01-01T00:00:00Z", "kubectl-edit": "2026-01-02T00:00:00Z"}
    fields = [{"manager": manager, "time": moment} for manager, moment in writers.items()]
    stand_in.put(policy(5433, managedFields=fields))
    wait_for(mirror, "NetworkPolicy shop/db changed by kubectl-edit")


def test_what_says_nothing_about_packets_is_no_change(mirror: Mirror, stand_in: StandIn) -> None:
    node = manifest("v1", "Node", "node1")
    stand_in.put({**node, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    stand_in.put(policy(5432, managedFields=[]))
    stand_in.put(running_pod("cache", "10.244.0.13"))
    wait_for(mirror, "Pod shop/cache added")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "NAMED_SECONDS", 0.2)


def daemon_set(value: str) -> dict[str, Any]:
    variables = [{"name": "FELIX_DEFAULTENDPOINTTOHOSTACTION", "value": value}, {"name": "OTHER", "value": value}]
    spec = {"template": {"spec": {"containers": [{"name": "calico-node", "env": variables}]}}}
    return manifest("apps/v1", "DaemonSet", "calico-node", spec, "kube-system")


def test_objects_that_are_asked_for_by_name_are_read_again(often: None, mirror: Mirror, stand_in: StandIn) -> None:
    """What decides Felix's parameters, its release and its data plane: the DaemonSet and the ConfigMaps."""
    stand_in.put(daemon_set("ACCEPT"))
    wait_for(mirror, "DaemonSet kube-system/calico-node added")
    proxy = manifest("v1", "ConfigMap", "kube-proxy", namespace="kube-system")
    stand_in.put(proxy | {"data": {"config.conf": "mode: nftables\n"}})
    stand_in.put(daemon_set("DROP"))
    wait_for(mirror, "ConfigMap kube-system/kube-proxy added", "DaemonSet kube-system/calico-node changed")
    stand_in.put(manifest("v1", "ConfigMap", "other", namespace="kube-system"))
    stand_in.put(manifest("apps/v1", "DaemonSet", "calico-node", {}, "elsewhere"))
    stand_in.delete(daemon_set("DROP"))
    wait_for(mirror, "DaemonSet kube-system/calico-node deleted")
    assert not any("?watch" in path for _, path in stand_in.requests if "daemonsets" in path or "configmaps" in path)


def test_a_history_that_is_gone_is_listed_again(mirror: Mirror, stand_in: StandIn) -> None:
    """410 in the middle of a watch: what happened meanwhile is the difference to the new list."""
    stand_in.put(running_pod("cache", "10.244.0.13"))
    stand_in.delete(running_pod("web", "10.244.0.10"))
    stand_in.compact()
    wait_for(mirror, "Pod shop/cache added", "Pod shop/web deleted")
    assert names(mirror, "pods") == {"db", "cache"}
    stand_in.put(running_pod("web", "10.244.0.10"))
    wait_for(mirror, "Pod shop/web added")


def test_connections_that_are_lost_go_on_where_they_were(mirror: Mirror, stand_in: StandIn) -> None:
    for number in range(3):
        stand_in.put(running_pod(f"cache-{number}", f"10.244.1.{number}"))
        wait_for(mirror, f"Pod shop/cache-{number} added")
        mirror._kubectl.close()  # the processes that watch
    stand_in.put(policy(5433))
    wait_for(mirror, "NetworkPolicy shop/db changed")
    assert names(mirror, "pods") == {"web", "db", "cache-0", "cache-1", "cache-2"}


def test_events_that_come_late_change_nothing(mirror: Mirror) -> None:
    def event(verb: str, item: dict[str, Any], revision: int) -> list[str]:
        told = {**item, "metadata": {**item["metadata"], "resourceVersion": str(revision)}}
        return list(map(str, mirror._one("pods", verb, told)))

    cache = running_pod("cache", "10.244.0.13")
    assert event("ADDED", cache, 1000) == ["Pod shop/cache added"]
    assert event("DELETED", cache, 1002) == ["Pod shop/cache deleted"]
    assert event("MODIFIED", cache, 1001) == []
    assert event("DELETED", cache, 1002) == []
    assert event("ADDED", cache, 1003) == ["Pod shop/cache added"]
    assert event("ADDED", running_pod("cache", "10.244.0.14"), 999) == []
