"""Two workloads on a node, each in a namespace, and datagrams that go from one to the other all the time.

The receiver never answers, so every datagram is the first of its connection as far as anybody can tell, and meets the
policies rather than the exception for connections that were let in before.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

from felixpy.kernel import Machine
from felixpy.model import Workload
from tests.clusters import pod
from tests.netns.namespace import fresh_namespace

NODE_MAC = "ee:ee:ee:ee:ee:ee"
CLIENT = pod("client", "10.65.0.2", "fd00:65::2", interface="caliclient", labels={"app": "client"})
SERVER = pod("server", "10.65.0.3", "fd00:65::3", interface="caliserver", labels={"app": "server"})
MACS = {"client": "02:00:00:00:00:02", "server": "02:00:00:00:00:03"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PORTS = range(8001, 8009)
INTERVAL_SECONDS = 0.001
QUIET_SECONDS = 0.02
"""How long a state is watched to tell which flows it lets pass: some ten datagrams of each."""

_RCVBUFFORCE = 33


class Flow(NamedTuple):
    """From the client to a UDP port of the server."""

    family: int
    port: int


FLOWS = tuple(Flow(family, port) for family, port in product(FAMILIES, PORTS))


def in_node(workload: Workload) -> str:
    """What connects a workload to the node, as `ip -batch` takes it."""
    name, (four, six), mac = workload.interface, workload.addresses, MACS[workload.name]
    return f"""
        link set {name} address {NODE_MAC} up
        route add {four}/32 dev {name} scope link
        neigh add {four} lladdr {mac} nud permanent dev {name}
        route add {six}/128 dev {name}
        neigh add {six} lladdr {mac} nud permanent dev {name}
    """


def in_workload(workload: Workload) -> str:
    """The workload's side. Neighbours are known from the start, so no datagram waits for an answer about them."""
    four, six = workload.addresses
    return f"""
        link set lo up
        link set eth0 address {MACS[workload.name]} up
        addr add {four}/32 dev eth0
        route add 169.254.1.1 dev eth0 scope link
        route add default via 169.254.1.1 dev eth0
        neigh add 169.254.1.1 lladdr {NODE_MAC} nud permanent dev eth0
        addr add {six}/128 dev eth0 nodad
        route add default via fe80::1 dev eth0
        neigh add fe80::1 lladdr {NODE_MAC} nud permanent dev eth0
    """


class Topology(NamedTuple):
    """The three namespaces as felixpy sees them, and the node's as others can name it."""

    node: Machine
    client: Machine
    server: Machine
    path: str


@contextmanager
def two_workloads() -> Iterator[Topology]:
    """Three fresh namespaces, wired up."""
    with ExitStack() as held:
        machines, files = {}, {}
        for name in ("node", "client", "server"):
            with ThreadPoolExecutor(1) as pool:
                file = files[name] = pool.submit(opened_namespace).result()
            held.callback(os.close, file)
            machines[name] = Machine(file)
            held.callback(machines[name].close)
        node = machines["node"]
        batch = ["link set lo up"]
        for workload in (CLIENT, SERVER):
            peer = f"/proc/{os.getpid()}/fd/{files[workload.name]}"
            batch += [f"link add {workload.interface} type veth peer name eth0 netns {peer}", in_node(workload)]
        _batch(node, "\n".join(batch))
        for workload in (CLIENT, SERVER):
            _batch(machines[workload.name], in_workload(workload))
        node.inside(_forward)
        yield Topology(node, machines["client"], machines["server"], f"/proc/{os.getpid()}/fd/{files['node']}")


def opened_namespace() -> int:
    """A fresh namespace, as an open file; the calling thread leaves it again."""
    with fresh_namespace():
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _batch(machine: Machine, text: str) -> None:
    done = machine.run("ip", "-batch", "-", text="".join(f"{line.strip()}\n" for line in text.splitlines()))
    assert not done.status, done.errors


def _forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")


