"""The contents of an nft listing for verification."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from felixpy.dataplane.current import OWNED_CHAIN, CurrentTable, Rule, SetState, State
from felixpy.names import LAYERS, plain_set_name
from felixpy.netfilter.rules import Dump
from felixpy.nftables.dumps import OWN, chain_place, dump_of, set_members, split_comment
from felixpy.nftables.normal import normal
from felixpy.nftables.reading import FILE, ListedChain, ListedSet, ListedTable, read_tables
from felixpy.nftables.tables import FAMILIES
from felixpy.verification.observed import Observed

TITLES = {family: f"{name} {OWN}" for family, name in FAMILIES.items()}
"""The tables of Felix."""


@dataclass(frozen=True, slots=True)
class ListedLayer(CurrentTable):
    """One layer of a table of Felix; chains without a layer have the table's title as layer.

    Everything in it counts as Felix's, as Felix removes everything else.
    """

    def owned(self) -> dict[str, str]:
        return dict(self.chains)

    def guests(self) -> dict[str, tuple[Rule, ...]]:
        return {}

    def rules(self, chain: str) -> tuple[Rule, ...]:
        return read_lines(self.chains[chain])


def read_lines(text: str) -> tuple[Rule, ...]:
    """The rules of one chain, from lines such as ``-A FORWARD counter accept``."""
    found = (f"{line} ".split(" ", 2)[2][:-1] for line in text.split("\n")[:-1])
    return tuple(Rule(split_comment(rule).identity, rule) for rule in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNode(Observed):
    """`tables` are all listed ones; Felix's are compared, foreign ones are walked, too.

    If the listing is not `whole`, tables that are not in it are unknown.
    """

    tables: Sequence[ListedTable] = ()
    whole: bool = True

    def own(self, family: int) -> ListedTable | None:
        """Felix's table of an IP family."""
        return next((table for table in self.tables if table.title == TITLES[family]), None)


def observe_listing(
    text: str, words: str, *, others: Mapping[str, Dump | None] | None = None, live: bool = False
) -> ListedNode:
    """Parse the output of ``nft list ruleset`` or ``nft list table``, text or JSON; "" for a machine without tables.

    A listing that has only Felix's tables is assumed to be of single tables; any other is assumed to be complete.
    `others` are iptables rules on the same node, None if they exist but are unknown. Raises InputError for other texts.
    """
    tables, leftovers = _without_leftovers(read_tables(text, words or FILE))
    whole = live or any(table.title not in TITLES.values() for table in tables) or not tables
    families = [family for family, title in TITLES.items() if whole or any(table.title == title for table in tables)]
    dump = dump_of(tables, families, words)
    state = State(
        {(family, name): layer for family in families for name, layer in _layers(tables, family)},
        {one.name: one for family in families for table in tables for one in _sets(table, family)},
    )
    beside = {**({"iptables-nft": dump_of(leftovers, families)} if leftovers and "nft" not in (others or {}) else {})}
    return ListedNode(
        words=words, backend="", state=state, dump=dump, others={**beside, **(others or {})}, live=live,
        leaves_open=dump.open,
        tables=tables, whole=whole,
    )  # fmt: skip


def _without_leftovers(tables: Sequence[ListedTable]) -> tuple[list[ListedTable], list[ListedTable]]:
    """(tables without leftovers of Felix's iptables data plane, the original tables that have such leftovers)."""
    found, leftovers = [], []
    for table in tables:
        chains = table.chains.values()
        if table.title in TITLES.values() or not any(OWNED_CHAIN.match(chain.name) for chain in chains):
            found.append(table)
            continue
        leftovers.append(table)
        kept = {
            chain.name: ListedChain(chain.name, chain.base, [line for line in chain.lines if not _is_felix(line[1])])
            for chain in chains
            if not OWNED_CHAIN.match(chain.name)
        }
        found.append(replace(table, chains=kept))
    return found, leftovers


def _is_felix(text: str) -> bool:
    return "cali:" in text or _TO_FELIX.search(text) is not None


_TO_FELIX = re.compile(r"(?:jump|goto) cali-")


def _layers(tables: Sequence[ListedTable], family: int) -> Iterator[tuple[str, ListedLayer]]:
    chains: dict[str, dict[str, str]] = {layer: {} for layer in LAYERS}
    for table in tables:
        for name, chain in table.chains.items() if table.title == TITLES[family] else ():
            layer, plain = chain_place(table, name, own=True)
            lines = [f"-A {plain} {normal(text)}\n" for _, text in chain.lines]
            chains.setdefault(layer, {})[plain] = "".join(lines)
    return ((layer, ListedLayer(layer, family, found)) for layer, found in chains.items())


def _sets(table: ListedTable, family: int) -> Iterator[SetState]:
    if table.title != TITLES[family]:
        return
    for one in table.sets.values():
        members = frozenset(member for element in one.elements for member in set_members(element))
        yield SetState(plain_set_name(one.name), declared(one), family, 0, members, plain=not one.options)


def declared(one: ListedSet) -> str:
    """The declaration of a set.

    >>> declared(ListedSet("x", "ipv4_addr", "interval"))
    'type ipv4_addr; flags interval'
    """
    return f"type {one.type}; flags {one.flags}" if one.flags else f"type {one.type}"
