"""``felixpy validate``: all problems of the manifests, nothing rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.given import MACHINE, Given, takes_manifests
from felixpy.cli.reporting import Output, ReportFormat, input_results, input_rules
from felixpy.errors import InputError, many

if TYPE_CHECKING:
    from felixpy.model import Cluster
    from felixpy.reports import Result, Run


@takes_manifests(*MACHINE)
def validate(
    given: Given,
    output: Output = ReportFormat.text,
    lint: Annotated[
        bool, typer.Option("--lint/--no-lint", help="Print warnings and errors of `felixpy lint` as warnings.")
    ] = True,
) -> None:
    """Check manifests, including rules that no kernel would accept. Exit status 2 if anything is wrong.

    Findings of `felixpy lint` are printed as warnings; they do not change the exit status.

    \b
    Examples:
      felixpy validate                     the manifests of this folder
      felixpy validate shop/ --strict      assumed namespaces and service accounts are errors, too
      felixpy validate shop/ --no-strict   unknown fields are warnings
      felixpy validate --dataplane nftables   what would not work in Felix's nftables mode
      felixpy validate shop/ -o github     annotations for a pull request; also json, sarif, junit, tap
      kubectl kustomize . | felixpy validate -
    """
    try:
        cluster = given.cluster
        names = _checked(given)
    except InputError as wrong:
        if output is ReportFormat.text:
            raise
        _write(_report(input_results(wrong.problems)), output)
        raise typer.Exit(wrong.exit_code) from None
    if output is not ReportFormat.text:
        _write(_report(input_results(cluster.warnings), _findings(given, cluster) if lint else None), output)
    elif not given.quiet:
        if lint:
            _warn(_findings(given, cluster))
        endpoints = len(cluster.workloads) + len(cluster.host_endpoints)
        counted = {"endpoint": endpoints, "policy": len(cluster.policies), "node": len(names)}
        invocation.emit_lines(["valid: " + ", ".join(many(number, what) for what, number in counted.items())])


def _checked(given: Given) -> list[str]:
    """Compile the nodes and return their names. Raises InputError with all rules that no kernel accepts."""
    names = [given.node] if given.node else given.cluster.node_names()
    refused = dict.fromkeys(
        problem for name in names for problem in given.compiler.compile(name, settings=given.settings).errors
    )
    if refused:
        raise InputError([*refused])
    return names


def _findings(given: Given, cluster: Cluster) -> Run:
    from felixpy.linting import lint

    return lint(cluster, calico_version=given.version, settings=given.settings, dataplane=given.dataplane)


def _warn(found: Run) -> None:
    """Print the findings above level info on stderr."""
    from dataclasses import replace

    from felixpy.reports.result import heading

    for result in found.failures:
        if result.level != "info":
            invocation.tell(heading(replace(result, level="warning")))


def _report(results: list[Result], findings: Run | None = None) -> Run:
    """A report of problems of the input and of lint findings, the latter as warnings at most."""
    from dataclasses import replace

    from felixpy import __version__
    from felixpy.reports import Run

    rules = input_rules()
    if findings:
        rules |= findings.rules
        results = results + [
            replace(one, level="warning") if one.level == "error" else one for one in findings.failures
        ]
    return Run(kind="ValidateReport", suite="felixpy validate", version=__version__, results=results, rules=rules)


def _write(run: Run, output: ReportFormat) -> None:
    from felixpy.reports import write

    invocation.emit(write(run, output.value))
