"""A node's rules kept up to date while the objects of its cluster change.

    members    the members of sets, updated object by object
    shared     what all nodes have in common, updated likewise
    objects    the objects of a cluster, and the changes between two clusters
    planning   a planner that keeps the chains of unchanged endpoints
    engine     `Live` and `LiveCluster`: the rules of nodes, updated with each change of the cluster
    changes    the difference between two rulesets
    report     changes as text and JSON

The code of a fresh compile (`felixpy.resolve`, `felixpy.plan`, `felixpy.render`) computes everything; this package only
keeps results that a change does not affect. Its model is Felix's calculation graph: a label index, reference counts of
members, policies that are active on a node. (felix/labelindex, felix/calc)
"""

from __future__ import annotations

from felixpy.live.changes import ChainUpdate, RulesetChange, SetUpdate, difference
from felixpy.live.engine import Live, LiveCluster
from felixpy.live.objects import Change

__all__ = ["ChainUpdate", "Change", "Live", "LiveCluster", "RulesetChange", "SetUpdate", "difference"]
