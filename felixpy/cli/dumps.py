"""Rules that somebody else made: saved on a node, or in a kernel now. The options, and what they lead to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from felixpy.cli.target import Backend, Place, tools_of
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.dump import Dump
    from felixpy.model import Cluster, Host

LOCK_SECONDS = 10

Dumps = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads it at run time
    typer.Option(
        "--rules", metavar="FILE", help="What iptables-save printed, of one family or both; - is stdin; repeatable."
    ),
]
SetDump = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--ipsets", metavar="FILE", help="The sets that belong to --rules, from ipset save or ipset list."),
]


def one_place(netns: str | None, *, host: bool, rules: Sequence[str] | None, ipsets: str | None) -> bool:
    """Whether rules of somebody else are meant. Raises UsageError for more than one place."""
    given = [option for option, used in (("--netns", netns), ("--host", host), ("--rules", rules)) if used]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")
    if ipsets and not rules:
        raise UsageError("--ipsets goes with --rules")
    return bool(given)


def live_place(netns: str | None) -> Place:
    """A namespace, or this machine."""
    return Place(netns, f"network namespace {netns}" if netns else "this machine")


def read_live(netns: str | None, backend: Backend) -> tuple[Dump, Host]:
    """The rules and sets of a kernel as they are now, and the interfaces there.

    Raises EnvironmentMissing without root, tools or namespace.
    """
    from felixpy.dump import read_dump
    from felixpy.machine import read_host
    from felixpy.verify.observed import read_all

    with live_place(netns).machine() as machine:
        tools = tools_of(machine, backend, LOCK_SECONDS)
        return read_dump(read_all(tools), tools.sets()), machine.inside(read_host)


def read_saved(rules: Sequence[str], ipsets: str | None) -> tuple[dict[int, str], str | None]:
    """Saved rules by family, and sets. Raises UsageError for files that cannot be read or tell things twice."""
    from felixpy.dump import split_saved

    texts: dict[int, str] = {}
    sets: str | None = None
    for name in rules:
        found, inner = split_saved(_read(name))
        for family, text in found.items():
            if family in texts:
                raise UsageError(f"--rules {name}: a dump of IPv{family} was given already")
            texts[family] = text
        sets = inner if inner is not None else sets
    if not texts:
        raise UsageError(f"--rules {rules[0]}: there is no table in it; give what iptables-save prints")
    return texts, _read(ipsets) if ipsets else sets


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(errors="replace")
    except OSError as wrong:
        raise UsageError(f"{name}: {wrong.strerror}") from wrong


def likely_node(dump: Dump, cluster: Cluster) -> str:
    """The only node of the cluster, or the one whose pods have chains. Raises UsageError where that is not clear."""
    from felixpy.compiler import only_node
    from felixpy.decode.comments import likely_nodes

    names = cluster.node_names()
    if len(names) > 1:
        chains = (chain for tables in dump.tables.values() for table in tables.values() for chain in table)
        found = likely_nodes(" ".join(chains).replace("-cali", " cali"), cluster)
        if len(found) == 1:
            return found[0]
    return only_node(cluster)