class Traffic:
    """Datagrams of all flows, numbered, one of each per round; and the numbers that arrived."""

    def __init__(self, topology: Topology) -> None:
        self.arrived: dict[Flow, set[int]] = {flow: set() for flow in FLOWS}
        self.round = self._turns = 0
        self._over = threading.Event()
        self._from = {family: topology.client.inside(partial(_sender, kind)) for family, kind in FAMILIES.items()}
        self._at = {topology.server.inside(partial(_receiver, flow)): flow for flow in FLOWS}
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        to = {flow: (SERVER.addresses[flow.family == 6], flow.port) for flow in FLOWS}
        while not self._over.is_set():
            number = struct.pack("!I", self.round)
            for flow, address in to.items():
                self._from[flow.family].sendto(number, address)
            self.round += 1
            time.sleep(INTERVAL_SECONDS)

    def _receive(self) -> None:
        poll = select.poll()
        sockets = {one.fileno(): one for one in self._at}
        for number in sockets:
            poll.register(number, select.POLLIN)
        while not self._over.is_set():
            for number, _ in poll.poll(5):
                one = sockets[number]
                with suppress(BlockingIOError):
                    while True:
                        self.arrived[self._at[one]].add(*struct.unpack("!I", one.recv(64)))
            self._turns += 1

    def wait(self, seconds: float = QUIET_SECONDS) -> range:
        """Let time pass; returns the rounds that were sent from beginning to end meanwhile."""
        first = self.round + 1
        time.sleep(seconds)
        while self.round < first + 3:
            time.sleep(INTERVAL_SECONDS)
        return range(first, self.round)

    def gathered(self) -> dict[Flow, set[int]]:
        """What has arrived by now, with what waits in the sockets to be read."""
        turns = self._turns
        while self._turns < turns + 2:
            time.sleep(INTERVAL_SECONDS)
        return self.arrived

    def passing(self) -> frozenset[Flow]:
        """The flows that get through now."""
        rounds, arrived = self.wait(), self.gathered()
        return frozenset(flow for flow in FLOWS if arrived[flow].issuperset(rounds))

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for one in (*self._from.values(), *self._at):
            one.close()


def _sender(kind: socket.AddressFamily) -> socket.socket:
    return socket.socket(kind, socket.SOCK_DGRAM)


def _receiver(flow: Flow) -> socket.socket:
    one = socket.socket(FAMILIES[flow.family], socket.SOCK_DGRAM)
    if flow.family == 6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 22)
    one.setblocking(False)
    one.bind((SERVER.addresses[flow.family == 6], flow.port))
    return one


class Watched(NamedTuple):
    """What was let through before, during (at least once; and every time) and after something happened."""

    before: frozenset[Flow]
    after: frozenset[Flow]
    seen: frozenset[Flow]
    complete: frozenset[Flow]
    rounds: int

    def slips(self, *policies: frozenset[Flow]) -> str:
        """What should not have happened in between, "" if nothing did.

        A flow that none of the policies lets pass came through, or one was lost that all of them let pass; without any,
        the states before and after are what counts.
        """
        states = policies or (self.before, self.after)
        leaked = self.seen.difference(*states)
        lost = states[0].intersection(*states[1:]) - self.complete
        if not self.rounds:
            return "nothing was sent"
        return "; ".join(f"{name}: {sorted(flows)}" for name, flows in (("leaked", leaked), ("lost", lost)) if flows)


@contextmanager
def watched(traffic: Traffic) -> Iterator[list[Watched]]:
    """Watch the flows while the block runs; what was seen is in the list afterwards."""
    found: list[Watched] = []
    before = traffic.passing()
    first = traffic.round + 1
    yield found
    last = traffic.wait(0).stop
    after = traffic.passing()
    rounds = set(range(first, last))
    arrived = {flow: numbers & rounds for flow, numbers in traffic.gathered().items()}
    seen = frozenset(flow for flow, numbers in arrived.items() if numbers)
    complete = frozenset(flow for flow, numbers in arrived.items() if numbers == rounds)
    found.append(Watched(before, after, seen, complete, len(rounds)))
