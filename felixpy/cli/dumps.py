"""Existing rules, saved on a node or live in a kernel: the options that choose them, and reading them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, NamedTuple, Optional, TypeVar

import typer

from felixpy.cli.saved_files import SavedFiles, read
from felixpy.cli.target import IptablesKind, live_place, tools_of
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.cli.given import Given
    from felixpy.kernel import Machine
    from felixpy.model import Cluster, Host
    from felixpy.netfilter.rules import Dump
    from felixpy.nftables.both import SavedTables

LOCK_SECONDS = 10

Dumps = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads it at run time
    typer.Option(
        "--rules",
        metavar="PATH",
        help="Output of iptables-save, -S, -L or nft list ruleset: a file, a folder of several nodes, or - for "
        "stdin; repeatable.",
    ),
]
SetDump = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--ipsets", metavar="FILE", help="The sets of --rules, from ipset save, list or list -o xml."),
]


def one_place(
    netns: str | None, *, host: bool, rules: Sequence[str] | None, ipsets: str | None, ssh: str = "",
    node_rules: bool = False,
) -> bool:  # fmt: skip
    """Whether an option chooses existing rules. Raises UsageError for more than one place."""
    places = {"--netns": netns, "--host": host, "--rules": rules, "--ssh": ssh, "--node-rules": node_rules}
    given = [option for option, used in places.items() if used]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")
    if ipsets and not rules:
        raise UsageError("--ipsets goes with --rules")
    return bool(given)


def read_live(netns: str | None, backend: IptablesKind, *, counters: bool = False) -> tuple[Dump, Host]:
    """The rules and sets of a kernel as they are now, and the interfaces there.

    Raises EnvironmentMissing without root, tools or namespace, KernelRefused for tables that cannot be listed.
    """
    from felixpy.dataplane.tools import failure
    from felixpy.iptables.forms import read_dump
    from felixpy.machine import read_host
    from felixpy.nftables.both import read_both
    from felixpy.verification.observed import read_all

    place = live_place(netns)
    with place.machine() as machine:
        if uses_nftables(machine, backend):
            listed = machine.run("nft", *([] if counters else ["-s"]), "list", "ruleset")
            if listed.status:
                raise failure("nft", listed, "to list the ruleset")
            # A packet that passes both is not counted twice.
            kinds = [] if counters else list(_kinds_in_use(machine))
            return read_both(listed.output, place.words, kinds), machine.inside(read_host)
        tools = tools_of(machine, backend, LOCK_SECONDS)
        return read_dump(read_all(tools, counters=counters), tools.sets()), machine.inside(read_host)


_IN_FORCE = re.compile(r"^(?:\[\d+:\d+\] )?-A |^:\S+ DROP ", re.MULTILINE)


def _kinds_in_use(machine: Machine) -> Iterator[SavedTables]:
    """The tables of legacy and nft iptables, of each kind that has rules and tools; packets pass both."""
    from felixpy.dataplane.tools import BACKENDS, PROGRAMS, SAVE_SETS
    from felixpy.nftables.both import SavedTables

    for kind in BACKENDS:
        commands = {family: f"{program}-{kind}-save" for family, program in PROGRAMS.items()}
        saved = {family: machine.run(name) for family, name in commands.items()}
        rules = {family: done.output for family, done in saved.items() if not done.status}
        if any(_IN_FORCE.search(text) for text in rules.values()):
            sets = machine.run(*SAVE_SETS)
            yield SavedTables(kind, rules, None if sets.status else sets.output, "".join(rules.values()))


def uses_nftables(machine: Machine, backend: IptablesKind) -> bool:
    """Whether Felix's nftables tables exist, and --backend names no kind of iptables."""
    from felixpy.kubectl.nodes import TABLES
    from felixpy.names import has_felix_tables

    return backend is IptablesKind.auto and has_felix_tables(machine.run(*TABLES).output)


Found = TypeVar("Found")


