"""What tutorials say happens to a connection, against a trace through the rules of the nodes on its way."""

from __future__ import annotations

from felixpy.compiler import Compiler
from felixpy.manifests import load
from felixpy.tracing import Nodes, Question, Trace, Tracer
from felixpy.tracing.report import document
from tests.verdicts.statements import STATES, State, Stated, each_flow

tracers: dict[str, Tracer] = {}


def tracer(state: State) -> Tracer:
    """The tracer of a state, made once."""
    if state.case not in tracers:
        tracers[state.case] = Tracer(Nodes(Compiler(load([state.manifests], strict=False)), hosts=state.hosts()))
    return tracers[state.case]


def trace(state: State, flow: Stated) -> Trace:
    question = Question(
        source=flow.source, destination=flow.destination, protocol=flow.protocol, port=flow.port or None
    )
    return tracer(state).trace(question)


@each_flow
def test_flow(state: State, flow: Stated) -> None:
    found = trace(state, flow)
    assert found.certain
    assert found.allowed is flow.allowed
    if flow.other_end and found.allowed:
        assert [leg.node.name for leg in found.legs] == [found.source.node, flow.other_end]
    if flow.enforced:
        shown = document(found)
        assert shown["enforced"] == shown["pending"] == [{**flow.enforced, "trigger": None}]


def test_the_statements_are_complete() -> None:
    flows = [flow for state in STATES for flow in state.flows]
    assert sum(bool(flow.other_end) for flow in flows) == 6
