"""What nodes have in common is worked out once for all of them; every node gets what it gets on its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from msgspec import structs

from felixpy.calico_versions import CALICO_VERSIONS, CalicoVersion
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import InputError
from felixpy.model import Cluster
from felixpy.nftables.chains import nft_chain
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
                    plain = Chain(chain.name, chain.bodies, chain.numbers, chain.origin, chain.template, chain.seed)
                    assert (chain.targets, chain.hashes) == (plain.targets, plain.hashes)
                    for restore in (False, True):
                        assert chain.text(table.family, restore=restore) == plain.text(table.family, restore=restore)


@fewer
@given(clusters)
def test_a_chain_from_a_pattern_is_spelt_for_nft_like_any_other(cluster: Cluster) -> None:
    compiler = Compiler(cluster, dataplane="nftables")
    for node in cluster.node_names():
        for table in compiler.compile(node).tables.values():
            for chain in table.chains:
                plain = Chain(chain.name, chain.bodies, chain.numbers, chain.origin, chain.template, chain.seed)
                for family in ("ip", "ip6"):
                    found, expected = (structs.astuple(nft_chain(one, table.name, family)) for one in (chain, plain))
                    assert [*map(list, found[1:6])] == [*map(list, expected[1:6])]
