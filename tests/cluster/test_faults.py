"""What goes wrong while a cluster is read, and what is said then."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from felixpy.errors import EnvironmentMissing
from felixpy.kubectl import Kubectl, client, list_cluster
from felixpy.kubectl.client import ALL_BUT_GET, READING, TRIES, Expired, Unauthorized, Unreachable
from felixpy.kubectl.proxy import LISTS
from felixpy.kubectl.resources import RESOURCES
from tests.cluster.standin import StandIn, write_kubeconfig
from tests.commands import Answer, caller
from tests.manifests import namespace, pod

LISTED = sorted({resource.plural for resource in RESOURCES.values() if not resource.objects})
SERVED = [plural for plural in LISTED if any(plural in group for group in StandIn().groups.values())]


class Direct(Kubectl):
    """Asks the stand-in without a process for each question."""

    def __init__(self, cluster: StandIn) -> None:
        super().__init__(context="test", pause=lambda seconds: None)
        self.cluster = cluster

    def proxy(self, unix_socket, accepted, options=()):
        raise EnvironmentMissing("there are no processes")

    def _run(self, arguments):
        if arguments[:2] == ["config", "view"]:
            return subprocess.CompletedProcess(arguments, 1, b"", b"error: current-context must exist")
        assert arguments[:2] == ["get", "--raw"]
        try:
            with urlopen(self.cluster.address + arguments[2], timeout=30) as answer:
                return subprocess.CompletedProcess(arguments, 0, answer.read(), b"")
        except HTTPError as wrong:
            said = json.load(wrong)
            words = f"Error from server ({said['reason']}): {said['message']}"
            return subprocess.CompletedProcess(arguments, 1, b"", words.encode())
        except IncompleteRead:
            return subprocess.CompletedProcess(arguments, 1, b"", b"error: unexpected EOF")


@pytest.fixture
def shop(stand_in: StandIn) -> StandIn:
    stand_in.put(namespace("shop"))
    for number in range(1000):
        stand_in.put(pod(f"web-{number:04}", f"10.244.{number // 250}.{number % 250 + 1}"))
    return stand_in


@pytest.fixture
def felixpy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kubeconfig: Path):
    call = caller(capsys, monkeypatch)

    def run(*arguments: str) -> Answer:
        return call(*arguments, "--kubeconfig", kubeconfig)

    return run


@pytest.mark.parametrize("plural", SERVED)
def test_a_forbidden_resource_is_named_with_what_the_answer_lacks(shop: StandIn, plural: str) -> None:
    shop.faults.forbidden = {plural}
    found = list_cluster(Direct(shop))
    assert {item for said in found.missing for item in [said.split(";")[0]] if f"{plural} is forbidden" in item}
    lacking = {resource.lacking for resource in RESOURCES.values() if resource.plural == plural}
    assert any(said.endswith(words) for said in found.missing for words in lacking)
    listed = {RESOURCES[key].plural for key in found.listed}
    assert plural not in listed
    assert listed | {plural} >= set(SERVED)


def test_a_thousand_pages(shop: StandIn) -> None:
    assert len(list_cluster(Direct(shop), page=1).listed["pods"].items) == 1000


def test_pages_that_expire_are_read_again(shop: StandIn) -> None:
    shop.faults.expire_pages = 2
    assert len(list_cluster(Direct(shop), page=100).listed["pods"].items) == 1000


def test_pages_that_always_expire_are_read_in_one_piece(shop: StandIn) -> None:
    shop.faults.expire_pages = 10**6
    assert len(list_cluster(Direct(shop), page=100).listed["pods"].items) == 1000
    assert any(path == "/api/v1/pods" for _, path in shop.requests)


def test_a_busy_server_is_asked_again(shop: StandIn) -> None:
    shop.faults.overloaded = TRIES - 1
    assert len(list_cluster(Direct(shop)).listed["pods"].items) == 1000


def test_half_an_answer_is_no_answer(shop: StandIn) -> None:
    shop.faults.cut_after_bytes = 100
    with pytest.raises(Unreachable, match="EOF"):
        list_cluster(Direct(shop))


LOGIN = b"""
<!DOCTYPE html>
<html><head><title>Sign in
 - Example</title></head><body><form></form></body></html>
