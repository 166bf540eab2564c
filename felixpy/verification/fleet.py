"""Verification of a whole cluster: a line for each node, then the differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from felixpy.errors import many, natural
from felixpy.verification import Verification
from felixpy.verification.report import document, text

NO_RULES = "no rules given"
UNKNOWN = "unknown"
EQUAL = "equal"
HARMLESS = "differs, no effect"


@dataclass(frozen=True, slots=True)
class FleetVerification:
    """The results of all nodes.

    `missing` are nodes of the manifests whose rules were not given, `unknown` those whose rules could not be read or
    compared, each with the reason.
    """

    nodes: Mapping[str, Verification]
    missing: tuple[str, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        return any(not found.equal for found in self.nodes.values())

    @property
    def exit_code(self) -> int:
        """0 only if every node is equal, 1 if one differs, 2 if nodes could not be compared."""
        return 1 if self.differs else 2 if self.missing or self.unknown else 0


def state(found: Verification) -> str:
    """The state of a node: equal, or the effect of all its differences together."""
    if found.equal:
        return EQUAL
    return HARMLESS if found.together.kind == "none" else found.together.kind


def lines(found: FleetVerification, *, verbose: bool = False) -> Iterator[str]:
    """A line for each node, then the findings of those that differ."""
    rows = [(name, state(node), "" if node.equal else many(len(node.findings), "finding"))
            for name, node in found.nodes.items()]  # fmt: skip
    rows += [(name, NO_RULES, "") for name in found.missing]
    rows += [(name, UNKNOWN, reason) for name, reason in found.unknown.items()]
    rows.sort(key=lambda row: natural(row[0]))
    width, second = (
        max(map(len, ("NODE", *(row[0] for row in rows)))),
        max(len(row[1]) for row in (*rows, ("", "STATE"))),
    )
    yield f"{'NODE':<{width}}  {'STATE':<{second}}  FINDINGS"
    yield from (f"{name:<{width}}  {what:<{second}}  {count}".rstrip() for name, what, count in rows)
    yield from _notes(found)
    for node in found.nodes.values():
        if not node.equal:
            yield ""
            yield from text(node, verbose=verbose)


def _notes(found: FleetVerification) -> Iterator[str]:
    """Remarks on what was not compared on equal nodes; for other nodes they are printed with the findings."""
    nodes_of: dict[str, list[str]] = {}
    for name, node in found.nodes.items():
        for note in node.notes if node.equal else ():
            nodes_of.setdefault(note, []).append(name)
    if nodes_of:
        yield ""
    for note, (first, *more) in nodes_of.items():
        yield f"{first}{f' and {len(more)} more' if more else ''}: {note}"


def fleet_document(found: FleetVerification) -> dict[str, Any]:
    """The JSON document (``apiVersion: felixpy/v1``)."""
    return {
        "apiVersion": "felixpy/v1",
        "kind": "ClusterVerification",
        "equal": not found.exit_code,
        "nodes": [{"state": state(node), **document(node)} for node in found.nodes.values()],
        "missing": list(found.missing),
        "unknown": [{"node": name, "reason": reason} for name, reason in found.unknown.items()],
    }
