"""``felixpy validate``: all problems of the manifests, nothing rendered."""

from __future__ import annotations

from dataclasses import replace

import typer

from felixpy.cli import session
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
    from felixpy.compiler import Compiler, interface_prefix
    from felixpy.errors import InputError
    from felixpy.manifests import load

    settings = session.gather_settings(set_ or (), session.felix_environment())
    cluster = load(
        [*(paths or ()), *(filename or ())],
        node=node,
        expand=not no_expand,
        strict=strict,
        interface_prefix=interface_prefix(settings),
    )
    compiler = Compiler(cluster, session.find_dialect(dialect))
    names = [node] if node else cluster.node_names()
    refused = dict.fromkeys(
        replace(problem, severity="error")
        for name in names
        for problem in compiler.compile(name, settings=settings).refused
    )
    if refused:
        raise InputError([*cluster.warnings, *refused])
    session.warn(cluster.warnings, quiet=quiet)
    if not quiet:
        endpoints = len(cluster.workloads) + len(cluster.host_endpoints)
        counted = {"endpoints": endpoints, "policies": len(cluster.policies), "nodes": len(names)}
        typer.echo("valid: " + ", ".join(f"{number} {what}" for what, number in counted.items()))
