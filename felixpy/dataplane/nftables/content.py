"""What a table of nft holds, whether it is present, wanted or remembered: chains, sets and verdict maps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from felixpy.nftables.chains import NftChain
from felixpy.nftables.reading import ListedChain, ListedSet, ListedTable, priority_of
from felixpy.nftables.tables import NftSet, NftTable, VerdictMap


class Base(NamedTuple):
    """The hook of a base chain, and its policy: what happens to packets that reach its end."""

    type: str
    hook: str
    priority: int
    policy: str

    @property
    def declared(self) -> str:
        return f"type {self.type} hook {self.hook} priority {self.priority} ; policy {self.policy} ;"


class Content(Protocol):
    """The rules of a chain."""

    @property
    def base(self) -> Base | None: ...

    def listed(self) -> tuple[str, ...]:
        """The rules as nft lists them, without counters."""
        ...

    def written(self) -> Iterable[str]:
        """The rules as they are passed to nft."""
        ...


class Drawn(NamedTuple):
    """A compiled chain."""

    chain: NftChain

    @property
    def base(self) -> Base | None:
        hook = self.chain.hook
        return Base(hook.type, hook.name, hook.priority, "accept") if hook else None

    def listed(self) -> tuple[str, ...]:
        return tuple(self.chain.listed_lines)

    def written(self) -> Iterable[str]:
        return self.chain.written_lines


_PREFIX_OF_MARK = re.compile(r"meta mark (!= )?(0x[0-9a-f]{8})/(\d+)(?!\S)")


def _as_mask(found: re.Match[str]) -> str:
    mask = 0xFFFFFFFF << 32 - int(found[3]) & 0xFFFFFFFF
    return f"meta mark & {mask:#x} {found[1] or '== '}{found[2]}"


class ListedLines(NamedTuple):
    """A chain as nft listed it."""

    base: Base | None
    lines: tuple[str, ...]

    def listed(self) -> tuple[str, ...]:
        return self.lines

    def written(self) -> Iterable[str]:
        """The listed rules; only masks of marks are respelt, as nft 1.0.6 lists them in a form that it misreads."""
        return [_PREFIX_OF_MARK.sub(_as_mask, line) for line in self.lines]


class Elements(NamedTuple):
    """A set or verdict map: its declaration, and its elements as nft lists them → as they are passed to nft."""

    declared: str
    members: Mapping[str, str]


class TableContent(NamedTuple):
    """A table. `options` are statements such as ``flags dormant``; Felix writes none."""

    family: str
    name: str
    sets: Mapping[str, Elements]
    maps: Mapping[str, Elements]
    chains: Mapping[str, Content]
    options: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.family} {self.name}"

    @classmethod
    def empty(cls, family: str, name: str) -> TableContent:
        return cls(family, name, {}, {}, {})

    @classmethod
    def compiled(cls, table: NftTable) -> TableContent:
        """The content of a compiled table."""
        return cls(
            table.family,
            table.name,
            {one.name: _set(one) for one in table.sets},
            {one.name: _map(one) for one in table.maps},
            {chain.name: Drawn(chain) for chain in table.chains},
        )

    @classmethod
    def listed(cls, table: ListedTable) -> TableContent:
        """The content of a listed table."""
        return cls(
            table.family,
            table.name,
            {name: _listed(one) for name, one in table.sets.items()},
            {name: _listed(one) for name, one in table.maps.items()},
            {name: _seen(chain) for name, chain in table.chains.items()},
            tuple(table.options),
        )


def _set(one: NftSet) -> Elements:
    declared = f"type {one.type} ;" + (" flags interval ;" if one.interval else "")
    return Elements(declared, dict(zip(one.listed, one.written, strict=True)))


def _map(one: VerdictMap) -> Elements:
    members = {f'"{key}" : goto {chain}': f"{key} : goto {chain}" for key, chain in one.chains.items()}
    return Elements("type ifname : verdict ;", members)


def _listed(one: ListedSet) -> Elements:
    kind = one.type if one.type.startswith("typeof ") else f"type {one.type}"
    words = [kind, *([f"flags {one.flags}"] if one.flags else []), *one.options]
    return Elements(" ".join(f"{each} ;" for each in words), {element: element for element in one.elements})


def _seen(chain: ListedChain) -> ListedLines:
    base = chain.base
    lines = tuple([text for _, text in chain.lines])
    if base is None:
        return ListedLines(None, lines)
    return ListedLines(Base(base.type, base.hook, priority_of(base.priority), base.policy.lower()), lines)
