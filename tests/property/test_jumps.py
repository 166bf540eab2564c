"""Every jump leads to a chain of its table, and every chain is there because something needs it."""

from __future__ import annotations

import pytest
from hypothesis import given

import felixpy
from felixpy.config import Setting
from felixpy.model import Cluster, Host
from tests.property.strategies import clusters, fewer, hosts, settings

pytestmark = pytest.mark.property

TARGETS = {
    "ACCEPT",
    "DROP",
    "REJECT",
    "RETURN",
    "MARK",
    "LOG",
    "NFLOG",
    "NOTRACK",
    "DNAT",
    "SNAT",
    "MASQUERADE",
    "DSCP",
}
WANTED = ("cali-pi-", "cali-po-", "cali-gi-", "cali-go-")


def target(line: str) -> str:
    """The target of a saved rule: what follows the last -j or -g; "" for a rule that does nothing."""
    words = line.split(" ")
    at = max((number for number, word in enumerate(words) if word in ("-j", "-g")), default=-1)
    return words[at + 1] if at >= 0 else ""


@fewer
@given(clusters, hosts, settings)
def test_jumps_and_chains_fit_together(cluster: Cluster, host: Host, given_settings: tuple[Setting, ...]) -> None:
    ruleset = felixpy.compile(cluster, "node1", host=host, settings=given_settings)
    wanted_anyway = any(policy.everywhere for policy in cluster.policies)
    for table in ruleset.tables.values():
        lines = table.text(restore=False).splitlines()
        chains = {line[1:].split(" ")[0] for line in lines if line.startswith(":cali-")}
        targets = {target(line) for line in lines if line.startswith("-A ")} - {""}
        assert targets - TARGETS <= chains
        spare = chains - targets
        if wanted_anyway and table.name == "filter":
            spare = {name for name in spare if not name.startswith(WANTED)}
        assert spare == set()
        assert [chain.name for chain in table.chains] == sorted(chains)
        assert all(len(name) <= 28 for name in chains)
