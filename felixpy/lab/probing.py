"""Try connections, all at once, from sockets in the namespaces of their senders.

A port listens wherever a connection is tried (see `serving`), so a connection that is answered passed the rules in both
directions, one that is rejected was rejected by a rule, and one without an answer was dropped. The kernel answers TCP
and ICMP. For UDP and SCTP a connection counts as dropped only after the responder has confirmed that it has handled
all packets that arrived. Connections without an answer are tried a second time, as a busy machine may lose a packet.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
import selectors
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from felixpy.errors import EnvironmentMissing
from felixpy.kernel import open_machine
from felixpy.lab import sctp
from felixpy.lab.flows import LabFlow
from felixpy.netfilter.numbers import ECHO_REQUEST
from felixpy.topology.question import LARGEST_PORT

ATTEMPTS = 2
WAIT_SECONDS = 0.2
"""How long to wait for answers after the last packet was sent; a packet takes well under a millisecond."""

MOST_SOCKETS = 4000
"""Connections tried at a time."""

SPARE_FILES = 256
"""Open files that everything else may need."""

LOWEST_PORT = 10_000
PAYLOAD = b"felixpy"

SCTP_TRACKED = Path("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_closed")
IPV6 = Path("/proc/sys/net/ipv6")


class ProbeOutcome(NamedTuple):
    """Whether a connection is allowed, and the sign of it: answered, rejected, unreachable or timed out."""

    allowed: bool
    how: str


ANSWERED = ProbeOutcome(True, "answered")
REJECTED = ProbeOutcome(False, "rejected")
UNREACHABLE = ProbeOutcome(False, "unreachable")
TIMED_OUT = ProbeOutcome(False, "timed out")

_REFUSALS = frozenset({errno.ECONNREFUSED, errno.ECONNRESET})
_WAITING = frozenset({errno.EAGAIN, errno.EINPROGRESS, errno.EALREADY})

# What Python's socket module does not name: IP_RECVERR and IPV6_RECVERR. (include/uapi/linux/in.h, in6.h)
_RECEIVE_ERRORS = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}

_ports: dict[str, Iterator[int]] = {}


def source_ports(netns: str) -> Iterator[int]:
    """Source ports; a port is not repeated for a long time.

    Connection tracking keeps a flow for minutes, and packets of a tracked flow pass whatever the current policies.
    """
    if netns not in _ports:
        span = LARGEST_PORT - LOWEST_PORT + 1
        start = random.randrange(span)  # noqa: S311 - any will do
        _ports[netns] = (LOWEST_PORT + (start + number) % span for number in itertools.count())
    return _ports[netns]


class Attempt:
    """One connection being tried. `outcome` is None until it is known."""

    def __init__(self, flow: LabFlow, sock: socket.socket, port: int) -> None:
        self.flow, self.sock, self.port = flow, sock, port
        self.outcome: ProbeOutcome | None = None
        self.kind = KINDS[flow.protocol]
        self.target = (flow.destination.address, flow.port if self.kind.ports else 0)

    def begin(self) -> None:
        """Send the first packet."""
        try:
            self.sock.connect(self.target)
            if self.kind.opening:
                self.sock.send(self.kind.opening(self))
        except OSError as wrong:
            self._fail(wrong)

    def look(self) -> None:
        """Read what has arrived and set `outcome` if it decides."""
        if self.outcome is None:
            try:
                self.kind.wait(self)
                self.outcome = ANSWERED
            except OSError as wrong:
                self._fail(wrong)

    def _fail(self, wrong: OSError) -> None:
        number = wrong.errno or 0
        if number not in _WAITING:
            self.outcome = REJECTED if number in _REFUSALS else UNREACHABLE


def _tcp_connected(attempt: Attempt) -> None:
    number = attempt.sock.connect_ex(attempt.target)
    if number == errno.EALREADY:
        number = _reported(attempt.sock)
    if number not in (0, errno.EISCONN):
        raise OSError(number, os.strerror(number))


def _reported(sock: socket.socket) -> int:
    """The error number in a received ICMP message, EALREADY if there is none.

    In a lab it arrives during connect(), and then the kernel reports it only through the socket's error queue.
    (net/ipv4/tcp_ipv4.c, tcp_v4_err: the socket is owned by its user)
    """
    try:
        _, ancillary, _, _ = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        return errno.EALREADY
    told = [data for level, kind, data in ancillary if (level, kind) in _RECEIVE_ERRORS.values()]
    return int(struct.unpack_from("=I", told[0])[0]) if told else errno.EALREADY


def _anything(attempt: Attempt) -> None:
    """Receive an answer: a connected socket receives nothing else."""
    attempt.sock.recv(64)


def _sctp_answered(attempt: Attempt) -> None:
    """Receive a packet to the source port: any reply shows that INIT arrived. Raw sockets receive all packets."""
    found = None
    while not found or (found.source_port, found.port) != (attempt.flow.port, attempt.port):
        packet = attempt.sock.recv(2048)
        found = sctp.parsed(sctp.payload(packet) if attempt.flow.family == 4 else packet)


class ProbeKind(NamedTuple):
    """How a protocol is tried.

    The type of socket and, for families 4 and 6, its protocol; whether its addresses have ports; `wait` returns if
    there is an answer and raises OSError if not; `opening` is the first packet, unless the kernel sends it.
    """

    type: socket.SocketKind
    protocols: tuple[int, int]
    ports: bool
    wait: Callable[[Attempt], None]
    opening: Callable[[Attempt], bytes] | None = None


KINDS: Mapping[str, ProbeKind] = {
    "tcp": ProbeKind(socket.SOCK_STREAM, (0, 0), True, _tcp_connected),
    "udp": ProbeKind(socket.SOCK_DGRAM, (0, 0), True, _anything, lambda _: PAYLOAD),
    "sctp": ProbeKind(
        socket.SOCK_RAW,
        (sctp.PROTOCOL, sctp.PROTOCOL),
        False,
        _sctp_answered,
        lambda attempt: sctp.init(attempt.port, attempt.flow.port),
    ),
    "icmp": ProbeKind(
        socket.SOCK_DGRAM,
        (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6),
        False,
        _anything,
        lambda attempt: struct.pack(">BBHHH", ECHO_REQUEST[attempt.flow.family], 0, 0, 0, 1) + PAYLOAD,
    ),
}


def check(protocols: Collection[str], families: Collection[int]) -> None:
    """Raise EnvironmentMissing for protocols and families that this kernel cannot probe."""
    if "sctp" in protocols and not SCTP_TRACKED.exists():
        raise EnvironmentMissing("this kernel tracks no SCTP connections (CONFIG_NF_CT_PROTO_SCTP)")
    if 6 in families and not IPV6.exists():
        raise EnvironmentMissing("this kernel has no IPv6 (ipv6.disable=1 at boot?)")


def probe(flows: Sequence[LabFlow], settle: Callable[[], None]) -> list[ProbeOutcome]:
    """Try all flows; returns outcomes in their order. `settle` waits until the responder has handled all packets."""
    found: dict[int, ProbeOutcome] = {}
    with _many_files() as most:
        for _ in range(ATTEMPTS):
            silent = [number for number in range(len(flows)) if found.get(number, TIMED_OUT) == TIMED_OUT]
            for first in range(0, len(silent), most):
                batch = silent[first : first + most]
                found.update(zip(batch, _try([flows[number] for number in batch], settle), strict=True))
    return [found[number] for number in range(len(flows))]


def _try(flows: Sequence[LabFlow], settle: Callable[[], None]) -> list[ProbeOutcome]:
    by_sender: dict[str, list[int]] = {}
    for number, flow in enumerate(flows):
        by_sender.setdefault(flow.source_netns, []).append(number)
    attempts: dict[int, Attempt] = {}
    try:
        for netns, numbers in by_sender.items():
            with open_machine(netns) as machine:
                machine.inside(partial(_begin, netns, flows, numbers, attempts))
        _listen(list(attempts.values()))
        settle()
        for attempt in attempts.values():
            attempt.look()
    finally:
        for attempt in attempts.values():
            attempt.sock.close()
    return [attempts[number].outcome or TIMED_OUT for number in range(len(flows))]


def _begin(netns: str, flows: Sequence[LabFlow], numbers: Sequence[int], attempts: dict[int, Attempt]) -> None:
    """Inside the sender's namespace: open a socket for each flow, and send."""
    for number in numbers:
        flow = flows[number]
        kind = KINDS[flow.protocol]
        family = socket.AF_INET6 if flow.family == 6 else socket.AF_INET
        sock = socket.socket(family, kind.type, kind.protocols[flow.family == 6])
        try:
            sock.setblocking(False)
            port = _bind(sock, flow.source.address, source_ports(netns))
        except OSError:
            sock.close()
            raise
        attempts[number] = Attempt(flow, sock, port)
        attempts[number].begin()


