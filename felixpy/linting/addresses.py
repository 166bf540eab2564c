"""All addresses of one IP family as numbered ranges, so that a set of addresses is an integer with a bit per range.

Every endpoint's address is a separate range; all others are cut where a network that a rule mentions begins or ends. So
a network is a run of adjacent bits, and all addresses of a range are treated alike by every rule.
"""

from __future__ import annotations

import socket
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from felixpy.netfilter.numbers import BITS

_SOCKET_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def family_of(text: str) -> int:
    """The family of an address or network: 4 or 6."""
    return 6 if ":" in text else 4


def span(net: str) -> tuple[int, int]:
    """First and last address of a network, or twice that of a single address, as numbers.

    >>> span("10.0.0.0/30")
    (167772160, 167772163)
    """
    address, _, length = net.partition("/")
    family = family_of(net)
    first = int.from_bytes(socket.inet_pton(_SOCKET_FAMILIES[family], address), "big")
    size = 1 << BITS[family] - int(length) if length else 1
    return first, first + size - 1


class AddressSpace:
    """The ranges of one family; `mentioned` are the addresses and networks to distinguish."""

    def __init__(self, family: int, mentioned: Iterable[str]) -> None:
        cuts = {0}
        for net in set(mentioned):
            if family_of(net) == family:
                first, last = span(net)
                cuts |= {first, last + 1}
        cuts.discard(1 << BITS[family])
        self.family = family
        self._starts = sorted(cuts)
        self.all = (1 << len(self._starts)) - 1

    def net(self, net: str) -> int:
        """The set for a network or address, which must be among those `mentioned`."""
        first, last = span(net)
        low, high = bisect_left(self._starts, first), bisect_right(self._starts, last)
        return (1 << high) - (1 << low)

    def nets(self, nets: Iterable[str]) -> int:
        """The union of several networks, without those of the other family."""
        positions = bytearray((self.all.bit_length() + 7) // 8)
        found = 0
        for net in nets:
            if family_of(net) != self.family:
                continue
            if "/" in net:
                found |= self.net(net)
            else:
                at = bisect_left(self._starts, span(net)[0])
                positions[at >> 3] |= 1 << (at & 7)
        return found | int.from_bytes(positions, "little")


def partition(universe: int, masks: Iterable[int]) -> tuple[int, dict[int, int]]:
    """Cut a set into the pieces that `masks` distinguish: the number of pieces, and the pieces in each mask as bits.

    >>> partition(0b1111, [0b0011, 0b0001])
    (3, {3: 5, 1: 1})
    """
    pieces = [universe]
    found: dict[int, int] = {}
    for mask in masks:
        inside, cut, added = 0, [], []
        for at, piece in enumerate(pieces):
            common = piece & mask
            if not common:
                continue
            inside |= 1 << at
            if common != piece:
                cut.append(at)
                added.append(piece ^ common)
                pieces[at] = common
        # A piece that was cut keeps its number for the part inside; the rest gets a new one, in all earlier sets too.
        for number, at in enumerate(cut, len(pieces)):
            for earlier, bits in found.items():
                if bits >> at & 1:
                    found[earlier] = bits | 1 << number
        pieces += added
        found[mask] = inside
    return len(pieces), found