"""


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (LOGIN, 'the answer is a web page ("Sign in - Example"), not that of an API server'),
        (b"<html></html>", "the answer is a web page, not that of an API server"),
        (b"", "the answer is empty"),
        (b"ok", "the answer is not that of an API server: JSON is malformed"),
        (b"[]", "the answer is not that of an API server: Expected `object`, got `array`"),
        (b"{}", "the answer is not that of an API server: no APIGroupList, but kind None"),
        (b'{"kind": "PodList", "items": []}', "no APIGroupList, but kind PodList"),
    ],
)
def test_a_server_that_is_none(shop: StandIn, felixpy, instead: bytes, said: str) -> None:
    shop.faults.instead = instead
    answer = felixpy("render")
    assert answer.status == 3
    assert answer.out == ""
    assert said in answer.err
    assert answer.err.startswith("felixpy: /apis: ")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("instead", [LOGIN, b"{}", b'{"metadata": {}, "kind": "Status"}'])
def test_a_login_page_in_the_middle_of_a_list(shop: StandIn, instead: bytes) -> None:
    shop.faults.instead, shop.faults.from_item = instead, 300
    with pytest.raises(Unreachable, match="not that of an API server"):
        list_cluster(Direct(shop), page=100)


def test_a_resource_that_every_cluster_should_have(shop: StandIn) -> None:
    shop.groups = {version: group for version, group in shop.groups.items() if version != "discovery.k8s.io/v1"}
    said = "endpointslices: the cluster does not serve them as discovery.k8s.io/v1; "
    assert f"{said}services have the pods that they select" in list_cluster(Direct(shop)).missing


def test_an_expired_token(shop: StandIn, felixpy) -> None:
    shop.faults.unauthorized = True
    answer = felixpy("render")
    assert answer.status == 3
    assert answer.out == ""
    assert "Unauthorized" in answer.err


def test_a_server_that_is_gone(tmp_path: Path, kubectl_program: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_SECONDS", 0.0)
    path = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:9")
    answer = caller(capsys, monkeypatch)("matrix", "--kubeconfig", path)
    assert answer.status == 3
    assert "refused" in answer.err


def test_the_server_goes_away_in_the_middle(shop: StandIn) -> None:
    """Whatever was read until then is not taken for the whole cluster."""

    class Leaving(Direct):
        def get(self, path: str) -> bytes:
            if "continue=" in path:
                raise Unreachable("the connection is lost")
            return super().get(path)

    with pytest.raises(Unreachable, match="lost"):
        list_cluster(Leaving(shop), page=100)


def test_one_who_may_read_one_namespace_only(shop: StandIn) -> None:
    class Narrow(Direct):
        def get(self, path: str) -> bytes:
            if path.startswith("/api/v1/pods"):
                raise client.Forbidden(f"{path}: pods is forbidden")
            return super().get(path)

    found = list_cluster(Narrow(shop), namespace="shop")
    assert len(found.listed["pods"].items) == 1000
    assert "pods: only those of namespace shop may be read" in found.missing


def test_nothing_but_reading(shop: StandIn, kubectl_program: str, tmp_path: Path, felixpy, monkeypatch) -> None:
    """Every way in which commands call kubectl, written down by one that stands before it."""
    calls = tmp_path / "calls"
    wrapper = tmp_path / "bin" / "kubectl"
    wrapper.parent.mkdir()
    # One write for a call: many run at once.
    script = f'#!/bin/sh\necho "$*" >> {shlex.quote(str(calls))}\n'
    wrapper.write_text(f'{script}exec {shlex.quote(kubectl_program)} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    for command in (("render", "--node", "node1"), ("validate",), ("explain", "pod", "shop/web-0000")):
        assert felixpy(*command).status == 0
    lines = [line.split() for line in calls.read_text().splitlines()]
    called = [tuple(word for word in line if not word.startswith("--kubeconfig=")) for line in lines]
    assert {words[:2] for words in called if words[0] != "proxy"} == {("get", "--raw"), ("config", "view")}
    proxies = {tuple(word for word in words if "--unix-socket=" not in word) for words in called if words[0] == "proxy"}
    accepted = f"--accept-paths={','.join(LISTS)}"
    accepting = ("proxy", accepted, f"--reject-methods={ALL_BUT_GET}")
    assert proxies <= {(*accepting, "--append-server-path"), accepting}
    assert proxies
    assert "secrets" not in accepted
    assert {method for method, _ in shop.requests} == {"GET"}
    assert not any("secrets" in path for _, path in shop.requests)


def test_only_commands_that_read_run_on_nodes() -> None:
    with pytest.raises(ValueError, match="not among the commands"):
        Kubectl().execute("kube-system", "calico-node-1", "calico-node", ("iptables", "-F"))
    tools = {command[0].removesuffix("-save") for command in READING}
    assert tools == {"iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft", "ipset", "nft"}
    assert all(command[-1] in ("-c", "save", "tables", "ruleset") for command in READING)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error from server (Expired): The provided continue parameter is too old", Expired),
        ("error: You must be logged in to the server (Unauthorized)", Unauthorized),
        ("Unable to connect to the server: dial tcp: lookup api: no such host", Unreachable),
        ("Error from server (Forbidden): nodes is forbidden", client.Forbidden),
        ("Error from server (NotFound): the server could not find the requested resource", client.Absent),
        ("Error from server (ServiceUnavailable): the server is currently unable", client.Overloaded),
        ("Unable to connect: getting credentials: exec: executable gke-gcloud-auth-plugin not found", Unauthorized),
        ('OCI runtime exec failed: exec: "nft": executable file not found in $PATH', client.RequestRefused),
        ("something new", client.RequestRefused),
        ("", client.RequestRefused),
    ],
)
def test_what_kubectl_says_has_a_meaning(said: str, kind: type[client.RequestRefused]) -> None:
    assert type(client.failure(said, "/api")) is kind
