"""One side of a comparison: manifests, or what was saved on nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from felixpy.cli.dumps import dumps_below, settled
from felixpy.cli.given import UNNAMED, Given
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.dialects import Dialect
    from felixpy.model import Cluster
    from felixpy.netfilter.rules import Dump
    from felixpy.trace.nodes import Nodes


class Side(NamedTuple):
    """What a path led to: dumps by folder ("" where it is just one node), or manifests."""

    path: str
    dumps: Mapping[str, Dump]
    cluster: Cluster | None

    @property
    def nodes(self) -> list[str]:
        return self.cluster.node_names() if self.cluster else sorted(filter(None, self.dumps))


def read_sides(before: str, after: str, given: Given) -> tuple[Side, Side]:
    """Both sides. Raises InputError and UsageError for what cannot be read."""
    if before == after == "-":
        raise UsageError("only one side can be standard input")
    first, second = _read(before, given), _read(after, given)
    return first, second


def _read(path: str, given: Given) -> Side:
    dumps = {} if path == "-" else dict(dumps_below(Path(path)))
    if not dumps:
        return Side(path, {}, given.read([path]))
    return Side(path, dumps, None)


def nodes_of(side: Side, other: Side, dialect: Dialect, given: Given) -> Nodes:
    """The nodes of a side, ready to be compared. A dump without a node's name is that of the only node there is.

    Endpoints of dumps are named by the manifests that were given for that, else by those of the other side.
    """
    from felixpy.compiler import Compiler
    from felixpy.model import Cluster
    from felixpy.trace.nodes import Nodes

    cluster = side.cluster
    if cluster is None:
        cluster = given.read(given.files) if given.files else other.cluster or Cluster()
    found = settled(side.dumps, cluster.node_names()) if side.dumps and cluster.node_names() else side.dumps
    side = side._replace(dumps=found)
    name = given.node or _only(side, other)
    dumps = {folder or name: dump for folder, dump in side.dumps.items()}
    hosts = {name: given.host} if given.host.interfaces is not None else {}
    compiler = Compiler(cluster, dialect, given.chosen_data_plane(dumps))
    return Nodes(compiler, hosts=hosts, settings=given.settings, dumps=dumps or None)


def _only(side: Side, other: Side) -> str:
    """The node that is meant where nobody says so. Raises UsageError if it could be several."""
    names = side.nodes or other.nodes
    if len(names) > 1 and "" in {*side.dumps, *other.dumps}:
        path = side.path if side.dumps else other.path
        raise UsageError(f"{path}: say with --node whose rules these are: {', '.join(names)}")
    return names[0] if len(names) == 1 else UNNAMED
