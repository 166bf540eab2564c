"""Lists of many pages: through one ``kubectl proxy``, and without one where there is none."""

from __future__ import annotations

import json
import shlex
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from felixpy.kubectl import Kubectl, list_cluster
from felixpy.kubectl.client import Expired, Forbidden, Unauthorized, Unreachable
from felixpy.kubectl.listing import PAGES_ALONE, list_resource
from felixpy.kubectl.proxy import Proxy, _SocketConnection
from tests.cluster.conftest import RunningCluster
from tests.cluster.standin import StandIn, serving, write_certificate, write_kubeconfig
from tests.cluster.test_running_cluster import running_pod
from tests.manifests import manifest, namespace

PODS = 40
PAGE = 5
NAMES = {f"web-{number:02}" for number in range(PODS)}
LATE = PAGE * (PAGES_ALONE + 1)
"""The first item of a page that comes through the proxy."""


@pytest.fixture
def shop(stand_in: StandIn) -> StandIn:
    fill(stand_in)
    return stand_in


def fill(cluster: object) -> None:
    for item in (namespace("shop"), manifest("v1", "Node", "node1")):
        cluster.put(item)  # type: ignore[attr-defined]
    for number, name in enumerate(sorted(NAMES)):
        cluster.put(running_pod(name, f"10.244.1.{number}"))  # type: ignore[attr-defined]


class Calls:
    """A kubectl that writes down how it is called, and may fail at some calls."""

    def __init__(self, program: str, folder: Path, refuse: str = "") -> None:
        self._log, self.program = folder / "calls", folder / "kubectl"
        refused = f'case " $* " in *{shlex.quote(refuse)}*) echo refused >&2; exit 1;; esac\n' if refuse else ""
        log = f'echo "$*" >> {shlex.quote(str(self._log))}\n'
        self.program.write_text(f'#!/bin/sh\n{log}{refused}exec {shlex.quote(program)} "$@"\n')
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def kubectl(self, kubeconfig: Path) -> Kubectl:
        return Kubectl(kubeconfig=str(kubeconfig), program=str(self.program), pause=lambda seconds: None)

    def verbs(self) -> list[str]:
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return [next(word for word in line if not word.startswith("--kubeconfig=")) for line in lines]

    def of_pods(self) -> int:
        """How many pages of pods had a kubectl of their own."""
        return sum(f"/pods?limit={PAGE}" in line for line in self._log.read_text().splitlines())


@pytest.fixture
def calls(kubectl_program: str, tmp_path: Path) -> Calls:
    return Calls(kubectl_program, tmp_path)


def release(program: str) -> int:
    """The second number of kubectl's release."""
    done = subprocess.run((program, "version", "--client", "-o", "json"), capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout)["clientVersion"]["minor"].rstrip("+"))


WITH_PATHS, WITH_EXEC_V1 = 23, 22
"""The first releases of kubectl that know ``proxy --append-server-path``, and v1 of the interface of exec plugins."""


def pods(kubectl: Kubectl) -> set[str]:
    return {item["metadata"]["name"] for item in list_resource(kubectl, "pods", "v1", page=PAGE).items}


def test_a_long_list_takes_one_kubectl_more(cluster: RunningCluster, kubectl_program: str, tmp_path: Path) -> None:
    """The same for the stand-in and the API server itself."""
    fill(cluster.objects)
    calls = Calls(kubectl_program, tmp_path)
    found = list_cluster(calls.kubectl(cluster.kubeconfig), page=PAGE).listed["pods"]
    assert {item["metadata"]["name"] for item in found.items} >= NAMES
    assert set(calls.verbs()) == {"get", "proxy", "config"}
    assert calls.verbs().count("proxy") == (1 if release(kubectl_program) >= WITH_PATHS else 2)
    assert calls.of_pods() == PAGES_ALONE


