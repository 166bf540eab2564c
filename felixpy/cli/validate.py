"""``felixpy validate``: all problems of the manifests, nothing rendered."""

from __future__ import annotations

from dataclasses import replace

import typer

from felixpy.cli import invocation
from felixpy.cli.options import DialectName, Filenames, NodeName, NoExpand, Paths, Quiet, Settings, Strict


def validate(
    paths: Paths = None,
    filename: Filenames = None,
    node: NodeName = None,
    dialect: DialectName = "v3.32",
    set_: Settings = None,
    no_expand: NoExpand = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Check manifests, down to rules that no kernel would take. Exit status 2 if anything is wrong.

    \b
    Examples:
      felixpy validate                     the manifests of this folder
      felixpy validate shop/ --strict      unknown fields are errors, too
      kubectl kustomize . | felixpy validate -
    """
    from felixpy.compiler import Compiler
    from felixpy.errors import InputError

    settings = invocation.gather_settings(set_ or (), invocation.felix_environment())
    given = [*(paths or ()), *(filename or ())]
    cluster = invocation.load_cluster(
        given, settings=settings, node=node, no_expand=no_expand, strict=strict, quiet=quiet
    )
    compiler = Compiler(cluster, invocation.find_dialect(dialect))
    names = [node] if node else cluster.node_names()
    refused = dict.fromkeys(
        replace(problem, severity="error")
        for name in names
        for problem in compiler.compile(name, settings=settings).refused
    )
    if refused:
        raise InputError([*refused])
    if not quiet:
        endpoints = len(cluster.workloads) + len(cluster.host_endpoints)
        counted = {"endpoints": endpoints, "policies": len(cluster.policies), "nodes": len(names)}
        typer.echo("valid: " + ", ".join(f"{number} {what}" for what, number in counted.items()))
