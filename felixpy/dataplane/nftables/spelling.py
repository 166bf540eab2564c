"""How the installed nft lists a rule.

Releases differ in a few spellings: nft 1.1 prints the burst of a limit that 1.0 leaves out. So a rule in the kernel
that differs in text from the wanted one has not always been changed. To find out, nft loads the wanted rule into an
empty namespace and lists it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from felixpy.dataplane.nftables.content import TableContent
from felixpy.dataplane.nftables.tool import Nft
from felixpy.dataplane.nftables.transaction import TableChange
from felixpy.errors import FelixpyError

CHAIN = "suspects"


def ask_for_spelling(
    nft: Nft, changes: Iterable[TableChange], wanted: Mapping[str, TableContent]
) -> dict[tuple[str, str], str]:
    """(family, our spelling) → nft's, for the suspects of the changes. `nft` works in an empty namespace."""
    found: dict[tuple[str, str], str] = {}
    for change in changes:
        if not change.suspects:
            continue
        text = "".join(f"{line}\n" for line in _input(change, wanted[change.family]))
        try:
            if nft.load(text).status:
                continue
            there = nft.tables([change.family])[change.family].chains[CHAIN].listed()
        except FelixpyError:
            # A rule that cannot be tried stays a suspect and is written again, which is always correct.
            continue
        if len(there) == len(change.suspects):
            pairs = zip(change.suspects, there, strict=True)
            found.update({(change.family, suspect.listed): listed for suspect, listed in pairs})
    return found


def _input(change: TableChange, wanted: TableContent) -> Iterator[str]:
    """The suspects in a separate chain, with all sets, maps and chains that they may refer to."""
    at = wanted.title
    yield f"add table {at}"
    yield from (f"add set {at} {name} {{ {one.declared} }}" for name, one in wanted.sets.items())
    yield from (f"add map {at} {name} {{ {one.declared} }}" for name, one in wanted.maps.items())
    yield from (f"add chain {at} {name}" for name in (*wanted.chains, CHAIN))
    yield from (f"add rule {at} {CHAIN} {suspect.written}" for suspect in change.suspects)
