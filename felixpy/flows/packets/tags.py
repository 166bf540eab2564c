"""Tags: everything about a packet that rules can change or that connection tracking says, but its addresses.

A tag is a number: the packet's mark, the mark of its connection, its state, and what NAT made of its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from felixpy.netfilter.actions import FULL_MARK, Action, ConnectionMark, SetMark
from felixpy.netfilter.criteria import Marked

CONNECTION = 32
"""Where in a tag the mark of the connection begins; the packet's own has the bits below."""

EARLY, UNTRACKED = 1 << 64, 1 << 65
"""Tags of packets before connection tracking, and of those that a rule keeps from it."""

ESTABLISHED, RELATED, INVALID = 1 << 66, 1 << 67, 1 << 68
"""Tags of packets that are not the first of their connection."""

DNAT, SPOOFED = 1 << 69, 1 << 70
"""Tags of packets whose destination was rewritten, and of those that did not come the way that leads back to them."""

STATELESS = 1 << 71
"""A tag of packets that connection tracking left alone before any rule could say so."""

SOURCE = 80
"""Where in a tag the new source of a packet begins, as NAT gave it: 1 is the node's own, others are addresses + 2."""

QUESTIONS = 256
"""Where the answers to questions begin that no packet decides."""

_SOURCES = (1 << QUESTIONS - SOURCE) - 1

MASQUERADED = 1

Retag = Callable[[int], int]


def translated(address: int | None) -> int:
    """The tag of packets with a new source, None for one of the node's own."""
    return (MASQUERADED if address is None else address + 2) << SOURCE


def new_source(tag: int) -> int | None:
    """The address that NAT gave a packet for its source: -1 for the node's own, None if it left it alone."""
    source = tag >> SOURCE & _SOURCES
    return None if not source else source - 2


def tag_test(criterion: Marked, *, negated: bool) -> tuple[int, int, bool]:
    """(mask, mark, whether it must differ) of a tag."""
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
"""How actions change tags, of whatever packets."""
