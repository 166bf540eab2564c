"""nftables over netlink, without nft: the generation number, and the names of tables."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from felixpy.kernel import Kernel, Machine

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10 << 8
"""NFNL_SUBSYS_NFTABLES. Numbers of messages are those of linux/netfilter/nf_tables.h."""

_NEW_TABLE, _GET_TABLE = _SUBSYSTEM, _SUBSYSTEM | 1
_NEW_GENERATION, _GET_GENERATION = _SUBSYSTEM | 15, _SUBSYSTEM | 16
_REQUEST, _DUMP = 1, 0x300
_ERROR, _DONE = 2, 3

_HEADER = struct.Struct("=IHHII")
_BODY = struct.Struct("=BBH")
"""The header of netfilter behind that of netlink: family, version, resource."""

_ATTRIBUTE = struct.Struct("=HH")
_FIRST = 1
"""The attribute to read: NFTA_TABLE_NAME, NFTA_GEN_ID."""

_RECEIVED = 1 << 16
FAMILIES: Mapping[int, str] = MappingProxyType({1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"})

_SO_NETNS_COOKIE = 71
"""Since Linux 5.14. (asm-generic/socket.h)"""


def generation(kernel: Kernel) -> int | None:
    """The number of the last nftables transaction in the namespace; None if the kernel does not answer."""
    answers = _asked(kernel, _GET_GENERATION, _REQUEST, _NEW_GENERATION)
    number = next((value for _, value in answers), b"") if answers is not None else b""
    return int.from_bytes(number) if len(number) == 4 else None


def tables(kernel: Kernel) -> set[tuple[str, str]] | None:
    """(family, name) of the tables in the namespace; None if the kernel does not answer."""
    answers = _asked(kernel, _GET_TABLE, _REQUEST | _DUMP, _NEW_TABLE)
    if answers is None:
        return None
    return {(FAMILIES.get(family, ""), name.rstrip(b"\0").decode(errors="replace")) for family, name in answers}


def cookie(kernel: Machine) -> int:
    """The namespace's cookie, a number that is unique until the next boot. Raises OSError if there is none."""

    def asked() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as place:
            return int.from_bytes(place.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")

    return kernel.inside(asked)


def _asked(kernel: Kernel, question: int, flags: int, answer: int) -> list[tuple[int, bytes]] | None:
    """(family, first attribute) of each answer; None without an answer, or if `kernel` is not this machine's."""
    if not isinstance(kernel, Machine):
        return None

    def ask() -> list[tuple[int, bytes]]:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER) as place:
            size = _HEADER.size + _BODY.size
            place.send(_HEADER.pack(size, question, flags, 1, 0) + _BODY.pack(0, 0, 0))
            return list(_answers(place, answer, to_the_end=bool(flags & _DUMP)))

    try:
        return kernel.inside(ask)
    except (OSError, struct.error):
        return None


def _answers(place: socket.socket, wanted: int, *, to_the_end: bool) -> Iterator[tuple[int, bytes]]:
    """(family, first attribute) of each message. Raises OSError for an error message of the kernel."""
    while True:
        received = place.recv(_RECEIVED)
        at = 0
        while at < len(received):
            size, kind, *_ = _HEADER.unpack_from(received, at)
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError(-int.from_bytes(received[at + _HEADER.size :][:4], "little", signed=True), "refused")
            if kind == wanted:
                yield received[at + _HEADER.size], _attribute(received[at + _HEADER.size + _BODY.size : at + size])
            at += (size + 3) & ~3
        if not to_the_end:
            return


def _attribute(content: bytes) -> bytes:
    """The value of the first attribute, empty if it is another one."""
    size, kind = _ATTRIBUTE.unpack_from(content)
    return content[_ATTRIBUTE.size : size] if kind == _FIRST else b""
