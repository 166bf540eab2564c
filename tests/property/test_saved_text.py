"""The kernel's spelling stays as it is when it is read as a rule again."""

from __future__ import annotations

import pytest
from hypothesis import given

import felixpy
from felixpy.config import Setting
from felixpy.iptables.printer import kernel_rules, saved
from felixpy.model import Cluster, Host
from tests.property.strategies import clusters, fewer, hosts, settings
from tests.tables import rows

pytestmark = pytest.mark.property


def stays(body: str, family: int) -> None:
    for piece in kernel_rules(body):
        printed = saved(piece, family)
        assert saved(printed.core + printed.rest, family) == printed


@fewer
@given(clusters, hosts, settings)
def test_saved_rules_are_a_fixed_point(cluster: Cluster, host: Host, given_settings: tuple[Setting, ...]) -> None:
    ruleset = felixpy.compile(cluster, "node1", host=host, settings=given_settings)
    for table in ruleset.tables.values():
        for chain in table.all_chains():
            for body in chain.bodies:
                stays(body, table.family)


def test_so_are_all_measured_ones() -> None:
    for rule, families, _ in rows("canonical.txt"):
        if "*" not in rule and rule != "(none)":
            stays(rule, 6 if families == "6" else 4)
