"""The kernel's spelling stays as it is when it is read as a rule again."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

import felixpy
from felixpy.canonical import kernel_rules, saved
from felixpy.config import Setting
from felixpy.model import Cluster, Host
from tests.property.strategies import clusters, fewer, hosts, settings
from tests.tables import rows

pytestmark = pytest.mark.property

LONG = {"-s": "--source", "-d": "--destination", "-i": "--in-interface", "-o": "--out-interface"}
ONE_WAY = re.compile(r"--connlimit-saddr|-m (\w+) --dport ")
"""What the tools add on their own account; Felix never writes it, so it is not read."""


def stays(body: str, family: int) -> None:
    """Core options are read by their long names only, as Felix writes them."""
    for piece in kernel_rules(body):
        printed = saved(piece, family)
        if not ONE_WAY.search(printed.rest):
            core = " ".join(LONG.get(word, word) for word in printed.core.split(" "))
            assert saved(core + printed.rest, family) == printed


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
