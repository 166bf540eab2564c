"""The contents of the compiled tables: chains, sets and maps as nft would list them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from felixpy.dataplane.current import Rule, SetState
from felixpy.dataplane.wanted import Wanted, WantedTable
from felixpy.names import LAYERS, plain_set_name, split_layer
from felixpy.nftables.chains import NftChain
from felixpy.nftables.dumps import NUMBERS, set_members
from felixpy.nftables.reading import Declared, ListedChain, ListedSet, ListedTable
from felixpy.nftables.ruleset import NftRuleset
from felixpy.nftables.tables import NftSet, NftTable
from felixpy.verification.nftables.observed import declared, read_lines


class ListedContent(NamedTuple):
    """A compiled chain, as lines such as ``-A FORWARD counter accept``."""

    text: str

    def printed(self, family: int) -> str:
        return self.text

    def rules(self) -> tuple[Rule, ...]:
        return read_lines(self.text)

    def appended(self, chain: str) -> Iterable[str]:
        return self.text.split("\n")[:-1]


def wanted_of(ruleset: NftRuleset) -> Wanted:
    """The wanted contents of Felix's tables, by layer, base chains included."""
    tables: dict[tuple[int, str], WantedTable] = {}
    sets: dict[str, SetState] = {}
    for table in _ip_tables(ruleset):
        family = NUMBERS[table.family]
        chains: dict[str, dict[str, ListedContent]] = {layer: {} for layer in LAYERS}
        for chain in table.chains:
            layer, name = split_layer(chain.name)
            chains[layer][name] = ListedContent("".join(f"-A {name} {line}\n" for line in chain.listed_lines))
        tables.update({(family, layer): WantedTable(layer, family, found, {}) for layer, found in chains.items()})
        sets.update({plain_set_name(one.name): _set_state(one) for one in table.sets})
    return Wanted(tables, sets)


def _ip_tables(ruleset: NftRuleset) -> Iterator[NftTable]:
    return (table for name, table in ruleset.nft_tables.items() if name in NUMBERS)


def _set_state(one: NftSet) -> SetState:
    members = frozenset(member for element in one.listed for member in set_members(element))
    return SetState(plain_set_name(one.name), declared(listed_set(one)), one.source.family, 0, members)


def listed_set(one: NftSet) -> ListedSet:
    return ListedSet(one.name, one.type, "interval" if one.interval else "", list(one.listed))


def base_of(chain: NftChain) -> Declared | None:
    """The hook, priority and policy of a base chain, None for other chains."""
    hook = chain.hook
    return Declared(hook.type, hook.name, hook.listed, "ACCEPT") if hook else None


def listed_tables(ruleset: NftRuleset) -> Mapping[int, ListedTable]:
    """The compiled tables as nft would list them, by IP family."""
    return {NUMBERS[table.family]: listed_table(table) for table in _ip_tables(ruleset)}


def listed_table(table: NftTable) -> ListedTable:
    """A compiled table as nft would list it."""
    chains = {
        chain.name: ListedChain(chain.name, base_of(chain), [(0, line) for line in chain.listed_lines])
        for chain in table.chains
    }
    maps = {
        one.name: ListedSet(
            one.name, "ifname : verdict", elements=[f'"{key}" : goto {chain}' for key, chain in one.chains.items()]
        )
        for one in table.maps
    }
    return ListedTable(table.family, table.name, chains, {one.name: listed_set(one) for one in table.sets}, maps)
