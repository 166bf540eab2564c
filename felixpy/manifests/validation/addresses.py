"""Addresses and CIDRs as Go's net package reads and prints them.

Decimal parts with leading zeros are refused, zones too; an IPv4-mapped IPv6 address (``::ffff:10.0.0.1``) is an IPv4
address. Networks are printed masked. (net.ParseIP, net.ParseCIDR; libcalico-go/lib/net)
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from felixpy.remembered import remembered

MAPPED = b"\0" * 10 + b"\xff\xff"
"""The prefix of IPv4-mapped IPv6 addresses."""


class Network(NamedTuple):
    """A CIDR: the address as it was written, as a number, and the prefix length."""

    version: int
    number: int
    length: int

    @property
    def width(self) -> int:
        return 32 if self.version == 4 else 128

    @property
    def base(self) -> int:
        spare = self.width - self.length
        return self.number >> spare << spare

    @property
    def masked(self) -> bool:
        """Whether no bit after the prefix is set."""
        return self.base == self.number

    def contains(self, other: Network) -> bool:
        """Whether this network contains every address of `other`."""
        if other.version != self.version or other.length < self.length:
            return False
        return Network(self.version, other.number, self.length).base == self.base

    @remembered(1 << 14)
    def __str__(self) -> str:
        """The masked CIDR in canonical spelling."""
        return f"{spelled(self.base.to_bytes(self.width // 8, 'big'))}/{self.length}"


def packed(text: str) -> bytes | None:
    """An address as 4 or 16 bytes, None if the text is not an address."""
    try:
        return inet_pton(AF_INET, text)
    except (OSError, ValueError):
        pass
    try:
        raw = inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return None
    return raw[12:] if raw.startswith(MAPPED) else raw


def spelled(raw: bytes) -> str:
    """Canonical text of an address.

    >>> spelled(bytes(12) + bytes([1, 2, 3, 4]))
    '::102:304'
    """
    if len(raw) == 4:
        return inet_ntop(AF_INET, raw)
    text = inet_ntop(AF_INET6, raw)
    if "." in text:
        # The C library keeps the old dotted form of IPv4-compatible addresses, Go does not know it.
        head, _, dotted = text.rpartition(":")
        high, low = int.from_bytes(inet_pton(AF_INET, dotted)[:2], "big"), int.from_bytes(raw[14:], "big")
        text = f"{head}:{high:x}:{low:x}"
    return text


def address(text: str) -> str | None:
    """The canonical spelling of an address, None if the text is not an address.

    >>> address("FD00:0:0::1"), address("::ffff:10.0.0.1"), address("010.0.0.1")
    ('fd00::1', '10.0.0.1', None)
    """
    raw = packed(text)
    return None if raw is None else spelled(raw)


def host(text: str) -> str | None:
    """The address of an address or CIDR in canonical spelling, masked; None if it is neither.

    >>> host("10.1.2.3"), host("10.1.2.3/32"), host("FD00::1"), host("web")
    ('10.1.2.3', '10.1.2.3', 'fd00::1', None)
    """
    try:
        inet_pton(AF_INET, text)
    except (OSError, ValueError):
        net = network_or_address(text)
        return None if net is None else spelled(net.base.to_bytes(net.width // 8, "big"))
    return text


@remembered(1 << 16)
def network(text: str) -> Network | None:
    """A CIDR; None if the text is not one, such as an address without length.

    >>> str(network("10.1.2.3/8")), network("10.1.2.3"), network("10.0.0.0/33")
    ('10.0.0.0/8', None, None)
    """
    host, slash, digits = text.partition("/")
    if not slash or not digits.isascii() or not digits.isdigit() or len(digits) > 3:
        return None
    raw = packed(host)
    if raw is None:
        return None
    length = int(digits)
    if len(raw) == 4 and ":" in host:
        length -= 96
    if not 0 <= length <= len(raw) * 8:
        return None
    return Network(4 if len(raw) == 4 else 6, int.from_bytes(raw, "big"), length)


@remembered(1 << 16)
def network_or_address(text: str) -> Network | None:
    """A CIDR, or an address as the CIDR of itself.

    >>> str(network_or_address("10.1.2.3"))
    '10.1.2.3/32'
    """
    if "/" in text:
        return network(text)
    raw = packed(text)
    if raw is None:
        return None
    return Network(4 if len(raw) == 4 else 6, int.from_bytes(raw, "big"), len(raw) * 8)
