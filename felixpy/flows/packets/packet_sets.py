"""Sets of (traffic, peer) pairs, such as everything that a rule lets through.

Pieces of traffic and peers are numbered, and a set of either is a mask: an int with a bit for each member. A packet set
is a dict from masks of traffic to masks of peers. The peers of any two entries are disjoint and no entry is empty, so a
packet set has as many entries as there are kinds of peers that differ in their traffic: mostly one or two. Packet sets
are shared, so they must not be changed after they were made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeAlias

PacketSet: TypeAlias = dict[int, int]


def product(traffic: int, peers: int) -> PacketSet:
    """Return all of the traffic (a mask) with all of the peers (a mask)."""
    return {traffic: peers} if traffic and peers else {}


def meet(one: PacketSet, other: PacketSet) -> PacketSet:
    """Return the intersection of two packet sets.

    >>> meet({0b11: 0b01}, {0b10: 0b11})
    {2: 1}
    """
    found: PacketSet = {}
    for traffic, peers in one.items():
        for more_traffic, more_peers in other.items():
            both = peers & more_peers
            if both:
                common = traffic & more_traffic
                if common:
                    found[common] = found.get(common, 0) | both
    return found


def minus(one: PacketSet, other: PacketSet) -> PacketSet:
    """Return the pairs that only the first packet set has.

    >>> minus({0b11: 0b11}, {0b10: 0b01})
    {1: 1, 3: 2}
    """
    found: PacketSet = {}
    for traffic, peers in one.items():
        left = peers
        for taken, takers in other.items():
            both = left & takers
            if both:
                left ^= both
                remaining = traffic & ~taken
                if remaining:
                    found[remaining] = found.get(remaining, 0) | both
                if not left:
                    break
        if left:
            found[traffic] = found.get(traffic, 0) | left
    return found


def join(one: PacketSet, other: PacketSet) -> PacketSet:
    """Return the union of two packet sets.

    >>> join({0b01: 0b11}, {0b10: 0b01})
    {3: 1, 1: 2}
    """
    if not one:
        return other
    if not other:
        return one
    found: PacketSet = {}
    loose = dict(other)
    for traffic, peers in one.items():
        left = peers
        for more_traffic, more_peers in list(loose.items()):
            both = left & more_peers
            if both:
                left ^= both
                either = traffic | more_traffic
                found[either] = found.get(either, 0) | both
                if more_peers == both:
                    del loose[more_traffic]
                else:
                    loose[more_traffic] = more_peers ^ both
        if left:
            found[traffic] = found.get(traffic, 0) | left
    for traffic, peers in loose.items():
        found[traffic] = found.get(traffic, 0) | peers
    return found


def join_all(packet_sets: Iterable[PacketSet]) -> PacketSet:
    """Return the union of several packet sets."""
    found: PacketSet = {}
    for packets in packet_sets:
        found = join(found, packets)
    return found


def of_peers(packets: PacketSet, peers: int) -> PacketSet:
    """Return the pairs whose peer is in a mask."""
    found: PacketSet = {}
    for traffic, those in packets.items():
        both = those & peers
        if both:
            found[traffic] = both
    return found


def of_traffic(packets: PacketSet, traffic: int) -> PacketSet:
    """Return the pairs whose traffic is in a mask."""
    found: PacketSet = {}
    for those, peers in packets.items():
        both = those & traffic
        if both:
            found[both] = found.get(both, 0) | peers
    return found


def traffic_with(packets: PacketSet, peer: int) -> int:
    """Return the mask of traffic with one peer, given as a mask of one bit."""
    for traffic, peers in packets.items():
        if peers & peer:
            return traffic
    return 0


def by_sender(receivers: Iterable[tuple[int, PacketSet]]) -> dict[int, PacketSet]:
    """Return what each sender, by its position, reaches, given what receivers (each a mask of one bit) let in.

    >>> by_sender([(0b01, {0b1: 0b110}), (0b10, {0b1: 0b100})])
    {1: {1: 1}, 2: {1: 3}}
    """
    alike: dict[tuple[tuple[int, int], ...], int] = {}
    for bit, packets in receivers:
        key = tuple(packets.items())
        alike[key] = alike.get(key, 0) | bit
    found: dict[int, PacketSet] = {}
    for entries, those in alike.items():
        for traffic, senders in entries:
            for sender in bits(senders):
                # Each receiver has one entry for a sender, so the receivers of entries are disjoint.
                reached = found.setdefault(sender, {})
                reached[traffic] = reached.get(traffic, 0) | those
    return found


def union(masks: Iterable[int]) -> int:
    """Return the bits of several masks together."""
    found = 0
    for mask in masks:
        found |= mask
    return found


def bits(number: int) -> Iterable[int]:
    """Yield the positions of the bits that are set, ascending.

    >>> list(bits(0b1010))
    [1, 3]
    """
    digits = f"{number:b}"[::-1]
    position = digits.find("1")
    while position >= 0:
        yield position
        position = digits.find("1", position + 1)


def of_bits(positions: Collection[int]) -> int:
    """Return the mask in which the bits at these positions are set.

    >>> of_bits([1, 3])
    10
    """
    digits = bytearray(max(positions, default=0) // 8 + 1)
    for position in positions:
        digits[position >> 3] |= 1 << (position & 7)
    return int.from_bytes(digits, "little")
