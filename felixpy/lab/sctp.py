"""INIT and INIT ACK of SCTP in raw packets. (RFC 9260)

Many machines lack the kernel's SCTP module, but rules and connection tracking support the protocol everywhere. So a lab
sends INIT itself, and its responder answers.
"""

from __future__ import annotations

import secrets
import struct
from typing import NamedTuple

PROTOCOL = 132
INIT, INIT_ACK = 1, 2

_COMMON = struct.Struct(">HHII")
_CHUNK = struct.Struct(">BBHIIHHI")
_COOKIE = struct.pack(">HH4s", 7, 8, b"cali")
_WINDOW = 65536


class Segment(NamedTuple):
    """A packet: ports, verification tag, the type of its first chunk and, of INIT and INIT ACK, its initiate tag."""

    source_port: int
    port: int
    tag: int
    chunk: int
    initiate_tag: int = 0


def init(source_port: int, port: int) -> bytes:
    """The packet that opens an association."""
    return _packet(source_port, port, 0, INIT)


def init_ack(request: Segment) -> bytes:
    """The answer to an INIT."""
    return _packet(request.port, request.source_port, request.initiate_tag, INIT_ACK, _COOKIE)


def parsed(packet: bytes) -> Segment | None:
    """Parse a packet without its IP header; None if it is not SCTP or has no chunk."""
    if len(packet) < _COMMON.size + 4:
        return None
    source_port, port, tag, _ = _COMMON.unpack_from(packet)
    kind = packet[_COMMON.size]
    initiate = 0
    if kind in (INIT, INIT_ACK) and len(packet) >= _COMMON.size + _CHUNK.size:
        initiate = _CHUNK.unpack_from(packet, _COMMON.size)[3]
    return Segment(source_port, port, tag, kind, initiate)


def payload(packet: bytes) -> bytes:
    """A packet without its IPv4 header, which raw IPv4 sockets include."""
    return packet[(packet[0] & 15) * 4 :] if packet else b""


def _packet(source_port: int, port: int, tag: int, kind: int, parameters: bytes = b"") -> bytes:
    initiate, first = 1 + secrets.randbelow(2**32 - 1), secrets.randbelow(2**32)
    chunk = _CHUNK.pack(kind, 0, _CHUNK.size + len(parameters), initiate, _WINDOW, 1, 1, first) + parameters
    checksum = crc32c(_COMMON.pack(source_port, port, tag, 0) + chunk)
    # The one number of the packet in the other byte order. (RFC 9260, appendix A)
    return _COMMON.pack(source_port, port, tag, int.from_bytes(checksum.to_bytes(4, "little"), "big")) + chunk


def _row(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    return number


_TABLE = tuple(map(_row, range(256)))


def crc32c(data: bytes) -> int:
    """The CRC32C checksum (Castagnoli).

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF
