"""The two packets of SCTP that a lab knows, byte by byte."""

from __future__ import annotations

import struct

import pytest

from felixpy.lab import sctp


def checksum_of(packet: bytes) -> tuple[int, int]:
    """What the packet says and what it should say; the number stands in the packet in little-endian order."""
    return struct.unpack_from("<I", packet, 8)[0], sctp.crc32c(packet[:8] + bytes(4) + packet[12:])


def test_an_init_is_read_as_it_was_written() -> None:
    packet = sctp.init(40000, 80)
    said, right = checksum_of(packet)
    found = sctp.parsed(packet)
    assert said == right
    assert found
    assert found[:4] == (40000, 80, 0, sctp.INIT)
    assert found.initiate_tag
    assert len(packet) == 12 + struct.unpack_from(">H", packet, 14)[0] == 32


def test_the_answer_goes_back_with_the_tag_of_the_question() -> None:
    request = sctp.parsed(sctp.init(40000, 80))
    assert request
    packet = sctp.init_ack(request)
    said, right = checksum_of(packet)
    assert said == right
    answer = sctp.parsed(packet)
    assert answer
    assert answer[:4] == (80, 40000, request.initiate_tag, sctp.INIT_ACK)
    assert len(packet) == 12 + struct.unpack_from(">H", packet, 14)[0]


@pytest.mark.parametrize("packet", [b"", bytes(11), bytes(15)])
def test_scraps_are_no_packets(packet: bytes) -> None:
    assert sctp.parsed(packet) is None


def test_an_abort_is_a_packet_as_well() -> None:
    assert sctp.parsed(struct.pack(">HHIIBBH", 80, 40000, 7, 0, 6, 0, 4)) == (80, 40000, 7, 6, 0)


@pytest.mark.parametrize("words, behind", [(5, b"abc"), (6, b"")])
def test_the_header_of_ipv4_tells_its_own_length(words: int, behind: bytes) -> None:
    assert sctp.payload(bytes([0x40 | words]) + bytes(words * 4 - 1) + behind) == behind
    assert sctp.payload(b"") == b""
