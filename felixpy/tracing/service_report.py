"""The traces to a Service, also as text or JSON: the verdict, the endpoints, and the path to one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from felixpy.described import Answer
from felixpy.errors import many
from felixpy.frontends import Service
from felixpy.services import ServiceEndpoint
from felixpy.topology.endpoints import Endpoint
from felixpy.tracing import Trace
from felixpy.tracing.calls import Way
from felixpy.tracing.reasons import reason
from felixpy.tracing.report import body, document

Verdict = Literal["allow", "deny", "undecided", "mixed", "no-endpoints"]


class ServicePath(NamedTuple):
    """One possible path of the connection: the node that redirects it, and the endpoint.

    Without an endpoint `refusal` says why there is none, or the trace why the packet does not reach the node.
    """

    port: str
    node: str
    endpoint: ServiceEndpoint | None
    trace: Trace | None
    refusal: str = ""
    name: str = ""
    """The owner of the endpoint, in words."""

    lost: str = ""
    """Why there is no connection although the packet arrives."""

    @property
    def verdict(self) -> Verdict:
        if self.trace is None:
            return "no-endpoints"
        if self.lost:
            return "deny"
        return self.trace.verdict


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ServiceTrace(Answer):
    """The traces to a Service, NodePort or hostPort. `words` describe the destination, `notes` are remarks."""

    source: Endpoint
    name: str
    called: str
    protocol: str
    words: str
    rows: tuple[ServicePath, ...]
    notes: tuple[str, ...] = ()
    service: Service | None = None
    via: Way = "cluster"

    def _lines(self) -> Iterable[str]:
        return service_text(self)

    @property
    def verdict(self) -> Verdict:
        """The verdict that all paths have in common, else "mixed"; a path without endpoint counts, too."""
        found = {row.verdict for row in self.rows}
        return found.pop() if len(found) == 1 else "mixed"

    @property
    def allowed(self) -> bool:
        return self.verdict == "allow"

    @property
    def certain(self) -> bool:
        return all(row.trace.certain for row in self.rows if row.trace)


VERDICTS: Mapping[Verdict, str] = {
    "allow": "ALLOWED",
    "deny": "DENIED",
    "undecided": "UNDECIDED",
    "mixed": "DEPENDS",
    "no-endpoints": "NO ENDPOINTS",
}
ROW_WORDS: Mapping[Verdict, str] = {
    "allow": "allowed",
    "deny": "denied",
    "undecided": "undecided",
    "no-endpoints": "no endpoints",
}
MOST_NODES = 3
"""How many nodes a row of the table names."""


def service_text(found: ServiceTrace, *, verbose: bool = False) -> Iterator[str]:
    """One verdict if all endpoints have the same, else a table; then the path to one, with `verbose` to each."""
    yield f"{VERDICTS[found.verdict]}  {found.source.name} → {found.name} {found.protocol}"
    yield f"  {found.words} → {_summary(found)}"
    if len({_line(row) for row in found.rows}) > 1:
        yield from _table(found)
    yield from (f"  note: {note}" for note in _notes(found))
    shown = [row for row in found.rows if row.trace]
    for row in shown if verbose else _telling(shown):
        assert row.trace
        if len(shown) > 1 or row.endpoint is None:
            by = f" by way of {row.node}" if row.node and row.node != found.source.node else ""
            yield ""
            yield f"to {_named(row)}{by}:" if row.endpoint else f"the way to {row.node}:"
        if row.verdict == "deny" and row.trace.allowed:
            yield f"  no connection because of {row.lost}; the packet itself is allowed"
        yield from body(row.trace, verbose=verbose)


def _notes(found: ServiceTrace) -> Iterator[str]:
    """Remarks; if policies deny, that policies see the endpoints and not the Service's address."""
    yield from filter(None, (found.source.note, *found.notes))
    if found.verdict in ("deny", "mixed") and found.via != "headless":
        yield f"policies other than preDNAT ones see the endpoint and its port, not {found.called}"


def _telling(rows: list[ServicePath]) -> list[ServicePath]:
    """The first path of each verdict, a denied one first."""
    denied = [row for row in rows if row.verdict == "deny"][:1]
    return denied + [row for row in rows if row.verdict == "allow"][: 0 if denied else 1]


