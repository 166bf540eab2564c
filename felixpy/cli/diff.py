"""``felixpy diff``: compares two states of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from felixpy.cli import completing, invocation, screen
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.options import Jobs, Scheduler

if TYPE_CHECKING:
    from felixpy.difference import Difference


COLOURS = {"+": screen.GREEN, "-": screen.RED, "~": screen.YELLOW}


class Output(StrEnum):
    """The output formats."""

    text = "text"
    json = "json"
    markdown = "markdown"
    md = "md"


Names = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--filename", "-f", metavar="PATH", help="Manifests that name the endpoints of dumps; repeatable."),
]
OneNode = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--node",
        metavar="NAME",
        help="Compare this node only; for a dump, its node.",
        autocompletion=completing.nodes,
    ),
]


@takes_manifests("paths", "live", filename=Names, node=OneNode)
def diff(
    given: Given,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A file, a folder, git:REV:PATH, a dump, or -.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The same for the other state.")],
    rules: Annotated[bool, typer.Option("--rules", help="Rules and sets only.")] = False,
    flows: Annotated[bool, typer.Option("--flows", help="Flows only: connections that open or close.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="One line only.")] = False,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="Text, JSON, or Markdown for a pull request's comment.")
    ] = Output.text,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every rule and every member.")] = False,
    jobs: Jobs = 0,
    scheduler: Scheduler = None,
    calico_version_before: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--calico-version-before",
            "--dialect-before",
            metavar="VERSION",
            help="The Calico version of BEFORE, to see what an upgrade changes.",
        ),
    ] = None,
    dataplane_before: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--dataplane-before",
            metavar="NAME",
            help="The data plane of BEFORE; --dataplane is then that of AFTER.",
            autocompletion=completing.data_planes,
        ),
    ] = None,
) -> None:
    """Compare two states: the rules that differ, and the flows that open or close.

    Rules are grouped by the policy that they come from; flows are exact. Exit status: 0 the same, 1 different, 2 if
    something that was not given (sets, a family, a node) may differ.

    \b
    Examples:
      felixpy diff git:main:shop/ shop/                  a branch against main
      felixpy diff before.yaml after.yaml --flows        only connections that open or close
      felixpy diff git:main:shop/ shop/ -o markdown      a comment for the pull request
      felixpy diff saved/ shop/ --node node1             a node's iptables-save against the manifests
      felixpy diff shop/ shop/ --calico-version-before v3.31    what an upgrade of Calico changes
      felixpy diff shop/ shop/ --dataplane-before iptables --dataplane nftables    what a move to nftables changes
    """
    from felixpy.cli.sides import nodes_of, read_sides
    from felixpy.difference import difference, report

    invocation.check_data_plane(dataplane_before, "--dataplane-before")
    old_given = replace(given, dataplane=dataplane_before) if dataplane_before else given
    first, second = read_sides(before, after, old_given, given)
    earlier = (
        invocation.find_calico_version(calico_version_before)
        if calico_version_before
        else given.version_of(first.cluster, second.cluster)
    )
    old = nodes_of(first, second, earlier, old_given)
    new = nodes_of(second, first, given.version_of(second.cluster, first.cluster), given)
    if not given.quiet:
        invocation.tell_remarks({**old.dumps, **new.dumps})
    both = rules == flows
    from felixpy.cli.spreading import for_parts, spread

    found = difference(
        old,
        new,
        [given.node] if given.node else None,
        rules=rules or both,
        flows=flows or both,
        hands=spread(jobs, old.compiler, new.compiler, settings=given.settings),
        flow_hands=for_parts(jobs, scheduler),
    )
    if output is Output.json:
        invocation.emit_json(report.document(found))
    else:
        invocation.emit(_shown(found, markdown=output is not Output.text, summary=summary, verbose=verbose))
    if found.rules_differ or found.flows_differ:
        raise typer.Exit(1)
    if found.unknown:
        raise typer.Exit(2)


def _shown(found: Difference, *, markdown: bool, summary: bool, verbose: bool) -> str:
    from felixpy.difference import report

    if summary:
        return f"{report.summary(found)}\n"
    lines = report.markdown(found, verbose=verbose) if markdown else _coloured(report.text(found, verbose=verbose))
    return "".join(f"{line}\n" for line in lines)


def _coloured(lines: Iterator[str]) -> Iterator[str]:
    """Yield each line in the colour of its sign."""
    for line in lines:
        colour = COLOURS.get(line.lstrip()[:1])
        shown = screen.fitted(line)
        yield screen.painted(shown, colour) if colour else shown
