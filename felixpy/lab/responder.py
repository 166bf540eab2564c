"""The process that answers in a lab: one for all pods, until the lab goes down.

    python -m felixpy.lab.responder SOCKET LOCK

It goes to the background as soon as it listens on the unix socket, and serves requests until it is killed; it needs no
cleanup. A request is one connection: JSON until its end, then a JSON answer:

    {"serve": [[NETNS, TITLE, PROTOCOL, PORT], ...]}   listen there from now on; {"failed": [[NETNS, REASON], ...]}
    {"leave": [NETNS, ...]}                            close all sockets there
    {"served": true}                                   {"served": [[NETNS, PROTOCOL, PORT], ...]}
    {}                                                 {} once all packets that arrived before are answered

HTTP requests get an HTTP response, other data on TCP and UDP is echoed. Of SCTP only the first packet is answered.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import selectors
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from felixpy.errors import FelixpyError
from felixpy.kernel import open_machine
from felixpy.lab import sctp

Item = tuple[str, str, int]
"""Network namespace, protocol and port."""

ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - of a namespace that is all ours
BACKLOG = 1024
CHUNK = 65536

# What Python's socket module does not name. (include/uapi/linux/in.h)
IP_PKTINFO = 8

_ARRIVED = {
    socket.AF_INET: (socket.IPPROTO_IP, IP_PKTINFO, IP_PKTINFO),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, socket.IPV6_PKTINFO),
}
"""The socket option that returns the destination address of a packet: level, option, and type of control data."""


_HTTP = (b"GET ", b"HEAD ", b"POST ", b"PUT ")


class Duty(NamedTuple):
    """What to do when a socket is ready. Requests come last, as an answer means that all packets were handled."""

    handle: Callable[[Any], None]
    last: bool = False


class Responder:
    """Answers on all sockets from one thread."""

    def __init__(self, control: socket.socket) -> None:
        self.selector = selectors.DefaultSelector()
        self.sockets: dict[str, list[socket.socket]] = {}
        self.served: set[Item] = set()
        self.own_ports: set[int] = set()
        self.raw: set[tuple[str, socket.AddressFamily]] = set()
        self.requests: dict[socket.socket, bytes] = {}
        self._watch(control, Duty(self._admit, last=True))

    def run(self) -> None:
        while True:
            ready = [key for key, _ in self.selector.select()]
            for key in sorted(ready, key=lambda key: key.data.last):
                # A request of the same round may have closed it.
                if key.fd in self.selector.get_map():
                    key.data.handle(key.fileobj)

    def _watch(self, sock: socket.socket, duty: Duty, events: int = selectors.EVENT_READ) -> None:
        sock.setblocking(False)
        self.selector.register(sock, events, duty)

    def _close(self, sock: socket.socket) -> None:
        self.selector.unregister(sock)
        sock.close()

    # --- requests

    def _admit(self, control: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = control.accept()
            self.requests[connection] = b""
            self._watch(connection, Duty(self._hear, last=True))

    def _hear(self, connection: socket.socket) -> None:
        with suppress(ConnectionError):
            said = connection.recv(CHUNK)
            if said:
                self.requests[connection] += said
                return
            answer = self._obey(json.loads(self.requests[connection] or b"{}"))
            connection.setblocking(True)
            connection.sendall(json.dumps(answer).encode())
        del self.requests[connection]
        self._close(connection)

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        for netns in request.get("leave", ()):
            self._leave(netns)
        answer: dict[str, Any] = {}
        if "serve" in request:
            answer["failed"] = list(self._serve(request["serve"]))
        if "served" in request:
            answer["served"] = sorted(self.served)
        return answer

    def _serve(self, wanted: list[list[Any]]) -> Iterator[tuple[str, str]]:
        """Open missing sockets; yield (namespace, reason) for failures."""
        by_place: dict[str, list[tuple[str, str, int]]] = {}
        for netns, title, protocol, port in wanted:
            if (netns, protocol, port) not in self.served:
                by_place.setdefault(netns, []).append((title, protocol, port))
        for netns, services in by_place.items():
            try:
                with open_machine(netns) as machine:
                    machine.inside(partial(self._open, netns, services))
            except (FelixpyError, OSError) as wrong:
                yield netns, str(wrong)

    def _open(self, netns: str, services: list[tuple[str, str, int]]) -> None:
        for title, protocol, port in services:
            for family in ANY:
                with _unless_served_or_unknown():
                    self._listen(netns, f"{title} {protocol}/{port}", protocol, port, family)
            self.served.add((netns, protocol, port))
            if protocol == "udp":
                self.own_ports.add(port)

    def _listen(self, netns: str, title: str, protocol: str, port: int, family: socket.AddressFamily) -> None:
        kind, number, handle = _KINDS[protocol]
        if number and (netns, family) in self.raw:
            return
        sock = socket.socket(family, kind, number)
        try:
            if family == socket.AF_INET6 and not number:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                level, option, _ = _ARRIVED[family]
                sock.setsockopt(level, option, 1)
            if number:
                self.raw.add((netns, family))
            else:
                sock.bind((ANY[family], port))
            if kind == socket.SOCK_STREAM:
                sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        self.sockets.setdefault(netns, []).append(sock)
        self._watch(sock, Duty(partial(handle, self, netns, title)))

    def _leave(self, netns: str) -> None:
        for sock in self.sockets.pop(netns, ()):
            self._close(sock)
        self.served = {item for item in self.served if item[0] != netns}
        self.raw = {(name, family) for name, family in self.raw if name != netns}

    # --- answers

    def accept(self, netns: str, title: str, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._watch(connection, Duty(partial(self._talk, title)))

    def _talk(self, title: str, connection: socket.socket) -> None:
        try:
            said = connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._close(connection)
        elif said.startswith(_HTTP):
            with suppress(OSError):
                connection.send(_page(title, connection))
                connection.shutdown(socket.SHUT_WR)
        else:
            self._say(title, said, connection)

    def _say(self, title: str, text: bytes, connection: socket.socket) -> None:
        """Send, and wait for data again once all is sent."""
        try:
            rest = text[connection.send(text) :]
        except BlockingIOError:
            rest = text
        except OSError:
            self._close(connection)
            return
        if rest:
            self.selector.modify(connection, selectors.EVENT_WRITE, Duty(partial(self._say, title, rest)))
        else:
            self.selector.modify(connection, selectors.EVENT_READ, Duty(partial(self._talk, title)))

    def echo(self, netns: str, title: str, sock: socket.socket) -> None:
        """Send datagrams back, from the address that they were sent to.

        Datagrams from a served port are ignored: two responders would echo each other forever.
        """
        for data, sender, where in _received(sock):
            if sender[1] not in self.own_ports:
                with suppress(OSError):
                    sock.sendmsg([data], where, 0, sender)

    def acknowledge(self, netns: str, title: str, sock: socket.socket) -> None:
        """Answer INITs of SCTP."""
        for data, sender, where in _received(sock):
            request = sctp.parsed(sctp.payload(data) if sock.family == socket.AF_INET else data)
            if request and request.chunk == sctp.INIT and (netns, "sctp", request.port) in self.served:
                with suppress(OSError):
                    sock.sendmsg([sctp.init_ack(request)], where, 0, (sender[0], 0))


_KINDS: dict[str, tuple[socket.SocketKind, int, Callable[[Responder, str, str, socket.socket], None]]] = {
    "tcp": (socket.SOCK_STREAM, 0, Responder.accept),
    "udp": (socket.SOCK_DGRAM, 0, Responder.echo),
    "sctp": (socket.SOCK_RAW, sctp.PROTOCOL, Responder.acknowledge),
}
"""What is served: kind of socket, protocol of raw ones, and who takes care of them."""


@contextmanager
def _unless_served_or_unknown() -> Iterator[None]:
    """Ignore errors for ports that another process uses and for families that the kernel lacks."""
    try:
        yield
    except OSError as wrong:
        if wrong.errno not in (errno.EADDRINUSE, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            raise


def _received(sock: socket.socket) -> Iterator[tuple[bytes, Any, list[tuple[int, int, bytes]]]]:
    """All waiting packets, each with its sender and the control data with which an answer has the right source."""
    level, _, kind = _ARRIVED[sock.family]
    while True:
        try:
            data, ancillary, _, sender = sock.recvmsg(CHUNK, 64)
        except OSError:
            return
        for found in ancillary:
            if found[:2] == (level, kind):
                yield data, sender, [(level, kind, _to_send(sock.family, found[2]))]


def _to_send(family: int, arrived: bytes) -> bytes:
    """Control data that sets the source of an answer to the packet's destination, on any interface. (ip(7), ipv6(7))"""
    if family == socket.AF_INET6:
        return arrived[:16] + bytes(4)
    return bytes(4) + arrived[8:12] + bytes(4)


def _page(title: str, connection: socket.socket) -> bytes:
    text = f"{title} answers {connection.getpeername()[0]}\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return (head + text).encode()


@contextmanager
def short(path: Path) -> Iterator[str]:
    """A path of at most 107 characters, the limit of unix sockets: through the descriptor of its folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def main(path: Path, lock: int) -> None:
    """Listen on a unix socket, go to the background, and serve requests until killed; the foreground process exits.

    `lock` is an open file that is held until it listens.
    """
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(ready, 1) else 1)
    os.setsid()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short(path) as address:
        control.bind(address)
    control.listen(BACKLOG)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.write(tell, b".")
    for descriptor in (ready, tell, nothing, lock):
        os.close(descriptor)
    Responder(control).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
