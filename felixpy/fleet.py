"""All nodes of a cluster at once: their rules written into folders or handed out one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import FelixpyError, Problem, natural
from felixpy.model import Cluster
from felixpy.ruleset import Ruleset
from felixpy.workers import Lost, Workers
from felixpy.writing import write_files

__all__ = ["NodeOutcome", "nodes_of", "print_nodes", "render_nodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOutcome:
    """The result for one node. `error` is "" on success; `lost`: the process that compiled it ended."""

    node: str
    rules: int = 0
    findings: tuple[Problem, ...] = ()
    error: str = ""
    lost: bool = False
    text: str = ""
    """What is to be printed."""
    files: Mapping[str, bytes] | None = None
    """What is to be written, by file name, where no worker could."""


class _Compiled(NamedTuple):
    """A compiled node whose files are not written yet."""

    outcome: NodeOutcome
    contents: Mapping[str, Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class NodeWork:
    """Compiles nodes and writes their files below `folder`; without one returns the files, or the `text` to print."""

    compiler: Compiler
    settings: Sequence[Setting]
    folder: Path | None = None
    text: Callable[[Ruleset], str] | None = None

    def begin(self, node: str) -> _Compiled:
        """Compile a node."""
        try:
            ruleset = self.compiler.compile(node, settings=self.settings)
            text = self.text(ruleset) if self.text else ""
            contents = {} if self.text else ruleset.contents()
        except FelixpyError as wrong:
            return _Compiled(NodeOutcome(node=node, error=str(wrong)), {})
        rules = sum(len(chain.bodies) for table in ruleset.tables.values() for chain in table.all_chains())
        return _Compiled(NodeOutcome(node=node, rules=rules, findings=ruleset.findings, text=text), contents)

    def end(self, begun: _Compiled) -> NodeOutcome:
        """Write its files."""
        outcome, contents = begun
        if not contents:
            return outcome
        if self.folder is None:
            return replace(outcome, files={name: b"".join(pieces) for name, pieces in contents.items()})
        try:
            write_files(self.folder, contents, below=outcome.node)
        except FelixpyError as wrong:
            return NodeOutcome(node=outcome.node, error=str(wrong))
        return outcome


def nodes_of(cluster: Cluster) -> list[str]:
    """All nodes in natural order, in which neighbours tend to run the same workloads."""
    return sorted(cluster.node_names(), key=natural)


def render_nodes(
    compiler: Compiler, folder: Path, hands: Workers, *, settings: Sequence[Setting] = ()
) -> Iterator[NodeOutcome]:
    """Render every node of the cluster into ``folder/<node>/``; outcomes come as they are ready.

    A node that fails does not stop the others: its outcome has the error.
    """
    # Workers on other machines have no access to the folder.
    work = NodeWork(compiler, settings, folder if hands.reaches_files else None)
    for outcome in _outcomes(work, hands, in_order=False):
        if outcome.files is not None:
            write_files(folder, outcome.files, below=outcome.node)
        yield replace(outcome, files=None)


def print_nodes(
    compiler: Compiler, text: Callable[[Ruleset], str], hands: Workers, *, settings: Sequence[Setting] = ()
) -> Iterator[NodeOutcome]:
    """The `text` of every node in natural order, each as soon as it and all before it are ready."""
    return _outcomes(NodeWork(compiler, settings, text=text), hands, in_order=True)


def _outcomes(work: NodeWork, hands: Workers, *, in_order: bool) -> Iterator[NodeOutcome]:
    nodes = nodes_of(work.compiler.cluster)
    work.compiler.prepare(work.settings)
    for number, result in hands.run(work, nodes, in_order=in_order):
        if isinstance(result, Lost):
            yield NodeOutcome(node=nodes[number], error=result.words, lost=True)
        else:
            yield result
