"""``felixpy verify``: has a node what the manifests give?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.dumps import Dumps, Saved, SetDump, likely_node, one_place, read_saved, settled
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.render import Output
from felixpy.cli.target import Backend, BackendName, Netns, OnHost, live_place
from felixpy.errors import UsageError, unknown_node

if TYPE_CHECKING:
    from felixpy.model import Host
    from felixpy.verify import Node, Observed


@takes_manifests("live")
def verify(
    given: Given,
    netns: Netns = None,
    host: OnHost = False,
    backend: BackendName = Backend.auto,
    rules: Dumps = None,
    ipsets: SetDump = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every finding, and whole lists.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text or JSON.")] = Output.text,
) -> None:
    """Compare a live kernel, or what was saved on a node, with the manifests: every difference and what it means.

    Exit status 0 if all is equal, 1 if not. Findings that let traffic through come first. Rules of others are only
    told if they come before Felix's. Counters do not matter.

    \b
    Examples:
      sudo felixpy verify shop/ --netns test
      sudo felixpy verify shop/ --host --node n1
      felixpy verify shop/ --rules iptables.save --rules ip6tables.save --ipsets ipset.save
      ssh n1 sudo iptables-save | felixpy verify shop/ --node n1 --rules -
      felixpy verify shop/ --rules nodes/             a whole cluster: a folder or file for each node
    """
    from felixpy.verify import verify as compare
    from felixpy.verify.report import document, text

    if not one_place(netns, host=host, rules=rules, ipsets=ipsets):
        raise UsageError(
            "compare with what? --netns NAME is a network namespace, --host this machine, "
            "--rules FILE what iptables-save printed on a node"
        )
    names = given.compiler.cluster.node_names()
    saved = settled(read_saved(rules, ipsets, both=True), names) if rules else {}
    if rules and Path(rules[0]).is_dir() and "" not in saved:
        _verify_fleet(given, saved, output, verbose=verbose)
        return
    with _file(saved[""]) if rules else _live(netns, backend) as (observed, seen):
        name = given.node or likely_node(observed.dump, given.cluster)
        found = compare(observed, _node(given, name, seen))
    invocation.warn(found.warnings, quiet=given.quiet)
    if output is Output.json:
        invocation.emit_json(document(found))
    else:
        from felixpy.cli.screen import page

        invocation.emit(page(text(found, verbose=verbose)))
    if not found.equal:
        raise typer.Exit(1)


def _node(given: Given, name: str, seen: Host) -> Node:
    from felixpy.verify import Node

    described = seen if given.host.interfaces is None else given.host
    return Node(name=name, compiler=given.compiler, host=described, settings=given.settings)


def _verify_fleet(given: Given, saved: Mapping[str, Saved], output: Output, *, verbose: bool) -> None:
    """Every node of a folder; with --node one of them."""
    from felixpy.model import Host
    from felixpy.verify import verify as compare
    from felixpy.verify.fleet import FleetVerification, fleet_document, lines

    given.check_node(given.cluster)
    names = given.cluster.node_names()
    for name in saved:
        if name not in names:
            raise UsageError(f"--rules: {saved[name].words}: {unknown_node(name, names)}")
    chosen = [given.node] if given.node else names
    nodes = {
        name: compare(_observed(saved[name]), _node(given, name, Host())) for name in sorted(saved) if name in chosen
    }
    found = FleetVerification(nodes, tuple(name for name in chosen if name not in saved))
    for node in nodes.values():
        invocation.warn(node.warnings, quiet=given.quiet)
    if output is Output.json:
        invocation.emit_json(fleet_document(found))
    else:
        from felixpy.cli.screen import page

        invocation.emit(page(lines(found, verbose=verbose)))
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _observed(saved: Saved) -> Observed:
    from felixpy.verify import observe_saved

    return observe_saved(
        saved.rules,
        saved.sets,
        saved.words,
        comments=saved.comments,
        others=saved.others,
        leaves_open=saved.leaves_open,
    )


@contextmanager
def _file(saved: Saved) -> Iterator[tuple[Observed, Host]]:
    """Dumps; of the machine they tell nothing."""
    from felixpy.model import Host

    yield _observed(saved), Host()


@contextmanager
def _live(netns: str | None, backend: Backend) -> Iterator[tuple[Observed, Host]]:
    """The namespace, and its interfaces."""
    from felixpy.machine import read_host
    from felixpy.verify import observe_live

    place = live_place(netns)
    with place.machine() as machine:
        chosen = "" if backend is Backend.auto else backend.value
        yield observe_live(machine, chosen, place.words), machine.inside(read_host)
