"""``felixpy render``: the rules and sets of a node."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, TypeGuard

import typer

from felixpy.cli import invocation
from felixpy.cli.given import Given, takes_manifests
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
        bool, typer.Option("--all-nodes", help="Compile all nodes, each into its own folder under --output-dir.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, metavar="N", help="Processes for --all-nodes; 0 is all cores.")
    ] = 0,
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
    """
    if four and six:
        raise UsageError("-4 and -6 exclude each other; --output-dir writes both")
    if all_nodes and not output_dir:
        raise UsageError("--all-nodes needs --output-dir")
    compiler = given.compiler
    if all_nodes and output_dir:
        from felixpy.cli.fleet import render_all

        render_all(compiler, output_dir, settings=given.settings, jobs=jobs, dask=dask, quiet=given.quiet)
        return
    ruleset = compiler.compile(given.home, given.host, given.settings)
    invocation.warn(ruleset.findings, quiet=given.quiet)
    if output_dir:
        from felixpy.writing import write_files

        write_files(output_dir, ruleset.files())
        return
    if six and 6 not in ruleset.families and not ipsets:
        raise UsageError("IPv6 is off on this node (ipv6Support: false)")
    if form is RuleForm.nft_json and (annotate or headers or ruleset.dataplane != "nftables"):
        raise UsageError("--form nft-json is for --dataplane nftables, and JSON has no comments")
    wanted = tuple(family for family in ruleset.families if family != (4 if six else 6 if four else 0))
    notes = _notes(ruleset, compiler) if annotate else None
    if output is Output.json:
        invocation.emit_json(as_json(ruleset, given.cluster, wanted if four or six else ()))
    elif ipsets:
        invocation.emit(_sets(ruleset, wanted, notes))
    else:
        families = (4,) if four else (6,) if six else ()
        text = _rules(ruleset, families, notes, form=form, counters=counters)
        invocation.emit((heading(ruleset, families) if headers else "") + text)


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


def heading(ruleset: Ruleset, families: Sequence[int]) -> str:
    """Comment lines on top: what made the text, and for whom. No date, so that two runs are equal."""
    from felixpy import __version__

    tool = "ip6tables" if 6 in families and ruleset.dataplane == "iptables" else ruleset.dataplane
    made = f"made by felixpy {__version__} as Felix {ruleset.calico_version} would"
    return f"# {tool} rules of node {ruleset.node}, {made}\n"


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
