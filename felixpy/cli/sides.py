"""One side of a comparison: manifests, or what was saved on nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from felixpy.cli.dumps import dumps_below, likely_nodes_of, settled
from felixpy.cli.given import UNNAMED, Given
from felixpy.cli.saved_files import read
from felixpy.errors import UsageError, few

if TYPE_CHECKING:
    from felixpy.calico_versions import CalicoVersion
    from felixpy.model import Cluster
    from felixpy.netfilter.rules import Dump
    from felixpy.topology.nodes import Nodes


class GivenSide(NamedTuple):
    """The contents of a path: dumps by folder ("" for a single node), or manifests."""

    path: str
    dumps: Mapping[str, Dump]
    cluster: Cluster | None

    @property
    def nodes(self) -> list[str]:
        return self.cluster.node_names() if self.cluster else sorted(filter(None, self.dumps))


def read_sides(before: str, after: str, earlier: Given, given: Given) -> tuple[GivenSide, GivenSide]:
    """Return both sides. Raises InputError and UsageError for input that cannot be read."""
    if before == after == "-":
        raise UsageError("only one side can be standard input")
    first, second = _read(before, earlier), _read(after, given)
    return first, second


def _read(path: str, given: Given) -> GivenSide:
    dumps = {} if path == "-" else dict(dumps_below(Path(path)))
    if not dumps:
        _check_form(path)
        return GivenSide(path, {}, given.read([path]))
    return GivenSide(path, dumps, None)


_MANIFEST = re.compile(r"""^[\s{["'-]*(?:apiVersion|kind)["']?\s*:|["'](?:apiVersion|kind)["']\s*:""", re.MULTILINE)


def _check_form(path: str) -> None:
    """Raise UsageError for text that is neither manifests nor a dump. Reading reports empty and binary files."""
    if path == "-" or not Path(path).is_file():
        return
    text = read(path)
    if text.strip() and "\0" not in text and not _MANIFEST.search(text):
        raise UsageError(
            f"{path}: neither manifests nor a dump; give objects of Kubernetes and Calico, or what iptables-save,"
            " iptables -S, iptables -L, ipset save or nft list ruleset prints"
        )


def nodes_of(side: GivenSide, other: GivenSide, calico_version: CalicoVersion, given: Given) -> Nodes:
    """Return the nodes of a side. A dump without a node's name is assigned to the likeliest node.

    The endpoints of dumps are named after the manifests of ``-f``, else after those of the other side. Manifests
    that name no data plane are compiled for that of the other side's dumps.
    """
    from felixpy.compiler import Compiler
    from felixpy.model import Cluster
    from felixpy.topology.nodes import Nodes

    cluster = side.cluster
    if cluster is None:
        cluster = given.read(given.files) if given.files else other.cluster or Cluster()
    known = cluster.node_names() or other.nodes
    found = {**settled(side.dumps, known)} if side.dumps and known else {**side.dumps}
    if "" in found:
        dump = found.pop("")
        given.check_node(cluster, other.nodes)
        found[given.node or _whose(side, dump, cluster, known)] = dump
    home = given.node or (known[0] if len(known) == 1 else UNNAMED)
    hosts = {home: given.host} if given.host.interfaces is not None else {}
    chosen = given.chosen_data_plane(found)
    if other.dumps and not found and not given.names_data_plane(cluster):
        chosen = given.chosen_data_plane(other.dumps)
    compiler = Compiler(cluster, calico_version, chosen)
    return Nodes(compiler, hosts=hosts, settings=given.settings, dumps=found or None)


def _whose(side: GivenSide, dump: Dump, cluster: Cluster, known: Sequence[str]) -> str:
    """Return the node of a dump without a name. Raises UsageError if it could be several."""
    if not known:
        return UNNAMED
    if len(known) == 1:
        return known[0]
    likely = likely_nodes_of(dump, cluster) if cluster.node_names() else []
    if len(likely) == 1:
        return likely[0]
    raise UsageError(f"{side.path}: use --node to say which node these rules are from: {few(known)}")
