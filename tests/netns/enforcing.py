"""felixpy at work in a namespace: what it is told to do there, what is there, and what shall be."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import felixpy
from felixpy.dataplane.enforcer import Enforcer
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from felixpy.effective import configure
from felixpy.kernel import Kernel, Machine, open_machine
from tests.conformance.recordings import AREAS, TOOLS, Case, cases
from tests.netns.namespace import canonical, fresh_namespace, members

Snapshot = tuple[object, ...]
"""The tables of IPv4 and of IPv6 as iptables-save prints them, and the sets."""

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


def enforcer(machine: Machine, backend: str, kernel: Kernel | None = None) -> Enforcer:
    return Enforcer(Tools(kernel or machine, backend), machine.scratch)


def tables(machine: Kernel, backend: str, family: int) -> dict[str, list[str]]:
    return canonical(machine.run(f"{TOOLS[family]}-{backend}-save").output)


def snapshot(machine: Kernel, backend: str) -> Snapshot:
    """Everything that is in a namespace."""
    return tables(machine, backend, 4), tables(machine, backend, 6), members(machine.run("ipset", "save").output)


def goal(ruleset: felixpy.Ruleset, backend: str) -> Snapshot:
    """What `snapshot` gives where nothing but these rules is."""
    four, six = (spelt(ruleset, backend, family) if family in ruleset.families else {} for family in TOOLS)
    return four, six, members(ruleset.ipset_save())


def spelt(ruleset: felixpy.Ruleset, backend: str, family: int) -> dict[str, list[str]]:
    """What iptables-save shall print; iptables-nft keeps silent about one option."""
    text = ruleset.save(family)
    return canonical(re.sub(r" --nflog-range \d+", "", text) if backend == "nft" else text)
