"""What rules do to packets, as values."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

FULL_MARK = 0xFFFFFFFF


class Final(Struct, frozen=True):
    """A verdict, which ends the evaluation of the chain or the table."""

    outcome: Literal["accept", "drop", "reject", "return"]


class Call(Struct, frozen=True):
    """Continue in another chain; after a goto without return to this one."""

    chain: str
    goto: bool


class SetMark(Struct, frozen=True):
    """Clear the bits of `mask` in the packet's mark, then flip those of `value`."""

    value: int
    mask: int

    def of(self, mark: int) -> int:
        return mark & FULL_MARK & ~self.mask ^ self.value


class ConnectionMark(Struct, frozen=True):
    """``save`` copies the packet's mark to the connection's, ``restore`` the reverse; ``set`` changes the latter.

    `packet` and `connection` are masks of the bits that are copied; ``set`` uses only `value` and `mask`.
    """

    way: Literal["save", "restore", "set"]
    packet: int = FULL_MARK
    connection: int = FULL_MARK
    value: int = 0
    mask: int = FULL_MARK

    def of(self, mark: int, connection: int) -> tuple[int, int]:
        """The new marks of packet and connection."""
        if self.way == "save":
            return mark, connection & ~self.connection ^ mark & self.packet
        if self.way == "restore":
            return mark & ~self.packet ^ connection & self.connection, connection
        return mark, connection & ~self.mask ^ self.value


class NoTrack(Struct, frozen=True):
    """Exempt the packet from connection tracking."""


class Rewrite(Struct, frozen=True):
    """NAT. `address` is the first of those given, None if the kernel chooses one; `port` likewise.

    `words` are the address and ports as written.
    """

    side: Literal["source", "destination"]
    address: int | None = None
    port: int | None = None
    words: str = ""
    to_self: bool = False
    """Whether the machine's own address is meant: REDIRECT and MASQUERADE."""


class Nothing(Struct, frozen=True):
    """Continue with the next rule; what the target records or changes does not affect any criterion."""


class Unclear(Struct, frozen=True):
    """Not understood: the target may let the packet continue or end its evaluation."""

    words: str


Action: TypeAlias = Final | Call | SetMark | ConnectionMark | NoTrack | Rewrite | Nothing | Unclear

NOTHING = Nothing()
