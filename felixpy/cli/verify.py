"""``felixpy verify``: has a node what the manifests give?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.dumps import Dumps, SavedNode, SetDump, likely_node, one_place, read_saved, settled, uses_nftables
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.kernels import Ssh, chosen_nodes, of_nodes, over_ssh, saved_of
from felixpy.cli.render import Output
from felixpy.cli.target import BackendName, IptablesKind, Netns, OnHost, live_place
from felixpy.errors import InputError, UsageError, unknown_node

if TYPE_CHECKING:
    from felixpy.model import Host
    from felixpy.verification import Node, Observed
    from felixpy.verification.fleet import FleetVerification


@takes_manifests("live")
def verify(
    given: Given,
    netns: Netns = None,
    host: OnHost = False,
    backend: BackendName = IptablesKind.auto,
    rules: Dumps = None,
    ipsets: SetDump = None,
    all_nodes: Annotated[
        bool, typer.Option("--all-nodes", help="With --cluster: every node, which is what counts without --node.")
    ] = False,
    ssh: Ssh = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every finding, and whole lists.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text or JSON.")] = Output.text,
) -> None:
    """Compare a live kernel or a dump with the manifests: every difference and its effect on traffic.

    Exit status 0 if all is equal, 1 if not, 2 if some node could not be compared and no other one differs. Findings
    that let traffic through come first. Rules of others are reported only if they come before Felix's. Counters do not
    matter. Of a running cluster the rules of its nodes are read through kubectl exec into their calico-node pods.

    \b
    Examples:
      sudo felixpy verify shop/ --netns test
      sudo felixpy verify shop/ --host --node n1
      felixpy verify shop/ --rules iptables.save --rules ip6tables.save --ipsets ipset.save
      ssh n1 sudo iptables-save | felixpy verify shop/ --node n1 --rules -
      felixpy verify shop/ --rules nodes/             a whole cluster: a folder or file for each node
      felixpy verify --cluster --all-nodes
      felixpy verify --context production --node n1
      felixpy verify hosts/ --ssh router1 --node router1
    """
    from felixpy.verification import verify as compare
    from felixpy.verification.report import document, text

    foreign = one_place(netns, host=host, rules=rules, ipsets=ipsets, ssh=ssh)
    if all_nodes and (given.node or foreign):
        raise UsageError("--all-nodes means the nodes of --cluster; it goes with neither --node nor saved rules")
    if not foreign and given.running:
        _show_fleet(_verify_nodes(given), output, given, verbose=verbose)
        return
    if not foreign:
        raise UsageError(
            "say what to compare with: --netns NAME is a network namespace, --host this machine, "
            "--rules FILE what iptables-save printed on a node, --cluster the nodes of a running cluster, "
            "--ssh HOST another machine"
        )
    names = given.compiler.cluster.node_names()
    saved = settled(read_saved(rules, ipsets, both=True), names) if rules else {}
    if rules and Path(rules[0]).is_dir() and "" not in saved:
        _verify_fleet(given, saved, output, verbose=verbose)
        return
    if ssh:
        saved = {"": over_ssh(ssh, given)}
    with _file(saved[""]) if saved else _live(netns, backend) as (observed, seen):
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
    from felixpy.verification import Node

    described = seen if given.host.interfaces is None else given.host
    return Node(name=name, compiler=given.compiler, host=described, settings=given.settings)


def _verify_fleet(given: Given, saved: Mapping[str, SavedNode], output: Output, *, verbose: bool) -> None:
    """Every node of a folder; with --node one of them."""
    from felixpy.model import Host
    from felixpy.verification import verify as compare
    from felixpy.verification.fleet import FleetVerification

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
    _show_fleet(found, output, given, verbose=verbose)


def _verify_nodes(given: Given) -> FleetVerification:
    """The nodes of a running cluster, each as soon as it has been read."""
    from felixpy.model import Host
    from felixpy.verification import verify as compare
    from felixpy.verification.fleet import FleetVerification

    nodes, unknown = {}, {}
    for kernel in of_nodes(given, chosen_nodes(given)):
        name = kernel.node
        if kernel.failure or kernel.ruleset:
            unknown[name] = kernel.failure or "it has tables of the nftables data plane, which verify does not compare"
            continue
        try:
            nodes[name] = compare(_observed(saved_of(kernel)), _node(given, name, Host()))
        except InputError as wrong:
            unknown[name] = "; ".join(str(problem) for problem in wrong.problems)
    return FleetVerification(nodes, unknown=unknown)


def _show_fleet(found: FleetVerification, output: Output, given: Given, *, verbose: bool) -> None:
    from felixpy.verification.fleet import fleet_document, lines

    for node in found.nodes.values():
        invocation.warn(node.warnings, quiet=given.quiet)
    if output is Output.json:
        invocation.emit_json(fleet_document(found))
    else:
        from felixpy.cli.screen import page

        invocation.emit(page(lines(found, verbose=verbose)))
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _observed(saved: SavedNode) -> Observed:
    """The saved rules as verify compares them. Raises UsageError for an nftables listing."""
    from felixpy.verification import observe_saved

    if saved.listing:
        raise UsageError(f"--rules {saved.words}: this is an nftables listing, which verify does not support yet")
    return observe_saved(
        saved.rules,
        saved.sets,
        saved.words,
        comments=saved.comments,
        others=saved.others,
        leaves_open=saved.leaves_open,
        not_given=saved.not_given,
    )


@contextmanager
def _file(saved: SavedNode) -> Iterator[tuple[Observed, Host]]:
    """Dumps; of the machine they tell nothing."""
    from felixpy.model import Host

    yield _observed(saved), Host()


@contextmanager
def _live(netns: str | None, backend: IptablesKind) -> Iterator[tuple[Observed, Host]]:
    """The namespace, and its interfaces."""
    from felixpy.machine import read_host
    from felixpy.verification import observe_live

    place = live_place(netns)
    with place.machine() as machine:
        if uses_nftables(machine, backend):
            raise UsageError(
                f"{place.words} has tables of the nftables data plane, which verify does not support yet; "
                "--backend legacy or nft compares the iptables rules beside them"
            )
        chosen = "" if backend is IptablesKind.auto else backend.value
        yield observe_live(machine, chosen, place.words), machine.inside(read_host)
