"""The command line: parse, call, print. Imports nothing heavy, so that ``--help`` is quick.

Exit status: 0 done, 1 a negative answer, 2 wrong usage or bad input, 3 the environment lacks something,
4 the kernel refused, 70 a fault of felixpy, 74 output that cannot be written, 130 interrupted,
141 the reader of the output went away.
"""

from __future__ import annotations

import gc

from felixpy.cli import (
    annotate,
    apply,
    catalogue,
    convert,
    counters,
    decode,
    diff,
    explain,
    exposure,
    invocation,
    lab,
    lint,
    matrix,
    remove,
    render,
    snapshot,
    testing,
    trace,
    validate,
    verify,
    watch,
)
from felixpy.cli.commands import Commands
from felixpy.ending import BROKEN_PIPE, ended
from felixpy.errors import FelixpyError, InputError, many

app = Commands(
    name="felixpy",
    help=(
        "Compile Kubernetes and Calico policies into the iptables rules and ipsets that Calico's Felix programs.\n\n"
        "\b\nStart here:\n"
        "  felixpy render > rules.txt        the manifests of this folder, as iptables-save would print them\n"
        "  felixpy render -f shop/ --node n1 --annotate | less\n"
        "  felixpy validate shop/            what is wrong in the manifests\n"
        "  felixpy lint shop/                probable mistakes in valid policies\n"
        "  felixpy trace shop/web-1 shop/db-0:5432 shop/     why a packet is allowed or denied\n"
        "  felixpy matrix shop/              who reaches whom, on what\n"
        "  felixpy diff git:main:shop/ shop/ what a change does to rules and traffic\n"
        "  sudo felixpy lab up shop/         pods and policies in network namespaces\n"
    ),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
app.command("render")(render.render)
app.command("validate")(validate.validate)
app.command("lint")(lint.lint)
app.command("trace")(trace.trace)
app.command("explain")(explain.explain)
app.command("matrix")(matrix.matrix)
app.command("exposure")(exposure.exposure)
app.command("diff")(diff.diff)
app.command("decode")(decode.decode)
app.command("annotate")(annotate.annotate)
app.command("test")(testing.run_tests)
app.command("counters")(counters.counters)
app.command("convert")(convert.convert)
app.command("verify")(verify.verify)
app.command("watch")(watch.watch)
app.command("snapshot")(snapshot.snapshot)
app.command("apply")(apply.apply)
app.command("remove")(remove.remove)
app.add_typer(lab.lab, name="lab")
app.command("settings")(catalogue.settings)
app.command("templates")(catalogue.templates)
app.command("completion")(catalogue.completion)
app.command("version")(catalogue.version)

INTERRUPTED = 130


@ended
def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Bad input never ends in a traceback."""
    from typer.completion import completion_init  # type: ignore[attr-defined]  # as typer's manual does

    completion_init()
    # A command builds one big tree of values, uses it and ends: looking for cycles in it would be a third of its time.
    gc.disable()
    try:
        app(arguments, standalone_mode=True, prog_name="felixpy")
    except InputError as wrong:
        for problem in wrong.problems:
            invocation.tell(str(problem))
        invocation.tell(f"felixpy: {many(len(wrong.errors), 'error')}, nothing was written")
        return wrong.exit_code
    except FelixpyError as wrong:
        invocation.tell(f"felixpy: {wrong}")
        return wrong.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as done:
        if isinstance(done.__context__, BrokenPipeError):  # typer takes a closed pipe for a negative answer
            return BROKEN_PIPE
        return done.code if isinstance(done.code, int) else 0
    return 0