class SavedNode(NamedTuple):
    """What was saved of one node: rules by family, and sets if there are any.

    `not_given`: tables, by family, that are missing where tables were printed one by one.
    `others`: by kind, rules of the other kind of iptables; with a listing, of every kind.
    `comments`: the lines in which the tools give their names and versions.
    `leaves_open`: what the input forms leave out.
    `words`: the names of the files.
    `listing`: what nft listed, if Calico's tables are in it; `beside` otherwise.
    `kinds`: all iptables rules by kind.
    """

    rules: dict[int, str]
    sets: str | None
    comments: str = ""
    others: Mapping[str, dict[int, str]] = MappingProxyType({})
    leaves_open: tuple[str, ...] = ()
    words: str = ""
    listing: str = ""
    not_given: Mapping[int, Sequence[str]] = MappingProxyType({})
    beside: str = ""
    kinds: Mapping[str, dict[int, str]] = MappingProxyType({})

    @property
    def plane(self) -> str:
        """The data plane whose rules these are."""
        return "nftables" if self.listing else "iptables"

    @property
    def text(self) -> str:
        """The rules and sets as the tools printed them."""
        return self.listing or "".join((*self.rules.values(), self.sets or ""))

    def dump(self, *, alone: bool = False) -> Dump:
        """The rules and sets, parsed; with `alone` those of one data plane only. Raises InputError."""
        from felixpy.iptables.forms import read_dump
        from felixpy.nftables.both import SavedTables, read_both

        if not self.listing and (alone or not self.beside):
            return read_dump(self.rules, self.sets, self.leaves_open)
        if alone:
            found = read_both(self.listing, self.words, ())
            left = [kind for kind, texts in self.others.items() if any("cali-" in text for text in texts.values())]
            words = (f"tables of Felix in {kind} are in force, too; what they count is left out" for kind in left)
            return replace(found, remarks=(*found.remarks, *words))
        kinds = [
            SavedTables(kind, rules, self.sets, self.comments, self.leaves_open) for kind, rules in self.kinds.items()
        ]
        return read_both(self.listing or self.beside, self.words, kinds)


def read_saved(paths: Sequence[str], ipsets: str | None, *, both: bool = False) -> Mapping[str, SavedNode]:
    """Saved rules and sets by node; the key is "" for a single node that no folder or file names.

    A folder holds a folder or file for each node, or the files of one; a node's files are read on access. With `both`
    legacy and nft tables are kept. Raises InputError and UsageError for files that cannot be read or that give the
    same family or table twice.
    """
    folders = [path for path in paths if path != "-" and Path(path).is_dir()]
    if folders and len(paths) > 1:
        raise UsageError(f"--rules {folders[0]}: a folder goes with no other --rules")
    if not folders:
        return {"": _saved(SavedFiles(), paths, ipsets, both=both)}
    files = SavedFiles(kept=False)
    nodes = _node_files(Path(folders[0]), files)
    if not nodes:
        raise UsageError(f"--rules {folders[0]}: there are no saved rules in it")
    return SavedNodes(files, nodes, ipsets, both=both)


class SavedNodes(Mapping[str, SavedNode]):
    """Saved nodes of a folder. Each access reads the files again: nothing is kept, as there may be thousands."""

    def __init__(
        self, files: SavedFiles, nodes: Mapping[str, Sequence[str]], ipsets: str | None, *, both: bool
    ) -> None:
        self._files, self._nodes, self._ipsets, self._both = files, nodes, ipsets, both

    def __getitem__(self, name: str) -> SavedNode:
        return _saved(SavedFiles(), self._nodes[name], self._ipsets, both=self._both)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def plane(self, name: str) -> str:
        """The data plane of a node."""
        listings = [file for file in self._nodes[name] if self._files.is_listing(file)]
        if not listings or any(map(self._files.lists_calico, listings)):
            return "nftables" if listings else "iptables"
        return self[name].plane


_KIND = re.compile(
    r"(?:^|[._-])(?:ip6?tables|ipsets?|nft|rules|ruleset|sets|save[d]?|list|dump|log|txt|xml|"
    r"raw|mangle|nat|filter|security|a|c|t|[nvxLS]{1,4}|line-numbers)(?=[._-]|$)"
)
"""Parts of file names that name the contents, not the node."""


