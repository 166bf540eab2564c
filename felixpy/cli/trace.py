"""``felixpy trace``: does a packet get there, and what decides about it?"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from felixpy.cli import invocation
from felixpy.cli.options import (
    DialectName,
    Filenames,
    HostFile,
    Interfaces,
    Live,
    NodeName,
    NoExpand,
    Paths,
    Quiet,
    Settings,
    Strict,
)
from felixpy.cli.render import Output
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.config import Setting
    from felixpy.dump import Dump
    from felixpy.model import Cluster, Host
    from felixpy.trace import Nodes


class Expected(StrEnum):
    """What the verdict should be."""

    allow = "allow"
    deny = "deny"


class State(StrEnum):
    """What conntrack says about the packet."""

    new = "new"
    established = "established"
    related = "related"
    invalid = "invalid"
    untracked = "untracked"


Dumps = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--rules", metavar="FILE", help="What iptables-save printed, - is stdin, instead of compiled rules; repeatable."
    ),
]
SetDump = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--ipsets", metavar="FILE", help="The sets that belong to --rules, from ipset save or ipset list."),
]
COLOURS = {"ALLOWED": "32", "DENIED": "31"}


def trace(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="NS/POD, NS/deployment/NAME, an IP, host[:NODE] or internet.")
    ],
    destination: Annotated[
        str, typer.Argument(metavar="DST[:PORT[/PROTO]]", help="The same, with a port; without it a ping.")
    ],
    paths: Paths = None,
    filename: Filenames = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where bare names of pods are.")] = "",
    node: NodeName = None,
    four: Annotated[bool, typer.Option("-4", help="IPv4 (the default where both ends have it).")] = False,
    six: Annotated[bool, typer.Option("-6", help="IPv6.")] = False,
    icmp: Annotated[str, typer.Option("--icmp", metavar="TYPE[/CODE]", help="An ICMP packet of that type.")] = "",
    protocol: Annotated[str, typer.Option("--protocol", metavar="NAME", help="A protocol without ports.")] = "",
    source_port: Annotated[
        int, typer.Option("--source-port", metavar="PORT", help="Where it is sent from.", min=1, max=65535)
    ] = 49152,
    state: Annotated[State, typer.Option("--state", help="What connection tracking says.")] = State.new,
    dnat: Annotated[
        str, typer.Option("--dnat", metavar="DST[:PORT]", help="Where kube-proxy or others redirect the packet to.")
    ] = "",
    forged: Annotated[bool, typer.Option("--forged", help="The source address is not the sender's own.")] = False,
    in_interface: Annotated[str, typer.Option("--in-interface", metavar="NAME", help="Where it comes in.")] = "",
    out_interface: Annotated[str, typer.Option("--out-interface", metavar="NAME", help="Where it leaves.")] = "",
    rules: Dumps = None,
    ipsets: SetDump = None,
    expect: Annotated[
        Optional[Expected],  # noqa: UP045
        typer.Option("--expect", help="Exit with 1 if the verdict is another one."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every rule that is looked at.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text, or JSON like flow logs.")] = Output.text,
    dialect: DialectName = "v3.32",
    set_: Settings = None,
    interface: Interfaces = None,
    host_file: HostFile = None,
    live: Live = False,
    no_expand: NoExpand = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Walk a packet through the rules: the verdict, what decided it, and the way there.

    \b
    Examples:
      felixpy trace shop/frontend-1 shop/db-0:5432 shop/
      felixpy trace internet shop/deployment/web:80 -f shop/ --expect deny
      felixpy trace shop/web-1 10.96.0.10:53/udp --dnat kube-system/deployment/coredns:53
      felixpy trace 10.65.0.7 host:22 --rules iptables-save.txt --ipsets ipset-save.txt shop/ --node n1
      sudo iptables-save | felixpy trace internet host:22 --rules - --in-interface eth0
    """
    from felixpy.trace import Tracer
    from felixpy.trace.question import Question, parse_icmp, parse_target
    from felixpy.trace.report import document, text

    if four and six:
        raise UsageError("-4 and -6 exclude each other")
    if ipsets and not rules:
        raise UsageError("--ipsets goes with --rules")
    target = parse_target(destination)
    question = Question(
        source=source,
        destination=target.party,
        protocol=protocol or target.protocol,
        port=target.port,
        source_port=source_port,
        icmp=parse_icmp(icmp) if icmp else None,
        state=state.value,
        dnat=parse_target(dnat) if dnat else None,
        forged=forged,
        family=4 if four else 6 if six else None,
        in_interface=in_interface,
        out_interface=out_interface,
    )
    settings = invocation.gather_settings(set_ or (), invocation.felix_environment())
    host = invocation.gather_host(interface or (), host_file, live=live)
    given = [*(paths or ()), *(filename or ())]
    cluster = _cluster(given, settings, node, bool(rules), no_expand=no_expand, strict=strict, quiet=quiet)
    nodes = _nodes(cluster, dialect, settings, host, node, _dump(rules, ipsets) if rules else None)
    home = node or (next(iter(nodes.dumps)) if nodes.dumps else "")
    found = Tracer(nodes, node=home, namespace=namespace).trace(question)
    if output is Output.json:
        import json

        invocation.emit(json.dumps(document(found, verbose=verbose), indent=2, ensure_ascii=False) + "\n")
    else:
        invocation.emit("".join(f"{_fitted(line, cut=verbose)}\n" for line in text(found, verbose=verbose)))
    if expect and (expect is Expected.allow) != found.allowed:
        raise typer.Exit(1)


