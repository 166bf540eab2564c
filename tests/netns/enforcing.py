"""felixpy at work in a namespace: what it is told to do there, what is there, and what shall be."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import felixpy
from felixpy.dataplane.backends import enforcer_of
from felixpy.dataplane.enforcer import AnyEnforcer
from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.dataplane.wanted import Wanted
from felixpy.effective import configure
from felixpy.kernel import Kernel, Machine, open_machine
from felixpy.nftables import NftRuleset
from felixpy.nftables.reading import ListedTable, read_tables
from tests.conformance.recordings import AREAS, TOOLS, Case, cases
from tests.netns.namespace import BACKENDS, canonical, fresh_namespace, members

EVERY_BACKEND = (*BACKENDS, NFTABLES)

Snapshot = tuple[object, ...]
"""The tables of IPv4 and of the others, each chain with its rules, and the sets of ipset."""

EMPTY: Snapshot = ({}, {}, set())


@contextmanager
def fresh_machine() -> Iterator[Machine]:
    """felixpy's own view of a network namespace that is there for nothing else."""
    with fresh_namespace(), open_machine(here()) as machine:
        yield machine


def here() -> str:
    """The namespace of the calling thread, as other threads and processes can name it."""
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"


def case_of(name: str) -> Case:
    return next(case for case in cases(*AREAS) if str(case) == name)


def wanted(case: Case, ruleset: felixpy.Ruleset | None = None) -> Wanted:
    """What applying a case aims at; `ruleset` is what it compiles to, if that is known already."""
    cluster = felixpy.load([case.folder / "manifests.yaml"], strict=False)
    return Wanted.of(ruleset or case.compile(), append=configure(cluster, case.node).chain_insert_mode == "append")


def enforcer(machine: Machine, backend: str, kernel: Kernel | None = None) -> AnyEnforcer:
    return enforcer_of(kernel or machine, backend, machine.scratch)


def normal(table: ListedTable) -> list[str]:
    """A table as lines in an order of its own: nft lists objects and elements as they were made."""
    named = sorted([*table.sets.values(), *table.maps.values()], key=lambda each: each.name)
    lines = [f"{one.name}: {one.type} {one.flags} {sorted(one.elements)}" for one in named]
    for name, chain in sorted(table.chains.items()):
        lines.append(f"{name}: {chain.base}")
        lines.extend(f"{name} {text}" for _, text in chain.lines)
    return lines


def nft_tables(listing: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The tables of IPv4, and all others, in what nft lists, without those that iptables-nft leaves empty."""
    found = {
        table.title: normal(table)
        for table in read_tables(listing)
        if table.name.startswith("calico") or any(chain.lines for chain in table.chains.values())
    }
    four = {title: lines for title, lines in found.items() if title.startswith("ip ")}
    return four, {title: lines for title, lines in found.items() if title not in four}


def tables(machine: Kernel, backend: str, family: int) -> dict[str, list[str]]:
    return canonical(machine.run(f"{TOOLS[family]}-{backend}-save").output)


def snapshot(machine: Kernel, backend: str) -> Snapshot:
    """Everything that is in a namespace, as one backend shows it."""
    if backend == NFTABLES:
        listing = machine.run("nft", "-s", "list", "ruleset").output
        return *nft_tables(listing), members(machine.run("ipset", "save").output)
    return tables(machine, backend, 4), tables(machine, backend, 6), members(machine.run("ipset", "save").output)


def goal(ruleset: felixpy.Ruleset, backend: str) -> Snapshot:
    """What `snapshot` gives where nothing but these rules is."""
    if backend == NFTABLES:
        assert isinstance(ruleset, NftRuleset)
        return *nft_tables(ruleset.text()), set()
    four, six = (spelt(ruleset, backend, family) if family in ruleset.families else {} for family in TOOLS)
    return four, six, members(ruleset.ipset_save())


def spelt(ruleset: felixpy.Ruleset, backend: str, family: int) -> dict[str, list[str]]:
    """What iptables-save shall print; iptables-nft keeps silent about one option."""
    text = ruleset.save(family)
    return canonical(re.sub(r" --nflog-range \d+", "", text) if backend == "nft" else text)
