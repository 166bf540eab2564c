"""``felixpy validate``: all problems of the manifests, nothing rendered."""

from __future__ import annotations

import typer

from felixpy.cli.given import DATA_PLANES, MACHINE, Given, takes_manifests


@takes_manifests(*MACHINE, dataplanes=DATA_PLANES)
def validate(given: Given) -> None:
    """Check manifests, down to rules that no kernel would take. Exit status 2 if anything is wrong.

    \b
    Examples:
      felixpy validate                     the manifests of this folder
      felixpy validate shop/ --strict      unknown fields are errors, too
      felixpy validate --dataplane nftables   what would not work in Felix's nftables mode
      kubectl kustomize . | felixpy validate -
    """
    from felixpy.errors import InputError

    cluster = given.cluster
    names = [given.node] if given.node else cluster.node_names()
    refused = dict.fromkeys(
        problem for name in names for problem in given.compiler.compile(name, settings=given.settings).errors
    )
    if refused:
        raise InputError([*refused])
    if not given.quiet:
        endpoints = len(cluster.workloads) + len(cluster.host_endpoints)
        counted = {"endpoints": endpoints, "policies": len(cluster.policies), "nodes": len(names)}
        typer.echo("valid: " + ", ".join(f"{number} {what}" for what, number in counted.items()))