def _summary(found: ServiceTrace) -> str:
    """A summary: ``2 endpoints: both allowed``, ``3 endpoints: 2 allowed, 1 denied``, or why there are none."""
    endpoints: dict[object, set[str]] = defaultdict(set)
    for row in found.rows:
        if row.endpoint:
            endpoints[row.endpoint.address, row.endpoint.port].add(row.verdict)
    refusals = list(dict.fromkeys(row.refusal for row in found.rows if row.refusal))
    if not endpoints:
        return "; ".join(refusals) or "the packet does not reach the node that would redirect it"
    counts = {
        "allowed": sum(verdicts == {"allow"} for verdicts in endpoints.values()),
        "denied": sum(verdicts == {"deny"} for verdicts in endpoints.values()),
        "depending on the node": sum(len(verdicts) > 1 for verdicts in endpoints.values()),
    }
    total = many(len(endpoints), "endpoint")
    told = [f"{count} {words}" for words, count in counts.items() if count]
    if len(told) == 1:
        words = next(words for words, count in counts.items() if count)
        told = [{1: words, 2: f"both {words}"}.get(len(endpoints), f"all {words}")]
    return f"{total}: {', '.join(told)}" + (f"; {'; '.join(refusals)}" if refusals else "")


def _line(row: ServicePath) -> tuple[str, ...]:
    """The columns for a path, without the node that redirects."""
    why = row.lost if row.lost and row.trace and row.trace.allowed else ""
    why = why or (reason(row.trace).words if row.trace else row.refusal)
    return row.port, _named(row), ROW_WORDS[row.verdict], why


def _named(row: ServicePath) -> str:
    if row.endpoint is None:
        return "-"
    address = f"[{row.endpoint.address}]" if ":" in row.endpoint.address else row.endpoint.address
    target = f"{address}:{row.endpoint.port}"
    return target if row.name in ("", row.endpoint.address) else f"{row.name} ({target})"


def _table(found: ServiceTrace) -> Iterator[str]:
    """A line for each endpoint and verdict, with the nodes that redirect if there are several."""
    nodes: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in found.rows:
        nodes[_line(row)].append(row.node)
    several = len({row.node for row in found.rows}) > 1
    many_ports = len({row.port for row in found.rows}) > 1
    cells = [["port", "endpoint", "by node", "verdict", "decided by"]]
    cells += [[port, name, _nodes(nodes[told]), verdict, why] for told in nodes for port, name, verdict, why in [told]]
    keep = [column for column, shown in enumerate((many_ports, True, several, True, True)) if shown]
    widths = {column: max(len(line[column]) for line in cells) for column in keep}
    for line in cells:
        yield "  " + "  ".join(line[column].ljust(widths[column]) for column in keep).rstrip()


def _nodes(names: list[str]) -> str:
    shown = [*names[:MOST_NODES], *([f"{len(names) - MOST_NODES} more"] if len(names) > MOST_NODES else [])]
    return ", ".join(shown)


def service_document(found: ServiceTrace, *, verbose: bool = False) -> dict[str, Any]:
    """The JSON document (``apiVersion: felixpy/v1``): the verdict, the destination, and a trace for each path."""
    service: dict[str, Any] = {"words": found.words, "via": found.via}
    if found.service:
        name = found.service.name
        service = {"namespace": name.namespace, "name": name.name, **service}
    return {
        "apiVersion": "felixpy/v1",
        "kind": "Trace",
        "verdict": found.verdict,
        "certain": found.certain,
        "flow": f"{found.source.name} → {found.name} {found.protocol}",
        "service": service,
        "summary": _summary(found),
        "endpoints": [_row(row, verbose=verbose) for row in found.rows],
        "notes": list(_notes(found)),
    }


def _row(row: ServicePath, *, verbose: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"port": row.port, "verdict": row.verdict}
    if row.node:
        found["redirectedBy"] = row.node
    if row.endpoint:
        found |= {"address": row.endpoint.address, "targetPort": row.endpoint.port}
        if row.name != row.endpoint.address:
            found["name"] = row.name
    if row.refusal or (row.lost and row.verdict == "deny"):
        found["refusal"] = row.refusal or row.lost
    if row.trace:
        found["trace"] = document(row.trace, verbose=verbose)
    return found
