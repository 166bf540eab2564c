"""``felixpy lab``: nodes and pods as network namespaces of this machine, with their policy in force."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from felixpy.cli import completing, invocation, progress, screen
from felixpy.cli.commands import Commands
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.options import Namespace, Quiet
from felixpy.cli.render import Output
from felixpy.cli.target import BackendName, IptablesKind, LockWait, say
from felixpy.cli.trace import Expected
from felixpy.errors import EnvironmentMissing, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from felixpy.lab import Lab
    from felixpy.lab.state import Inputs
    from felixpy.lab.tables import ProbeTable

SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "no_args_is_help": True,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 120},
}
lab = Commands(
    name="lab",
    help=(
        "Run a cluster in network namespaces of this machine, with its policies in force.\n\n"
        "\b\nExamples:\n"
        "  sudo felixpy lab up shop/                     every node and pod of the manifests, policy in force\n"
        "  sudo felixpy lab probe --all                  all connections between pods, as tables\n"
        "  sudo felixpy lab probe shop/web-1 shop/db-0:5432\n"
        "  sudo felixpy lab policy add deny-all.yaml     one manifest more, and what that changes\n"
        "  sudo felixpy lab exec shop/web-1 -- curl -s 10.65.0.7\n"
        "  sudo felixpy lab down                         remove everything\n"
    ),
    **SETTINGS,
)
policy = Commands(
    name="policy",
    help=(
        "List, add or remove policies of a running lab.\n\n"
        "\b\nExamples:\n"
        "  sudo felixpy lab policy add deny-all.yaml\n"
        "  sudo felixpy lab policy remove deny-all.yaml\n"
        "  sudo felixpy lab policy list\n"
    ),
    **SETTINGS,
)
lab.add_typer(policy)

# The same as felixpy.lab.layout.DEFAULT_NAME, whose import would slow down --help.
DEFAULT_NAME = "felixpy"
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The name of the lab.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="Text or JSON.")]
Pod = Annotated[
    str,
    typer.Argument(
        metavar="POD",
        help="NS/POD, NS/deployment/NAME, an address, host[:NODE] or internet.",
        autocompletion=completing.ends,
    ),
]
Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Manifests with policies.")]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Do not test connections before and after.")]
OneNode = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it at run time
    typer.Option(
        "--node",
        metavar="NAME",
        help="Build this node only; pods of others answer from outside.",
        autocompletion=completing.nodes,
    ),
]
MOST_CELLS = 6000
"""Connections that are tried before and after a policy comes or goes: a second's work each time."""

MOST_TURNS = 20


@lab.command("up")
@takes_manifests("live", node=OneNode)
def up(
    given: Given,
    name: Name = DEFAULT_NAME,
    backend: BackendName = IptablesKind.auto,
    wait: LockWait = 10,
) -> None:
    """Start a lab, or update it to manifests that have changed.

    Each node is a network namespace with the rules that Felix would write there, each pod one behind a veth pair.
    Every port that containers declare is served. All other addresses are "outside". Called again, it writes only what
    differs.

    \b
    Examples:
      sudo felixpy lab up                           the manifests of this folder
      sudo felixpy lab up shop/ --name trial        beside the lab that is up already
      sudo felixpy lab up shop/ --node n1           a single node of many
      sudo felixpy lab up shop/ --backend nft
      sudo felixpy lab up shop/ --dataplane nftables
    """
    from felixpy.cli.lab_inputs import bring, inputs_of

    bring(name, given, inputs_of(given), backend.value, wait)


@lab.command("down")
def down(name: Name = DEFAULT_NAME) -> None:
    """Remove a lab: namespaces, processes and files, even if it was never completed.

    \b
    Examples:
      sudo felixpy lab down
      sudo felixpy lab down --name trial
    """
    from felixpy.lab import take_down

    with progress.shown("working"):
        was_there = take_down(name)
    say(f"lab {name} is gone" if was_there else f"there is no lab {name}")


@lab.command("list")
def list_(output: Format = Output.text) -> None:
    """List the labs that are running.

    \b
    Examples:
      sudo felixpy lab list
    """
    from felixpy.lab import Lab
    from felixpy.lab.lab import require_root
    from felixpy.lab.report import listed, status_document
    from felixpy.lab.state import known

    require_root()
    found = []
    for name in known():
        try:
            found.append(Lab.find(name))
        except EnvironmentMissing as wrong:
            say(str(wrong))
    if output is Output.json:
        items = [status_document(one) for one in found]
        invocation.emit_json({"apiVersion": "felixpy/v1", "kind": "LabList", "items": items})
    elif found:
        invocation.emit(screen.page(listed(found), cut=True))
    else:
        say("no lab is up; felixpy lab up makes one")


