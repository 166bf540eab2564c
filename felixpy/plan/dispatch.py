"""Dispatch chains: from an interface to its endpoint's chain in at most two steps. (felix/rules/dispatch.go)

Interface names have a common prefix; the root chain branches on the first character after it, child chains on the whole
name, so that a packet passes few rules even on a node with hundreds of pods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os.path import commonprefix
from types import SimpleNamespace
from typing import NamedTuple

from felixpy.plan.values import ChainPlan, Facts
from felixpy.ruleset import Origin


class Branch(NamedTuple):
    """An interface, or with "+" all interfaces with that prefix, and the chain for it."""

    interface: str
    chain: str


class PodDispatchFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Dispatch from pods' interfaces to their chains. `deny` is the target for all other interfaces."""

    branches: Sequence[Branch] = ()
    """None if a verdict map is used instead."""
    deny: str


class HostDispatchFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Dispatch from host interfaces to their chains. `default` is the chain of all other interfaces, or ""."""

    branches: Sequence[Branch]
    default: str
    prefixes: Sequence[str]
    """What the names of pods' interfaces begin with."""


class SetEndpointMarkFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Dispatch from interfaces to the chains that set their marks; the root also handles interfaces without mark."""

    branches: Sequence[Branch]
    is_root: bool
    mark: SimpleNamespace
    deny: str
    prefixes: Sequence[str]


class EndpointMark(NamedTuple):
    """The mark of an endpoint, and the chain for packets that have it."""

    mark: str
    chain: str


class FromEndpointMarkFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Dispatch from marks of endpoints to their chains."""

    endpoints: Sequence[EndpointMark]
    mark: SimpleNamespace
    deny: str


class EndpointMarkFacts(Facts, frozen=True, kw_only=True, eq=False):
    """The mark of one endpoint, None if there were not enough marks."""

    endpoint_mark: str | None
    mark: SimpleNamespace


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
    facts: Callable[[Sequence[Branch]], Facts],
    words: str,
) -> list[ChainPlan]:
    """The root chain and its children, each rendered from the `facts` of its branches."""
    split = tree(interfaces, root, chain_of)
    origin = Origin(words=words)
    chains = {**split.children, root: split.root}
    return [
        ChainPlan(name=name, template=template, facts=facts(branches), origin=origin)
        for name, branches in chains.items()
    ]