def test_a_short_list_takes_none(shop: StandIn, kubeconfig: Path, calls: Calls) -> None:
    assert len(list_cluster(calls.kubectl(kubeconfig), page=PODS).listed["pods"].items) == PODS
    assert set(calls.verbs()) == {"get", "config"}


@pytest.mark.parametrize("refused", [" proxy ", "--append-server-path"])
def test_a_kubectl_that_has_no_such_command_or_option(
    shop: StandIn, kubeconfig: Path, kubectl_program: str, tmp_path: Path, refused: str
) -> None:
    calls = Calls(kubectl_program, tmp_path, refuse=refused)
    assert pods(calls.kubectl(kubeconfig)) == NAMES
    assert calls.of_pods() == (PODS // PAGE if refused == " proxy " else PAGES_ALONE)


def test_a_server_with_a_path(shop: StandIn, calls: Calls, kubectl_program: str, tmp_path: Path) -> None:
    """Gateways of several clusters tell them apart by it. The proxy of an old kubectl does not know it."""
    shop.root = "/k8s/clusters/c-1"
    kubeconfig = write_kubeconfig(tmp_path / "gateway", shop.address + shop.root)
    assert pods(calls.kubectl(kubeconfig)) == NAMES
    assert calls.of_pods() == (PAGES_ALONE if release(kubectl_program) >= WITH_PATHS else PODS // PAGE)


# --- what the proxy lets through


@pytest.fixture
def proxy(shop: StandIn, kubeconfig: Path) -> Iterator[Proxy]:
    with Proxy(Kubectl(kubeconfig=str(kubeconfig))) as proxy:
        assert json.loads(proxy.get("/api/v1/pods?limit=1"))["items"]
        shop.requests.clear()
        yield proxy


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GETS", "get"])
def test_it_writes_nothing(proxy: Proxy, shop: StandIn, method: str) -> None:
    assert answered(proxy, method, "/api/v1/pods") == 403
    assert not shop.requests


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/secrets", "/api/v1/namespaces/shop/secrets", "/api/v1/configmaps", "/apis/apps/v1/daemonsets",
        "/api/v1/namespaces/shop/pods/web-01", "/api/v1/namespaces/shop/pods/web-01/exec?command=sh",
        "/api/v1/pods/../secrets", "/", "/static/",
    ],
)  # fmt: skip
def test_it_reads_the_lists_of_felixpy_only(proxy: Proxy, shop: StandIn, path: str) -> None:
    assert answered(proxy, "GET", path) in (301, 307, 403, 404)
    assert not shop.requests