@lab.command("status")
def status(name: Name = DEFAULT_NAME, output: Format = Output.text) -> None:
    """Show a lab: its nodes and pods, their addresses, what answers, and which policy is in force.

    \b
    Examples:
      sudo felixpy lab status
      sudo felixpy lab status -o json
    """
    from felixpy.lab.report import status as lines
    from felixpy.lab.report import status_document

    found = _find(name)
    if output is Output.json:
        invocation.emit_json(status_document(found))
    else:
        invocation.emit(screen.page(lines(found), cut=True))


@lab.command("exec")
def exec_(
    pod: Pod,
    command: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="-- COMMAND...", help="The command, which sees this terminal and these files."),
    ] = None,
    name: Name = DEFAULT_NAME,
    namespace: Namespace = "",
) -> None:
    """Run a command of this machine in the network of a pod. The exit status is that of the command.

    \b
    Examples:
      sudo felixpy lab exec shop/web-1 -- ip route
      sudo felixpy lab exec -n shop deployment/web -- curl -s --max-time 2 10.65.0.7
      sudo felixpy lab exec host:node1 -- iptables-legacy-save
    """
    if not command:
        raise UsageError(f"a command is missing: felixpy lab exec {pod} -- COMMAND")
    _become(_find(name), pod, namespace, command)


@lab.command("capture")
def capture(
    pod: Pod,
    arguments: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="-- ARGUMENT...", help="Further arguments for tcpdump."),
    ] = None,
    name: Name = DEFAULT_NAME,
    namespace: Namespace = "",
) -> None:
    """Show the packets of a pod, with tcpdump, until Ctrl-C.

    \b
    Examples:
      sudo felixpy lab capture shop/db-0
      sudo felixpy lab capture shop/db-0 -- -c 10 tcp port 5432
      sudo felixpy lab capture host:node1 -- -w packets.pcap
    """
    found = _find(name)
    if not shutil.which("tcpdump"):
        raise EnvironmentMissing("tcpdump is missing; install tcpdump (Debian: apt-get install tcpdump)")
    _become(found, pod, namespace, ["tcpdump", "-n", "-i", "any", *(arguments or ())])


@lab.command("probe")
def probe(
    source: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="SRC",
            help="NS/POD, NS/deployment/NAME, an IP, host[:NODE] or internet.",
            autocompletion=completing.ends,
        ),
    ] = None,
    destination: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="DST[:PORT[/PROTO]]",
            help="The same, with a port; without it a ping.",
            autocompletion=completing.ends,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Test every pod to every pod, as tables.")] = False,
    port: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--port", metavar="PORT[/PROTO]", help="With --all, the port to test, or icmp; repeatable."),
    ] = None,
    internet: Annotated[bool, typer.Option("--internet", help="With --all, include the internet.")] = False,
    namespace: Namespace = "",
    four: Annotated[bool, typer.Option("-4", help="IPv4 (the default where both ends have it).")] = False,
    six: Annotated[bool, typer.Option("-6", help="IPv6.")] = False,
    expect: Annotated[
        Optional[Expected],  # noqa: UP045
        typer.Option("--expect", help="Exit with 1 if the verdict differs."),
    ] = None,
    name: Name = DEFAULT_NAME,
    output: Format = Output.text,
) -> None:
    """Test one connection, or all of them, with real packets.

    Every port that is tested is served, so what fails was dropped or rejected by a rule. A pod always reaches itself.
    In tables rows send, columns receive, "." is allowed and "X" denied.

    \b
    Examples:
      sudo felixpy lab probe shop/web-1 shop/db-0:5432
      sudo felixpy lab probe internet shop/deployment/web:80 --expect deny
      sudo felixpy lab probe shop/web-1 kube-system/deployment/coredns:53/udp
      sudo felixpy lab probe --all                        at every port that is declared
      sudo felixpy lab probe --all --port 80 --port 53/udp --port icmp
    """
    if four and six:
        raise UsageError("-4 and -6 exclude each other")
    family = 4 if four else 6 if six else None
    if every:
        if source or expect:
            raise UsageError("--all tests all connections and takes neither SRC and DST nor --expect")
        _show_tables(_ask(_find(name), port or (), internet, family), output)
    elif not source or not destination:
        raise UsageError("give SRC and DST[:PORT[/PROTO]], or --all")
    elif port or internet:
        raise UsageError("--port and --internet go with --all; write a port behind its destination, as shop/db-0:5432")
    else:
        _probe_one(_find(name), namespace, source, destination, family, output, expect)


