"""What `felixpy lint` calls unreached or redundant can go: the rules of all nodes then let the same flows through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from felixpy.linting.reach import RuleReach
from tests.redundancy import changed_flows, make, reach_of, removals

pytestmark = pytest.mark.property

SEEDS = range(100, 124)
"""Clusters that have some three dozen findings together; many more were tried with other seeds."""


def test_no_flow_changes_without_what_decides_nothing() -> None:
    tried = 0
    for seed in SEEDS:
        cluster = make(seed)
        for removal in removals(cluster):
            tried += 1
            assert changed_flows(cluster, removal.without) == [], f"cluster {seed}: {removal.words}"
    assert tried > 20


def test_flows_do_change_without_other_rules() -> None:
    """The comparison would notice: of the policies that are needed, many change flows between the endpoints."""
    changing = 0
    for seed in SEEDS:
        cluster = make(seed)
        spare = {policy.key for policy, _ in RuleReach(reach_of(cluster).views).redundant[1]}
        for policy in cluster.policies:
            if policy.key not in spare:
                without = replace(cluster, policies=tuple(one for one in cluster.policies if one is not policy))
                changing += bool(changed_flows(cluster, without))
    assert changing > 10
