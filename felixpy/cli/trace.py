"""``felixpy trace``: the verdict on a packet and the rules that decide it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from felixpy.cli import completing, invocation
from felixpy.cli.dumps import Dumps, SetDump, named_dumps, one_place, read_live, read_saved
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.kernels import NodeRules, Ssh, read_kernels
from felixpy.cli.options import Namespace
from felixpy.cli.render import Output
from felixpy.cli.screen import page
from felixpy.cli.target import BackendName, IptablesKind, Netns, OnHost
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.model import Host
    from felixpy.netfilter.rules import Dump
    from felixpy.tracing import Trace
    from felixpy.tracing.service_report import ServiceTrace


class Expected(StrEnum):
    """What the verdict should be."""

    allow = "allow"
    deny = "deny"


class ConntrackState(StrEnum):
    """What conntrack says about the packet."""

    new = "new"
    established = "established"
    related = "related"
    invalid = "invalid"
    untracked = "untracked"


def _check_port(destination: str, given: Given) -> None:
    """Raise UsageError for a port in the place of manifests, as in ``trace a b 9000``."""
    path = next(iter(given.paths or ()), "")
    if _PORT.fullmatch(path) and not os.path.lexists(path):
        endpoint = f"[{destination}]" if destination.count(":") > 1 else destination
        raise UsageError(f"{path}: there is no such file or folder; a port is written {endpoint}:{path}")


_PORT = re.compile(r"\d{1,5}(?:/\w+)?")


@takes_manifests()
def trace(
    given: Given,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="NS/POD, NS/deployment/NAME, an IP, host[:NODE] or internet.",
            autocompletion=completing.ends,
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DST[:PORT[/PROTO]]",
            help="The same with a port, without it a ping; or NS/svc/NAME, NAME.NS.svc, a service's IP, NODE:NODEPORT.",
            autocompletion=completing.ends,
        ),
    ],
    namespace: Namespace = "",
    four: Annotated[bool, typer.Option("-4", help="IPv4 (the default where both ends have it).")] = False,
    six: Annotated[bool, typer.Option("-6", help="IPv6.")] = False,
    icmp: Annotated[str, typer.Option("--icmp", metavar="TYPE[/CODE]", help="An ICMP packet of that type.")] = "",
    protocol: Annotated[str, typer.Option("--protocol", metavar="NAME", help="A protocol without ports.")] = "",
    source_port: Annotated[
        int, typer.Option("--source-port", metavar="PORT", help="The source port.", min=1, max=65535)
    ] = 49152,
    state: Annotated[ConntrackState, typer.Option("--state", help="The state of the connection.")] = ConntrackState.new,
    dnat: Annotated[
        str, typer.Option("--dnat", metavar="DST[:PORT]", help="Where kube-proxy or others redirect the packet to.")
    ] = "",
    snat: Annotated[
        str, typer.Option("--snat", metavar="IP|node", help="The source that the first node rewrites it to.")
    ] = "",
    services: Annotated[
        bool, typer.Option("--services/--no-services", help="Translate addresses of Services as kube-proxy does.")
    ] = True,
    spoofed: Annotated[
        bool, typer.Option("--spoofed", "--forged", help="The source address is not the sender's own.")
    ] = False,
    in_interface: Annotated[
        str, typer.Option("--in-interface", metavar="NAME", help="The interface by which the packet arrives.")
    ] = "",
    out_interface: Annotated[
        str, typer.Option("--out-interface", metavar="NAME", help="The interface by which the packet leaves.")
    ] = "",
    rules: Dumps = None,
    ipsets: SetDump = None,
    netns: Netns = None,
    host: OnHost = False,
    backend: BackendName = IptablesKind.auto,
    node_rules: NodeRules = False,
    ssh: Ssh = "",
    expect: Annotated[
        Optional[Expected],  # noqa: UP045
        typer.Option("--expect", help="Exit with 1 if the verdict differs."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every rule that is evaluated.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text, or JSON like flow logs.")] = Output.text,
) -> None:
    """Trace a packet through the rules: the verdict, what decided it, and each step.

    \b
    Examples:
      felixpy trace shop/frontend-1 shop/db-0:5432 shop/
      felixpy trace internet shop/deployment/web:80 -f shop/ --expect deny
      felixpy trace shop/web-1 shop/svc/db:5432 shop/              each endpoint of the service
      felixpy trace internet node1:30080 shop/ --expect allow     a NodePort, from outside
      felixpy trace shop/web-1 10.96.0.10:53/udp --dnat kube-system/deployment/coredns:53
      felixpy trace 10.65.0.7 host:22 --rules iptables-save.txt --ipsets ipset-save.txt shop/ --node n1
      sudo iptables-save | felixpy trace internet host:22 --rules - --in-interface eth0
      sudo felixpy trace shop/web-1 shop/db-0:5432 shop/ --host    the rules that this machine has now
      felixpy trace shop/web-1 shop/db-0:5432 --cluster --node-rules      the rules that the nodes have now
    """
    from felixpy.topology.question import parse_snat, parse_target, question_of
    from felixpy.tracing import Tracer
    from felixpy.tracing.services import ServiceTracer

    if four and six:
        raise UsageError("-4 and -6 exclude each other")
    foreign = one_place(netns, host=host, rules=rules, ipsets=ipsets, ssh=ssh, node_rules=node_rules)
    _check_port(destination, given)
    question = replace(
        question_of(source, destination, protocol=protocol, icmp=icmp),
        source_port=source_port,
        state=state.value,
        dnat=parse_target(dnat) if dnat else None,
        snat=parse_snat(snat),
        spoofed=spoofed,
        family=4 if four else 6 if six else None,
        in_interface=in_interface,
        out_interface=out_interface,
    )
    dumps: Mapping[str, Dump] | None = None
    seen: Host | None = None
    if rules:
        dumps = named_dumps(read_saved(rules, ipsets), given)
    elif node_rules or ssh:
        there = read_kernels(given, ssh=ssh, instead="those compiled from the cluster's objects are used there")
        dumps = named_dumps(there, given)
    elif foreign:
        dump, seen = read_live(netns, backend)
        dumps = named_dumps({"": dump}, given)
    nodes = given.nodes(dumps, seen)
    home = given.node or (next(iter(nodes.dumps)) if nodes.dumps else "")
    found = ServiceTracer(Tracer(nodes, node=home, namespace=namespace)).trace(question, resolve=services)
    _show(found, output, verbose=verbose)
    if expect and expect.value != found.verdict:
        raise typer.Exit(1)


def _show(found: Trace | ServiceTrace, output: Output, *, verbose: bool) -> None:
    """Print a trace as text or JSON."""
    from felixpy.tracing.report import document, text
    from felixpy.tracing.service_report import ServiceTrace, service_document, service_text

    if isinstance(found, ServiceTrace):
        shape, lines = service_document(found, verbose=verbose), service_text(found, verbose=verbose)
    else:
        shape, lines = document(found, verbose=verbose), text(found, verbose=verbose)
    if output is Output.json:
        invocation.emit_json(shape)
    else:
        invocation.emit(page(lines, cut=verbose))
