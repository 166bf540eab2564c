"""Services in labs: packets that real rules of kube-proxy redirect arrive where `felixpy trace` says, or do not."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from felixpy.compiler import Compiler
from felixpy.kernel import open_machine
from felixpy.lab import Lab, LabOptions
from felixpy.lab.probing import source_ports
from felixpy.lab.serving import serve
from felixpy.tracing import Nodes, Question, Tracer
from felixpy.tracing.service_report import ServicePath, ServiceTrace
from felixpy.tracing.services import ServiceTracer
from tests import kubeproxy
from tests.manifests import loaded
from tests.netns.labs import new_name, places
from tests.service_clusters import POD_CIDR, PORTS, random_cluster

pytestmark = pytest.mark.netns

ATTEMPTS = 6
"""Connections of each client to each address: kube-proxy chooses at random."""

PATIENCE = 0.8
SEEDS = range(9)
LEAST = 60
"""Clients and addresses of a cluster; nine clusters have well over 500 together."""


@pytest.fixture(autouse=True)
def folder(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with places(tmp_path, monkeypatch) as found:
        yield found


class Call(NamedTuple):
    """A client, as felixpy names it, that connects to an address from a namespace."""

    client: str
    netns: str
    source: str
    address: str
    port: int
    answer: ServiceTrace


@pytest.mark.parametrize("seed", SEEDS)
def test_connections_arrive_where_traces_say(seed: int) -> None:
    objects = random_cluster(Random(seed), pods=6, services=4)
    cluster = loaded(*objects)
    with Lab.up(cluster, new_name(), LabOptions(settings=())) as lab:
        for node in lab.layout.built_nodes:
            with open_machine(node.netns) as machine:
                text = kubeproxy.rules(objects, node.name, POD_CIDR).text()
                done = machine.run("iptables-restore", "--noflush", text=text)
                assert not done.status, done.errors
        wanted = [(pod.netns, pod.key, "tcp", port) for pod in lab.layout.built_pods for port in (80, *PORTS)]
        serve(lab.name, wanted)
        tracer = ServiceTracer(Tracer(Nodes(Compiler(cluster))))
        calls = list(_calls(lab, tracer))
        answers = _connected(calls)
    assert len(calls) >= LEAST
    for call, heard in zip(calls, answers, strict=True):
        rows = call.answer.rows
        open_to = {_expected(row) for row in rows if row.verdict == "allow"}
        told = (call.client, call.address, call.port, call.answer.verdict, heard, open_to)
        assert all(any(text.startswith(known) for known in open_to) for text in heard if text), told
        if call.answer.verdict == "allow":
            assert all(heard), told
        if call.answer.verdict in ("deny", "no-endpoints"):
            assert not any(heard), told


def _expected(row: ServicePath) -> str:
    """How the answer of an endpoint begins; if the packet came from another node, with the address it came from."""
    assert row.endpoint
    assert row.trace
    last = row.trace.legs[-1]
    source = last.packet.source if len(row.trace.legs) > 1 and last.node.name != row.node else ""
    return f"{row.name} tcp/{row.endpoint.port} answers {source}"


def _calls(lab: Lab, tracer: ServiceTracer) -> Iterator[Call]:
    """Every pod, every node and somebody outside to every address of every Service that can be routed there."""
    layout = lab.layout
    pods = [(pod.key, pod.netns, pod.addresses[0]) for pod in layout.built_pods]
    hosts = [(f"host:{node.name}", node.netns, node.address(4)) for node in layout.built_nodes]
    internet = ("internet", layout.outside, layout.internet[0])
    for service in tracer.cluster.services.values():
        port = service.ports[0]
        inner = [(each, port.port) for each in (*service.cluster_ips, *service.external_ips, *service.balancers)]
        outer = [(node.address(4), port.node_port) for node in layout.built_nodes if port.node_port]
        for client, netns, source in [*pods, *hosts, internet]:
            for address, number in outer if client == "internet" else inner + outer:
                question = Question(source=client, destination=address, port=number, protocol="tcp")
                answer = tracer.trace(question)
                assert isinstance(answer, ServiceTrace), (address, number)
                yield Call(client, netns, source, address, number, answer)


def _connected(calls: Sequence[Call]) -> list[list[str]]:
    """Who answers each call, attempt by attempt; "" if nobody does."""
    attempts = [(number, call) for number, call in enumerate(calls) for _ in range(ATTEMPTS)]
    heard: list[list[str]] = [[] for _ in calls]
    for start in range(0, len(attempts), 600):
        batch = attempts[start : start + 600]
        sockets = [_begun(call) for _, call in batch]
        texts = _texts(sockets)
        for (number, _), text in zip(batch, texts, strict=True):
            heard[number].append(text)
    return heard


def _begun(call: Call) -> socket.socket:
    with open_machine(call.netns) as machine:
        sock = machine.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    sock.setblocking(False)
    sock.bind((call.source, next(source_ports(call.netns))))
    sock.connect_ex((call.address, call.port))
    return sock


def _texts(sockets: Sequence[socket.socket]) -> list[str]:
    """What is said to those who ask for a page: the name of the pod."""
    texts = [b""] * len(sockets)
    waiting = selectors.DefaultSelector()
    for number, sock in enumerate(sockets):
        waiting.register(sock, selectors.EVENT_WRITE, number)
    end = time.monotonic() + PATIENCE
    while waiting.get_map() and (left := end - time.monotonic()) > 0:
        for key, mask in waiting.select(left):
            sock, number = sockets[key.data], key.data
            try:
                if mask & selectors.EVENT_WRITE:
                    sock.send(b"GET / HTTP/1.1\r\n\r\n")
                    waiting.modify(sock, selectors.EVENT_READ, number)
                    end = time.monotonic() + PATIENCE
                    continue
                said = sock.recv(4096)
            except OSError:
                said = b""
            texts[number] += said
            if not said:
                waiting.unregister(sock)
    for sock in sockets:
        sock.close()
    return [text.decode().partition("\r\n\r\n")[2].strip() for text in texts]
