"""``felixpy verify``: the rules on nodes compared with the manifests."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.dumps import (
    Dumps,
    SavedNode,
    SavedNodes,
    SetDump,
    likely_node,
    not_walked,
    one_place,
    read_saved,
    settled,
    uses_nftables,
)
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.kernels import Ssh, chosen_nodes, of_nodes, over_ssh, saved_of
from felixpy.cli.options import Jobs
from felixpy.cli.render import Output
from felixpy.cli.target import BackendName, IptablesKind, Netns, OnHost, live_place
from felixpy.errors import InputError, UsageError, unknown_node

if TYPE_CHECKING:
    from felixpy.compiler import Compiler
    from felixpy.model import Host
    from felixpy.netfilter.rules import Dump
    from felixpy.verification import Node, Observed, Verification
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
        bool, typer.Option("--all-nodes", help="With --cluster: every node (the default without --node).")
    ] = False,
    ssh: Ssh = "",
    jobs: Jobs = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every finding, and whole lists.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text or JSON.")] = Output.text,
) -> None:
    """Compare a live kernel or a dump with the manifests: every difference and its effect on traffic.

    Exit status 0 if all is equal, 1 if not, 2 if a node could not be compared and no other one differs. Findings that
    let traffic through come first. Rules of others are reported only if they come before Felix's. Counters are ignored.
    For a running cluster the rules are read with kubectl exec in the calico-node pods.
    The data plane is that of --dataplane or the manifests, else the one whose rules are found.

    \b
    Examples:
      sudo felixpy verify shop/ --netns test
      sudo felixpy verify shop/ --host --node n1
      felixpy verify shop/ --rules iptables.save --rules ip6tables.save --ipsets ipset.save
      felixpy verify shop/ --rules n1.nft                      what nft list ruleset printed, or nft -j
      ssh n1 sudo iptables-save | felixpy verify shop/ --node n1 --rules -
      felixpy verify shop/ --rules nodes/             a whole cluster: a folder or file for each node
      felixpy verify --cluster --all-nodes
      felixpy verify --context production --node n1
      felixpy verify hosts/ --ssh router1 --node router1
    """
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
            "--rules FILE what iptables-save or nft list ruleset printed on a node, --cluster the nodes of a running "
            "cluster, --ssh HOST another machine"
        )
    names = given.compiler.cluster.node_names()
    saved = settled(read_saved(rules, ipsets, both=True), names) if rules else {}
    if isinstance(saved, SavedNodes) and "" not in saved:
        _verify_fleet(given, saved, output, verbose=verbose, jobs=jobs)
        return
    if ssh:
        saved = {"": over_ssh(ssh, given)}
    expected = Expected(given)
    found = expected.saved(saved[""]) if saved else _live(expected, netns, backend)
    invocation.warn(found.warnings, quiet=given.quiet)
    if output is Output.json:
        invocation.emit_json(document(found))
    else:
        from felixpy.cli.screen import page

        invocation.emit(page(text(found, verbose=verbose)))
    if not found.equal:
        raise typer.Exit(1)


MOST_COMPARED = 256
"""After so many nodes the caches of pure functions are cleared: most of their entries are of use to one node only."""


class Expected:
    """Compiles nodes from the manifests and compares them, each for one data plane.

    That is the one of --dataplane or the manifests, else the one whose rules were found on the node.
    """

    def __init__(self, given: Given) -> None:
        self.given = given
        self._compared = 0

    def not_compared(self, name: str) -> str:
        """Why a node is not compared: felixpy does not know the rules of its data plane; "" for one that is."""
        given = self.given
        found = given.compiler.data_plane(name, given.settings)
        if given.dataplane or found.kind in invocation.DATA_PLANES:
            return ""
        return f"{found.reason}: rules of the {invocation.NAMES[found.kind]} data plane are not compared"

    def plane(self, name: str, there: str) -> str:
        """The data plane in which a node is compared; `there` is the one whose rules were found."""
        given = self.given
        if given.dataplane:
            return given.dataplane
        chosen = given.compiler.data_plane(name, given.settings)
        return there if chosen.is_default or chosen.kind == "bpf" else chosen.kind

    def node(self, name: str, plane: str, seen: Host) -> Node:
        """A node to compare, with the interfaces of the options, else those that were `seen`."""
        from felixpy.verification import Node

        given = self.given
        described = seen if given.host.interfaces is None else given.host
        return Node(name=name, compiler=given.compiler_for(plane), host=described, settings=given.settings)

    def compilers(self, saved: SavedNodes, names: Sequence[str]) -> list[Compiler]:
        """The compilers that comparing these nodes needs, one for each data plane."""
        planes = {self.plane(name, saved.plane(name)) for name in names}
        return [self.given.compiler_for(plane) for plane in sorted(planes)]

    def compared(self, observe: Callable[[str], Observed], there: str, seen: Host, name: str = "") -> Verification:
        """Compare a node with what `observe` reads for a data plane; `there` is the one found on the node."""
        from felixpy.verification import verify as compare

        observed = observe(there)
        name = name or self.given.node or likely_node(observed.dump, self.given.cluster)
        plane = self.plane(name, there)
        return compare(observed if plane == there else observe(plane), self.node(name, plane, seen))

    def saved(self, saved: SavedNode, name: str = "") -> Verification:
        """Compare a node with saved rules, which do not include its interfaces."""
        from felixpy.model import Host
        from felixpy.remembered import forget_remembered

        self._compared += 1
        if self._compared % MOST_COMPARED == 0:
            forget_remembered()
        return self.compared(partial(observed_in, saved), saved.plane, Host(), name)

    def saved_of(self, nodes: Mapping[str, SavedNode], name: str) -> Verification:
        """Compare one of several saved nodes."""
        return self.saved(nodes[name], name)


def observed_in(saved: SavedNode, plane: str) -> Observed:
    """The saved rules of one data plane; Felix's rules in the other one are its `others`. Raises InputError."""
    from felixpy.iptables.forms import read_dump
    from felixpy.iptables.sets import as_saved
    from felixpy.nftables.dumps import read_listing
    from felixpy.verification import observe_listing, observe_saved

    sets = as_saved(saved.sets) if saved.sets is not None else None
    others: dict[str, Dump | None] = {kind: read_dump(texts, sets) for kind, texts in saved.others.items()}
    if plane == "nftables":
        if saved.rules:
            others["iptables"] = read_dump(saved.rules, sets)
        return observe_listing(saved.listing, saved.words, others=others)
    if saved.listing:
        others["nftables"] = read_listing(saved.listing, saved.words)
        main = others.pop("iptables", None)
        rules = saved.others["iptables"] if main else dict.fromkeys((4, 6), "")
        return observe_saved(rules, saved.sets, saved.words, others=others)
    return observe_saved(
        saved.rules,
        saved.sets,
        saved.words,
        comments=saved.comments,
        others=others,
        leaves_open=(*saved.leaves_open, *not_walked(saved.beside)),
        not_given=saved.not_given,
    )