def _probe_one(
    found: Lab,
    namespace: str,
    source: str,
    destination: str,
    family: int | None,
    output: Output,
    expect: Expected | None,
) -> None:
    from felixpy.lab.report import verdict, verdict_document

    flow = found.flow(source, destination, family=family, namespace=namespace)
    [outcome] = found.probe_many([flow])
    if output is Output.json:
        invocation.emit_json(verdict_document(flow, outcome))
    else:
        invocation.emit(screen.page([verdict(flow, outcome)]))
    if expect and (expect is Expected.allow) != outcome.allowed:
        raise typer.Exit(1)


def _ask(found: Lab, ports: Sequence[str], internet: bool, family: int | None) -> list[ProbeTable]:
    from felixpy.lab.flows import parse_service
    from felixpy.lab.tables import ask

    services = list(dict.fromkeys(map(parse_service, ports)))
    with progress.shown("probing"):
        return ask(found, services, family=family, more=["internet"] if internet else [])


def _show_tables(tables: Iterable[ProbeTable], output: Output) -> None:
    from felixpy.lab.tables import document, text

    if output is Output.json:
        invocation.emit_json(document(tables))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    invocation.emit("\n".join("".join(f"{line}\n" for line in text(table, width)) for table in tables))


@policy.command("list")
def list_policies(name: Name = DEFAULT_NAME, output: Format = Output.text) -> None:
    """List the policies of a lab, those that were removed included.

    \b
    Examples:
      sudo felixpy lab policy list
      sudo felixpy lab policy list --name trial -o json
    """
    from felixpy.lab.report import policies, policy_document

    found = _find(name)
    if output is Output.json:
        invocation.emit_json(policy_document(found.state))
    else:
        invocation.emit(screen.page(policies(found.state), cut=True))


@policy.command("add")
def add(
    files: Files,
    name: Name = DEFAULT_NAME,
    no_probe: NoProbe = False,
    wait: LockWait = 10,
    quiet: Quiet = False,
) -> None:
    """Add manifests to a lab, and say which connections that allows or denies.

    \b
    Examples:
      sudo felixpy lab policy add deny-all.yaml
      sudo felixpy lab policy add tiers/ allow-dns.yaml --name trial
    """
    from felixpy.cli.lab_inputs import with_more

    found = _find(name)
    _turn(found, with_more(found.state.inputs, files), wait, no_probe=no_probe, quiet=quiet)


@policy.command("remove")
def remove(
    files: Files,
    name: Name = DEFAULT_NAME,
    no_probe: NoProbe = False,
    wait: LockWait = 10,
    quiet: Quiet = False,
) -> None:
    """Take the policies of some manifests out of a lab, and say which connections that allows or denies.

    \b
    Examples:
      sudo felixpy lab policy remove deny-all.yaml
    """
    from felixpy.cli.lab_inputs import with_less

    found = _find(name)
    _turn(found, with_less(found.state.inputs, files, found.state.policies), wait, no_probe=no_probe, quiet=quiet)


def _turn(found: Lab, inputs: Inputs, wait: int, *, no_probe: bool, quiet: bool) -> None:
    """Update a lab to other inputs, and compare connections before and after."""
    from felixpy.cli.lab_inputs import bring, given_of
    from felixpy.lab.report import turned
    from felixpy.lab.tables import declared, turns

    given = given_of(inputs, quiet=quiet)
    cells = len(found.layout.pods) ** 2 * len(declared(found.layout))
    probes = not no_probe and 0 < cells <= MOST_CELLS
    before = _ask(found, (), False, None) if probes else []
    after = bring(found.name, given, inputs, found.state.backend, wait)
    if not probes:
        return
    changed = turns(before, _ask(after, (), False, None))
    invocation.emit(screen.page(map(turned, changed[:MOST_TURNS])))
    if len(changed) > MOST_TURNS:
        say(f"and {len(changed) - MOST_TURNS} connections more; felixpy lab probe --all shows where that leads")
    elif not changed:
        say("no connection between pods is decided otherwise than before")


def _find(name: str) -> Lab:
    from felixpy.lab import Lab

    return Lab.find(name)


def _become(found: Lab, endpoint: str, namespace: str, words: Sequence[str]) -> NoReturn:
    from felixpy.lab.wiring import become

    become(found.space(endpoint, namespace=namespace), words)
