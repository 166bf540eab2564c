"""``felixpy watch``: changes of files or of a running cluster, and the changes of rules that result."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from felixpy.cli import invocation, progress
from felixpy.cli.followed import Followed, follow
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.kept import Kept
from felixpy.cli.watching import POLL_SECONDS, log, stoppable
from felixpy.errors import FelixpyError, many

if TYPE_CHECKING:
    from felixpy.kubectl.watch import WatchEvent
    from felixpy.live import LiveCluster, RulesetChange
    from felixpy.manifests.following import Step
    from felixpy.model import Cluster


class Output(StrEnum):
    """Text for people, or a line of JSON for each change."""

    text = "text"
    json = "json"


@takes_manifests("live")
def watch(
    given: Given,
    flows: Annotated[bool, typer.Option("--flows", help="Also show the flows that open and close; slower.")] = False,
    execute: Annotated[
        str, typer.Option("--exec", metavar="COMMAND", help="Run a command for each change, with its JSON on stdin.")
    ] = "",
    output: Annotated[Output, typer.Option("--output", "-o", help="Text, or a line of JSON for each change.")] = (
        Output.text
    ),
) -> None:
    """Print changes of files or of a cluster as they happen, and the rules and sets that they change.

    With --node the rules of that node, otherwise those of every node. Files are checked several times a second; a
    running cluster is watched, and no change is missed when the connection is lost. Changes made together are printed
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
        followed = follow(given, ending, "watch")
        follower = _Follower(replace(given, quiet=True), followed.cluster, flows=flows, execute=execute, output=output)
        log(f"watching {followed.words} for {follower.words}; Ctrl-C ends that")
        while not stopping.is_set():
            with progress.idle():
                changed = followed.changes(POLL_SECONDS)
            if changed:
                follower.take(changed, followed)
        log("stopped")


class _Follower:
    """Updates the rules of nodes with each change, and prints what changed."""

    def __init__(self, given: Given, cluster: Cluster, *, flows: bool, execute: str, output: Output) -> None:
        given.check_node(cluster)
        self._given, self._flows, self._execute, self._output = given, flows, execute, output
        self._kept = Kept(given, cluster)
        for name in self._names(cluster):
            self._live.add(name, given.host)

    @property
    def _live(self) -> LiveCluster:
        return self._kept.live

    @property
    def words(self) -> str:
        return self._given.node or many(len(self._live.nodes), "node")

    def _names(self, cluster: Cluster) -> Sequence[str]:
        return [self._given.node] if self._given.node else cluster.node_names()

    def take(self, changed: Sequence[WatchEvent], followed: Followed) -> None:
        """Apply a change and print its effects; input that cannot be read changes nothing."""
        before = self._live.cluster
        try:
            step = followed.step()
            found, remarks = self._advance(step)
        except FelixpyError as wrong:
            self._say([*map(str, changed), *str(wrong).splitlines(), "the rules stay as they were"])
            return
        flows = self._opened(before, step.cluster) if self._flows and not self._live.failed else None
        shown = self._document(changed, found, remarks, flows)
        if self._output is Output.json:
            invocation.emit(f"{shown}\n")
        else:
            self._print(changed, before, found, remarks, flows)
        if self._execute:
            from felixpy.notify import notify

            with progress.idle():
                trouble = notify(self._execute, f"{shown}\n")
            if trouble:
                log(f"--exec {trouble}")

    def _advance(self, step: Step) -> tuple[dict[str, RulesetChange], list[str]]:
        """Apply a step; return the change of each node's rules, and remarks."""
        names, version = self._names(step.cluster), self._kept.version
        remarks = [str(problem) for problem in step.problems if step.changes is not None]
        for name in [name for name in self._live.nodes if name not in names]:
            self._live.drop(name)
            remarks.append(f"node {name} is gone")
        found = self._kept.take(step)
        if self._kept.version is not version:
            remarks.append(f"rules of Calico {self._kept.version.release} from now on")
        for name in [name for name in names if name not in self._live.nodes]:
            try:
                self._live.add(name, self._given.host)
                remarks.append(f"node {name} is new")
            except FelixpyError as wrong:
                remarks.append(f"node {name} is new, but has no rules: {wrong}")
        remarks += [f"node {name}: {wrong}; its rules stay as they were" for name, wrong in self._live.failed.items()]
        return found, remarks

    def _opened(self, before: Cluster, after: Cluster) -> Any:
        from felixpy.compiler import Compiler
        from felixpy.difference import difference
        from felixpy.topology.nodes import Nodes

        given = self._given
        old, new = (
            Nodes(Compiler(each, given.version_of(each), given.chosen_data_plane()), settings=given.settings)
            for each in (before, after)
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

        legends = [Legend(cluster, self._given.version_of(cluster)) for cluster in (self._live.cluster, before)]
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
        """Print lines, the first with the time of day."""
        first, *more = told
        invocation.emit_lines([f"{time.strftime('%H:%M:%S')} {first}", *(f"  {line}" for line in more)])
