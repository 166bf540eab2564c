"""``felixpy matrix``: which connections are allowed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, NamedTuple, Optional

import typer

from felixpy.cli import completing, invocation
from felixpy.cli.dumps import Dumps, SetDump, named_dumps, read_saved
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.matrix_groups import SINGLE, checked, shown
from felixpy.cli.options import Jobs, Scheduler
from felixpy.errors import UsageError
from felixpy.escape import json_text, terminal

if TYPE_CHECKING:
    from felixpy.exposure import RouteFlows
    from felixpy.exposure.analysis import Exposure
    from felixpy.exposure.clients import Reach
    from felixpy.exposure.decisions import Decisions
    from felixpy.flows import Connectivity, Flow, Hands, Peer
    from felixpy.flows.presentation.pictures import Matrix
    from felixpy.flows.presentation.pieces import Pieces
    from felixpy.flows.reachability.pairs import Focus, Pairs
    from felixpy.model import Cluster


class Output(StrEnum):
    """The format of the output."""

    table = "table"
    lines = "lines"
    grid = "grid"
    csv = "csv"
    json = "json"
    dot = "dot"
    svg = "svg"


WITH_EXPOSURE = (Output.table, Output.lines, Output.json)

READABLE = 30
"""Most lines that a table shows as lines; for more it is a grid, on a terminal that has room for it."""

ESCAPES: Mapping[Output, Callable[[str], str]] = {
    Output.csv: str,
    Output.json: json_text,
    Output.dot: str,
    Output.svg: str,
}
"""How whole lines are escaped in formats whose values are escaped already; lines of others go through `terminal`."""

MOST_COLUMNS = 60
"""Most columns of a grid that is not written to a terminal."""

AT_ONCE = 4096
"""Lines that are written at once."""


@takes_manifests("live")
def matrix(
    given: Given,
    output: Annotated[
        Output,
        typer.Option(
            "--output", "-o", help="The format; a table is lines, or a grid where that fits a terminal better."
        ),
    ] = Output.table,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="WHAT",
            help="Rows are each pod, the pods of a workload if all of them behave the same, all that behave the same "
            "(class), or groups (namespace, label:KEY) with what all and what some of their pairs have.",
        ),
    ] = "workload",
    focus: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Option(
            "--focus",
            metavar="NAME",
            help="Only what touches NS, NS/NAME, KIND/NAME, an IP, a CIDR, host[:NODE] or internet.",
            autocompletion=completing.ends,
        ),
    ] = None,
    namespace: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--namespace", "-n", help="Only what touches a namespace; repeatable.", autocompletion=completing.namespaces
        ),
    ] = None,
    ports: Annotated[
        str, typer.Option("--ports", metavar="80,53/udp", help="Only these ports: a grid of yes (.) and no (X).")
    ] = "",
    external: Annotated[
        bool, typer.Option("--external/--no-external", help="Include addresses that belong to no pod.")
    ] = True,
    hosts: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--hosts/--no-hosts", help="Include nodes. Default: if there are host endpoints."),
    ] = None,
    every_icmp: Annotated[
        bool, typer.Option("--every-icmp", help="Include ICMP types that open no connection.")
    ] = False,
    with_services: Annotated[
        bool,
        typer.Option("--services", help="Also show which ports of Services pods reach, whatever endpoint is chosen."),
    ] = False,
    exposed: Annotated[bool, typer.Option("--exposure", help="Also show what `felixpy exposure` shows.")] = False,
    explained: Annotated[
        bool, typer.Option("--explain", help="In JSON, the rules that decide about each connection, denied ones too.")
    ] = False,
    rules: Dumps = None,
    ipsets: SetDump = None,
    jobs: Jobs = 0,
    scheduler: Scheduler = None,
) -> None:
    """Show which connections are allowed, computed exactly through the rules of all nodes.

    \b
    Examples:
      felixpy matrix shop/                              all workloads, and addresses outside
      felixpy matrix shop/ -o lines | grep ' => shop/db'
      felixpy matrix shop/ --focus shop/db              who touches the database
      felixpy matrix shop/ --focus 10.1.0.0/16          what those addresses reach, and who reaches them
      felixpy matrix shop/ --ports 80,443,53/udp        a table of yes and no
      felixpy matrix shop/ --by namespace               what all, and what some pods of namespaces reach
      felixpy matrix shop/ --by class -o json           all that behave the same as one: small, whatever the cluster
      felixpy matrix shop/ -o svg > shop.svg            also csv, json, dot
      felixpy matrix shop/ --services                   and who reaches which service
      felixpy matrix shop/ --exposure                   and what nothing protects
      felixpy matrix --rules iptables-save.txt --ipsets ipset-save.txt shop/ --node n1
    """
    from felixpy.cli.spreading import for_parts
    from felixpy.exposure.analysis import exposure as analysis
    from felixpy.exposure.clients import as_flows, reaches, target_ports
    from felixpy.exposure.decisions import Decisions
    from felixpy.exposure.report import exposure_lines
    from felixpy.exposure.routes import CONTROLLER, route_flows
    from felixpy.flows import survey
    from felixpy.flows.reachability.choice import focus_on, parse_ports, parse_wanted
    from felixpy.flows.reachability.pairs import Focus

    if ipsets and not rules:
        raise UsageError("--ipsets goes with --rules")
    selects = bool(focus or namespace or with_services)
    _check(output, by, selects=selects, saved=bool(rules), exposed=exposed, explained=explained)
    chosen = parse_ports(ports)
    nodes = given.nodes(named_dumps(read_saved(rules, ipsets), given) if rules else None)
    wanted = parse_wanted([*_on_nodes(focus or (), nodes.cluster), *(namespace or ())])
    if hosts is None and any(name.partition(":")[0] == "host" for name in wanted.names):
        hosts = True
    told_apart = [*chosen, *(target_ports(nodes.cluster) if with_services else ())]
    hands = for_parts(jobs, scheduler)
    found = survey(nodes, ports=told_apart, nets=wanted.nets, every_icmp=every_icmp, hands=hands)
    if by not in SINGLE:
        invocation.warn(found.side.findings, quiet=given.quiet)
        tell = (lambda _: None) if given.quiet else invocation.tell
        lines = shown(by, output.value, found, external=external, hosts=hosts, ports=chosen, tell=tell)
        for piece in _joined(lines, ESCAPES.get(output, terminal)):
            invocation.emit(piece)
        return
    fold = by == "workload"
    pairs = found.pairs(fold=fold, external=external, hosts=hosts, ports=chosen)
    routes = route_flows(nodes, [unit.peer for unit in pairs.units], chosen)
    names = [name for name in wanted.names if name != CONTROLLER.name]
    focus_ = focus_on(pairs, wanted._replace(names=tuple(names)))
    asks_controller = len(names) < len(wanted.names)
    if asks_controller and focus_ is None:
        focus_ = Focus(0, {})
    touching = pairs.asked(focus_) if focus_ else None
    reached = list(_in_focus(reaches(found, pairs), touching, wanted.names)) if with_services else []
    view = _View(
        found,
        pairs,
        focus_,
        found.whole(chosen),
        asks_ports=bool(chosen),
        routes=routes,
        controller=tuple(
            flow for flow in routes.flows if touching is None or asks_controller or flow.destination in touching
        ),
        reached=tuple(reached),
        services=tuple(as_flows(reached)),
        decisions=Decisions(found, pairs, chosen, focus_) if explained else None,
        exposure=analysis(nodes, found.pairs(fold=fold, hosts=False)) if exposed else None,
    )
    invocation.warn(found.side.findings, quiet=given.quiet)
    if not given.quiet:
        _remark(view)
    for piece in _joined(_shown(view, output, for_parts(1 if scheduler else jobs)), ESCAPES.get(output, terminal)):
        invocation.emit(piece)
    if view.exposure and output is not Output.json:
        invocation.emit("".join(f"{line}\n" for line in ("", *exposure_lines(view.exposure))))


def _check(output: Output, by: str, *, selects: bool, saved: bool, exposed: bool, explained: bool) -> None:
    """Raise UsageError for options that exclude each other.

    `selects` is whether rows are restricted or Services added, `saved` whether rules come from dumps.
    """
    if explained and output is not Output.json:
        raise UsageError("--explain goes with -o json")
    if exposed and (saved or output not in WITH_EXPOSURE):
        raise UsageError("--exposure goes with manifests, and with lines, tables and JSON")
    if checked(by) not in SINGLE and (selects or exposed or explained):
        raise UsageError(f"--by {by} does not go with --focus, --namespace, --services, --exposure and --explain")


def _in_focus(reached: Iterable[Reach], touching: Collection[Peer] | None, names: Iterable[str]) -> Iterator[Reach]:
    """Yield what clients in `touching` reach (None: all clients), and Services that are named."""
    return (each for each in reached if touching is None or each.client in touching or _is_named(each.service, names))


def _on_nodes(names: Iterable[str], cluster: Cluster) -> Iterator[str]:
    """Replace the names of pods in a node's network (``NS/NAME``) by the node (``host:NODE``)."""
    nodes = {f"{pod.namespace}/{pod.name}": pod.node for pod in cluster.host_pods}
    yield from (f"host:{nodes[name]}" if name in nodes else name for name in names)


