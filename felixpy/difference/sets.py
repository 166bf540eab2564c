"""Compares the IP sets of a node in two states: added and removed sets and members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from felixpy.dataplane.current import CHOSEN_BY_KERNEL
from felixpy.difference.chains import Kind
from felixpy.netfilter.rules import SavedSet

OURS = ("cali4", "cali6")


class SetDifference(NamedTuple):
    """The change of a set. `type` and `size` are the new ones, for a removed set the old ones.

    `head` describes a change of type or options, "" if there is none; sizes that the kernel chooses are ignored.
    """

    name: str
    kind: Kind
    type: str
    size: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    head: str = ""

    @property
    def family(self) -> int:
        return 6 if self.name.startswith("cali6") else 4


def compare_sets(
    before: Mapping[str, SavedSet] | None, after: Mapping[str, SavedSet] | None, *, options: bool = True
) -> Iterator[SetDifference]:
    """Yield the differences between Felix's sets, by name; none if the sets of one state are unknown (None).

    `options` says whether options are compared; those of ipset and nft are not comparable.
    """
    if before is None or after is None:
        return
    for name in sorted({*before, *after}):
        if not name.startswith(OURS):
            continue
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            there = old or new
            assert there is not None
            kind: Kind = "removed" if old else "added"
            yield SetDifference(name, kind, there.type, len(there.members), *_members(old, new))
            continue
        added, removed = _members(old, new)
        heads = [_head(one) if options else one.type for one in (old, new)]
        head = "" if heads[0] == heads[1] else " → ".join(heads)
        if added or removed or head:
            yield SetDifference(name, "changed", new.type, len(new.members), added, removed, head)


def _members(old: SavedSet | None, new: SavedSet | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    earlier = old.members if old else ()
    later = new.members if new else ()
    return tuple(sorted({*later}.difference(earlier))), tuple(sorted({*earlier}.difference(later)))


def _head(found: SavedSet) -> str:
    options = (f"{key} {value}" for key, value in found.options.items() if key not in CHOSEN_BY_KERNEL)
    return " ".join((found.type, *options))
