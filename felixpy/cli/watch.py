"""``felixpy watch``: what changes of files or of a running cluster do to the rules of nodes, as they happen."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from felixpy.cli import invocation
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.running import is_cluster
from felixpy.cli.watching import POLL_SECONDS, Watcher, check_paths, footprint, log, stoppable
from felixpy.errors import FelixpyError, UsageError

if TYPE_CHECKING:
    from felixpy.kubectl.watch import Mirror, WatchEvent
    from felixpy.live import Live, RulesetChange
    from felixpy.model import Cluster

QUIET_SECONDS = 0.2
"""Changes of a cluster that follow each other so closely are one."""

BURST_SECONDS = 2.0
"""How long a change may wait for others."""


class Output(StrEnum):
    """Text for people, or a line of JSON for each change."""

    text = "text"
    json = "json"


@takes_manifests("live")
def watch(
    given: Given,
    flows: Annotated[
        bool, typer.Option("--flows", help="Say which flows open and close, too; takes a comparison for each change.")
    ] = False,
    hook: Annotated[
        str, typer.Option("--exec", metavar="COMMAND", help="Run this for each change, with its JSON on stdin.")
    ] = "",
    output: Annotated[Output, typer.Option("--output", "-o", help="Text, or a line of JSON for each change.")] = (
        Output.text
    ),
) -> None:
    """Print, as it happens, who changed what, and which rules and sets of nodes that changes.

    With --node the rules of that node, otherwise those of every node. Files are looked at several times a second; a
    running cluster is watched, and nothing is missed when the connection is lost. Changes that come together are told
    together. Ctrl-C ends it.

    \b
    Examples:
      felixpy watch shop/ --node n1
      felixpy watch --cluster --flows
      felixpy watch --context production -o json | jq .objects
      felixpy watch --cluster --node n1 --exec 'mail -s "rules of n1" ops@example.org'
    """
    # Commands switch off the search for cycles of values, but this one may run for days.
    gc.enable()
    with stoppable() as stopping, ExitStack() as ending:
        source = _source(given, ending)
        follower = _Follower(replace(given, quiet=True), source.read(given), flows=flows, hook=hook, output=output)
        log(f"watching {source.words} for {follower.words}; Ctrl-C ends that")
        while not stopping.is_set():
            changed = source.changes(POLL_SECONDS)
            if changed:
                follower.follow(changed, source)
        log("stopped")


class _Source(Protocol):
    """Where clusters come from. `changes` waits for so many seconds at most."""

    words: str

    def changes(self, wait: float) -> Sequence[WatchEvent]: ...

    def read(self, given: Given) -> Cluster: ...


def _source(given: Given, ending: ExitStack) -> _Source:
    running = [path for path in given.files if is_cluster(path)]
    if not running:
        check_paths(given.files, "watch")
        return _Files(given.files)
    if len(given.files) > 1:
        raise UsageError("watch: one running cluster, or files")
    from felixpy.kubectl.watch import Mirror

    listing = given.clusters.listing(running[0])
    mirror = Mirror(given.clusters.kubectl(running[0]), listing, log)
    ending.callback(mirror.stop)
    mirror.start()
    return _Running(listing.context, mirror)


class _Files:
    """Files and folders."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._watcher = Watcher(partial(footprint, paths))
        self.words = ", ".join(paths) or "this folder"

    def changes(self, wait: float) -> Sequence[WatchEvent]:
        from felixpy.kubectl.watch import WatchEvent

        time.sleep(wait)
        return [WatchEvent("changed", "file", "", name) for name in self._watcher.changed(time.monotonic())]

    def read(self, given: Given) -> Cluster:
        return given.read(self._paths)


@dataclass
class _Running:
    """A running cluster."""

    words: str
    mirror: Mirror

    def changes(self, wait: float) -> Sequence[WatchEvent]:
        found = self.mirror.changes(wait)
        end = time.monotonic() + BURST_SECONDS
        while found and time.monotonic() < end:
            more = self.mirror.changes(QUIET_SECONDS)
            if not more:
                break
            found += more
        return found

    def read(self, given: Given) -> Cluster:
        from felixpy.manifests.reading.files import File

        return given.read([File(name, text, named=True) for name, text in self.mirror.files()])