def _is_named(service: Peer, names: Iterable[str]) -> bool:
    return any(name in (service.space, f"{service.space}/{service.name}", service.name) for name in names)


class _View(NamedTuple):
    """What the output shows; `whole` are the words for all traffic that `--ports` selects."""

    found: Connectivity
    pairs: Pairs
    focus: Focus | None
    whole: str
    asks_ports: bool
    routes: RouteFlows
    controller: tuple[Flow, ...]
    """Flows from an ingress controller that is not in the input, as far as they are in focus."""
    exposure: Exposure | None
    decisions: Decisions | None
    reached: tuple[Reach, ...]
    services: tuple[Flow, ...]
    """Flows to Services whose endpoints are all reached."""

    def flows(self) -> Iterator[Flow]:
        return chain(self.pairs.flows(self.focus), self.controller, self.services)

    def pieces(self) -> Pieces:
        """Return the same flows in pieces, for several processes."""
        from felixpy.flows.presentation.pieces import Pieces

        return Pieces(self.pairs, self.focus, (*self.controller, *self.services))

    def matrix(self) -> Matrix:
        """Return endpoints that are in focus or have a flow, and addresses outside, with their flows."""
        from felixpy.flows.presentation.pictures import matrix

        flows = [*self.pairs.flows(self.focus, apart=True), *self.controller, *self.services]
        peers = [unit.peer for unit in self.pairs.units]
        peers += dict.fromkeys(flow.source for flow in self.controller)
        peers += dict.fromkeys(flow.destination for flow in self.services)
        if self.focus is None:
            return matrix(flows, peers, self.whole)
        asked = self.pairs.asked(self.focus)
        touched = asked.union(peer for flow in flows for peer in (flow.source, flow.destination))
        return matrix(flows, [peer for peer in peers if peer in touched], self.whole, asked)


