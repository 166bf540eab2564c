"""The rules in the kernels of other machines: nodes of a running cluster, or a machine that ssh reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import progress
from felixpy.cli.dumps import SavedNode
from felixpy.cli.target import say
from felixpy.errors import UsageError, unknown_node

if TYPE_CHECKING:
    from felixpy.cli.given import Given
    from felixpy.kubectl.nodes import NodeKernel

NodeRules = Annotated[
    bool,
    typer.Option(
        "--node-rules",
        help="With --cluster: the current rules of --node, or of all nodes, read through kubectl exec.",
    ),
]
Ssh = Annotated[str, typer.Option("--ssh", metavar="HOST", help="The current rules of a machine, read through ssh.")]


def saved_of(kernel: NodeKernel, words: str = "") -> SavedNode:
    """The rules read from a node, as a `SavedNode`."""
    return SavedNode(
        rules=dict(kernel.rules),
        sets=kernel.sets,
        others={backend: dict(texts) for backend, texts in kernel.others.items()},
        leaves_open=kernel.remarks,
        words=words or f"node {kernel.node}",
        listing=kernel.ruleset,
    )


def over_ssh(host: str, given: Given) -> SavedNode:
    """The rules of a machine. Raises Refused where they cannot be read."""
    from felixpy.kubectl import nodes
    from felixpy.kubectl.client import RequestRefused

    kernel = nodes.read_kernel(host, nodes.over_ssh(host, timeout=given.request_timeout))
    if kernel.failure:
        raise RequestRefused(kernel.failure if host in kernel.failure else f"{host}: {kernel.failure}")
    return saved_of(kernel, host)


def of_nodes(given: Given, names: Sequence[str]) -> Iterator[NodeKernel]:
    """The kernels of nodes, including those that could not be read, which have a `failure`."""
    from felixpy.kubectl.nodes import read_nodes

    def count(number: int, of: int) -> None:
        progress.count(number, of, "nodes")

    with progress.shown("reading the rules of nodes"):
        yield from read_nodes(given.clusters.kubectl(given.running), names, progress=count)


def chosen_nodes(given: Given) -> list[str]:
    """The node of --node, else all. Raises UsageError without a running cluster, or if it has no such node."""
    if not given.running:
        raise UsageError(
            "--node-rules reads the nodes of a running cluster; say which one: --cluster or --context NAME"
        )
    names = given.cluster.node_names()
    if given.node and given.node not in names:
        raise UsageError(unknown_node(given.node, names))
    return [given.node] if given.node else names


def read_kernels(given: Given, *, ssh: str, instead: str) -> dict[str, SavedNode]:
    """The rules by node: of the machine `ssh` (key ""), else of --node, else of all nodes.

    Nodes that cannot be read are reported on stderr; `instead` says what is used for them. Raises Refused if none can
    be read.
    """
    from felixpy.kubectl.client import RequestRefused

    if ssh:
        return {"": over_ssh(ssh, given)}
    found: dict[str, SavedNode] = {}
    failures: dict[str, str] = {}
    for kernel in sorted(of_nodes(given, chosen_nodes(given)), key=attrgetter("node")):
        if kernel.failure:
            failures[kernel.node] = kernel.failure
        else:
            found[kernel.node] = saved_of(kernel)
    if not found:
        told = "; ".join(f"{node}: {reason}" for node, reason in failures.items())
        raise RequestRefused(f"no rules of any node could be read: {told or 'the cluster has no nodes'}")
    for node, reason in failures.items():
        say(f"warning: the rules of node {node} could not be read: {reason}; {instead}")
    return found