class _Follower:
    """Keeps the rules of nodes in step, and tells what became of them."""

    def __init__(self, given: Given, cluster: Cluster, *, flows: bool, hook: str, output: Output) -> None:
        given.check_node(cluster)
        self._given, self._flows, self._hook, self._output = given, flows, hook, output
        self._cluster = cluster
        self._live = {name: self._follow(name) for name in self._names(cluster)}

    @property
    def words(self) -> str:
        return self._given.node or f"{len(self._live)} nodes"

    def _names(self, cluster: Cluster) -> Sequence[str]:
        return [self._given.node] if self._given.node else cluster.node_names()

    def _follow(self, node: str) -> Live:
        from felixpy.live import Live

        given = self._given
        return Live(
            self._cluster, node, calico_version=given.version_of(self._cluster), dataplane=given.chosen_data_plane(),
            host=given.host, settings=given.settings,
        )  # fmt: skip

    def follow(self, changed: Sequence[WatchEvent], source: _Source) -> None:
        """Take a change; what cannot be read leaves everything as it was."""
        try:
            cluster = source.read(self._given)
            found, remarks = self._advance(cluster)
            flows = self._opened(cluster) if self._flows else None
        except FelixpyError as wrong:
            self._say([*map(str, changed), *str(wrong).splitlines(), "the rules stay as they were"])
            return
        before, self._cluster = self._cluster, cluster
        shown = self._document(changed, found, remarks, flows)
        if self._output is Output.json:
            invocation.emit(f"{shown}\n")
        else:
            self._print(changed, before, found, remarks, flows)
        if self._hook:
            from felixpy.hook import run_hook

            if trouble := run_hook(self._hook, f"{shown}\n"):
                log(f"--exec {trouble}")

    def _advance(self, cluster: Cluster) -> tuple[dict[str, RulesetChange], list[str]]:
        """What became of each node's rules, and which nodes came and went."""
        found: dict[str, RulesetChange] = {}
        remarks = []
        names = self._names(cluster)
        for name in [name for name in self._live if name not in names]:
            del self._live[name]
            remarks.append(f"node {name} is gone")
        self._cluster, before = cluster, self._cluster
        try:
            for name in names:
                if name not in self._live:
                    self._live[name] = self._follow(name)
                    remarks.append(f"node {name} is new")
                elif change := self._live[name].update(cluster):
                    found[name] = change
        finally:
            self._cluster = before
        return found, remarks

    def _opened(self, cluster: Cluster) -> Any:
        from felixpy.compiler import Compiler
        from felixpy.difference import difference
        from felixpy.topology.nodes import Nodes

        given = self._given
        old, new = (
            Nodes(Compiler(each, given.version_of(each), given.chosen_data_plane()), settings=given.settings)
            for each in (self._cluster, cluster)
        )
        return difference(old, new, [given.node] if given.node else None, rules=False, flows=True)

    def _document(
        self, changed: Sequence[WatchEvent], found: dict[str, RulesetChange], remarks: Sequence[str], flows: Any
    ) -> str:
        import json

        from felixpy.difference import report as differences
        from felixpy.escape import json_text
        from felixpy.live import report

        document = {
            "apiVersion": "felixpy/v1",
            "kind": "Change",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "objects": [change._asdict() for change in changed],
            "nodes": [report.document(node, change) for node, change in found.items()],
            "remarks": list(remarks),
            "flows": differences.document(flows)["flows"] if flows else None,
        }
        return json_text(json.dumps(document, ensure_ascii=False))

    def _print(
        self, changed: Sequence[WatchEvent], before: Cluster, found: dict[str, RulesetChange],
        remarks: Sequence[str], flows: Any,
    ) -> None:  # fmt: skip
        from felixpy.decode.legend import Legend
        from felixpy.difference import report as differences
        from felixpy.live import report

        legends = [Legend(cluster, self._given.version_of(cluster)) for cluster in (self._cluster, before)]
        told = [*map(str, changed), *remarks]
        for node, change in found.items():
            gone = all(chain.after is None for chain in change.chains)
            told += report.lines(node, change, legends[1 if gone else 0])
        if not found:
            told.append(f"no rule of {self.words} changes")
        if flows:
            told += [line for line in differences.text(flows, verbose=True) if line]
        self._say(told)

    def _say(self, told: Sequence[str]) -> None:
        """The first line with the time of day, the others below it."""
        first, *more = told
        invocation.emit_lines([f"{time.strftime('%H:%M:%S')} {first}", *(f"  {line}" for line in more)])
