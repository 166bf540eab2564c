"""(sets that are there, sets that should be there) → the inputs of ipset restore that lead from the one to the other.

ipset carries out its input line by line and stops at the first that fails, so the order within an input matters. A set
gets its new members before it loses old ones: what is a member before and after is one all the time. (Felix removes
first; nobody can tell from the result.) A set that has to be made anew is made under a temporary name and swapped in,
which the kernel does in one step, rules that use it included. (felix/ipsets/ipsets.go)
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from felixpy.dataplane.current import SetState


class SetChange(NamedTuple):
    """Input of one ipset restore that brings the sets of one family up to date; `sets` are those it changes."""

    family: int
    sets: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join((*self.lines, "COMMIT", ""))


def fill(current: Mapping[str, SetState], wanted: Mapping[str, SetState], family: int) -> SetChange | None:
    """How to create and fill the sets of a family, None if there is nothing to do. Runs before rules use them.

    What no rule uses yet comes first, which may take long, and then the sets that rules use: these see new members
    shortly before the tables change.
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
            # The kernel swaps only sets of one type. A set of ours with another type was made by somebody else's hand.
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
    """The sets that nobody wants any more, leftovers of interrupted runs included. They go when no rule uses them."""
    return tuple(sorted(current.keys() - wanted.keys()))


def destroy(names: tuple[str, ...]) -> str:
    """The input that destroys sets."""
    return "".join(f"destroy {name}\n" for name in names)


def headers(sets: Iterable[SetState]) -> str:
    """The input that creates sets without members."""
    return "".join(f"{ipset.header(ipset.name)}\n" for ipset in sets)


class TemporaryNames:
    """Names for sets that live for the length of one input: ``cali4t0``, ``cali4t1``, … as far as they are free."""

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
    """Whether old and new members together are more than the set holds."""
    return len(present.members | wanted.members) > wanted.max_size
