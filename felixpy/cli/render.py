"""``felixpy render``: the rules and sets of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, TypeGuard

import typer

from felixpy.cli import invocation
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.options import Jobs
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.annotate import Notes
    from felixpy.compiler import Compiler
    from felixpy.model import Cluster
    from felixpy.nftables import NftRuleset
    from felixpy.ruleset import Ruleset


class RuleForm(StrEnum):
    """How a rule is spelt."""

    save = "save"
    restore = "restore"
    nft_json = "nft-json"


class Output(StrEnum):
    """What comes out."""

    text = "text"
    json = "json"


@takes_manifests()
def render(
    given: Given,
    four: Annotated[bool, typer.Option("-4", help="IPv4 (the default for iptables; for nftables it is all).")] = False,
    six: Annotated[bool, typer.Option("-6", help="IPv6.")] = False,
    form: Annotated[
        RuleForm,
        typer.Option(
            "--form", help="The spelling of rules: the kernel's, Felix's, or JSON as printed by `nft -j list`."
        ),
    ] = RuleForm.save,
    ipsets: Annotated[
        bool, typer.Option("--ipsets", help="The sets instead of the rules; of both families unless -4 or -6.")
    ] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text, or JSON with origins.")] = Output.text,
    output_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output-dir", metavar="DIR", help="Write every form of rules and sets into a folder."),
    ] = None,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Add comments with the object and line behind each chain and set.")
    ] = False,
    counters: Annotated[
        bool, typer.Option("--counters/--no-counters", help="Print rules with counters, all zero.")
    ] = False,
    headers: Annotated[
        bool, typer.Option("--headers/--no-headers", help="Print a comment line that says what made the text.")
    ] = False,
    all_nodes: Annotated[
        bool,
        typer.Option(
            "--all-nodes",
            help="Compile all nodes, each into a folder under --output-dir or printed.",
        ),
    ] = False,
    jobs: Jobs = 0,
    dask: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--scheduler",
            "--dask",
            metavar="ADDRESS",
            help="Spread --all-nodes over the workers of a Dask cluster, tcp://HOST:PORT (extra felixpy[dask]).",
        ),
    ] = None,
) -> None:
    """Print the rules that Felix would program on a node.

    \b
    Examples:
      felixpy render > rules.txt                      the manifests of this folder
      felixpy render -f shop/ --node node1 -6         IPv6 rules of one of several nodes
      felixpy render shop/ --annotate                 with the object and line behind each chain
      felixpy render shop/ --ipsets                   the sets, fit for `ipset restore`
      felixpy render shop/ --dataplane nftables       what `nft -s list ruleset` prints, fit for `nft -f`
      kubectl get ns,sa,po,netpol -Ao yaml | felixpy render - --node node1
      felixpy render shop/ --all-nodes --output-dir out/
      felixpy render shop/ --all-nodes -o json        a line of JSON for each node
    """
    if four and six:
        raise UsageError("-4 and -6 exclude each other; --output-dir writes both")
    if all_nodes and given.node:
        raise UsageError("--all-nodes and --node exclude each other")
    if all_nodes and annotate:
        raise UsageError("--annotate is for one node")
    compiler = given.compiler
    printing = NodePrinting(
        cluster=given.cluster,
        family=4 if four else 6 if six else None,
        form=form,
        ipsets=ipsets,
        output=output,
        notes=compiler if annotate else None,
        counters=counters,
        headers=headers or (all_nodes and form is not RuleForm.nft_json),
        one_line=all_nodes,
    )
    if all_nodes:
        from felixpy.cli.fleet import print_all, write_all
        from felixpy.cli.spreading import for_nodes

        hands = for_nodes(len(given.cluster.node_names()), jobs, dask)
        if output_dir:
            write_all(compiler, output_dir, hands, settings=given.settings, quiet=given.quiet)
        else:
            print_all(compiler, printing, hands, settings=given.settings, quiet=given.quiet)
        return
    ruleset = compiler.compile(given.home, given.host, given.settings)
    invocation.warn(ruleset.findings, quiet=given.quiet)
    if output_dir:
        from felixpy.writing import write_files

        write_files(output_dir, ruleset.contents())
        return
    invocation.emit(printing(ruleset))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePrinting:
    """What is printed of a node. `family` is None for those that are usual, `notes` whose cluster comments tell about.

    A document of JSON is on `one_line` where others follow.
    """

    cluster: Cluster
    family: int | None
    form: RuleForm
    ipsets: bool
    output: Output
    notes: Compiler | None
    counters: bool
    headers: bool
    one_line: bool

    def __call__(self, ruleset: Ruleset) -> str:
        """The text. Raises UsageError for what the node does not have."""
        families = () if self.family is None else (self.family,)
        if self.family == 6 and 6 not in ruleset.families and not self.ipsets:
            raise UsageError("IPv6 is off on this node (ipv6Support: false)")
        if self.form is RuleForm.nft_json and (self.notes or self.headers or ruleset.dataplane != "nftables"):
            raise UsageError("--form nft-json is for --dataplane nftables, and JSON has no comments")
        wanted = tuple(family for family in ruleset.families if self.family in (None, family))
        if self.output is Output.json:
            document = as_json(ruleset, self.cluster, wanted if families else ())
            return invocation.spelt_json(document, one_line=self.one_line)
        notes = _notes(ruleset, self.notes) if self.notes else None
        if self.ipsets:
            text = _sets(ruleset, wanted, notes)
            return (heading(ruleset, "sets") if self.headers and self.one_line else "") + text
        text = _rules(ruleset, families, notes, form=self.form, counters=self.counters)
        tool = "ip6tables" if 6 in families and ruleset.dataplane == "iptables" else ruleset.dataplane
        return (heading(ruleset, f"{tool} rules") if self.headers else "") + text


def _is_of_nftables(ruleset: Ruleset) -> TypeGuard[NftRuleset]:
    return ruleset.dataplane == "nftables"


def as_json(ruleset: Ruleset, cluster: Cluster, families: Sequence[int]) -> dict[str, object]:
    """Everything about some families, about all if none is named."""
    if _is_of_nftables(ruleset):
        from felixpy.nftables.export import nft_json

        return nft_json(ruleset, cluster, families)
    from felixpy.export import ruleset_json

    return ruleset_json(ruleset, cluster, families or ruleset.families)


def _notes(ruleset: Ruleset, compiler: Compiler) -> Notes:
    from functools import partial

    from felixpy.annotate import Notes

    return Notes(compiler.cluster, partial(compiler.purpose, dataplane=ruleset.dataplane))


def heading(ruleset: Ruleset, what: str) -> str:
    """Comment lines at the top: versions, node and input; no date, so that the output of two runs is equal."""
    from felixpy import __version__

    made = f"made by felixpy {__version__} as Felix {ruleset.calico_version} would"
    return f"# {what} of node {ruleset.node}, {made}\n"


def _sets(ruleset: Ruleset, families: tuple[int, ...], notes: Notes | None) -> str:
    if _is_of_nftables(ruleset):
        return ruleset.set_text(families, notes)
    if not notes:
        return ruleset.ipset_save(families)
    from felixpy.annotate import annotated_sets

    return annotated_sets(ruleset, notes, families)


def _rules(ruleset: Ruleset, families: Sequence[int], notes: Notes | None, *, form: RuleForm, counters: bool) -> str:
    """The rules of some families; of all tables of nftables, or of IPv4 for iptables, if none is named."""
    restore = form is RuleForm.restore
    if _is_of_nftables(ruleset):
        if form is RuleForm.nft_json:
            return ruleset.json_text(families)
        return ruleset.text(families, notes, restore=restore, counters=counters)
    family = families[0] if families else 4
    if notes:
        from felixpy.annotate import annotated_rules

        return annotated_rules(ruleset, family, notes, restore=restore)
    return ruleset.restore(family) if restore else ruleset.save(family, counters=counters)
