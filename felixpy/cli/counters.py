"""``felixpy counters``: how often the rules of policies were hit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from felixpy.cli import invocation, progress
from felixpy.cli.confirmation import duration
from felixpy.cli.dumps import dumps_below, likely_node, one_place, read_live
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.kernels import NodeRules, Ssh, read_kernels
from felixpy.cli.target import BackendName, IptablesKind, Netns, OnHost, say
from felixpy.errors import InputError, UsageError, many

if TYPE_CHECKING:
    from felixpy.counters import Count, Names
    from felixpy.netfilter.rules import Dump


class Format(StrEnum):
    """How counters are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    prometheus = "prometheus"


Saved = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads it at run time
    typer.Option("--rules", metavar="PATH", help="Saved rules with counters: a file, or a folder of several nodes."),
]
Before = Annotated[
    str, typer.Option("--before", metavar="PATH", help="Earlier counters; only the difference is shown.")
]
Interval = Annotated[
    str, typer.Option("--interval", metavar="TIME", help="Read twice, this long apart, and show the difference.")
]


@takes_manifests("live", "interface", "host_file")
def counters(
    given: Given,
    rules: Saved = None,
    netns: Netns = None,
    host: OnHost = False,
    lab: Annotated[str, typer.Option("--lab", metavar="NAME", help="The name of the lab.")] = "felixpy",
    backend: BackendName = IptablesKind.auto,
    node_rules: NodeRules = False,
    ssh: Ssh = "",
    before: Before = "",
    interval: Interval = "",
    unused: Annotated[bool, typer.Option("--unused", help="Only policy rules that no packet has hit.")] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="The format.")] = Format.table,
) -> None:
    """Show packets and bytes for each policy and rule, each end of a tier and each endpoint.

    Counters come from what iptables-save -c or nft list ruleset printed, from this machine or from a network namespace;
    without any of these from the nodes of the lab. Those of several nodes are added up. Manifests are optional: with
    them, rules have their places. Felix rewrites a chain when one of its rules changes, and its counters then restart
    at zero.

    \b
    Examples:
      felixpy counters --rules iptables-save-c.txt
      felixpy counters shop/ --rules nodes/ --unused          a folder or file for each node
      felixpy counters shop/ --rules now.txt --before yesterday.txt
      sudo felixpy counters shop/ --host --interval 10s
      felixpy counters --cluster --node-rules --unused        policies that nothing has hit on any node
      sudo felixpy counters --host -o prometheus > /var/lib/node_exporter/felixpy.prom
    """
    from felixpy.counters import report

    remote = bool(ssh or node_rules)
    live = one_place(netns, host=host, rules=rules, ipsets=None, ssh=ssh, node_rules=node_rules) and not rules
    if interval and (rules or before):
        raise UsageError("--interval reads a live kernel twice; it goes neither with --rules nor with --before")
    if remote:
        reader = _remote(given, ssh)
    else:
        reader = _saved(rules) if rules else _kernel(netns, backend) if live else _lab(lab, backend)
    naming = _Naming(given)
    counts = naming.counted(reader())
    restarted: list[Count] = []
    if interval:
        with progress.idle():
            time.sleep(duration(interval, "--interval"))
        counts, restarted = _since(counts, naming.counted(reader()))
    elif before:
        counts, restarted = _since(naming.counted(_saved([before])()), counts)
    if unused:
        from felixpy.counters import summed

        counts = [count for count in summed(counts) if count.kind == "rule" and not count.packets]
    if output is Format.json:
        invocation.emit_json(report.document(counts, restarted))
    else:
        shown = {Format.table: report.table, Format.csv: report.comma_separated, Format.prometheus: report.exposition}
        invocation.emit(shown[output](counts))


def _since(before: list[Count], after: list[Count]) -> tuple[list[Count], list[Count]]:
    from felixpy.counters import since

    found, restarted = since(before, after)
    if restarted:
        say(f"warning: reset in between: {many(len(restarted), 'counter')}, shown with current values")
    return found, restarted


Reader = Callable[[], Mapping[str, "Dump"]]
"""Reads dumps by node, "" where the node has no name."""


def _saved(paths: list[str]) -> Reader:
    def read() -> dict[str, Dump]:
        found: dict[str, Dump] = {}
        for path in paths:
            dumps = dict(dumps_below(Path(path), alone=True))
            if not dumps:
                raise UsageError(
                    f"--rules {path}: there are no saved rules; give what iptables-save -c or nft list ruleset prints"
                )
            if twice := found.keys() & dumps.keys():
                name = next(iter(twice))
                raise UsageError(f"--rules {path}: {name or 'one node'} was given already; use a folder for each node")
            found.update(dumps)
        invocation.tell_left_open(found)
        return found

    return read


def _kernel(netns: str | None, backend: IptablesKind) -> Reader:
    return lambda: {"": read_live(netns, backend, counters=True)[0]}


def _remote(given: Given, ssh: str) -> Reader:
    def read() -> dict[str, Dump]:
        found = read_kernels(given, ssh=ssh, instead="its counters are missing")
        return {name: saved.dump(alone=True) for name, saved in found.items()}

    return read


def _lab(name: str, backend: IptablesKind) -> Reader:
    from felixpy.lab.state import read

    state = read(name)
    if state is None:
        raise UsageError(
            "say whose counters to read: --rules PATH is what iptables-save -c or nft list ruleset printed, "
            f"--host this machine, --netns NAME a network namespace; there is no lab {name}"
        )
    nodes = {node.name: node.netns for node in state.layout.built_nodes}
    return lambda: {name: read_live(netns, backend, counters=True)[0] for name, netns in nodes.items()}


class _Naming:
    """Names the counted rules after the objects in the manifests."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._known: dict[tuple[str, str], Names | None] = {}

    def counted(self, dumps: Mapping[str, Dump]) -> list[Count]:
        from felixpy.counters import counted

        problems = []
        counts = []
        for name, dump in dumps.items():
            try:
                counts += counted(dump, name or self._given.node or "", self._names(name, dump))
            except InputError as wrong:
                problems += wrong.problems
        if problems:
            raise InputError(problems)
        return counts

    def _names(self, name: str, dump: Dump) -> Names | None:
        """The names that the manifests give on a node; None without manifests, or if they do not have the node."""
        from felixpy.counters import Names
        from felixpy.decode.legend import Legend

        cluster = self._given.cluster_if_any
        if not cluster.node_names():
            return None
        self._given.check_node(cluster)
        node = name or self._given.node or likely_node(dump, cluster)
        key = (node, dump.dataplane)
        if key not in self._known:
            known = node in cluster.node_names()
            if not known:
                say(f"warning: the manifests have no node {node}; its rules have no places")
            given = self._given
            ruleset = given.compiler_for(dump.dataplane).compile(node, settings=given.settings) if known else None
            self._known[key] = Names(ruleset, Legend(cluster, given.version)) if ruleset else None
        return self._known[key]