def _cluster(
    given: list[str],
    settings: list[Setting],
    node: str | None,
    dumped: bool,
    *,
    no_expand: bool,
    strict: bool,
    quiet: bool,
) -> Cluster:
    """With a dump manifests only add names, so none need be given."""
    from felixpy.model import Cluster

    if dumped and not given:
        return Cluster()
    return invocation.load_cluster(given, settings=settings, node=node, no_expand=no_expand, strict=strict, quiet=quiet)


def _nodes(
    cluster: Cluster, dialect: str, settings: list[Setting], host: Host, node: str | None, dump: Dump | None
) -> Nodes:
    """The host's interfaces are those of the node that was named, or of the only one."""
    from felixpy.compiler import Compiler, only_node
    from felixpy.trace import Nodes

    names = cluster.node_names()
    home = node or (names[0] if len(names) == 1 else "")
    if dump and not home:
        home = only_node(cluster) if names else "this node"
    if host.interfaces is not None and not home:
        home = only_node(cluster)
    hosts = {home: host} if host.interfaces is not None else {}
    compiler = Compiler(cluster, invocation.find_dialect(dialect))
    return Nodes(compiler, hosts=hosts, settings=settings, dumps={home: dump} if dump else None)


def _dump(rules: list[str], ipsets: str | None) -> Dump:
    """Saved rules of one or both families, each in a file of its own, and sets."""
    from felixpy.dump import family_of, read_dump

    texts: dict[int, str] = {}
    for name in rules:
        text = _read(name)
        family = family_of(text)
        if family in texts:
            raise UsageError(f"--rules {name}: a dump of IPv{family} was given already")
        texts[family] = text
    return read_dump(texts, _read(ipsets) if ipsets else None)


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(errors="replace")
    except OSError as wrong:
        raise UsageError(f"{name}: {wrong.strerror}") from wrong


def _fitted(line: str, *, cut: bool) -> str:
    """On a terminal a line is folded to its width, or cut, and the verdict has a colour unless NO_COLOR forbids it."""
    if not sys.stdout.isatty():
        return line
    import os
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    indent = line[: len(line) - len(line.lstrip())]
    if cut:
        shown = line if len(line) <= width else f"{line[: width - 1]}…"
    else:
        shown = textwrap.fill(
            line, width, subsequent_indent=f"{indent}    ", drop_whitespace=True, break_on_hyphens=False
        )
    word = shown.partition(" ")[0]
    if word in COLOURS and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        return f"\x1b[{COLOURS[word]}m{word}\x1b[0m{shown[len(word) :]}"
    return shown
