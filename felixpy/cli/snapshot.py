"""``felixpy snapshot``: the objects that felixpy reads from a cluster, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.given import Given, takes_manifests
from felixpy.errors import InputError

KEPT = ("node", "calico_version", "set_", "interface", "host_file", "live", "no_expand", "strict")
"""Options about compiling, which a snapshot does not do."""


@takes_manifests(*KEPT)
def snapshot(
    given: Given,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file to write; .gz is compressed, - is stdout.")
    ] = "-",
    anonymise: Annotated[
        bool,
        typer.Option("--anonymise", help="Replace names, labels and addresses, so that every verdict stays the same."),
    ] = False,
) -> None:
    """Save the objects that felixpy reads from a cluster or from files into one file.

    Fields that say nothing about packets are left out, and so are Secrets, environment variables and images.
    With --anonymise the file can be shared: names, labels and addresses are replaced consistently, so that selectors
    select the same pods, and addresses stay in the same networks.

    \b
    Examples:
      felixpy snapshot --cluster -o cluster.json.gz
      felixpy snapshot --context production --anonymise -o bug.json.gz
      felixpy snapshot shop/ --anonymise
    """
    from felixpy.snapshot import objects, packed, text

    paths = given.clusters.expand(given.files)
    items, problems = objects(paths)
    if any(problem.severity == "error" for problem in problems):
        raise InputError(problems)
    invocation.warn(problems, quiet=given.quiet)
    if anonymise:
        from felixpy.anonymise import anonymised

        found = anonymised(items)
        items = found.items
        invocation.warn(found.remarks, quiet=given.quiet)
    if output == "-":
        invocation.emit(text(items))
        return
    from felixpy.writing import write_file

    write_file(Path(output), packed(text(items), compress=output.endswith(".gz")))
