"""Connections and changes as lines, CSV, Markdown and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from felixpy.export import API_VERSION
from felixpy.flows.bundles import bundled
from felixpy.flows.changes import Changes
from felixpy.flows.connectivity import Connectivity
from felixpy.flows.flow import Flow, Peer
from felixpy.flows.grid import Doubt
from felixpy.flows.pairs import Pairs

COLUMNS = (
    "source", "source_namespace", "source_name", "source_kind",
    "destination", "destination_namespace", "destination_name", "destination_kind",
    "connection", "family",
)  # fmt: skip
AT_ONCE = 4096
"""Lines of CSV that are handed over together."""


# --- one input


def line(flow: Flow) -> str:
    """``SRC => DST : TCP 80,443``, which existing greps look for."""
    family = f" (IPv{flow.family} only)" if flow.family else ""
    return f"{flow.source} => {flow.destination} : {flow.traffic}{family}"


MOST_DOUBTS = 8


def remarks(found: Connectivity, pairs: Pairs) -> Iterator[str]:
    """What else is worth knowing about connections, a sentence each."""
    if not pairs.units:
        yield "there is no pod in the input, so there are no connections"
    if found.missing:
        yield f"the rules of {', '.join(found.missing)} were not given: what is said there is not in the answer"
    if found.doubts:
        number = sum(1 for _ in found.unsure())
        yield f"UNCERTAIN: {len(found.doubts)} rules are not understood; {number} connections depend on them"
        yield from (doubt_line(doubt) for doubt in found.doubts[:MOST_DOUBTS])
    if found.assumed:
        yield f"assumed: {', '.join(found.assumed)}"
    never = {(sheet.space, traffic) for sheet in pairs.sheets for traffic in sheet.never.values() if traffic}
    told = sorted({str(space.traffic.tell(traffic)) for space, traffic in never})
    if told:
        yield f"not counted, as Felix lets no pod send it: {', '.join(told)}"


def csv_text(flows: Iterable[Flow]) -> Iterator[str]:
    """CSV in pieces, with a line for each range of addresses. `other` in a connection are protocols not listed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, flow in enumerate(flows, start=1):
        tail = (flow.traffic.explicit(), flow.family or "")
        ends = product(_cells(flow.source), _cells(flow.destination))
        writer.writerows((*source, *destination, *tail) for source, destination in ends)
        if number % AT_ONCE == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cells(peer: Peer) -> list[tuple[str, str, str, str]]:
    if peer.kind == "external":
        return [(addresses, "", addresses, "External") for addresses in peer.ranges]
    return [(str(peer), peer.space, peer.name, peer.title)]


def document(
    flows: Iterable[Flow],
    peers: Iterable[Peer],
    *,
    unsure: Iterable[Flow] = (),
    doubts: Sequence[Doubt] = (),
    missing: Sequence[str] = (),
    assumed: Sequence[str] = (),
) -> dict[str, Any]:
    """The connections as JSON. Lists that would be empty but for `endpoints` and `connections` are left out."""
    found: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "Connectivity",
        "endpoints": [{**peer.json(), **({"pods": list(peer.pods)} if peer.pods else {})} for peer in peers],
        "connections": [flow.json() for flow in flows],
        "uncertain": [flow.json() for flow in unsure],
        "notUnderstood": [doubt_json(doubt) for doubt in doubts],
        "nodesWithoutRules": list(missing),
        "assumed": list(assumed),
    }
    return {key: value for key, value in found.items() if value or key in ("endpoints", "connections")}


def doubt_json(doubt: Doubt) -> dict[str, Any]:
    """What is not understood, and where."""
    return {
        "node": doubt.node,
        "family": doubt.family,
        "what": doubt.words,
        "place": doubt.place,
        "rule": doubt.text,
    }


def doubt_line(doubt: Doubt) -> str:
    return f"not understood: {doubt.words}, in {doubt.place} of {doubt.node}: {doubt.text}"


# --- what lies between two inputs

SIGNS = {"opened": "+", "closed": "-"}


def change_lines(changes: Changes, *, verbose: bool = False) -> Iterator[str]:
    """``+ shop/web[Deployment] → shop/db-0 : TCP 5432``, then who appeared and vanished, then doubts.

    Without `verbose` flows of equal traffic are one line, and long lists of peers are cut.
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
    yield from (f"! {doubt_line(doubt)}" for doubt in changes.uncertain)


def _signed(flows: Sequence[Flow], sign: str, *, verbose: bool) -> Iterator[str]:
    if verbose:
        yield from (f"{sign} {arrow(flow)}" for flow in flows)
    else:
        yield from (f"{sign} {bundle.text()}" for bundle in bundled(flows))


def arrow(flow: Flow) -> str:
    family = f" (IPv{flow.family} only)" if flow.family else ""
    return f"{flow.source} → {flow.destination} : {flow.traffic}{family}"


def change_rows(changes: Changes) -> Iterator[str]:
    """A table in Markdown; nothing if no flow differs."""
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
            yield f"| {words} | {_cell(bundle.sources)} | {_cell(bundle.destinations)} | {_escaped(bundle.what)} |"


def _cell(text: str) -> str:
    return f"`{_escaped(text)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def changes_json(changes: Changes) -> dict[str, Any]:
    """Every flow on its own, nothing cut."""
    found: dict[str, Any] = {
        "opened": [flow.json() for flow in changes.opened],
        "closed": [flow.json() for flow in changes.closed],
        "appeared": [peer.json() for peer in changes.appeared],
        "vanished": [peer.json() for peer in changes.vanished],
        "appearedFlows": [flow.json() for flow in changes.appeared_flows],
        "vanishedFlows": [flow.json() for flow in changes.vanished_flows],
        "notUnderstood": [doubt_json(doubt) for doubt in changes.uncertain],
    }
    return {key: value for key, value in found.items() if value or key in SIGNS}
