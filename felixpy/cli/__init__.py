"""The command line: parse, call, print. It imports nothing large, so that ``--help`` is fast.

Exit status: 0 done, 1 a negative answer, 2 wrong usage or bad input, 3 the environment lacks something,
4 the kernel refused, 70 a fault of felixpy, 74 output that cannot be written, 130 interrupted,
141 the reader of the output is gone.
"""

from __future__ import annotations

import gc

from felixpy.cli import invocation
from felixpy.cli.commands import Commands
from felixpy.ending import BROKEN_PIPE, ended
from felixpy.errors import FelixpyError, InputError, many

app = Commands(
    name="felixpy",
    help=(
        "Compile Kubernetes and Calico policies into the iptables or nftables rules that Calico's Felix programs.\n\n"
        "\b\nStart here:\n"
        "  felixpy render > rules.txt        the manifests of this folder, as iptables-save would print them\n"
        "  felixpy render -f shop/ --node n1 --annotate | less\n"
        "  felixpy validate shop/            what is wrong in the manifests\n"
        "  felixpy lint shop/                probable mistakes in valid policies\n"
        "  felixpy trace shop/web-1 shop/db-0:5432 shop/     why a packet is allowed or denied\n"
        "  felixpy matrix shop/              all allowed connections\n"
        "  felixpy diff git:main:shop/ shop/ what a change does to rules and traffic\n"
        "  sudo felixpy lab up shop/         pods and policies in network namespaces\n"
    ),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
COMMANDS = (
    ("render", "render:render", "Print the rules that Felix would program on a node."),
    ("validate", "validate:validate", "Check manifests, including rules that no kernel would accept."),
    ("lint", "lint:lint", "Find probable mistakes in valid policies."),
    ("trace", "trace:trace", "Trace a packet through the rules: the verdict, what decided it, and each step."),
    (
        "explain",
        "explain:explain",
        "Describe what applies to a pod or host endpoint, or what a policy or tier does.",
    ),
    ("matrix", "matrix:matrix", "Show which connections are allowed, computed exactly through the rules of all nodes."),
    (
        "exposure",
        "exposure:exposure",
        "Show which workloads no policy protects, and what they accept from unknown pods and from outside.",
    ),
    ("diff", "diff:diff", "Compare two states: the rules that differ, and the flows that open or close."),
    (
        "decode",
        "decode:decode",
        "Explain names in rules and sets: the policy, endpoint or selector that each belongs to.",
    ),
    (
        "annotate",
        "annotate:annotate",
        "Add comments that explain Felix's names to a dump from stdin or from a node.",
    ),
    ("test", "testing:run_tests", "Compare what policies do with what test files expect."),
    (
        "counters",
        "counters:counters",
        "Show packets and bytes for each policy and rule, each end of a tier and each endpoint.",
    ),
    (
        "convert",
        "convert:convert",
        "Convert AdminNetworkPolicies and BaselineAdminNetworkPolicies to equivalent ClusterNetworkPolicies.",
    ),
    (
        "verify",
        "verify:verify",
        "Compare a live kernel or a dump with the manifests: every difference and its effect on traffic.",
    ),
    (
        "watch",
        "watch:watch",
        "Print changes of files or of a cluster as they happen, and the rules and sets that they change.",
    ),
    (
        "snapshot",
        "snapshot:snapshot",
        "Save the objects that felixpy reads from a cluster or from files into one file.",
    ),
    ("apply", "apply:apply", "Program a node's rules into a kernel, as Felix would."),
    ("remove", "remove:remove", "Remove all rules and sets of Felix from a kernel."),
    ("settings", "catalogue:settings", "List the Felix parameters that change rules."),
    ("templates", "catalogue:templates", "List the templates of a Calico version and their chains."),
    ("completion", "catalogue:completion", "Print a completion script for a shell."),
    ("version", "catalogue:version", "Print the versions of felixpy and of Felix."),
    ("lab", "lab:lab", "Run a cluster in network namespaces of this machine, with its policies in force."),
)
"""Each command, where it is, and the first sentence of its help: help and completion import no command to list them."""

for _name, _place, _summary in COMMANDS:
    app.declare(_name, _place, _summary)

INTERRUPTED = 130


@ended
def run(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Bad input never ends in a traceback."""
    from typer.completion import completion_init  # type: ignore[attr-defined]  # as typer's manual does

    completion_init()
    # A command builds one large tree of values, uses it and ends: looking for cycles would take a third of its time.
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
        if isinstance(done.__context__, BrokenPipeError):  # typer would exit with 1, the negative answer
            return BROKEN_PIPE
        return done.code if isinstance(done.code, int) else 0
    return 0
