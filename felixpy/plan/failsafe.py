"""Failsafe chains: ports of a host that policies cannot close. (felix/rules/static.go)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from felixpy.config import Config
from felixpy.plan.values import Facts


class FailsafeRule(NamedTuple):
    """One port. `net` is the match on the network of the other end with a leading space, "" for any."""

    protocol: str
    port: int
    net: str


class FailsafeFacts(Facts, frozen=True, kw_only=True, eq=False):
    """Ports in one direction, and those of the other direction whose replies need separate rules."""

    ports: Sequence[FailsafeRule]
    answers: Sequence[FailsafeRule] = ()


def failsafe_facts(config: Config, table: str, family: int) -> dict[str, FailsafeFacts]:
    """Facts by chain. A port limited to a network is in that network's family only; table raw needs reply rules."""

    def ports(direction: str, flag: str) -> list[FailsafeRule]:
        listed = config.failsafe_inbound if direction == "in" else config.failsafe_outbound
        return [
            FailsafeRule(port.protocol, port.port, f" {flag} {port.net}" if port.net else "")
            for port in listed
            if not port.net or (":" in port.net) == (family == 6)
        ]

    def facts(direction: str, other: str, flag: str) -> FailsafeFacts:
        return FailsafeFacts(ports=ports(direction, flag), answers=ports(other, flag) if table == "raw" else ())

    return {
        "cali-failsafe-in": facts("in", "out", "--source"),
        "cali-failsafe-out": facts("out", "in", "--destination"),
    }
