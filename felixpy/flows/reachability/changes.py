"""Compares the flows of two inputs, exactly: which are opened and which are closed.

Endpoints are the same if namespace and name are; pods of one workload whose names differ are paired in order. Flows of
endpoints that only one input has are listed separately, as they change nothing for endpoints that both have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from felixpy.flows.packets.packet_sets import PacketSet, bits, join, minus, of_peers, union
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.reachability.classes import Identity
from felixpy.flows.reachability.connectivity import Connectivity
from felixpy.flows.reachability.grid import Doubt, Grid
from felixpy.flows.reachability.halves import Hands, here
from felixpy.flows.reachability.pairs import Pairs, Sheet
from felixpy.flows.reachability.renumbering import grids_apart, grids_together
from felixpy.flows.reachability.sides import InputSide, SideEndpoint
from felixpy.topology.nodes import Nodes

ENDPOINTS_OF_A_PART = 32
"""Endpoints of both inputs for each worker that is requested: only larger inputs are evaluated by two processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Flows that only the second input lets through (`opened`), and those that only the first does (`closed`).

    `appeared` and `vanished` are endpoints that only one input has, with the flows from and to them. `uncertain` are
    rules that are not understood: flows that depend on them are in `perhaps_opened` and `perhaps_closed`.
    """

    opened: tuple[Flow, ...]
    closed: tuple[Flow, ...]
    appeared: tuple[Peer, ...] = ()
    vanished: tuple[Peer, ...] = ()
    appeared_flows: tuple[Flow, ...] = ()
    vanished_flows: tuple[Flow, ...] = ()
    uncertain: tuple[Doubt, ...] = ()
    perhaps_opened: tuple[Flow, ...] = ()
    perhaps_closed: tuple[Flow, ...] = ()
    refused: bool = False
    """Whether either input has rules that the kernel rejects, so that nodes do not have them."""

    @property
    def same(self) -> bool:
        return not (self.opened or self.closed or self.appeared or self.vanished)


def compare(before: Nodes, after: Nodes, *, apart: bool = False, hands: Hands = here) -> Changes:
    """Return the flows that differ; with `apart` each endpoint is evaluated on its own (see `InputSide`).

    `hands` returns the workers that evaluate the rules. Raises what compiling raises, and InputError for dumps that
    cannot be read.
    """
    first, second, refused = _both(before, after, apart=apart, hands=hands)
    if (first.doubts or second.doubts) and not (first.side.apart and second.side.apart):
        first, second, refused = _both(before, after, apart=True, hands=hands)
    sides = first.side, second.side
    common = {position: endpoint for position, endpoint in second.endpoints.items() if position in first.endpoints}
    hosts = any(side.has_hosts for side in sides)
    kept = {position: endpoint for position, endpoint in common.items() if hosts or endpoint.identity.kind != "host"}
    appeared, vanished = _Alone(second, common), _Alone(first, common)
    doubts = tuple(dict.fromkeys((*first.doubts, *second.doubts)))
    unsure = bool(doubts) and not _same_rules(*sides)
    return Changes(
        opened=tuple(_pairs(second, first, kept, "sure" if unsure else "").flows()),
        closed=tuple(_pairs(first, second, kept, "sure" if unsure else "").flows()),
        appeared=appeared.peers,
        vanished=vanished.peers,
        appeared_flows=appeared.flows,
        vanished_flows=vanished.flows,
        uncertain=doubts,
        refused=refused,
        perhaps_opened=tuple(_pairs(second, first, kept, "perhaps").flows()) if unsure else (),
        perhaps_closed=tuple(_pairs(first, second, kept, "perhaps").flows()) if unsure else (),
    )


class _Both(NamedTuple):
    """Two inputs in the same numbers, and whether there are rules that the kernel rejects."""

    first: Connectivity
    second: Connectivity
    refused: bool


def _both(before: Nodes, after: Nodes, *, apart: bool, hands: Hands) -> _Both:
    """Evaluate both inputs, each in a process of its own unless they are small or there are no other processes."""
    sides = InputSide(before, apart=apart), InputSide(after, apart=apart)
    renamed = {0: _renamed(*sides)}
    workers = hands(sum(len(side.endpoints) for side in sides) // ENDPOINTS_OF_A_PART)
    found = grids_together(sides, renamed, hands) if workers.is_here else grids_apart(sides, renamed, workers)
    first, second = (
        Connectivity(side, found.universe, grids=grids) for side, grids in zip(sides, found.grids, strict=True)
    )
    return _Both(first, second, found.refused)


def _same_rules(before: InputSide, after: InputSide) -> bool:
    """Return whether rules are the same, and sets known and the same: then so is what is not understood."""
    said, again = _said(before), _said(after)
    return said == again and None not in said.values()


def _said(side: InputSide) -> dict[object, object]:
    """Return the rules of each chain of each node, and the sets."""
    found: dict[object, object] = {}
    for home in side.classes.homes:
        for family in side.families:
            text = side.text(home, family)
            found[home, family] = text.sets
            for table, chains in text.tables.items():
                for chain, (policy, bodies, _) in chains.items():
                    found[home, family, table, chain] = policy, tuple(body.content for body in bodies)
    return found


def _renamed(before: InputSide, after: InputSide) -> dict[Identity, Identity]:
    """Return the names in the second input of endpoints of the first one, where they have changed."""
    found: dict[Identity, Identity] = {}
    there = {endpoint.identity for endpoint in after.endpoints}
    here = {endpoint.identity for endpoint in before.endpoints}
    leavers, joiners = _by_workload(before, there), _by_workload(after, here)
    for workload, gone in leavers.items():
        found.update(zip(gone, joiners.get(workload, ()), strict=False))
    pods = {
        (endpoint.node, endpoint.interface): endpoint.identity
        for endpoint in after.endpoints
        if endpoint.identity.kind == "pod"
    }
    for endpoint in before.endpoints:
        same = pods.get((endpoint.node, endpoint.interface))
        if endpoint.identity.kind == "interface" and same and same not in here:
            found[endpoint.identity] = same
    return found


def _by_workload(side: InputSide, others: set[Identity]) -> Mapping[object, list[Identity]]:
    """Return the pods that the other input does not have, in order, by workload."""
    found: dict[object, list[Identity]] = defaultdict(list)
    for endpoint in side.endpoints:
        if endpoint.owner and endpoint.identity not in others:
            found[endpoint.identity.space, endpoint.owner].append(endpoint.identity)
    return {workload: sorted(names) for workload, names in found.items()}


Which = Literal["", "sure", "perhaps"]
"""Which differences: those if rules that are not understood never apply (""), those however these rules are read
("sure"), or only those that depend on them ("perhaps")."""


def _pairs(more: Connectivity, less: Connectivity, endpoints: Mapping[int, SideEndpoint], which: Which) -> Pairs:
    """Return the flows that one input lets through and the other does not, between endpoints that both have."""
    grids = [(grid, less.grids[family]) for family, grid in more.grids.items() if family in less.grids]
    return Pairs([_gained(grid, other, which) for grid, other in grids], endpoints)


def _gained(grid: Grid, other: Grid, which: Which) -> Sheet:
    """Return what `grid` lets through and `other` does not.

    Endpoints without a known address have rows as senders, but are no peers of others.
    """
    ends = [position for position in grid.positions if position in other.positions]
    senders = grid.everybody & other.everybody
    receivers = union(1 << position for position in ends)

    def gained(mine: PacketSet, unsure: PacketSet, theirs: PacketSet, doubtful: PacketSet, peers: int) -> PacketSet:
        if not which:
            return minus(of_peers(mine, peers), theirs)
        sure = minus(of_peers(minus(mine, unsure), peers), join(theirs, doubtful))
        if which == "sure":
            return sure
        return minus(minus(of_peers(join(mine, unsure), peers), minus(theirs, doubtful)), sure)

    return Sheet(
        space=grid.space,
        rows={
            at: gained(grid.row(at), grid.unsure_row(at), other.row(at), other.unsure_row(at), senders) for at in ends
        },
        columns={
            at: gained(grid.column(at), grid.unsure_column(at), other.column(at), other.unsure_column(at), receivers)
            for at in bits(grid.outside)
        },
        never={at: grid.never(at) & other.never(at) for at in ends},
        present=senders,
    )


class _Alone:
    """Endpoints that only one input has, and the flows from and to them."""

    def __init__(self, found: Connectivity, common: Mapping[int, SideEndpoint]) -> None:
        hosts = found.endpoints_shown()
        mine = {position: endpoint for position, endpoint in hosts.items() if position not in common}
        bits_of_mine = union(1 << position for position in mine)
        sheets = [self._sheet(grid, bits_of_mine) for grid in found.grids.values()] if mine else []
        pairs = Pairs(sheets, hosts if mine else {})
        self.peers = tuple(unit.peer for unit in pairs.units if unit.bits & bits_of_mine)
        self.flows = tuple(pairs.flows())

    def _sheet(self, grid: Grid, mine: int) -> Sheet:
        def about(position: int) -> PacketSet:
            row = grid.row(position)
            return row if mine >> position & 1 else of_peers(row, mine)

        return Sheet(
            space=grid.space,
            rows={position: about(position) for position in grid.positions},
            columns={position: of_peers(grid.column(position), mine) for position in bits(grid.outside)},
            never={position: grid.never(position) for position in grid.positions},
            present=grid.everybody,
        )
