"""A node's rules kept up to date while the objects of its cluster change.

    members    who is in which set, adjusted thing by thing
    shared     what all nodes have in common, adjusted likewise
    objects    the objects of a cluster, and what lies between two clusters
    engine     `Live`: a cluster, a node, and what a change of one does to the rules of the other
    changes    the difference between two rulesets

The code of a fresh compile (`felixpy.resolve`, `felixpy.plan`, `felixpy.render`) computes everything; this package only
keeps the answers that a change does not touch. Felix's calculation graph is the model: a label index, reference counts
of members, policies that are active on a node. (felix/labelindex, felix/calc)
"""

from __future__ import annotations

from felixpy.live.changes import ChainUpdate, RulesetChange, SetUpdate, difference
from felixpy.live.engine import Live, LiveCluster
from felixpy.live.objects import Change

__all__ = ["ChainUpdate", "Change", "Live", "LiveCluster", "RulesetChange", "SetUpdate", "difference"]
