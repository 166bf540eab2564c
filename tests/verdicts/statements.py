"""What tutorials say happens to connections, state by state, and the manifests of each state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from felixpy.model import Host

FIXTURES = Path(__file__).parents[2] / "fixtures"


class Stated(NamedTuple):
    """One connection; ends as the tutorials call them. An echo request has port 0.

    `other_end` is the node of the second pod if that is not the one whose rules were recorded, `enforced` what the flow
    log of the connection says about the policy that decided.
    """

    source: str
    destination: str
    protocol: str
    port: int
    allowed: bool
    other_end: str = ""
    enforced: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        service = f"{self.protocol}/{self.port}" if self.port else self.protocol
        return f"{self.source} → {self.destination} {service}"


class State(NamedTuple):
    """A point in the text of a tutorial (`seed`); `case` is the recording with its manifests, `says` the statement."""

    seed: str
    case: str
    says: str
    flows: tuple[Stated, ...]

    @property
    def folder(self) -> Path:
        return FIXTURES / "conformance" / "seeds" / self.case

    @property
    def manifests(self) -> Path:
        return self.folder / "manifests.yaml"

    def hosts(self) -> dict[str, Host]:
        """The machine of the recorded node, where its interfaces matter."""
        facts = yaml.safe_load((self.folder / "case.yaml").read_text())
        interfaces = {name: tuple(addresses) for name, addresses in facts.get("interfaces", {}).items()}
        return {facts["node"]: Host(interfaces=interfaces)} if interfaces else {}


def _stated(flow: Mapping[str, Any]) -> Stated:
    port, _, protocol = str(flow.get("port", "")).partition("/")
    if not port:
        assert flow["icmp"] == "echo-request"
    assert flow["expect"] in ("allow", "deny")
    return Stated(
        source=str(flow["from"]),
        destination=str(flow["to"]),
        protocol=protocol or "icmp",
        port=int(port or 0),
        allowed=flow["expect"] == "allow",
        other_end=flow.get("other end", ""),
        enforced=flow.get("enforced"),
    )


def _read() -> tuple[State, ...]:
    text = (FIXTURES / "seeds" / "statements.yaml").read_text()
    return tuple(
        State(row["seed"], row["case"], row["says"], tuple(map(_stated, row["flows"]))) for row in yaml.safe_load(text)
    )


STATES = _read()
FLOWS = 58

each_flow = pytest.mark.parametrize(
    "state, flow",
    [
        pytest.param(state, flow, id=f"{state.case}-{number}")
        for state in STATES
        for number, flow in enumerate(state.flows)
    ],
)
"""Runs a test for every state and flow."""