def _node_files(folder: Path, files: SavedFiles) -> dict[str, list[str]]:
    """Files with saved rules or sets by node: one subfolder for each node, or files here, one node each or all of one.

    The key of a single unnamed node is "".
    """
    here = _saved_files(folder, files)
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {path.name: names for path in below if (names := _saved_files(path, files))}
    if not here or found:
        return found
    by_name: dict[str, list[str]] = {}
    for file in here:
        by_name.setdefault(_KIND.sub("", Path(file).name).strip("._-"), []).append(file)
    with_rules = [name for name, names in by_name.items() if any(map(files.has_rules, names))]
    if len(with_rules) == 1 or "" in with_rules:
        return {"" if "" in with_rules else with_rules[0]: here}
    return {name: by_name[name] for name in with_rules} or {"": here}


def settled(found: Mapping[str, Found], nodes: Sequence[str]) -> Mapping[str, Found]:
    """Rename the key to "" if there is a single file whose name is not that of a node."""
    (name, *more) = found
    return {"": found[name]} if not more and name not in nodes else found


def dumps_below(path: Path, *, alone: bool = False) -> Iterator[tuple[str, Dump]]:
    """Yield (node, dump) for saved rules in a file, in a folder, or in a folder or file for each node.

    With `alone` each dump has the rules of one data plane only.
    """
    files = SavedFiles()
    if path.is_dir():
        for name, names in _node_files(path, files).items():
            yield name, _saved(files, names, None, only_sets=True).dump(alone=alone)
    elif path.is_file() and files.is_saved(str(path)):
        yield "", _saved(files, [str(path)], None, only_sets=True).dump(alone=alone)


TWINS = (".save", ".listed")
"""The suffixes of the files in save form that ``felixpy render --output-dir`` writes."""


def _saved_files(folder: Path, known: SavedFiles) -> list[str]:
    """Files with saved rules or sets."""
    from felixpy.manifests.reading.files import SUFFIXES

    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.lower().endswith(SUFFIXES)]
    chosen = [file for file in files if file.suffix in TWINS] or files
    return [str(file) for file in chosen if known.is_saved(str(file))]


def _saved(
    files: SavedFiles, names: Sequence[str], ipsets: str | None, *, both: bool = False, only_sets: bool = False
) -> SavedNode:
    """The contents of one node's files. An nft listing without Calico's tables becomes `SavedNode.beside`."""
    from felixpy.nftables.dumps import lists_calico

    listings = [name for name in names if files.is_listing(name)]
    listing = "".join(files.text(name) for name in listings)
    found = _of_iptables(files, names, ipsets, both=both, only_sets=only_sets or bool(listings))
    if not listing:
        return found
    if not only_sets:
        _check_others(files, listings, names, ipsets, alone=not found.rules)
    if found.rules and not lists_calico(listing):
        return found._replace(beside=listing)
    beside = {**({"iptables": found.rules} if found.rules else {}), **found.others}
    words = ", ".join("stdin" if name == "-" else name for name in listings)
    return found._replace(rules={}, others=beside, words=words, listing=listing)


def _check_others(
    files: SavedFiles, listings: Sequence[str], names: Sequence[str], ipsets: str | None, *, alone: bool
) -> None:
    """Raise UsageError for files given with a listing that hold no rules or sets, or sets that no rule uses."""
    others = [name for name in names if name not in listings]
    for name in others:
        parts = files.parts(name)
        if not parts.rules and parts.sets is None:
            raise UsageError(f"--rules {name}: there is no table in it")
    if alone and (ipsets or others):
        raise UsageError(f"{listings[0]} is what nft lists, sets included; {ipsets or others[0]} does not go with it")


def not_walked(listing: str) -> Iterator[str]:
    """Remarks on the tables in an nft listing that are not iptables' own."""
    from felixpy.nftables.reading import read_tables
    from felixpy.ruleset import TABLES

    for table in read_tables(listing) if listing else ():
        if table.name not in (*TABLES, "security") and any(chain.base for chain in table.chains.values()):
            yield f"table {table.title} of nftables is not walked with tables of iptables"


