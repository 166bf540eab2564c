"""Compiling again gives the same text, also when other nodes were compiled in between."""

from __future__ import annotations

import pytest
from hypothesis import given

import felixpy
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.model import Cluster, Host
from felixpy.ruleset import Ruleset
from tests.property.strategies import NODES, clusters, fewer, hosts, settings

pytestmark = pytest.mark.property


def texts(ruleset: Ruleset) -> tuple[str, ...]:
    return *(ruleset.restore(family) for family in ruleset.families), ruleset.ipset_save()


@fewer
@given(clusters, hosts, settings)
def test_a_node_is_compiled_alike_at_any_time(
    cluster: Cluster, host: Host, given_settings: tuple[Setting, ...]
) -> None:
    compiler = Compiler(cluster)
    first, other, again = (compiler.compile(name, host, given_settings) for name in (NODES[0], NODES[1], NODES[0]))
    assert texts(first) == texts(again)
    assert texts(other) == texts(felixpy.compile(cluster, NODES[1], host=host, settings=given_settings))
