"""``felixpy render``: the rules and sets of a node."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from felixpy.cli import invocation
from felixpy.cli.given import Given, takes_manifests
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.compiler import Compiler
    from felixpy.model import Cluster
    from felixpy.ruleset import Ruleset


class Form(StrEnum):
    """How a rule is spelt."""

    save = "save"
    restore = "restore"


class Output(StrEnum):
    """What comes out."""

    text = "text"
    json = "json"


@takes_manifests()
def render(
    given: Given,
    four: Annotated[bool, typer.Option("-4", help="IPv4 (the default).")] = False,
    six: Annotated[bool, typer.Option("-6", help="IPv6.")] = False,
    form: Annotated[
        Form, typer.Option("--form", help="As the kernel prints rules, or as Felix spells them.")
    ] = Form.save,
    ipsets: Annotated[
        bool, typer.Option("--ipsets", help="The IP sets instead of the rules; of both families unless -4 or -6.")
    ] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text, or JSON with origins.")] = Output.text,
    output_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output-dir", metavar="DIR", help="Write every form of rules and sets into a folder."),
    ] = None,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Say above each chain and set which object and line it came from.")
    ] = False,
    counters: Annotated[bool, typer.Option("--counters/--no-counters", help="Rules with counters, all zero.")] = False,
    headers: Annotated[
        bool, typer.Option("--headers/--no-headers", help="Comment lines saying what made the text.")
    ] = False,
    all_nodes: Annotated[
        bool, typer.Option("--all-nodes", help="Every node, each into a folder of its own under --output-dir.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", help="Processes for --all-nodes; 0 is all cores.")
    ] = 0,
    dask: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--dask", metavar="ADDRESS", help="Spread --all-nodes over a Dask cluster (extra felixpy[dask])."),
    ] = None,
) -> None:
    """Print the rules that Felix would program on a node.

    \b
    Examples:
      felixpy render > rules.txt                      the manifests of this folder
      felixpy render -f shop/ --node node1 -6         IPv6 rules of one of several nodes
      felixpy render shop/ --annotate                 with the object and line behind each chain
      felixpy render shop/ --ipsets                   the sets, fit for `ipset restore`
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
        from felixpy.fleet import files_of, write_files

        write_files(output_dir, files_of(ruleset))
        return
    wanted = tuple(family for family in ruleset.families if family != (4 if six else 6 if four else 0))
    if output is Output.json:
        invocation.emit(as_json(ruleset, given.cluster, wanted))
    elif ipsets:
        invocation.emit(_sets(ruleset, given.cluster, wanted, annotate=annotate))
    else:
        family = 6 if six else 4
        if family not in ruleset.families:
            raise UsageError("IPv6 is off on this node (ipv6Support: false)")
        text = _rules(ruleset, compiler, family, form=form, annotate=annotate, counters=counters)
        invocation.emit((heading(ruleset, family) if headers else "") + text)


def as_json(ruleset: Ruleset, cluster: Cluster, families: tuple[int, ...]) -> str:
    import json

    from felixpy.export import ruleset_json

    return json.dumps(ruleset_json(ruleset, cluster, families), indent=2) + "\n"


def heading(ruleset: Ruleset, family: int) -> str:
    """Comment lines on top: what made the text, and for whom. No date, so that two runs are equal."""
    from felixpy import __version__

    tool = "ip6tables" if family == 6 else "iptables"
    return f"# {tool} rules of node {ruleset.node}, made by felixpy {__version__} as Felix {ruleset.dialect} would\n"


def _sets(ruleset: Ruleset, cluster: Cluster, families: tuple[int, ...], *, annotate: bool) -> str:
    if not annotate:
        return ruleset.ipset_save(families)
    from felixpy.annotate import annotated_sets

    return annotated_sets(ruleset, cluster, families)


def _rules(ruleset: Ruleset, compiler: Compiler, family: int, *, form: Form, annotate: bool, counters: bool) -> str:
    restore = form is Form.restore
    if annotate:
        from felixpy.annotate import annotated_rules

        return annotated_rules(ruleset, family, compiler.cluster, compiler.purpose, restore=restore)
    return ruleset.restore(family) if restore else ruleset.save(family, counters=counters)
