"""Tags: everything about a packet that rules can change or that connection tracking knows, except its addresses.

A tag is an int with bits for the packet's mark, the mark of its connection, its state, and the source that NAT set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from felixpy.netfilter.actions import FULL_MARK, Action, ConnectionMark, SetMark
from felixpy.netfilter.criteria import Marked

CONNECTION = 32
"""Bit position at which the mark of the connection begins; the packet's own mark has the bits below."""

EARLY, UNTRACKED = 1 << 64, 1 << 65
"""Bits of packets before connection tracking, and of packets that a rule excludes from it."""

ESTABLISHED, RELATED, INVALID = 1 << 66, 1 << 67, 1 << 68
"""Bits of packets that are not the first of their connection."""

DNAT, SPOOFED = 1 << 69, 1 << 70
"""Bits of packets whose destination was rewritten, and of those whose interface does not lead back to their source."""

STATELESS = 1 << 71
"""Bit of packets that connection tracking ignores, independent of rules."""

SOURCE = 80
"""Bit position of the source that NAT set: 0 is none, 1 an address of the node, others are the address + 2."""

QUESTIONS = 256
"""Bit position at which the answers to questions begin that no packet decides."""

_SOURCES = (1 << QUESTIONS - SOURCE) - 1

MASQUERADED = 1

Retag = Callable[[int], int]


def translated(address: int | None) -> int:
    """Return the bits of a tag for a new source; None is an address of the node."""
    return (MASQUERADED if address is None else address + 2) << SOURCE


def new_source(tag: int) -> int | None:
    """Return the source address that NAT set: -1 for an address of the node, None if it set none."""
    source = tag >> SOURCE & _SOURCES
    return None if not source else source - 2


def tag_test(criterion: Marked, *, negated: bool) -> tuple[int, int, bool]:
    """Return (mask, mark, whether it must differ) for a test of a tag's bits."""
    shift = CONNECTION if criterion.connection else 0
    return criterion.mask << shift, criterion.mark << shift, negated


def _mark(action: SetMark) -> Retag:
    value, mask = action.value, action.mask
    return lambda tag: tag & ~mask ^ value


def _connection_mark(action: ConnectionMark) -> Retag:
    both = (1 << 2 * CONNECTION) - 1

    def retag(tag: int) -> int:
        mark, connection = action.of(tag & FULL_MARK, tag >> CONNECTION & FULL_MARK)
        return tag & ~both | mark | connection << CONNECTION

    return retag


RETAGS: Mapping[type[Action], Callable[[Any], Retag]] = {
    SetMark: _mark,
    ConnectionMark: _connection_mark,
}
"""For each type of action: makes the function that changes a tag."""
