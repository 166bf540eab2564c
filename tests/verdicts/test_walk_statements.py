"""What tutorials say happens to a connection, against a trace through the rules of the nodes on its way."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from felixpy.compiler import Compiler
from felixpy.manifests import load
from felixpy.model import Host
from felixpy.trace import Nodes, Question, Trace, Tracer
from felixpy.trace.report import document

FIXTURES = Path(__file__).parents[2] / "fixtures"
STATEMENTS: list[dict[str, Any]] = yaml.safe_load((FIXTURES / "seeds" / "statements.yaml").read_text())
FLOWS = [
    pytest.param(statement["case"], flow, id=f"{statement['case']}-{number}")
    for statement in STATEMENTS
    for number, flow in enumerate(statement["flows"])
]


@cache
def tracer(case: str) -> Tracer:
    """The cluster of a case; its recording tells which interfaces the node has that was recorded."""
    folder = FIXTURES / "conformance" / "seeds" / case
    facts = yaml.safe_load((folder / "case.yaml").read_text())
    interfaces = {name: tuple(addresses) for name, addresses in facts.get("interfaces", {}).items()}
    compiler = Compiler(load([folder / "manifests.yaml"]))
    return Tracer(Nodes(compiler, hosts={facts["node"]: Host(interfaces=interfaces)} if interfaces else {}))


def trace(case: str, flow: dict[str, Any]) -> Trace:
    port, _, protocol = str(flow.get("port", "")).partition("/")
    return tracer(case).trace(
        Question(
            source=str(flow["from"]),
            destination=str(flow["to"]),
            port=int(port) if port else None,
            protocol=protocol or "icmp",
        )
    )


@pytest.mark.parametrize("case, flow", FLOWS)
def test_flow(case: str, flow: dict[str, Any]) -> None:
    found = trace(case, flow)
    assert found.certain
    assert ("allow" if found.allowed else "deny") == flow["expect"]
    if "other end" in flow and found.allowed:
        assert [leg.node.name for leg in found.legs] == [found.source.node, flow["other end"]]
    if enforced := flow.get("enforced"):
        shown = document(found)
        assert shown["enforced"] == shown["pending"] == [{**enforced, "trigger": None}]


def test_the_statements_are_complete() -> None:
    assert len(FLOWS) == 58
    flows = [flow for statement in STATEMENTS for flow in statement["flows"]]
    assert [sum(key in flow for flow in flows) for key in ("enforced", "other end")] == [1, 6]
