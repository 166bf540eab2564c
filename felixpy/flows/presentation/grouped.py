"""Connections between groups and between classes of endpoints, as lines, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from felixpy.escape import cell
from felixpy.export import API_VERSION
from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.reachability.groups import GroupFlow, Groups
from felixpy.flows.reachability.pairs import Pairs

GROUP_COLUMNS = ("source", "destination", "family", "all_pairs", "some_pairs")


def group_lines(flows: Iterable[GroupFlow]) -> Iterator[str]:
    """Yield ``shop => db : TCP 5432 (all pairs), UDP 53 (some pairs)``; equal traffic of both families is one line."""
    for (source, destination), found in groupby(flows_by_pair(flows), key=lambda flow: flow[:2]):
        told = [(flow.family, _words(flow)) for flow in found]
        if len({words for _, words in told}) == 1:
            told = [(0, told[0][1])] if len(told) > 1 else told
        for family, words in told:
            only = f" (IPv{family})" if family and len(told) > 1 else ""
            yield f"{source} => {destination} : {words}{only}"


def flows_by_pair(flows: Iterable[GroupFlow]) -> list[GroupFlow]:
    """Return the flows ordered so that those of a pair of groups, one for each family, are beside each other."""
    found: dict[tuple[Peer, Peer], list[GroupFlow]] = {}
    for flow in flows:
        found.setdefault((flow.source, flow.destination), []).append(flow)
    return [flow for pair in found.values() for flow in pair]


def _words(flow: GroupFlow) -> str:
    parts = ((flow.every, "all pairs"), (flow.some, "some pairs"))
    return ", ".join(f"{traffic} ({pairs})" for traffic, pairs in parts if traffic)


def group_csv(flows: Iterable[GroupFlow]) -> Iterator[str]:
    """Yield CSV with a line for each pair of groups and family; addresses outside are ranges."""
    yield ",".join(GROUP_COLUMNS)
    for flow in flows:
        told = [traffic.explicit() if traffic else "" for traffic in (flow.every, flow.some)]
        cells = (str(flow.source), str(flow.destination), str(flow.family), *told)
        yield ",".join(map(cell, cells))


def group_json(by: str, groups: Groups, flows: Iterable[GroupFlow]) -> dict[str, Any]:
    """Return all groups with the number of their endpoints, and the traffic of all and of some pairs of members."""
    return {
        "apiVersion": API_VERSION,
        "kind": "GroupConnectivity",
        "by": by,
        "groups": [{"name": name, "endpoints": mask.bit_count()} for name, mask in groups.members.items()],
        "connections": [_group_flow(flow) for flow in flows],
    }


def _group_flow(flow: GroupFlow) -> dict[str, Any]:
    found: dict[str, Any] = {"source": _end(flow.source), "destination": _end(flow.destination), "family": flow.family}
    for key, traffic in (("allPairs", flow.every), ("somePairs", flow.some)):
        if traffic:
            found[key] = {"connection": str(traffic), **traffic.json()}
    return found


def _end(peer: Peer) -> dict[str, Any]:
    return peer.json() if peer.kind == "external" else {"group": peer.name}


# --- classes


def class_json(pairs: Pairs, flows: Iterable[Flow], doubts: int) -> Iterator[str]:
    """Yield JSON of classes with their members and connections, each with all receivers of the same traffic.

    Classes, single endpoints and addresses outside have ids.
    """
    ids = {unit.peer: f"e{number}" for number, unit in enumerate(pairs.units)}
    outside: dict[Peer, str] = {}
    yield f'{{\n  "apiVersion": "{API_VERSION}",\n  "kind": "ClassConnectivity",'
    yield from _listed("classes", (_class(pairs, unit.peer, ids[unit.peer], unit.bits) for unit in pairs.units))
    yield from _listed("connections", _connections(flows, ids, outside))
    yield from _listed("outside", ({"id": name, "ranges": list(peer.ranges)} for peer, name in outside.items()))
    yield f'  "uncertain": {doubts}\n}}'


def _class(pairs: Pairs, peer: Peer, name: str, members: int) -> Mapping[str, object]:
    single = peer.kind != "class"
    named = [peer] if single else pairs.members(members)
    return {"id": name, "members": [each.json() for each in named]}


def _connections(
    flows: Iterable[Flow], ids: Mapping[Peer, str], outside: dict[Peer, str]
) -> Iterator[Mapping[str, object]]:
    """Yield the connections of endpoints by sender and traffic; those from outside by receiver and traffic."""

    def named(peer: Peer) -> str:
        return ids.get(peer) or outside.setdefault(peer, f"x{len(outside)}")

    def pivot(flow: Flow) -> tuple[bool, Peer]:
        inbound = flow.source.kind == "external"
        return inbound, flow.destination if inbound else flow.source

    for (inbound, peer), run in groupby(flows, key=pivot):
        by_traffic: dict[tuple[Traffic, int | None], list[str]] = {}
        for flow in run:
            other = flow.source if inbound else flow.destination
            by_traffic.setdefault((flow.traffic, flow.family), []).append(named(other))
        for (traffic, family), others in by_traffic.items():
            senders, receivers = (others, [named(peer)]) if inbound else ([named(peer)], others)
            found = {"sources": senders, "destinations": receivers, "connection": str(traffic), **traffic.json()}
            yield found | ({"family": family} if family else {})


def _listed(key: str, values: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield a JSON list with a line for each value."""
    yield f'  "{key}": ['
    before = None
    for value in values:
        if before is not None:
            yield f"    {before},"
        before = json.dumps(value, ensure_ascii=False)
    if before is not None:
        yield f"    {before}"
    yield "  ],"
