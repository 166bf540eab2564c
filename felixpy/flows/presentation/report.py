"""Connections and changes as lines, CSV, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from felixpy.errors import many
from felixpy.escape import cell, code
from felixpy.export import API_VERSION
from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.bundles import bundled
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.reachability.changes import Changes
from felixpy.flows.reachability.connectivity import Connectivity
from felixpy.flows.reachability.grid import Doubt
from felixpy.flows.reachability.pairs import Pairs

COLUMNS = (
    "source", "source_namespace", "source_name", "source_kind",
    "destination", "destination_namespace", "destination_name", "destination_kind",
    "connection", "family",
)  # fmt: skip

CSV_HEADER = ",".join(COLUMNS)

T = TypeVar("T")
S = TypeVar("S")


class Once(Generic[T, S]):
    """Caches what `make` returns for values that occur often. The key is the identity of a value, which is fast."""

    def __init__(self, make: Callable[[T], S]) -> None:
        self._make = make
        self._known: dict[int, tuple[T, S]] = {}

    def __call__(self, value: T) -> S:
        found = self._known.get(id(value))
        if found is None:
            # Keep the value, so that no other one can get its identity.
            found = self._known[id(value)] = value, self._make(value)
        return found[1]


# --- one input


def lines(flows: Iterable[Flow]) -> Iterator[str]:
    """Yield a line for each flow: ``SRC => DST : TCP 80,443``. Scripts depend on this format."""
    peer, traffic = Once[Peer, str](str), Once[Traffic, str](str)
    for source, destination, what, family in flows:
        only = f" (IPv{family} only)" if family else ""
        yield f"{peer(source)} => {peer(destination)} : {traffic(what)}{only}"


MOST_DOUBTS = 8


def remarks(found: Connectivity, pairs: Pairs) -> Iterator[str]:
    """Yield remarks about connections: nodes that were compiled, rules that are not understood, assumptions."""
    if not pairs.units:
        yield "there is no pod in the input, so there are no connections"
    if found.side.compiled:
        are, their = ("is", "its") if len(found.side.compiled) == 1 else ("are", "their")
        yield f"{', '.join(found.side.compiled)} {are} compiled from the manifests: {their} rules were not given"
    if found.doubts:
        connections = many(sum(1 for _ in found.unsure()), "connection")
        them, are = ("it", "is") if len(found.doubts) == 1 else ("them", "are")
        yield f"UNCERTAIN: {many(len(found.doubts), 'rule')} {are} not understood; {connections} depend on {them}"
        yield from (doubt_line(doubt) for doubt in found.doubts[:MOST_DOUBTS])
    if found.assumed:
        yield f"assumed: {', '.join(found.assumed)}"
    never = {(sheet.space, traffic) for sheet in pairs.sheets for traffic in sheet.never.values() if traffic}
    told = sorted({str(space.traffic.tell(traffic)) for space, traffic in never})
    if told:
        yield f"not counted, as Felix lets no pod send it: {', '.join(told)}"


def csv_rows(flows: Iterable[Flow]) -> Iterator[str]:
    """Yield the lines of CSV below `CSV_HEADER`, one for each range of addresses.

    `other` in a connection are protocols that are not listed.
    """
    ends, traffic = Once(_cells), Once[Traffic, str](lambda what: _csv([what.explicit()]))
    for source, destination, what, family in flows:
        for sender in ends(source):
            for receiver in ends(destination):
                yield f"{sender},{receiver},{traffic(what)},{family or ''}"


def _cells(peer: Peer) -> list[str]:
    if peer.kind == "external":
        return [_csv([addresses, "", addresses, "External"]) for addresses in peer.ranges]
    return [_csv([str(peer), peer.space, peer.name, peer.title])]


def _csv(cells: Sequence[str]) -> str:
    return ",".join(map(cell, cells))


def json_lines(
    found: Connectivity,
    pairs: Pairs,
    flows: Iterable[Flow],
    lists: Mapping[str, Iterable[Mapping[str, object]]] = MappingProxyType({}),
    more: Callable[[Flow], Mapping[str, object]] | None = None,
) -> Iterator[str]:
    """Yield the connections as JSON, each on a line. Empty lists except `endpoints` and `connections` are left out.

    `lists` are further lists by key, `more` returns further keys of a connection.
    """
    yield f'{{\n  "apiVersion": "{API_VERSION}",\n  "kind": "Connectivity",'
    yield from _json_list("endpoints", (_dumped(_endpoint(unit.peer)) for unit in pairs.units))
    yield from _json_list("connections", _flows(flows, more))
    others = {
        **{key: map(_dumped, values) for key, values in lists.items()},
        "uncertain": _flows(found.unsure()),
        "notUnderstood": (_dumped(doubt_json(doubt)) for doubt in found.doubts),
        "compiledNodes": map(_dumped, found.side.compiled),
        "assumed": map(_dumped, found.assumed),
    }
    for key, values in others.items():
        first = next(values, None)
        if first is not None:
            yield from _json_list(key, chain([first], values))
    yield f'  "families": {_dumped(sorted(found.grids))}\n}}'


def _json_list(key: str, values: Iterable[str]) -> Iterator[str]:
    """Yield a JSON list with a line for each value."""
    yield f'  "{key}": ['
    before = None
    for value in values:
        if before is not None:
            yield f"    {before},"
        before = value
    if before is not None:
        yield f"    {before}"
    yield "  ],"


def _endpoint(peer: Peer) -> dict[str, Any]:
    return {**peer.json(), **({"pods": list(peer.pods)} if peer.pods else {})}


def _flows(flows: Iterable[Flow], more: Callable[[Flow], Mapping[str, object]] | None = None) -> Iterator[str]:
    """Yield each flow as JSON, with the keys of `Flow.json`."""
    peer = Once[Peer, str](lambda value: _dumped(value.json()))
    traffic = Once[Traffic, str](lambda value: _dumped({"connection": str(value), **value.json()})[1:-1])
    for flow in flows:
        source, destination, what, family = flow
        only = f', "family": {family}' if family else ""
        if more and (further := more(flow)):
            only += f", {_dumped(further)[1:-1]}"
        yield f'{{"source": {peer(source)}, "destination": {peer(destination)}, {traffic(what)}{only}}}'


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def doubt_json(doubt: Doubt) -> dict[str, Any]:
    """Return what is not understood about a rule, and the place of the rule."""
    return {
        "node": doubt.node,
        "family": doubt.family,
        "what": doubt.words,
        "place": doubt.place,
        "rule": doubt.text,
    }


def doubt_line(doubt: Doubt) -> str:
    return f"not understood: {doubt.words}, in {doubt.place} of {doubt.node}: {doubt.text}"


# --- differences of two inputs

MOST_LINES = 60
"""Most lines of one kind; further ones are counted."""


def change_lines(changes: Changes, *, verbose: bool = False) -> Iterator[str]:
    """Yield ``+ shop/web[Deployment] → shop/db-0 : TCP 5432``, then new and vanished endpoints, then relevant doubts.

    Without `verbose`, flows of equal traffic share a line, and long lists of peers are cut.
    """
    yield from _signed(changes.opened, "+", verbose=verbose)
    yield from _signed(changes.closed, "-", verbose=verbose)
    for peers, flows, sign, words in (
        (changes.appeared, changes.appeared_flows, "+", "new"),
        (changes.vanished, changes.vanished_flows, "-", "gone"),
    ):
        for peer in peers:
            pods = f" ({len(peer.pods)} pods)" if len(peer.pods) > 1 else ""
            yield f"{sign} {words}: {peer}{pods}"
        if flows:
            yield f"  flows with {'it' if len(peers) == 1 else 'them'}:"
            yield from (f"  {text}" for text in _signed(flows, sign, verbose=verbose))
    if changes.perhaps_opened or changes.perhaps_closed:
        yield from (f"! {doubt_line(doubt)}" for doubt in changes.uncertain)


def _signed(flows: Sequence[Flow], sign: str, *, verbose: bool) -> Iterator[str]:
    if verbose:
        yield from (f"{sign} {arrow(flow)}" for flow in flows)
        return
    bundles = list(bundled(flows))
    yield from (f"{sign} {bundle.text()}" for bundle in bundles[:MOST_LINES])
    if len(bundles) > MOST_LINES:
        yield f"{sign} … and {len(bundles) - MOST_LINES} more; --verbose names them all"


def arrow(flow: Flow) -> str:
    family = f" (IPv{flow.family} only)" if flow.family else ""
    return f"{flow.source} → {flow.destination} : {flow.traffic}{family}"


def change_rows(changes: Changes) -> Iterator[str]:
    """Yield a table in Markdown; nothing if no flow differs."""
    flows = {
        "opened": changes.opened,
        "closed": changes.closed,
        "with what is new": changes.appeared_flows,
        "with what is gone": changes.vanished_flows,
    }
    if not any(flows.values()):
        return
    yield "| | from | to | what |"
    yield "|---|---|---|---|"
    for words, found in flows.items():
        for bundle in bundled(found):
            yield f"| {words} | {code(bundle.sources)} | {code(bundle.destinations)} | {code(bundle.what)} |"


def changes_json(changes: Changes) -> dict[str, Any]:
    """Return a document with every flow on its own, complete, with all keys even if empty.

    `status` of a flow is "changed" between endpoints that both inputs have, else "appeared" or "vanished".
    """
    return {
        "opened": [
            *(_changed(flow, "changed") for flow in changes.opened),
            *(_changed(flow, "appeared") for flow in changes.appeared_flows),
        ],
        "closed": [
            *(_changed(flow, "changed") for flow in changes.closed),
            *(_changed(flow, "vanished") for flow in changes.vanished_flows),
        ],
        "appeared": [peer.json() for peer in changes.appeared],
        "vanished": [peer.json() for peer in changes.vanished],
        "notUnderstood": [doubt_json(doubt) for doubt in changes.uncertain],
    }


def _changed(flow: Flow, status: str) -> dict[str, Any]:
    return {"status": status, **flow.json()}
