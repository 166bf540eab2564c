"""Dispatch chains: from an interface to its endpoint's chain in at most two steps. (felix/rules/dispatch.go)

Interface names share their beginnings; the root chain tells them apart by the first character after the common part,
child chains by the whole name, so that a packet meets few rules even on a node with hundreds of pods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os.path import commonprefix
from typing import NamedTuple

from felixpy.plan.values import ChainPlan
from felixpy.ruleset import Origin


class Branch(NamedTuple):
    """An interface, or with "+" all that begin so, and the chain for it."""

    interface: str
    chain: str


class Tree(NamedTuple):
    """The root's branches, and those of each child chain by name."""

    root: Sequence[Branch]
    children: Mapping[str, Sequence[Branch]]


def tree(interfaces: Sequence[str], root: str, chain_of: Callable[[str], str]) -> Tree:
    """Split interfaces over a root chain and its children; `chain_of` names the chain for an interface.

    >>> tree(["cali1", "cali12", "cali13"], "cali-to-wl-dispatch", "cali-tw-{}".format).root[0]
    Branch(interface='cali1', chain='cali-tw-cali1')
    """
    names = sorted(set(interfaces))
    common = commonprefix(names)
    bins: dict[str, list[str]] = {}
    for name in names:
        bins.setdefault(name[: len(common) + 1], []).append(name)
    branches: list[Branch] = []
    children: dict[str, Sequence[Branch]] = {}
    for start, members in bins.items():
        leaves = [Branch(name, chain_of(name)) for name in members]
        if len(leaves) == 1:
            branches.extend(leaves)
        else:
            child = f"{root}-{start.removeprefix(common)}"
            branches.append(Branch(f"{start}+", child))
            children[child] = leaves
    return Tree(branches, children)


def dispatch(
    root: str,
    template: str,
    interfaces: Sequence[str],
    chain_of: Callable[[str], str],
    facts: Mapping[str, object],
    words: str,
) -> list[ChainPlan]:
    """The root chain and its children; the rules at the end, drawn from `facts`, are in each of them."""
    split = tree(interfaces, root, chain_of)
    origin = Origin(words=words)
    chains = {**split.children, root: split.root}
    return [
        ChainPlan(name=name, template=template, facts={**facts, "branches": branches}, origin=origin)
        for name, branches in chains.items()
    ]
