"""What rules do to packets, as values."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

FULL_MARK = 0xFFFFFFFF


class Final(Struct, frozen=True):
    """The packet's way through the chain or the table ends."""

    outcome: Literal["accept", "drop", "reject", "return"]


class Call(Struct, frozen=True):
    """On with another chain; after a goto not back to this one."""

    chain: str
    goto: bool


class SetMark(Struct, frozen=True):
    """The packet's mark without the bits of `mask`, then with those of `value` flipped."""

    value: int
    mask: int

    def of(self, mark: int) -> int:
        return mark & FULL_MARK & ~self.mask ^ self.value


class ConnectionMark(Struct, frozen=True):
    """``save`` copies the packet's mark to its connection, ``restore`` the other way; ``set`` gives that a new mark.

    `packet` and `connection` are masks of the bits that are copied; for ``set`` only `value` and `mask` count.
    """

    way: Literal["save", "restore", "set"]
    packet: int = FULL_MARK
    connection: int = FULL_MARK
    value: int = 0
    mask: int = FULL_MARK

    def of(self, mark: int, connection: int) -> tuple[int, int]:
        """The marks of packet and connection afterwards."""
        if self.way == "save":
            return mark, connection & ~self.connection ^ mark & self.packet
        if self.way == "restore":
            return mark & ~self.packet ^ connection & self.connection, connection
        return mark, connection & ~self.mask ^ self.value


class NoTrack(Struct, frozen=True):
    """Connection tracking leaves the packet alone."""


class Rewrite(Struct, frozen=True):
    """NAT. `address` is the first of those given, None for one that the machine chooses; `port` likewise.

    `words` are the address and ports as written.
    """

    side: Literal["source", "destination"]
    address: int | None = None
    port: int | None = None
    words: str = ""
    to_self: bool = False
    """Whether the machine's own address is meant: REDIRECT and MASQUERADE."""


class Nothing(Struct, frozen=True):
    """On to the next rule; what is noted or changed is nothing that a criterion looks at."""


class Unclear(Struct, frozen=True):
    """Not understood: the target may let the packet go on or take it away."""

    words: str


Action: TypeAlias = Final | Call | SetMark | ConnectionMark | NoTrack | Rewrite | Nothing | Unclear

NOTHING = Nothing()
