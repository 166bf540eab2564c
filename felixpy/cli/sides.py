"""One side of a comparison: manifests, or what was saved on nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from felixpy.cli.given import UNNAMED, Given
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.dialects import Dialect
    from felixpy.model import Cluster
    from felixpy.netfilter.rules import Dump
    from felixpy.trace.nodes import Nodes

SAVED = ".save"
"""How the files that ``felixpy render --output-dir`` writes for comparing end; their twins end otherwise."""

ENOUGH = 65536
"""Characters of a file that tell what it is."""


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


def dumps_below(path: Path) -> Iterator[tuple[str, Dump]]:
    """Saved rules in a file, in a folder, or in a folder for each node."""
    if path.is_dir():
        own = _saved_below(path)
        if own is not None:
            yield "", own
            return
        for folder in sorted(below for below in path.iterdir() if below.is_dir() and not below.name.startswith(".")):
            found = _saved_below(folder)
            if found is not None:
                yield folder.name, found
    elif path.is_file():
        found = _saved([path])
        if found is not None:
            yield "", found


def _saved_below(folder: Path) -> Dump | None:
    from felixpy.manifests.files import SUFFIXES

    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix not in SUFFIXES]
    return _saved([file for file in files if file.suffix == SAVED] or files)


def _saved(files: Sequence[Path]) -> Dump | None:
    """The dump that files make up; None if none of them holds saved rules or sets."""
    from felixpy.iptables.forms import looks_saved, read_dump, split_saved

    rules: dict[int, str] = {}
    sets: list[str] = []
    for file in files:
        try:
            with file.open(errors="replace") as source:
                if not looks_saved(source.read(ENOUGH)):
                    continue
                source.seek(0)
                texts, some_sets = split_saved(source.read(), 6 if file.name.startswith("ip6") else 0)
        except OSError as wrong:
            raise UsageError(f"{file}: {wrong.strerror}") from wrong
        for family, text in texts.items():
            if family in rules:
                raise UsageError(f"{file}: rules of IPv{family} were given already, in another file of that folder")
            rules[family] = text
        sets += filter(None, [some_sets])
    return read_dump(rules, "".join(sets) if sets else None) if rules or sets else None


def nodes_of(side: Side, other: Side, dialect: Dialect, given: Given) -> Nodes:
    """The nodes of a side, ready to be compared. A dump without a node's name is that of the only node there is."""
    from felixpy.compiler import Compiler
    from felixpy.model import Cluster
    from felixpy.trace.nodes import Nodes

    cluster = side.cluster
    if cluster is None:
        cluster = given.read(given.files) if given.files else Cluster()
    name = given.node or _only(side, other)
    dumps = {folder or name: dump for folder, dump in side.dumps.items()}
    hosts = {name: given.host} if given.host.interfaces is not None else {}
    return Nodes(Compiler(cluster, dialect), hosts=hosts, settings=given.settings, dumps=dumps or None)


def _only(side: Side, other: Side) -> str:
    """The node that is meant where nobody says so. Raises UsageError if it could be several."""
    names = side.nodes or other.nodes
    if len(names) > 1 and "" in {*side.dumps, *other.dumps}:
        path = side.path if side.dumps else other.path
        raise UsageError(f"{path}: say with --node whose rules these are: {', '.join(names)}")
    return names[0] if len(names) == 1 else UNNAMED
