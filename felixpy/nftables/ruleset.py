"""The compiled rules of one node for nftables, in the forms in which they are printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from felixpy.nftables.chains import NftChain
from felixpy.nftables.tables import FAMILIES, NftTable, nft_part, nft_table
from felixpy.nftables.text import listed, listed_sets, written
from felixpy.ruleset import ARP, Chain, Ruleset, Table

if TYPE_CHECKING:
    from felixpy.annotate import Notes
    from felixpy.netfilter.rules import Dump


@dataclass(frozen=True, kw_only=True)
class NftRuleset(Ruleset):
    """A `Ruleset` whose texts are nft's. `tables` are the layers by (family, name), and ``(4, "arp")``."""

    dataplane: ClassVar[str] = "nftables"

    @classmethod
    def of(cls, ruleset: Ruleset) -> NftRuleset:
        """Return the same rules for nft."""
        return cls(**{field.name: getattr(ruleset, field.name) for field in fields(Ruleset)})

    @cached_property
    def nft_tables(self) -> dict[str, NftTable]:
        """The tables by family: ``ip``, ``ip6`` where IPv6 is on, ``arp``."""
        return {table.family: table for table in self._nft_tables()}

    def _nft_tables(self) -> Iterator[NftTable]:
        for family in self.families:
            layers = [table for (number, name), table in self.tables.items() if number == family and name != ARP]
            yield nft_table(FAMILIES[family], layers, (one for one in self.sets if one.family == family))
        yield nft_table(ARP, [self.tables[4, ARP]], ())

    def chosen(self, families: Sequence[int] = ()) -> list[NftTable]:
        """Return the tables of some IP families; by default of all, and the ARP table."""
        return [self.nft_tables[FAMILIES[family]] for family in families] or [*self.nft_tables.values()]

    def text(
        self,
        families: Sequence[int] = (),
        notes: Notes | None = None,
        *,
        restore: bool = False,
        counters: bool = False,
    ) -> str:
        """Return tables as nft lists them or, with `restore`, as Felix writes them; `families` as in `chosen`."""
        if restore:
            return "".join(written(table, notes) for table in self.chosen(families))
        return "".join(listed(table, notes, counters=counters) for table in self.chosen(families))

    def save(self, family: int, *, counters: bool = False) -> str:
        """Return what ``nft -s list table ip calico`` (family 4) or ``ip6 calico`` (6) prints; `counters` omits -s."""
        return self.text([family], counters=counters)

    def restore(self, family: int) -> str:
        """Return the table as Felix writes it to ``nft -f -``, the syntax that its hashes cover."""
        return self.text([family], restore=True)

    def identities(self, table: Table, chain: Chain) -> Sequence[str]:
        """Return Felix's hashes of the rules of a chain, which depend on the layer."""
        return self._part(table, chain).hashes

    def written_rules(self, table: Table, chain: Chain) -> Sequence[str]:
        """Return the rules of a chain as Felix writes them to nft."""
        return self._part(table, chain).written

    def rule_lines(self, table: Table, chain: Chain) -> Iterator[list[str]]:
        """Yield the lines of each rule of a chain, as nft lists it."""
        return ([line] for line in self._part(table, chain).listed_lines)

    def _part(self, table: Table, chain: Chain) -> NftChain:
        return nft_part(table, chain, ARP if table.name == ARP else FAMILIES[table.family])

    @cached_property
    def dump(self) -> Dump:
        """The rules and sets as if they had been listed on the node."""
        from felixpy.nftables.dumps import read_listing

        return read_listing(self.text(self.families))

    def json_text(self, families: Sequence[int] = ()) -> str:
        """Return tables as ``nft -j list ruleset`` prints them; `families` as in `chosen`."""
        from felixpy.nftables.tojson import nft_objects

        return json.dumps(nft_objects(self.chosen(families))) + "\n"

    def set_text(self, families: Sequence[int] = (), notes: Notes | None = None) -> str:
        """Return the tables with their sets only; `families` as in `chosen`."""
        return "".join(listed_sets(table, notes) for table in self.chosen(families or self.families))

    def files(self) -> dict[str, str]:
        """Return every text by file name; a disabled family has no files."""
        spellings = {"listed": listed, "written": written}
        return {
            f"{family}.{form}": spell(table)
            for family, table in self.nft_tables.items()
            for form, spell in spellings.items()
        }

    def contents(self) -> Mapping[str, Iterable[bytes]]:
        """Return the same texts as pieces of bytes, to be written."""
        return {name: (text.encode("utf-8", "surrogateescape"),) for name, text in self.files().items()}
