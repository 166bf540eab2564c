"""``felixpy lint``: probable mistakes in valid policies."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from felixpy.cli import completing, invocation
from felixpy.cli.given import MACHINE, Given, takes_manifests
from felixpy.cli.reporting import Output, ReportFormat, input_results, input_rules
from felixpy.errors import InputError, UsageError

if TYPE_CHECKING:
    from felixpy.reports import Level, Run


class Threshold(StrEnum):
    """The lowest level of a finding that makes the exit status 1."""

    error = "error"
    warning = "warning"
    info = "info"
    never = "never"

    @property
    def level(self) -> Level | None:
        return {"error": "error", "warning": "warning", "info": "info"}.get(self.value)  # type: ignore[return-value]


Codes = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads it at run time
    typer.Option(
        "--select",
        metavar="CODE,...",
        help="Run only these checks: codes, their beginnings, or ALL.",
        autocompletion=completing.checks,
    ),
]
MoreCodes = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--extend-select",
        metavar="CODE,...",
        help="Also run these checks, such as the optional ones.",
        autocompletion=completing.checks,
    ),
]
IgnoredCodes = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--ignore",
        metavar="CODE,...",
        help="Do not run these checks.",
        autocompletion=completing.checks,
    ),
]


@takes_manifests(*MACHINE)
def lint(
    given: Given,
    output: Output = ReportFormat.text,
    select: Codes = None,
    extend_select: MoreCodes = None,
    ignore: IgnoredCodes = None,
    fail_on: Annotated[
        Threshold, typer.Option("--fail-on", help="Exit with 1 for findings of this level or above.")
    ] = Threshold.warning,
    public_ports: Annotated[
        str, typer.Option("--public-ports", metavar="PORT,...", help="TCP ports that the internet may reach (FX113).")
    ] = "",
    explain: Annotated[
        str,
        typer.Option(
            "--explain", metavar="CODE", help="Print the page about a check.", autocompletion=completing.checks
        ),
    ] = "",
) -> None:
    """Find probable mistakes in valid policies. Exit status 1 if there are findings.

    A comment "# felixpy: ignore[FX101]" in a manifest switches checks off for what follows it.

    \b
    Examples:
      felixpy lint shop/
      felixpy lint shop/ --select FX12 --fail-on info     rules that decide nothing
      felixpy lint shop/ --public-ports 443               what else does the internet reach?
      felixpy lint shop/ -o sarif > felixpy.sarif         for code scanning; also json, junit, github, tap
      felixpy lint --explain FX121
    """
    from felixpy.linting import CHECKS, LintOptions, choose, page
    from felixpy.linting import lint as find
    from felixpy.reports import write

    if explain:
        if explain.upper() not in CHECKS:
            raise UsageError(f"--explain {explain}: there is no such check; there are {', '.join(CHECKS)}")
        invocation.emit(page(explain.upper()))
        return
    options = LintOptions()
    extended = list(extend_select or ())
    if public_ports:
        options = LintOptions(public_ports=_ports(public_ports))
        extended.append("FX113")
    checks = choose(select or (), extended, ignore or ())
    try:
        cluster = given.cluster
    except InputError as wrong:
        if output is ReportFormat.text:
            raise
        invocation.emit(write(refused(wrong), output.value))
        raise typer.Exit(wrong.exit_code) from None
    run = find(
        cluster,
        checks=checks,
        calico_version=given.version,
        settings=given.settings,
        options=options,
        dataplane=given.dataplane,
    )
    invocation.emit(write(run, output.value))
    if run.fails(fail_on.level):
        raise typer.Exit(1)


def _ports(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of ports. Raises UsageError for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= 65535 for word in words):
        raise UsageError(f"--public-ports {text}: ports from 1 to 65535, with commas, are expected")
    return tuple(sorted({int(word) for word in words}))


def refused(wrong: InputError) -> Run:
    """A report of unreadable input: its problems, warnings included."""
    from felixpy import __version__
    from felixpy.reports import Run

    results = input_results(wrong.problems)
    return Run(kind="LintReport", suite="felixpy lint", version=__version__, results=results, rules=input_rules())