def _verify_fleet(given: Given, saved: SavedNodes, output: Output, *, verbose: bool, jobs: int) -> None:
    """Verify every node of a folder, or --node; workers read the files of the nodes that they compare."""
    from felixpy.cli.spreading import spread
    from felixpy.verification.fleet import FleetVerification
    from felixpy.workers import Computed, Lost

    given.check_node(given.cluster)
    names = given.cluster.node_names()
    chosen = [given.node] if given.node else names
    strangers = {} if given.node else {name: unknown_node(name, names) for name in sorted(saved) if name not in names}
    if saved and len(strangers) == len(saved):
        name, reason = next(iter(strangers.items()))
        raise UsageError(f"--rules: {saved[name].words}: {reason}")
    known = {*chosen}
    there = [name for name in sorted(saved) if name in known]
    expected = Expected(given)
    hands = spread(jobs, *expected.compilers(saved, there), settings=given.settings)
    nodes: dict[str, Verification] = {}
    unknown: dict[str, str] = {}
    for number, result in hands.run(Computed(partial(expected.saved_of, saved)), there, in_order=True):
        if isinstance(result, Lost):
            unknown[there[number]] = result.words
        else:
            nodes[there[number]] = result
    missing = tuple(name for name in chosen if name not in saved)
    found = FleetVerification(nodes, missing, {**strangers, **unknown})
    _show_fleet(found, output, given, verbose=verbose)


def _verify_nodes(given: Given) -> FleetVerification:
    """Verify the nodes of a running cluster, each as soon as it has been read."""
    from felixpy.verification.fleet import FleetVerification

    expected = Expected(given)
    chosen = chosen_nodes(given)
    given.clusters.forget()
    # Commands disable garbage collection, but every node leaves cycles of values behind; the cluster has none.
    gc.freeze()
    gc.enable()
    nodes, unknown = {}, {name: reason for name in chosen if (reason := expected.not_compared(name))}
    for kernel in of_nodes(given, [name for name in chosen if name not in unknown]):
        name = kernel.node
        if kernel.failure:
            unknown[name] = kernel.failure
            continue
        try:
            nodes[name] = expected.saved(saved_of(kernel), name)
        except InputError as wrong:
            unknown[name] = "; ".join(str(problem) for problem in wrong.problems)
    return FleetVerification({name: nodes[name] for name in chosen if name in nodes}, unknown=unknown)


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


def _live(expected: Expected, netns: str | None, backend: IptablesKind) -> Verification:
    """Verify a network namespace or this machine, with its interfaces."""
    from felixpy.machine import read_host
    from felixpy.verification.live import observe_namespace

    place = live_place(netns)
    with place.machine() as machine:
        there = "nftables" if uses_nftables(machine, backend) else "iptables"
        chosen = "" if backend is IptablesKind.auto else backend.value
        seen = machine.inside(read_host)
        return expected.compared(lambda plane: observe_namespace(machine, plane, place.words, chosen), there, seen)
