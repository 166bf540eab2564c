"""(present sets, wanted sets) → the inputs of ipset restore that lead from one to the other.

ipset runs its input line by line and stops at the first failure, so the order of lines matters. New members are added
before old ones are deleted (Felix deletes first; the result is the same). A set that has to be replaced is made under a
temporary name and swapped in, which the kernel does in one step also for the rules that use it.
(felix/ipsets/ipsets.go)
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from felixpy.dataplane.current import SetState


class SetChange(NamedTuple):
    """The input of one ipset restore that updates the sets of one family; `sets` are the names that it changes."""

    family: int
    sets: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join((*self.lines, "COMMIT", ""))


def fill(current: Mapping[str, SetState], wanted: Mapping[str, SetState], family: int) -> SetChange | None:
    """The input that creates and fills the sets of a family, None if there is nothing to do; runs before the tables.

    Sets that no rule uses yet come first, as they may take long, then those in use: they get new members shortly before
    the tables change.
    """
    names = TemporaryNames(family, {*current, *wanted})
    changed: list[str] = []
    unused: list[str] = []
    used: list[str] = []
    for name, ipset in sorted(wanted.items()):
        present = current.get(name)
        if ipset.family != family or present == ipset:
            continue
        changed.append(name)
        if present is None:
            unused.extend(_created(ipset, name))
        elif (present.type, present.family) != (ipset.type, ipset.family):
            # The kernel swaps only sets of one type. A present set of another type was not made by Felix.
            used.extend((f"destroy {name}", *_created(ipset, name)))
        elif not present.plain or present.max_size != ipset.max_size or _overflows(present, ipset):
            temporary = names.next()
            unused.extend(_created(ipset, temporary))
            used.extend((f"swap {name} {temporary}", f"destroy {temporary}"))
        else:
            used.extend(f"add {name} {member} --exist" for member in sorted(ipset.members - present.members))
            used.extend(f"del {name} {member} --exist" for member in sorted(present.members - ipset.members))
    return SetChange(family, tuple(changed), (*unused, *used)) if changed else None


def stale(current: Mapping[str, SetState], wanted: Mapping[str, SetState]) -> tuple[str, ...]:
    """The sets to destroy, leftovers of interrupted runs included, once no rule uses them."""
    return tuple(sorted(current.keys() - wanted.keys()))


def destroy(names: tuple[str, ...]) -> str:
    """The input that destroys sets."""
    return "".join(f"destroy {name}\n" for name in names)


def headers(sets: Iterable[SetState]) -> str:
    """The input that creates sets without members."""
    return "".join(f"{ipset.header(ipset.name)}\n" for ipset in sets)


class TemporaryNames:
    """Unused names for sets that exist during one input only: ``cali4t0``, ``cali4t1``, …."""

    def __init__(self, family: int, taken: Container[str]) -> None:
        self.family, self.taken, self.number = family, taken, 0

    def next(self) -> str:
        while (name := f"cali{self.family}t{self.number}") in self.taken:
            self.number += 1
        self.number += 1
        return name


def _created(ipset: SetState, name: str) -> list[str]:
    add = f"add {name} "
    return [ipset.header(name), *[add + member for member in ipset.listed or sorted(ipset.members)]]


def _overflows(present: SetState, wanted: SetState) -> bool:
    """Whether old and new members together exceed the maximum size of the set."""
    return len(present.members | wanted.members) > wanted.max_size