def _bind(sock: socket.socket, address: str, ports: Iterator[int]) -> int:
    """Bind a socket to an address and the next free port; return the port."""
    if sock.type == socket.SOCK_STREAM:
        # Close with a reset, so that neither end nor connection tracking keeps the connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.setsockopt(*_RECEIVE_ERRORS[sock.family], 1)
    for port in ports:
        try:
            sock.bind((address, 0 if sock.type == socket.SOCK_RAW else port))
        except OSError as wrong:
            if wrong.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise AssertionError("ports go on for ever")


def _listen(attempts: Sequence[Attempt]) -> None:
    """Wait for answers, `WAIT_SECONDS` at most."""
    with selectors.DefaultSelector() as selector:
        for attempt in attempts:
            if attempt.outcome is None:
                event = selectors.EVENT_WRITE if attempt.sock.type == socket.SOCK_STREAM else selectors.EVENT_READ
                selector.register(attempt.sock, event, attempt)
        deadline = time.monotonic() + WAIT_SECONDS
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                key.data.look()
                if key.data.outcome is not None:
                    selector.unregister(key.fileobj)


@contextmanager
def _many_files() -> Iterator[int]:
    """Raise the limit of open files meanwhile; yields how many sockets may be open."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_SOCKETS + SPARE_FILES
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    try:
        yield max(1, wanted - SPARE_FILES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
