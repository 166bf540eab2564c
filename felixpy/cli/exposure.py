"""``felixpy exposure``: unprotected workloads, and what each accepts from endpoints that are not in the input."""

from __future__ import annotations

from typing import Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.render import Output


@takes_manifests("live")
def exposure(
    given: Given,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text or JSON.")] = Output.text,
) -> None:
    """Show which workloads no policy protects, and what they accept from unknown pods and from outside.

    Only the workload's own policies are evaluated, through the rules of its node: what is open to any pod, whatever its
    labels and namespace; what is open in addition to pods that a selector of the policies matches; and what is open to
    addresses outside. The policies of the other end are not known.

    \b
    Examples:
      felixpy exposure shop/
      felixpy exposure shop/ -o json | jq '.unprotected[]'
      felixpy matrix shop/ --exposure                   after who reaches whom
    """
    from felixpy.exposure.analysis import exposure as analysis
    from felixpy.exposure.report import exposure_json, exposure_lines
    from felixpy.flows import survey

    nodes = given.nodes()
    connections = survey(nodes)
    found = analysis(nodes, connections.pairs(hosts=False))
    invocation.warn(connections.side.findings, quiet=given.quiet)
    if output is Output.json:
        invocation.emit_json({"apiVersion": "felixpy/v1", "kind": "Exposure", **exposure_json(found)})
    else:
        invocation.emit("".join(f"{line}\n" for line in exposure_lines(found)))