def _of_iptables(
    files: SavedFiles, names: Sequence[str], ipsets: str | None, *, both: bool, only_sets: bool
) -> SavedNode:
    """The tables of iptables and the sets of ipset in some files."""
    from felixpy.iptables.forms import not_given, words_of_missing
    from felixpy.reading import lines_of

    kinds: dict[str, dict[int, str]] = {}
    sets: list[str] = []
    notes: dict[str, None] = {}
    tables: dict[int, frozenset[str]] = {}
    dumped: set[int] = set()
    comments = ""
    for name in names:
        heads = "".join(f"{line}\n" for line in lines_of(files.text(name)) if line.startswith("#"))
        found = files.parts(name)
        kind = kinds.setdefault("nft" if _NFT.search(heads) else "legacy", {})
        for family, text in found.rules.items():
            repeated = family in kind and found.tables[family] & tables.get(family, frozenset())
            beside = any(family in others for others in kinds.values() if others is not kind)
            if repeated or (beside and not both):
                raise UsageError(f"--rules {name}: a dump of IPv{family} was given already")
            kind[family] = kind.get(family, "") + text
            tables[family] = tables.get(family, frozenset()) | found.tables[family]
            dumped |= {family} - found.listed
        sets += [found.sets] if found.sets is not None else []
        notes.update(dict.fromkeys(found.leaves_open))
        comments += heads
    if not any(kinds.values()) and not only_sets:
        first = names[0]
        raise UsageError(
            f"--rules {first}: there is no table in it; give what iptables-save or nft list ruleset prints"
        )
    main, others = _in_use(kinds)
    if ipsets:
        sets = [_sets(ipsets)]
    words = ", ".join("stdin" if name == "-" else name for name in names)
    missing = not_given(tables, tables.keys() - dumped)
    notes.update((words_of_missing(family, lacking), None) for family, lacking in missing.items())
    saved = SavedNode(main, "".join(sets) if sets else None, comments, others, tuple(notes), words, not_given=missing)
    return saved._replace(kinds={kind: texts for kind, texts in kinds.items() if texts})


def _sets(name: str) -> str:
    """The sets in a file, ignoring everything else; "" for a file without sets."""
    from felixpy.iptables.forms import split_saved

    text = read(name)
    found = split_saved(text)
    if found.sets is None and text.strip() and not found.rules:
        return text  # reading the sets reports it
    return found.sets or ""


_NFT = re.compile(r"^# Generated by ip6?tables-nft-save|^# Generated by .*\(nf_tables\)", re.MULTILINE)


def _in_use(kinds: dict[str, dict[int, str]]) -> tuple[dict[int, str], dict[str, dict[int, str]]]:
    """The rules of the kind in use (the one with more rules) by family, and those left by kind.

    A family that only one kind has is taken from that kind.
    """
    by_size = sorted(kinds, key=lambda kind: (-sum(text.count("\n-") for text in kinds[kind].values()), kind))
    main = {family: text for kind in reversed(by_size) for family, text in kinds[kind].items()}
    rest = {kind: {f: text for f, text in kinds[kind].items() if main[f] is not text} for kind in by_size[1:]}
    return main, {kind: texts for kind, texts in rest.items() if texts}


def named_dumps(saved: Mapping[str, SavedNode | Dump], given: Given) -> dict[str, Dump]:
    """Dumps by node. An unnamed one is assigned to --node, else the only node, else the likeliest node.

    Raises UsageError if that is ambiguous.
    """
    from felixpy.cli.given import UNNAMED
    from felixpy.model import Cluster

    cluster = given.cluster if given.files else Cluster()
    names = cluster.node_names()
    dumps = {name: found.dump() if isinstance(found, SavedNode) else found for name, found in saved.items()}
    dumps = {**settled(dumps, names)} if names else dumps
    if "" in dumps:
        dump = dumps.pop("")
        given.check_node(cluster)
        dumps[given.node or (likely_node(dump, cluster) if names else UNNAMED)] = dump
    return dumps


def likely_nodes_of(dump: Dump, cluster: Cluster) -> list[str]:
    """The nodes with the most pods that have chains in the dump; all nodes if no pod has one."""
    from felixpy.decode.comments import likely_nodes

    chains = (chain for tables in dump.tables.values() for table in tables.values() for chain in table)
    return likely_nodes(" ".join(chains).replace("-cali", " cali"), cluster)


def likely_node(dump: Dump, cluster: Cluster) -> str:
    """The only node of the cluster, or the one whose pods have chains. Raises UsageError if that is ambiguous."""
    from felixpy.compiler import only_node

    if len(cluster.node_names()) > 1:
        found = likely_nodes_of(dump, cluster)
        if len(found) == 1:
            return found[0]
    return only_node(cluster)