def _shown(view: _View, output: Output, hands: Hands) -> Iterator[str]:
    """Return the lines of the output; the workers that `hands` gives make them in formats with a line for each flow."""
    from felixpy.exposure.report import exposure_json, route_json
    from felixpy.flows.presentation import pictures, report

    if output is Output.table:
        output = Output.grid if _prefers_grid(view) else Output.lines
    if output is Output.lines:
        some = (str(each) for each in view.reached if each.reached < each.total)
        return chain(view.pieces().lines(report.lines, hands), some)
    if output is Output.csv:
        return chain([report.CSV_HEADER], view.pieces().lines(report.csv_rows, hands))
    if output is Output.json:
        more: dict[str, Iterable[Mapping[str, object]]] = {"routes": map(route_json, view.routes.reached)}
        more |= exposure_json(view.exposure) if view.exposure else {}
        more |= {"services": (each.json() for each in view.reached)}
        more |= {"denied": view.decisions.denied()} if view.decisions else {}
        return report.json_lines(
            view.found, view.pairs, view.flows(), more, view.decisions.of if view.decisions else None
        )
    draw = {Output.dot: pictures.dot, Output.svg: pictures.svg}.get(output, pictures.grid)
    return draw(view.matrix())


def _prefers_grid(view: _View) -> bool:
    """Return whether a table is a grid: in a pipe only for `--ports`, whose answer is yes or no, else where it fits."""
    screen = on_screen()
    if not screen and not view.asks_ports:
        return False
    if not view.asks_ports and len(list(islice(view.flows(), READABLE + 1))) <= READABLE:
        return False
    if len(view.pairs.units) > MOST_COLUMNS and view.focus is None:
        return False
    picture = view.matrix()
    return picture.width <= shutil.get_terminal_size().columns if screen else len(picture.peers) <= MOST_COLUMNS


def on_screen() -> bool:
    """Return whether the output is a terminal."""
    return sys.stdout.isatty()


def _remark(view: _View) -> None:
    """Print remarks about the connections and routes to stderr."""
    from felixpy.flows.presentation.report import remarks

    for line in (*remarks(view.found, view.pairs), *view.routes.remarks):
        invocation.tell(f"felixpy: {line}")


def _joined(lines: Iterable[str], escape: Callable[[str], str]) -> Iterator[str]:
    """Yield escaped lines, `AT_ONCE` of them in each text."""
    rest = iter(lines)
    while some := list(islice(rest, AT_ONCE)):
        yield "".join(f"{line}\n" for line in map(escape, some))
