"""What nodes have in common is worked out once for all of them; every node gets what it gets on its own."""

from __future__ import annotations

import pytest
from hypothesis import given

from felixpy.calico_versions import CALICO_VERSIONS, CalicoVersion
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import InputError
from felixpy.model import Cluster
from felixpy.patterns import DrawnChain
from felixpy.ruleset import Chain
from tests.property.strategies import clusters, fewer, settings

pytestmark = pytest.mark.property


@pytest.mark.parametrize("dataplane", ["iptables", "nftables"])
@fewer
@given(clusters, settings)
def test_nodes_together_are_nodes_one_by_one(
    dataplane: str, cluster: Cluster, given_settings: tuple[Setting, ...]
) -> None:
    together = Compiler(cluster, dataplane=dataplane)
    together.prepare(given_settings)
    for node in cluster.node_names():
        alone = Compiler(cluster, dataplane=dataplane).compile(node, settings=given_settings)
        found = together.compile(node, settings=given_settings)
        assert found.files() == alone.files()
        assert {name: b"".join(pieces).decode() for name, pieces in found.contents().items()} == alone.files()
        assert found.findings == alone.findings


@pytest.mark.parametrize("version", CALICO_VERSIONS.values(), ids=CALICO_VERSIONS)
@fewer
@given(clusters)
def test_a_chain_from_a_pattern_is_printed_like_any_other(version: CalicoVersion, cluster: Cluster) -> None:
    try:
        compiler = Compiler(cluster, version)
    except InputError:  # what the release cannot express
        return
    for node in cluster.node_names():
        for table in compiler.compile(node).tables.values():
            for chain in table.all_chains():
                if isinstance(chain, DrawnChain):
                    plain = Chain(chain.name, chain.bodies, chain.hashes, chain.numbers, chain.origin, chain.template)
                    assert chain.targets == plain.targets
                    for restore in (False, True):
                        assert chain.text(table.family, restore=restore) == plain.text(table.family, restore=restore)