def answered(proxy: Proxy, method: str, path: str) -> int:
    connection = _SocketConnection(proxy._socket, 10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_this_user_reaches_it_and_it_ends(shop: StandIn, kubeconfig: Path) -> None:
    with Proxy(Kubectl(kubeconfig=str(kubeconfig))) as proxy:
        proxy.get("/api/v1/pods")
        where, process = proxy._socket, proxy._process
        assert stat.S_IMODE(where.parent.stat().st_mode) == 0o700
        assert process
        assert process.poll() is None
    assert process.poll() is not None
    assert not where.parent.exists()
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(FileNotFoundError):
        late.connect(str(where))


def test_it_is_started_when_it_is_needed(shop: StandIn, kubeconfig: Path) -> None:
    with Proxy(Kubectl(kubeconfig=str(kubeconfig))) as proxy:
        assert proxy._folder is None


# --- faults in the middle of a list


def test_the_proxy_dies(shop: StandIn, calls: Calls, kubeconfig: Path) -> None:
    with Proxy(calls.kubectl(kubeconfig)) as proxy:
        path = f"/api/v1/pods?limit={PAGE}"
        first = proxy.get(path)
        assert proxy._process
        proxy._process.kill()
        assert all(proxy.get(path) == first for _ in range(4))
    assert calls.of_pods() == 4


def test_pages_that_expire_late(shop: StandIn, calls: Calls, kubeconfig: Path) -> None:
    shop.faults.from_item = LATE
    shop.faults.expire_pages = 2  # the proxy hears of the first one, kubectl of its own of the second
    assert pods(calls.kubectl(kubeconfig)) == NAMES
    shop.faults.expire_pages = 10**6
    assert pods(calls.kubectl(kubeconfig)) == NAMES
    assert ("GET", "/api/v1/pods") in shop.requests
    with Proxy(calls.kubectl(kubeconfig)) as proxy, pytest.raises(Expired):
        proxy.get(f"/api/v1/pods?limit={PAGE}&continue={LATE}")


def test_half_a_page_is_no_page(shop: StandIn, calls: Calls, kubeconfig: Path) -> None:
    shop.faults.from_item, shop.faults.cut_after_bytes = LATE, 200
    with pytest.raises(Unreachable):
        list_cluster(calls.kubectl(kubeconfig), page=PAGE)


def test_a_server_that_is_busy_in_between(shop: StandIn, calls: Calls, kubeconfig: Path) -> None:
    shop.faults.from_item, shop.faults.overloaded = LATE, 3
    assert pods(calls.kubectl(kubeconfig)) == NAMES


def test_rights_that_end_in_between(shop: StandIn, calls: Calls, kubeconfig: Path) -> None:
    """Half a list counts as none."""
    shop.faults.from_item, shop.faults.forbidden = LATE, {"pods"}
    found = list_cluster(calls.kubectl(kubeconfig), page=PAGE)
    assert "pods" not in found.listed
    assert any("pods is forbidden" in said for said in found.missing)
    with Proxy(calls.kubectl(kubeconfig)) as proxy, pytest.raises(Forbidden):
        proxy.get(f"/api/v1/pods?limit={PAGE}&continue={LATE}")


# --- logging in through a program


PLUGIN = """#!/bin/sh
cat <<END
{{"apiVersion": "client.authentication.k8s.io/{version}", "kind": "ExecCredential",
  "status": {{"token": "token-$(cat {token})"}}}}
END
"""


class Login(NamedTuple):
    """A cluster that takes one token, and a kubeconfig with an exec plugin, which gives that in the file `token`."""

    cluster: StandIn
    kubeconfig: Path
    token: Path


@pytest.fixture
def login(kubectl_program: str, tmp_path: Path) -> Iterator[Login]:
    plugin, token = tmp_path / "plugin", tmp_path / "token"
    version = "v1" if release(kubectl_program) >= WITH_EXEC_V1 else "v1beta1"
    plugin.write_text(PLUGIN.format(token=shlex.quote(str(token)), version=version))
    plugin.chmod(0o755)
    token.write_text("1")
    write_certificate(tmp_path)  # kubectl gives nobody a token without TLS
    with serving(StandIn(), tmp_path) as cluster:
        fill(cluster)
        cluster.faults.tokens = {"token-1"}
        path = write_kubeconfig(tmp_path / "exec", cluster.address, authority=str(tmp_path / "server.crt"))
        document = json.loads(path.read_text())
        document["users"][0]["user"] = {"exec": {
            "apiVersion": f"client.authentication.k8s.io/{version}", "command": str(plugin), "interactiveMode": "Never",
        }}  # fmt: skip
        path.write_text(json.dumps(document))
        yield Login(cluster, path, token)


def test_an_exec_plugin_logs_in(login: Login, calls: Calls) -> None:
    assert pods(calls.kubectl(login.kubeconfig)) == NAMES
    assert "proxy" in calls.verbs()
    assert calls.of_pods() == PAGES_ALONE


def test_a_token_that_expires_in_between_is_fetched_again(login: Login, calls: Calls) -> None:
    with Proxy(calls.kubectl(login.kubeconfig)) as proxy:
        path = f"/api/v1/pods?limit={PAGE}"
        first = proxy.get(path)
        login.token.write_text("2")
        login.cluster.faults.tokens = {"token-2"}
        assert proxy.get(path) == first
        login.cluster.faults.tokens = set()
        with pytest.raises(Unauthorized):
            proxy.get(path)
