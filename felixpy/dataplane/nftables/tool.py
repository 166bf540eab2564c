"""nft as a command: listing Felix's tables, and running a transaction."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from felixpy.dataplane.nftables import netlink
from felixpy.dataplane.nftables.content import TableContent
from felixpy.dataplane.tools import failure
from felixpy.errors import FelixpyError, InputError, KernelRefused
from felixpy.kernel import NOT_FOUND, Done, Kernel, run_together
from felixpy.nftables.reading import read_tables

TABLES: Mapping[str, str] = {"arp": "calico-arp", "ip": "calico", "ip6": "calico"}
"""Felix's tables by family, in the order in which they are written."""

WRITE = ("nft", "-f", "-")

_ABSENT = "No such file or directory"
_LINE = re.compile(r"^/dev/stdin:(\d+):\d+(?:-\d+)?: Error: (.*)", re.MULTILINE)
_MOST_SHOWN = 300
"""Characters of a line in a message: one that adds elements may be very long."""


class Nft:
    """nft in one namespace."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def tables(self, families: Sequence[str] = tuple(TABLES)) -> dict[str, TableContent]:
        """Felix's tables by family, without absent ones. Raises FelixpyError if nft fails."""
        there = netlink.tables(self.kernel)
        asked = [family for family in families if there is None or (family, TABLES[family]) in there]
        commands = [("nft", "-s", "list", "table", family, TABLES[family]) for family in asked]
        found: dict[str, TableContent] = {}
        for family, done in zip(asked, run_together(self.kernel, *commands), strict=True):
            if not done.status:
                found[family] = _read(done.output)
            elif done.status == NOT_FOUND or _ABSENT not in done.errors:
                raise failure("nft", done, f"to list table {family} {TABLES[family]}")
        return found

    def load(self, text: str) -> Done:
        """Run a transaction; the caller checks the status."""
        return self.kernel.run(*WRITE, text=text)


def _read(listing: str) -> TableContent:
    try:
        [table] = read_tables(listing)
    except (InputError, ValueError):
        raise KernelRefused("a table was printed only in part by nft; nothing was written") from None
    return TableContent.listed(table)


def text_of(lines: Iterable[str]) -> str:
    """Lines joined to an input of nft."""
    return "".join(f"{line}\n" for line in lines)


def refusal(done: Done, lines: Sequence[str]) -> FelixpyError:
    """The exception for an input that nft refused, with the refused line."""
    found = _LINE.search(done.errors)
    number = int(found[1]) if found else 0
    if not found or not 0 < number <= len(lines):
        return failure("nft", done)
    line = lines[number - 1]
    shown = line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"
    return failure("nft", done._replace(errors=found[2]), f"line {number}, {shown!r},")
