"""All nodes of a cluster at once, over processes of this machine or the workers of a Dask cluster.

The cluster is read and indexed once. Local workers are forked from the process that did so and write their nodes'
files themselves; Dask workers, which may run elsewhere, get the cluster once and send the texts back.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from felixpy.calico_versions import CALICO_VERSIONS
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import EnvironmentMissing, FelixpyError, Problem, natural
from felixpy.model import Cluster
from felixpy.writing import write_files

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

NODES_PER_REMOTE_TASK = 8
"""Small enough to keep all workers busy to the end, large enough to make messages rare."""

_FORK = multiprocessing.get_context("fork")

POLL_SECONDS = 0.1
"""How often forked workers are asked how far they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOutcome:
    """What became of one node. `error` is "" when all went well."""

    node: str
    rules: int = 0
    findings: tuple[Problem, ...] = ()
    error: str = ""
    files: Mapping[str, str] | None = None
    """The texts by file name, where they were not written by the worker."""


def render_node(compiler: Compiler, node: str, settings: Sequence[Setting], folder: Path | None) -> NodeOutcome:
    """Compile one node; write its files under `folder`, or hand them back when that is None."""
    try:
        ruleset = compiler.compile(node, settings=settings)
        files = ruleset.files()
        if folder:
            write_files(folder, files, below=node)
    except FelixpyError as wrong:
        return NodeOutcome(node=node, error=str(wrong))
    return NodeOutcome(
        node=node,
        rules=sum(len(chain.bodies) for table in ruleset.tables.values() for chain in table.all_chains()),
        findings=ruleset.findings,
        files=None if folder else files,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker has to know besides the names of its nodes."""

    compiler: Compiler
    settings: Sequence[Setting]
    folder: Path | None
    ready: Synchronized[int]
    """How many nodes forked workers have finished."""
    stopped: Synchronized[int]
    """Not 0 once somebody interrupted: workers finish the node that they are at, and write no other."""


_inherited: list[_Work] = []
"""The work of forked processes: they find it in their memory, so nothing has to be sent."""


def _forked(nodes: Sequence[str]) -> list[NodeOutcome]:
    work = _inherited[-1]
    outcomes = []
    for node in nodes:
        if work.stopped.value:
            break
        outcomes.append(render_node(work.compiler, node, work.settings, work.folder))
        with work.ready.get_lock():
            work.ready.value += 1
    return outcomes


@dataclass(frozen=True, slots=True)
class Parcel:
    """A cluster on its way to another machine."""

    cluster: Cluster
    calico_version: str
    dataplane: str | None
    settings: tuple[Setting, ...]


def _remote(parcel: Parcel, nodes: Sequence[str]) -> list[NodeOutcome]:
    compiler = Compiler(parcel.cluster, CALICO_VERSIONS[parcel.calico_version], parcel.dataplane)
    return [render_node(compiler, node, parcel.settings, None) for node in nodes]


def _ignore_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal; workers are told by the one that they were forked from."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _processes(work: _Work, jobs: int) -> Iterator[tuple[Executor, Callable[..., Any], tuple[Any, ...]]]:
    """Forked workers. The collector is frozen so that they do not copy the cluster by walking through it."""
    gc.collect()
    gc.freeze()
    _inherited.append(work)
    try:
        with ProcessPoolExecutor(jobs, mp_context=_FORK, initializer=_ignore_interrupts) as pool:
            try:
                yield pool, _forked, ()
            except BaseException:
                work.stopped.value = 1
                raise
    finally:
        _inherited.pop()
        gc.unfreeze()


@contextmanager
def _dask(work: _Work, address: str) -> Iterator[tuple[Executor, Callable[..., Any], tuple[Any, ...]]]:
    """The workers of a Dask cluster; the cluster's objects are sent to each of them once."""
    try:
        from distributed import Client
    except ImportError as missing:
        raise EnvironmentMissing("--scheduler needs Dask: pip install 'felixpy[dask]'") from missing
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as wrong:
        raise EnvironmentMissing(f"no Dask cluster answers at {address}: {wrong}") from wrong
    with client:
        compiler = work.compiler
        parcel = Parcel(compiler.cluster, compiler.calico_version.name, compiler.dataplane, tuple(work.settings))
        sent = client.scatter(parcel, broadcast=True)
        with client.get_executor() as executor:
            yield executor, _remote, (sent,)


def render_nodes(
    compiler: Compiler,
    folder: Path,
    *,
    settings: Sequence[Setting] = (),
    jobs: int = 0,
    dask: str | None = None,
    done: Callable[[int], None] = lambda ready: None,
) -> list[NodeOutcome]:
    """Render every node of the cluster into ``folder/<node>/``; `done` is told now and then how many are ready.

    `jobs` is the number of processes, 0 for one a core; 1 works without any. A node that fails does not stop the
    others: its outcome has the error. Sorted by node. Raises EnvironmentMissing without a Dask cluster to talk to.
    """
    # Neighbours tend to run the same workloads, and so share chains.
    nodes = sorted(compiler.cluster.node_names(), key=natural)
    jobs = min(jobs or os.cpu_count() or 1, max(1, len(nodes)))
    compiler.prepare(settings)
    outcomes: list[NodeOutcome] = []

    def finish(found: Sequence[NodeOutcome]) -> None:
        for outcome in found:
            if outcome.files is not None:
                write_files(folder, outcome.files, below=outcome.node)
            outcomes.append(outcome)
        if found:
            done(len(outcomes))

    if jobs == 1 and not dask:
        for node in nodes:
            finish([render_node(compiler, node, settings, folder)])
    else:
        work = _Work(compiler, settings, folder, _FORK.Value("i", 0), _FORK.Value("i", 0))
        # A process draws a policy's chains once, so each gets neighbours only; a remote worker shares nothing anyway.
        size = NODES_PER_REMOTE_TASK if dask else -(-len(nodes) // jobs)
        with _dask(work, dask) if dask else _processes(work, jobs) as (executor, function, arguments):
            batches = [nodes[start : start + size] for start in range(0, len(nodes), size)]
            futures: list[Future[list[NodeOutcome]]] = [
                executor.submit(function, *arguments, batch) for batch in batches
            ]
            if dask:
                for future in futures:
                    finish(future.result())
            else:
                pending = set(futures)
                while pending:
                    _, pending = wait(pending, timeout=POLL_SECONDS)
                    done(work.ready.value)
                finish([outcome for future in futures for outcome in future.result()])
    return sorted(outcomes, key=lambda outcome: outcome.node)
