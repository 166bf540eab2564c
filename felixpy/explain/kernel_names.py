"""The names of chains and sets in the kernel, for the data plane in use."""

from __future__ import annotations

from dataclasses import dataclass

from felixpy.layouts import NFTABLES, Layout
from felixpy.names import limited, set_name
from felixpy.nftables.spelling import set_name as nft_set_name

TABLE = "calico"
"""The table of nftables that holds everything, layer by layer."""


@dataclass(frozen=True, slots=True)
class KernelNames:
    """The names of chains and sets in one data plane."""

    layout: Layout

    @property
    def in_one_table(self) -> bool:
        """Whether chains of all layers are in one table, under names that begin with the layer."""
        return self.layout is NFTABLES

    def chain(self, prefix: str, suffix: str) -> str:
        """The name of a chain, without its layer."""
        return limited(prefix, suffix, self.layout.max_chain)

    def place(self, table: str, chain: str) -> tuple[str, str]:
        """Table and chain, named as the tools print them."""
        return (TABLE, f"{table}-{chain}") if self.in_one_table else (table, chain)

    def set(self, family: int, set_id: str) -> str:
        name = set_name(family, set_id)
        return nft_set_name(name) if self.in_one_table else name
