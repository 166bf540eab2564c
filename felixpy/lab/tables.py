"""Tables of allowed connections: one for each port, rows are senders and columns receivers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from felixpy.errors import UsageError
from felixpy.lab.flows import LabFlow, between, endpoint_of, service_words
from felixpy.lab.lab import Lab
from felixpy.lab.layout import FAMILIES, LabLayout, family_of
from felixpy.lab.probing import ProbeOutcome
from felixpy.topology.endpoints import Endpoint

Service = tuple[str, int]
"""Protocol and port; ICMP has port 0."""

FALLBACK: Service = ("tcp", 80)
"""What is tried where no container declares a port."""

ALLOWED, DENIED = ".", "X"


@dataclass(frozen=True, slots=True)
class ProbeTable:
    """The results for all pairs of some endpoints, for one service and family."""

    protocol: str
    port: int
    family: int
    names: tuple[str, ...]
    cells: Mapping[tuple[str, str], ProbeOutcome]

    @property
    def service(self) -> str:
        return service_words(self.protocol, self.port)

    @property
    def allowed(self) -> int:
        return sum(outcome.allowed for outcome in self.cells.values())


def declared(layout: LabLayout) -> list[Service]:
    """The services that pods of a lab declare, by protocol and port."""
    return sorted({service for pod in layout.pods for service in pod.serves}) or [FALLBACK]


def ask(
    lab: Lab, services: Sequence[Service] = (), *, family: int | None = None, more: Iterable[str] = ()
) -> list[ProbeTable]:
    """Try every pair of pods, and of the endpoints in `more`, at each service, by default at all that pods declare.

    Pods without an address of the family are left out; without `family` it is IPv4 unless no pod has that.
    """
    layout = lab.layout
    had = {family_of(address) for pod in layout.pods for address in pod.addresses}
    family = family or next((each for each in FAMILIES if each in had), 4)
    names = [pod.key for pod in layout.pods if any(family_of(address) == family for address in pod.addresses)]
    endpoints = [endpoint_of(layout, name, family=family) for name in dict.fromkeys([*names, *more])]
    if not endpoints:
        raise UsageError(f"no pod of lab {lab.name} has an IPv{family} address")
    services = services or declared(layout)
    flows = [flow for service in services for flow in _pairs(layout, endpoints, service)]
    outcomes = iter(lab.probe_many(flows))
    return [
        ProbeTable(
            protocol,
            port,
            family,
            tuple(endpoint.name for endpoint in endpoints),
            {(source.name, destination.name): next(outcomes) for source in endpoints for destination in endpoints},
        )
        for protocol, port in services
    ]


def _pairs(layout: LabLayout, endpoints: Sequence[Endpoint], service: Service) -> Iterator[LabFlow]:
    for source in endpoints:
        for destination in endpoints:
            yield between(layout, source, destination, *service)


class Turn(NamedTuple):
    """A connection whose verdict changed."""

    source: str
    destination: str
    service: str
    allowed: bool


def turns(before: Iterable[ProbeTable], after: Iterable[ProbeTable]) -> list[Turn]:
    """The changes between two rounds, of connections that were tried in both."""
    known = {(table.service, pair): outcome.allowed for table in before for pair, outcome in table.cells.items()}
    return [
        Turn(*pair, table.service, outcome.allowed)
        for table in after
        for pair, outcome in table.cells.items()
        if known.get((table.service, pair), outcome.allowed) != outcome.allowed
    ]


def text(table: ProbeTable, width: int = 0) -> Iterator[str]:
    """A table as lines of text; with a width the columns are split into several blocks."""
    names = table.names
    digits = len(str(len(names)))
    label = digits + 2 + max(map(len, names))
    room = max(1, (width - label) // (digits + 1)) if width else len(names)
    total = len(table.cells)
    yield f"{table.service} over IPv{table.family}: {table.allowed} of {total} allowed (rows send, columns receive)"
    for first in range(0, len(names), room):
        columns = range(first, min(first + room, len(names)))
        yield " " * label + "".join(f" {column + 1:>{digits}}" for column in columns)
        for number, source in enumerate(names, start=1):
            cells = (table.cells[source, names[column]] for column in columns)
            signs = "".join(f" {ALLOWED if outcome.allowed else DENIED:>{digits}}" for outcome in cells)
            yield f"{f'{number:>{digits}}  {source}':<{label}}{signs}"


def document(found: Iterable[ProbeTable]) -> dict[str, Any]:
    """The tables as a JSON document."""
    return {
        "apiVersion": "felixpy/v1",
        "kind": "LabTables",
        "tables": [
            {
                "protocol": table.protocol,
                **({"port": table.port} if table.port else {}),
                "family": table.family,
                "parties": list(table.names),
                "cells": [
                    {
                        "source": source,
                        "destination": destination,
                        "verdict": "allow" if outcome.allowed else "deny",
                        "how": outcome.how,
                    }
                    for (source, destination), outcome in table.cells.items()
                ],
            }
            for table in found
        ],
    }
