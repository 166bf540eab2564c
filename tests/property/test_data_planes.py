"""Rules of both data planes say the same, whatever the cluster; what differs is what Felix itself does differently."""

from __future__ import annotations

import pytest
from hypothesis import given

from felixpy.calico_versions import V3_32
from felixpy.compiler import Compiler
from felixpy.difference.across import ChainKeys, compare_meanings
from felixpy.difference.sets import compare_sets
from felixpy.model import Cluster
from tests.conformance.test_data_planes import is_known
from tests.property.strategies import clusters, fewer

pytestmark = pytest.mark.property


@fewer
@given(clusters)
def test_a_change_of_the_data_plane_changes_no_policy(cluster: Cluster) -> None:
    needed = any(policy.everywhere for policy in cluster.policies)
    one, other = (Compiler(cluster, dataplane=plane) for plane in ("iptables", "nftables"))
    keys = ChainKeys(cluster, V3_32, "iptables"), ChainKeys(cluster, V3_32, "nftables")
    for node in cluster.node_names():
        goal = other.compile(node)
        if goal.refused:
            continue
        before, after = one.compile(node).dump, goal.dump
        for family, tables in before.tables.items():
            changes = list(compare_meanings(tables, after.tables[family], keys))
            assert [change for change in changes if not is_known(change, needed=needed)] == []
        sets = compare_sets(before.sets, after.sets, options=False)
        assert [change for change in sets if change.kind != "removed" or not needed] == []
